//! Reading notes of calls: what a version 2 file holds, and the spans that follow from it.
//!
//! A probe in a Python server only writes down what a call was about. What that means needs several
//! notes: how long a request waited, of which batch a span is. It is found out here.

use std::borrow::Cow;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::quality::Code;
use crate::span::file::{Issues, Texts};
use crate::span::marshal::{Parser, Py};
use crate::span::{
    Counter, CounterRow, ExtraArg, Header, NameId, RECORD_BYTES, RecordIndex, Span, SpanFile,
    SpanRow, ThreadId, Value, recorded,
};
use crate::time::Nanos;

/// So many spans of a thread wait for their batch.
const MOST_PENDING: usize = 8;

/// Reads what stands behind the header of a file whose segments have this size.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    header: Header,
    segment: usize,
    issues: &mut Issues,
) -> SpanFile<'a> {
    let mut settling = Settling::new(header);
    let mut at = RECORD_BYTES;
    while let Some(&first) = bytes.get(at) {
        let mut parser = Parser::new(bytes, at);
        let value = if first == 0 { None } else { parser.value() };
        let settled = value.and_then(|value| settling.take(at, &value));
        if first != 0 && settled.is_none() {
            let what =
                "note is damaged, or its process was killed in it; went on at the next segment";
            issues.add(Code::XspanDamagedNote, at, what);
        }
        at = match settled {
            Some(()) => parser.at(),
            // Behind all that was looked at, so that no byte is looked at twice.
            None => (parser.at() / segment + 1).saturating_mul(segment),
        };
    }
    settling.finish()
}

/// What a fact of a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    /// The name of the span.
    Span,
    /// What the name of the span is chosen by.
    Kind,
    Request,
    Batch,
    Rids,
    /// To what something happens at the end of the call.
    Stamped,
    /// What had waited for the call.
    Waited,
    /// Since when, for the span before the call and for the one at its end.
    Head,
    Tail,
    /// What the items of the request are called that the call opened.
    Own,
    Arg,
    /// Of a later version, or of no use here.
    Other,
}

impl Fact {
    fn named(name: &str) -> Self {
        match name {
            "span" => Self::Span,
            "kind" => Self::Kind,
            "request" => Self::Request,
            "batch" => Self::Batch,
            "rids" => Self::Rids,
            "stamped" => Self::Stamped,
            "waited" => Self::Waited,
            "head" => Self::Head,
            "tail" => Self::Tail,
            "own" => Self::Own,
            "arg" => Self::Arg,
            _ => Self::Other,
        }
    }
}

/// Which call decides the batch of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchOf {
    /// The next one of the thread that knows its batch.
    Next,
    /// The one around it.
    Around,
}

/// What the notes of a probe mean.
#[derive(Debug, Default)]
struct Definition {
    span: Option<NameId>,
    /// Other names, by kind.
    spans: FxHashMap<String, NameId>,
    opens: bool,
    batch_of: Option<BatchOf>,
    head: Option<NameId>,
    tail: Option<NameId>,
    stamp: Option<NameId>,
    wait: Option<Wait>,
    keys: Vec<NameId>,
    facts: Vec<Fact>,
    overlaps: bool,
}

/// The span of what waited, and the stamp that it begins with.
#[derive(Debug, Clone, Copy)]
struct Wait {
    span: NameId,
    since: NameId,
}

/// A call, as its note tells of it.
struct Call<'n, 'a> {
    definition: &'n Definition,
    start: Nanos,
    end: Nanos,
    thread: ThreadId,
    /// The HTTP request under way.
    opened: Option<Value>,
    facts: &'n [Py<'a>],
    /// None, its name, or its name in a list if the call was broken off.
    error: &'n Py<'a>,
}

