//! Reading notes of calls: what a version 2 file holds, and the spans that follow from it.
//!
//! A probe in a Python server only writes down what a call was about. What that means needs several
//! notes: how long a request waited, of which batch a span is. It is found out here.

use std::borrow::Cow;
use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::span::marshal::{Parser, Py};
use crate::span::read::{Issues, Texts};
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
        let settled = value.and_then(|value| settling.take(at, value));
        if first != 0 && settled.is_none() {
            let what =
                "note is damaged, or its process was killed in it; went on at the next segment";
            issues.add("damaged_note", at, what);
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
    wait: Option<(NameId, NameId)>,
    keys: Vec<NameId>,
    facts: Vec<Fact>,
    overlaps: bool,
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
    definitions: FxHashMap<i64, Definition>,
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
            stamps: FxHashMap::default(),
            pending: FxHashMap::default(),
        }
    }

    /// Takes a value of the file; `None` if it is none that a writer writes.
    fn take(&mut self, offset: usize, value: Py<'a>) -> Option<()> {
        let items = value.list()?;
        match items.first()? {
            Py::Int(number) => self.note(offset, *number, items),
            Py::Text(word) => match (word.as_ref(), &items[1..]) {
                ("probe", [Py::Int(number), definition]) => {
                    let definition = self.definition(definition)?;
                    self.definitions.insert(*number, definition);
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
                        let span = self.texts.id(span.clone());
                        definition.wait = Some((span, self.texts.id(since.clone())));
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

    /// Makes spans of a note: number, start, end, thread, key of the request, facts, error.
    fn note(&mut self, offset: usize, number: i64, items: &[Py<'a>]) -> Option<()> {
        let Some((number, definition)) = self.definitions.remove_entry(&number) else {
            return None;
        };
        let settled = self.settle(offset, &definition, items);
        self.definitions.insert(number, definition);
        settled
    }

    fn settle(&mut self, offset: usize, definition: &Definition, items: &[Py<'a>]) -> Option<()> {
        let [_, Py::Int(start), Py::Int(end), Py::Int(thread), opened, facts @ .., error] = items
        else {
            return None;
        };
        let (start, end) = (Nanos(*start), Nanos(*end));
        let opened = self.value(opened);
        let facts = || definition.facts.iter().copied().zip(facts);
        let fact = |wanted: Fact| facts().find(|&(fact, _)| fact == wanted).map(|(_, value)| value);
        let moment = |wanted: Fact| match fact(wanted) {
            Some(Py::Int(nanos)) => Some(Nanos(*nanos)),
            _ => None,
        };
        let mut records = (offset as u64..).map(RecordIndex);
        let mut of_call = |name, (start, end): (Nanos, Nanos), request, batch, overlaps| Found {
            record: records.next().unwrap_or_default(),
            span: Span {
                name,
                thread: thread_id(*thread),
                start,
                dur: (end - start).max(Nanos::ZERO),
                request,
                batch,
                arg: None,
                overlaps,
            },
            args: Vec::new(),
        };
        if let (Some(name), Some(since)) =
            (definition.head.filter(|_| opened.is_some()), moment(Fact::Head))
            && since < start
        {
            self.emit(of_call(name, (since, start), opened, None, true));
        }
        // A call that was broken off has no span, but for a request.
        if error.list().is_some() && !definition.opens {
            return Some(());
        }
        if matches!(error, Py::None) {
            if let Some((stamp, keys)) = definition.stamp.zip(fact(Fact::Stamped)) {
                for key in keys.each() {
                    if let Some(key) = self.value(key) {
                        self.stamps.insert((stamp, bits(key)), end);
                    }
                }
            }
            if let Some(((name, since), keys)) = definition.wait.zip(fact(Fact::Waited)) {
                for key in keys.each() {
                    let Some(key) = self.value(key) else { continue };
                    let Some(since) = self.stamps.remove(&(since, bits(key))) else { continue };
                    let until = since.max(start);
                    self.emit(of_call(name, (since, until), Some(key), None, true));
                }
            }
        }
        if let (Some(name), Some(since)) =
            (definition.tail.filter(|_| opened.is_some()), moment(Fact::Tail))
            && since < end
        {
            self.emit(of_call(name, (since, end), opened, None, true));
        }
        let batch = fact(Fact::Batch).and_then(|batch| self.value(batch));
        if batch.is_some() {
            self.give(thread_id(*thread), start, batch);
        }
        let named = match fact(Fact::Span) {
            Some(name) => name.text().map(|name| self.texts.id(name.clone())),
            None => {
                let kind = fact(Fact::Kind).and_then(Py::text);
                let of_kind = kind.and_then(|kind| definition.spans.get(kind.as_ref()));
                of_kind.copied().or(definition.span)
            }
        };
        let Some(name) = named else { return Some(()) };
        let mut request = fact(Fact::Request).and_then(|request| self.value(request));
        let mut args = Vec::new();
        let values = facts().filter(|&(fact, _)| fact == Fact::Arg).map(|(_, value)| value);
        for (&key, value) in definition.keys.iter().zip(values) {
            args.extend(value.each().filter_map(|one| Some((key, self.value(one)?))));
        }
        let rid = self.texts.id(Cow::Borrowed("rid"));
        let link = |args: &mut Vec<_>, fact: Option<&Py<'a>>, texts: &mut Texts<'a>| {
            let rids = fact.into_iter().flat_map(Py::each).filter_map(Py::text);
            let rids: Vec<Value> = rids.map(|rid| Value::Text(texts.id(rid.clone()))).collect();
            args.extend(rids.iter().map(|&value| (rid, value)));
            rids.first().copied()
        };
        let first = link(&mut args, fact(Fact::Rids), &mut self.texts);
        if batch.is_none() && definition.batch_of.is_none() {
            request = request.or(first);
        }
        request = request.or(opened);
        if definition.opens {
            link(&mut args, fact(Fact::Own), &mut self.texts);
        }
        if let Some(name) = error.each().find_map(Py::text) {
            let name = Value::Text(self.texts.id(name.clone()));
            args.push((self.texts.id(Cow::Borrowed("error")), name));
        }
        let overlaps = opened.is_some() || definition.overlaps;
        let found = Found { args, ..of_call(name, (start, end), request, batch, overlaps) };
        match definition.batch_of {
            Some(batch_of) => self.hold(batch_of, found),
            None => self.emit(found),
        }
        Some(())
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
            Py::Int(number) => Some(Value::Int(*number)),
            Py::Float(number) => Some(Value::Float(*number)),
            Py::Text(text) => Some(Value::Text(self.texts.id(text.clone()))),
            Py::None | Py::List(_) | Py::Dict(_) => None,
        }
    }

    fn finish(mut self) -> SpanFile<'a> {
        let mut threads: Vec<ThreadId> = self.pending.keys().copied().collect();
        threads.sort_unstable_by_key(|&thread| Reverse(thread));
        while let Some(thread) = threads.pop() {
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
