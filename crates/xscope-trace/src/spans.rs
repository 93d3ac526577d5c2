//! Puts xscope's own records into a trace: `.xspan` files and the client's `requests.jsonl`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::args::ArgCell;
use crate::error::{Error, Result};
use crate::model::{
    ClientRequest, Clock, Counter, EventMeta, Format, MetaId, RequestSpan, Slices, Source,
    SourceId, SpanKey, Trace, Track, TrackKind,
};
use crate::quality::{Code, Finding};
use crate::run::read_jsonl;
use crate::span::{self, NameId, SpanFile, ThreadId, Value};
use crate::strings::StrId;
use crate::time::{Bytes, Nanos, Picos};

/// Reads one `.xspan` file into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if its header cannot be read; lesser damage is a finding.
pub(crate) fn read_xspan(path: &str, bytes: &[u8], trace: &mut Trace) -> Result<()> {
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
        *self.metas.entry(name).or_insert_with(|| {
            metas.push(EventMeta { name, ..EventMeta::default() });
            MetaId(u32::try_from(metas.len() - 1).unwrap_or(u32::MAX))
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counter samples are plotted, not compared")]
fn int_as_f64(value: i64) -> f64 {
    value as f64
}

/// The fields of a row of `requests.jsonl` that an analysis needs.
#[derive(Deserialize)]
struct ClientRow {
    request_id: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    batch_size: u64,
    #[serde(default)]
    label_count: u64,
    intended_ns: i64,
    sent_ns: Option<i64>,
    end_ns: i64,
}

/// The phase of requests that were sent while a profiler ran, apart from what is measured.
const PROFILED: &str = "profile";

/// Reads the client's rows of a run into `trace`. A torn last line, which a killed client leaves,
/// is a finding.
pub(crate) fn read_requests(path: &str, bytes: &[u8], trace: &mut Trace) {
    let (mut rows, issues) = read_jsonl::<ClientRow>(bytes);
    for issue in issues {
        let message = format!("{path}, line {}: {}", issue.line, issue.message);
        trace.findings.push(Finding::new(issue.code, message).times(issue.count as u64));
    }
    let Some(zero) = rows.iter().map(|row| row.intended_ns).min() else { return };
    // A benchmark profiles in a window of its own: its traces and spans say nothing of other requests.
    let has_profiled = rows.iter().any(|row| row.phase == PROFILED);
    rows.retain(|row| !has_profiled || row.phase == PROFILED);
    let source = trace.sources.next_id();
    trace.sources.push(Source {
        path: path.to_owned(),
        format: Format::Requests,
        size: Bytes(bytes.len() as u64),
        host: StrId::EMPTY,
        clock: Clock { monotonic_epoch: Some(Nanos(zero)), ..Clock::default() },
        facts: Vec::new(),
    });
    let at = |time: i64| Picos::from(Nanos(time.saturating_sub(zero)));
    trace.client.extend(rows.into_iter().map(|row| ClientRequest {
        id: row.request_id,
        source,
        is_warmup: ["warmup", "check"].contains(&row.phase.as_str()),
        ok: row.ok,
        items: row.batch_size,
        labels: row.label_count,
        intended: at(row.intended_ns),
        sent: row.sent_ns.map(at),
        end: at(row.end_ns),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_benchmark_only_requests_under_its_profiler_belong_to_its_traces() {
        let ids = |phases: &[&str]| {
            let rows = phases.iter().enumerate().map(|(i, phase)| {
                format!(
                    "{{\"request_id\":\"{phase}\",\"phase\":\"{phase}\",\"ok\":true,\
                     \"intended_ns\":{i},\"sent_ns\":{i},\"end_ns\":{i}}}\n"
                )
            });
            let mut trace = Trace::default();
            read_requests("requests.jsonl", rows.collect::<String>().as_bytes(), &mut trace);
            trace.client.into_iter().map(|client| client.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["warmup", "measure", "check"]), ["warmup", "measure", "check"]);
        assert_eq!(ids(&["warmup", "measure", "profile"]), ["profile"]);
    }
}