impl<'n, 'a> Call<'n, 'a> {
    fn of(definition: &'n Definition, items: &'n [Py<'a>]) -> Option<Self> {
        let [_, Py::Int(start), Py::Int(end), Py::Int(thread), opened, facts @ .., error] = items
        else {
            return None;
        };
        Some(Self {
            definition,
            start: Nanos(*start),
            end: Nanos(*end),
            thread: thread_id(*thread),
            opened: opened.number(),
            facts,
            error,
        })
    }

    fn all(&self, wanted: Fact) -> impl Iterator<Item = &'n Py<'a>> + use<'n, 'a> {
        let facts = self.definition.facts.iter().zip(self.facts);
        facts.filter(move |&(&fact, _)| fact == wanted).map(|(_, value)| value)
    }

    fn fact(&self, wanted: Fact) -> Option<&'n Py<'a>> {
        self.all(wanted).next()
    }

    fn span(&self, name: NameId, (start, end): (Nanos, Nanos), request: Option<Value>) -> Span {
        let dur = (end - start).max(Nanos::ZERO);
        Span { name, thread: self.thread, start, dur, request, ..Span::default() }
    }
}

/// A span with all of its arguments.
#[derive(Debug, Clone)]
struct Found {
    record: RecordIndex,
    span: Span,
    args: Vec<(NameId, Value)>,
}

/// A value as a key: its form and its bits.
type Key = (u8, u64);

struct Settling<'a> {
    file: SpanFile<'a>,
    texts: Texts<'a>,
    definitions: FxHashMap<i64, Rc<Definition>>,
    /// Where the next span of the note in hand stands.
    next: u64,
    /// When something happened to what, by the name of what happened.
    stamps: FxHashMap<(NameId, Key), Nanos>,
    /// Spans of threads that wait for a batch.
    pending: FxHashMap<ThreadId, Vec<(BatchOf, Found)>>,
}

impl<'a> Settling<'a> {
    fn new(header: Header) -> Self {
        Self {
            file: SpanFile { header, ..SpanFile::default() },
            texts: Texts::default(),
            definitions: FxHashMap::default(),
            next: 0,
            stamps: FxHashMap::default(),
            pending: FxHashMap::default(),
        }
    }

