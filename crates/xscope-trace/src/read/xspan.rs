//! Reads `.xspan` files into a trace.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::ArgCell;
use crate::model::{
    Clock, Counter, EventMeta, Format, MetaId, RequestSpan, Slices, Source, SourceId, SpanKey,
    Trace, Track, TrackKind,
};
use crate::quality::{Code, Finding};
use crate::span::{self, NameId, SpanFile, ThreadId, Value};
use crate::strings::StrId;
use crate::time::{Bytes, Nanos, Picos};

/// Reads one `.xspan` file into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if its header cannot be read; lesser damage is a finding.
pub(super) fn read(path: &str, bytes: &[u8], trace: &mut Trace) -> Result<()> {
    let (file, issues) = span::read(bytes);
    if let Some(issue) = issues.iter().find(|issue| issue.code == Code::SourceUnreadable) {
        return Err(Error::Damaged {
            path: path.into(),
            offset: issue.offset,
            what: issue.message.clone(),
            hint: "the header is gone, so no record can be placed in time".to_owned(),
        });
    }
    for issue in issues {
        let message = format!("{path}, byte {}: {}", issue.offset, issue.message);
        trace.findings.push(Finding::new(issue.code, message));
    }
    let source = trace.sources.next_id();
    let header = file.header;
    trace.sources.push(Source {
        path: path.to_owned(),
        format: Format::XSpan,
        size: Bytes(bytes.len() as u64),
        host: StrId::EMPTY,
        server: StrId::EMPTY,
        rank: None,
        clock: Clock {
            unix_epoch: Some(Nanos(header.created.0.saturating_add(header.wall_offset.0))),
            monotonic_epoch: Some(header.created),
            error: Some(Picos::from(header.wall_offset_error)),
            ..Clock::default()
        },
        facts: vec![("process_id".to_owned(), header.pid.to_string())],
    });
    trace.recorded.push((source, file.recorded()));
    Import { source, zero: header.created, file: &file, trace, metas: BTreeMap::new() }.run();
    Ok(())
}

struct Import<'a, 'b> {
    source: SourceId,
    /// Time zero of the source on the monotonic clock.
    zero: Nanos,
    file: &'a SpanFile<'b>,
    trace: &'a mut Trace,
    metas: BTreeMap<StrId, MetaId>,
}

impl Import<'_, '_> {
    fn run(mut self) {
        let mut threads: BTreeMap<(ThreadId, bool), Slices> = BTreeMap::new();
        let mut extra = self.file.extra_args.iter().peekable();
        for row in &self.file.spans {
            let span = row.span;
            let name = self.text(span.name);
            let mut args = Vec::new();
            if let Some((key, value)) = span.arg {
                args.push((self.text(key), self.cell(value)));
            }
            while let Some(arg) = extra.next_if(|arg| arg.record <= row.record) {
                if arg.record == row.record {
                    args.push((self.text(arg.key), self.cell(arg.value)));
                }
            }
            let start = self.at(span.start);
            let dur = Picos::from(span.dur);
            let meta = self.meta(name);
            let slices = threads.entry((span.thread, span.overlaps)).or_default();
            slices.start.push(start);
            slices.dur.push(dur);
            slices.meta.push(meta);
            let (request, batch) = (self.key(span.request), self.key(span.batch));
            if request.is_some() || batch.is_some() {
                let (source, tid) = (self.source, span.thread.0);
                self.trace.spans.push(RequestSpan {
                    name,
                    source,
                    start,
                    dur,
                    tid,
                    request,
                    batch,
                    args,
                });
            }
        }
        self.add_tracks(threads);
        self.add_counters();
    }

    fn add_tracks(&mut self, threads: BTreeMap<(ThreadId, bool), Slices>) {
        for ((thread, overlaps), mut slices) in threads {
            slices.sort();
            let name = self.file.threads.get(&thread).copied().unwrap_or_default();
            let name = self.text(name);
            self.trace.tracks.push(Track {
                kind: if overlaps { TrackKind::Other } else { TrackKind::HostThread },
                name,
                source: self.source,
                process: StrId::EMPTY,
                pid: i64::from(self.file.header.pid),
                tid: i64::from(thread.0),
                device: None,
                slices,
            });
        }
    }

    fn add_counters(&mut self) {
        let mut counters: BTreeMap<(StrId, ThreadId), Counter> = BTreeMap::new();
        let pid = i64::from(self.file.header.pid);
        let measured = self.file.counters.iter();
        for row in measured.filter(|row| !self.file.is_cost(row.counter.name)) {
            let name = self.text(row.counter.name);
            let value = match row.counter.value {
                Value::Int(value) => int_as_f64(value),
                Value::Float(value) => value,
                Value::Text(_) => continue,
            };
            let at = self.at(row.counter.ts);
            let unit = self.trace.strings.get(name).rsplit('_').next().unwrap_or_default();
            let unit = unit.to_owned();
            let unit = self.trace.strings.intern(&unit);
            let source = self.source;
            let counter = counters.entry((name, row.counter.thread)).or_insert_with(|| Counter {
                name,
                unit,
                source,
                pid,
                at: Vec::new(),
                value: Vec::new(),
            });
            counter.at.push(at);
            counter.value.push(value);
        }
        self.trace.counters.extend(counters.into_values());
    }

    fn at(&self, time: Nanos) -> Picos {
        Picos::from(Nanos(time.0.saturating_sub(self.zero.0)))
    }

    fn text(&mut self, id: NameId) -> StrId {
        match self.file.strings.get(id) {
            Some(text) => self.trace.strings.intern(text),
            None => StrId::EMPTY,
        }
    }

    fn cell(&mut self, value: Value) -> ArgCell {
        match value {
            Value::Int(value) => ArgCell::Int(value),
            Value::Float(value) => ArgCell::Float(value),
            Value::Text(id) => ArgCell::Str(self.text(id)),
        }
    }

    fn key(&mut self, value: Option<Value>) -> Option<SpanKey> {
        match value? {
            Value::Int(value) => Some(SpanKey::Number(value)),
            Value::Text(id) => Some(SpanKey::Text(self.text(id))),
            Value::Float(_) => None,
        }
    }

    fn meta(&mut self, name: StrId) -> MetaId {
        let metas = &mut self.trace.metas;
        *self
            .metas
            .entry(name)
            .or_insert_with(|| metas.push(EventMeta { name, ..EventMeta::default() }))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counter samples are plotted, not compared")]
fn int_as_f64(value: i64) -> f64 {
    value as f64
}