    /// Takes a value of the file; `None` if it is none that a writer writes.
    fn take(&mut self, offset: usize, value: &Py<'a>) -> Option<()> {
        let items = value.list()?;
        match items.first()? {
            Py::Int(number) => self.note(offset, *number, items),
            Py::Text(word) => match (word.as_ref(), &items[1..]) {
                ("probe", [Py::Int(number), definition]) => {
                    let definition = self.definition(definition)?;
                    self.definitions.insert(*number, Rc::new(definition));
                    Some(())
                }
                ("thread", [Py::Int(thread), Py::Text(name)]) => {
                    let name = self.texts.id(name.clone());
                    self.file.threads.insert(thread_id(*thread), name);
                    Some(())
                }
                ("cost", costs) => {
                    self.costs(offset, costs);
                    Some(())
                }
                // A later version may say more.
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn costs(&mut self, offset: usize, costs: &[Py<'a>]) {
        let names = [recorded::SPAN_COST, recorded::RECORD_COST];
        for (place, (name, cost)) in (0..).zip(names.into_iter().zip(costs)) {
            let &Py::Int(nanos) = cost else { continue };
            let record = RecordIndex(offset as u64 + place);
            let (ts, value) = (self.file.header.created, Value::Int(nanos));
            let name = self.texts.id(Cow::Borrowed(name));
            let counter = Counter { name, thread: ThreadId::default(), ts, value };
            self.file.counters.push(CounterRow { record, counter });
        }
    }

    fn definition(&mut self, value: &Py<'a>) -> Option<Definition> {
        let mut definition = Definition::default();
        for (key, value) in value.dict()? {
            let name = |texts: &mut Texts<'a>| value.text().map(|name| texts.id(name.clone()));
            let is_set = matches!(value, Py::Int(1));
            match key.text()?.as_ref() {
                "span" => definition.span = name(&mut self.texts),
                "spans" => {
                    for (kind, name) in value.dict().unwrap_or_default() {
                        let (kind, name) = kind.text().zip(name.text())?;
                        let name = self.texts.id(name.clone());
                        definition.spans.insert(kind.clone().into_owned(), name);
                    }
                }
                "opens" => definition.opens = is_set,
                "overlaps" => definition.overlaps = is_set,
                "batch" => {
                    definition.batch_of = value.text().map(|word| match word.as_ref() {
                        "next" => BatchOf::Next,
                        _ => BatchOf::Around,
                    });
                }
                "head" => definition.head = name(&mut self.texts),
                "tail" => definition.tail = name(&mut self.texts),
                "stamp" => definition.stamp = name(&mut self.texts),
                "wait" => {
                    if let Some([Py::Text(span), Py::Text(since)]) = value.list() {
                        let (span, since) = (span.clone(), since.clone());
                        let (span, since) = (self.texts.id(span), self.texts.id(since));
                        definition.wait = Some(Wait { span, since });
                    }
                }
                "keys" => {
                    let keys = value.list()?.iter().filter_map(Py::text);
                    definition.keys = keys.map(|key| self.texts.id(key.clone())).collect();
                }
                "facts" => {
                    let facts = value.list()?.iter();
                    let named = |fact: &Py<'_>| fact.text().map(|name| Fact::named(name));
                    definition.facts = facts.map(named).collect::<Option<_>>()?;
                }
                _ => {}
            }
        }
        Some(definition)
    }

    /// Makes spans of a note.
    fn note(&mut self, offset: usize, number: i64, items: &[Py<'a>]) -> Option<()> {
        let definition = Rc::clone(self.definitions.get(&number)?);
        let call = Call::of(&definition, items)?;
        self.next = offset as u64;
        self.gap(&call, definition.head, Fact::Head, call.start);
        // A call that was broken off has no span, but for a request.
        if call.error.list().is_some() && !definition.opens {
            return Some(());
        }
        if matches!(call.error, Py::None) {
            self.stamp(&call);
            self.wait(&call);
        }
        self.gap(&call, definition.tail, Fact::Tail, call.end);
        let batch = self.found(&call, Fact::Batch);
        if batch.is_some() {
            self.give(call.thread, call.start, batch);
        }
        let Some(name) = self.name(&call) else { return Some(()) };
        let found = self.span_of(&call, name, batch);
        match definition.batch_of {
            Some(batch_of) => self.hold(batch_of, found),
            None => self.emit(found),
        }
        Some(())
    }

    /// A span of the request under way, from a moment that the call knows to `end`.
    fn gap(&mut self, call: &Call<'_, 'a>, name: Option<NameId>, fact: Fact, end: Nanos) {
        let Some((name, &Py::Int(since))) = name.zip(call.fact(fact)) else { return };
        if call.opened.is_some() && since < end.0 {
            let record = self.record();
            let span = call.span(name, (Nanos(since), end), call.opened);
            self.emit(Found { record, span: Span { overlaps: true, ..span }, args: Vec::new() });
        }
    }

    /// Remembers when something happened to keys.
    fn stamp(&mut self, call: &Call<'_, 'a>) {
        let Some((stamp, keys)) = call.definition.stamp.zip(call.fact(Fact::Stamped)) else {
            return;
        };
        for key in keys.each() {
            if let Some(key) = self.value(key) {
                self.stamps.insert((stamp, bits(key)), call.end);
            }
        }
    }

    /// Spans of how long keys had waited for the call.
    fn wait(&mut self, call: &Call<'_, 'a>) {
        let Some((wait, keys)) = call.definition.wait.zip(call.fact(Fact::Waited)) else { return };
        for key in keys.each() {
            let Some(key) = self.value(key) else { continue };
            let Some(since) = self.stamps.remove(&(wait.since, bits(key))) else { continue };
            let record = self.record();
            let span = call.span(wait.span, (since, since.max(call.start)), Some(key));
            self.emit(Found { record, span: Span { overlaps: true, ..span }, args: Vec::new() });
        }
    }

    fn name(&mut self, call: &Call<'_, 'a>) -> Option<NameId> {
        if let Some(name) = call.fact(Fact::Span) {
            return name.text().map(|name| self.texts.id(name.clone()));
        }
        let kind = call.fact(Fact::Kind).and_then(Py::text);
        let of_kind = kind.and_then(|kind| call.definition.spans.get(kind.as_ref()));
        of_kind.copied().or(call.definition.span)
    }

    /// The span of the call itself.
    fn span_of(&mut self, call: &Call<'_, 'a>, name: NameId, batch: Option<Value>) -> Found {
        let definition = call.definition;
        let mut args = Vec::new();
        for (&key, value) in definition.keys.iter().zip(call.all(Fact::Arg)) {
            args.extend(value.each().filter_map(|one| Some((key, self.value(one)?))));
        }
        let rids = self.rids(call, Fact::Rids);
        args.extend_from_slice(&rids);
        // What is of no batch is of the first sequence in it.
        let first = rids.first().filter(|_| batch.is_none() && definition.batch_of.is_none());
        let request = self.found(call, Fact::Request).or(first.map(|&(_, rid)| rid));
        if definition.opens {
            args.extend(self.rids(call, Fact::Own));
        }
        if let Some(name) = call.error.each().find_map(Py::text) {
            let error = self.texts.id(Cow::Borrowed("error"));
            args.push((error, Value::Text(self.texts.id(name.clone()))));
        }
        let span = call.span(name, (call.start, call.end), request.or(call.opened));
        let overlaps = call.opened.is_some() || definition.overlaps;
        Found { record: self.record(), span: Span { batch, overlaps, ..span }, args }
    }

    /// What sequences are called, as arguments.
    fn rids(&mut self, call: &Call<'_, 'a>, fact: Fact) -> Vec<(NameId, Value)> {
        let key = self.texts.id(Cow::Borrowed("rid"));
        let rids = call.fact(fact).into_iter().flat_map(Py::each).filter_map(Py::text);
        rids.map(|rid| (key, Value::Text(self.texts.id(rid.clone())))).collect()
    }

    fn found(&mut self, call: &Call<'_, 'a>, fact: Fact) -> Option<Value> {
        call.fact(fact).and_then(|value| self.value(value))
    }

    /// Where the next span of the note stands: the bytes of the note are more than its spans, so that
    /// the place is the same however much of the file there is yet.
    fn record(&mut self) -> RecordIndex {
        let record = RecordIndex(self.next);
        self.next += 1;
        record
    }

    /// Keeps a span until its batch is known.
    fn hold(&mut self, batch_of: BatchOf, found: Found) {
        let thread = found.span.thread;
        if self.pending.get(&thread).is_some_and(|pending| pending.len() >= MOST_PENDING) {
            self.give(thread, Nanos::ZERO, None);
        }
        self.pending.entry(thread).or_default().push((batch_of, found));
    }

    /// What a call of a thread with this batch, begun at `start`, decides the batch of.
    fn give(&mut self, thread: ThreadId, start: Nanos, batch: Option<Value>) {
        for (batch_of, mut found) in self.pending.remove(&thread).unwrap_or_default() {
            if batch_of == BatchOf::Next || found.span.start >= start {
                found.span.batch = batch;
            }
            self.emit(found);
        }
    }

    fn emit(&mut self, Found { record, mut span, args }: Found) {
        let mut args = args.into_iter();
        span.arg = args.next();
        self.file.spans.push(SpanRow { record, span });
        self.file.extra_args.extend(args.map(|(key, value)| ExtraArg { record, key, value }));
    }

    fn value(&mut self, value: &Py<'a>) -> Option<Value> {
        match value {
            Py::Text(text) => Some(Value::Text(self.texts.id(text.clone()))),
            other => other.number(),
        }
    }

    fn finish(mut self) -> SpanFile<'a> {
        let threads: Vec<ThreadId> = self.pending.keys().copied().collect();
        for thread in threads {
            self.give(thread, Nanos::ZERO, None);
        }
        let Self { mut file, texts, .. } = self;
        file.strings = texts.finish();
        file.spans.sort_unstable_by_key(|row| row.record);
        file.extra_args.sort_by_key(|arg| arg.record);
        file
    }
}

fn thread_id(thread: i64) -> ThreadId {
    ThreadId(u32::try_from(thread & 0x7fff_ffff).unwrap_or_default())
}

fn bits(value: Value) -> Key {
    match value {
        Value::Int(number) => (0, number.cast_unsigned()),
        Value::Text(NameId(id)) => (1, u64::from(id)),
        Value::Float(number) => (2, number.to_bits()),
    }
}
