//! What the engine records of itself, always: stages, batches, scopes and ops.
//!
//! Records go into a ring of fixed size in memory, and their times into the histograms of
//! `/metrics`. While a profile is captured, requests and batches are written to its files as
//! well. The ops of a forward pass stay in the recorder of the
//! scheduler's thread and are handed over once per batch.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use xscope_model::OpRecorder;
use xscope_trace::Nanos;

use crate::{
    metrics::Metrics,
    records::{BatchDone, RequestIds},
    span_sink::SinkRef,
    stage::{Stage, StageClock},
};

/// What a [`Record`] is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A whole request.
    Request,
    /// A piece of a request.
    Stage(Stage),
    /// A batch, from forming it to its last log-probability.
    Batch,
    /// A stay in a scope of the model, by [`Recent::scope_path`].
    Scope(u32),
    /// An operation of the model: its scope and its name.
    Op { scope: u32, name: &'static str },
}

/// One stretch of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub kind: RecordKind,
    /// Monotonic clock.
    pub start: Nanos,
    pub dur: Nanos,
    /// 0 where it is the work of no single request.
    pub request: u64,
    /// 0 outside a batch.
    pub batch: u64,
}

/// The last records, oldest first.
#[derive(Debug)]
pub struct Recent {
    pub records: Vec<Record>,
    /// How many records there have been since the engine started.
    pub recorded: u64,
    scope_paths: Vec<String>,
}

impl Recent {
    /// The path of a scope, such as `layer_3/attention`.
    pub fn scope_path(&self, scope: u32) -> &str {
        usize::try_from(scope).ok().and_then(|scope| self.scope_paths.get(scope)).map_or("", |p| p)
    }
}

#[derive(Debug)]
pub(crate) struct Telemetry {
    enabled: AtomicBool,
    pub(crate) metrics: Metrics,
    ring: Mutex<Ring>,
    scope_paths: Mutex<Vec<String>>,
    sink_open: AtomicBool,
    sink: Mutex<Option<SinkRef>>,
    spans_dropped: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    records: Box<[Record]>,
    /// All records so far; the next one goes to this, modulo the length.
    recorded: u64,
    next: usize,
}

impl Ring {
    fn push(&mut self, record: Record) {
        self.records[self.next] = record;
        self.recorded += 1;
        self.next = if self.next + 1 == self.records.len() { 0 } else { self.next + 1 };
    }

    fn recent(&self) -> Vec<Record> {
        let full = usize::try_from(self.recorded).is_ok_and(|count| count < self.records.len());
        if full {
            return self.records[..self.next].to_vec();
        }
        [&self.records[self.next..], &self.records[..self.next]].concat()
    }
}

impl Telemetry {
    pub(crate) fn new(enabled: bool, ring_records: usize) -> Self {
        let blank = Record {
            kind: RecordKind::Request,
            start: Nanos::ZERO,
            dur: Nanos::ZERO,
            request: 0,
            batch: 0,
        };
        let records = vec![blank; ring_records].into_boxed_slice();
        Self {
            enabled: AtomicBool::new(enabled),
            metrics: Metrics::new(),
            ring: Mutex::new(Ring { records, recorded: 0, next: 0 }),
            scope_paths: Mutex::new(Vec::new()),
            sink_open: AtomicBool::new(false),
            sink: Mutex::new(None),
            spans_dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// From here on requests are written to `sink`; `None` ends that.
    pub(crate) fn set_sink(&self, sink: Option<SinkRef>) {
        self.sink_open.store(sink.is_some(), Ordering::Release);
        *lock(&self.sink) = sink;
    }

    /// Where requests are written to.
    pub(crate) fn sink(&self) -> Option<SinkRef> {
        if !self.sink_open.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.sink).clone()
    }

    pub(crate) fn count_dropped(&self, spans: u64) {
        self.spans_dropped.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn recorded(&self) -> u64 {
        lock(&self.ring).recorded
    }

    pub(crate) fn dropped(&self) -> u64 {
        let open = self.sink().map_or(0, |sink| sink.sink().dropped());
        self.spans_dropped.load(Ordering::Relaxed) + open
    }

    /// The last records.
    pub(crate) fn recent(&self) -> Recent {
        let (records, recorded) = {
            let ring = lock(&self.ring);
            (ring.recent(), ring.recorded)
        };
        Recent { records, recorded, scope_paths: lock(&self.scope_paths).clone() }
    }

    /// A score request has been answered. `sink` is where the batches that it was in were
    /// written to; without it the request is written where requests are written now.
    pub(crate) fn request(&self, ids: &RequestIds, clock: &StageClock, sink: Option<SinkRef>) {
        if !self.enabled() {
            return;
        }
        self.metrics.scored(clock.total(), &clock.by_stage());
        {
            let mut ring = lock(&self.ring);
            ring.push(Record {
                kind: RecordKind::Request,
                start: clock.start(),
                dur: clock.total(),
                request: ids.number,
                batch: 0,
            });
            for piece in clock.pieces() {
                ring.push(Record {
                    kind: RecordKind::Stage(piece.stage),
                    start: piece.start,
                    dur: piece.end - piece.start,
                    request: ids.number,
                    batch: piece.batch,
                });
            }
        }
        if let Some(sink) = sink.or_else(|| self.sink()) {
            sink.sink().request(ids, clock);
        }
    }

    /// A batch has run; `recorder` holds its scopes and ops.
    pub(crate) fn batch(&self, done: &BatchDone, recorder: &OpRecorder) {
        if !self.enabled() {
            return;
        }
        self.metrics.batch(done.size, done.memory.map(|memory| memory.peak));
        self.keep_scope_paths(recorder);
        let mut ring = lock(&self.ring);
        let mut push = |kind, start, dur| {
            ring.push(Record { kind, start, dur, request: 0, batch: done.batch });
        };
        push(RecordKind::Batch, done.schedule, done.end - done.schedule);
        for scope in recorder.scopes() {
            push(RecordKind::Scope(scope_index(scope.scope)), scope.start, scope.dur);
        }
        for op in recorder.ops() {
            let kind = RecordKind::Op { scope: scope_index(op.scope), name: op.op };
            push(kind, op.start, op.dur);
        }
    }

    /// The recorder's scopes only ever grow, and do not after the first batch.
    fn keep_scope_paths(&self, recorder: &OpRecorder) {
        let mut paths = lock(&self.scope_paths);
        let known = paths.len();
        if let Some(more) = recorder.scope_paths().get(known..) {
            paths.extend_from_slice(more);
        }
    }
}

fn scope_index(scope: xscope_model::ScopeId) -> u32 {
    u32::try_from(scope.index()).unwrap_or(u32::MAX)
}

/// A panic while a lock is held leaves at worst one record half counted: go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_records_in_order() {
        let telemetry = Telemetry::new(true, 14);
        let ids = |number| RequestIds { number, name: "name".into() };
        assert!(telemetry.recent().records.is_empty());
        for number in 1..=9 {
            let mut clock = StageClock::starting_at(Nanos(i64::try_from(number).unwrap()));
            clock.finish();
            telemetry.request(&ids(number), &clock, None);
        }
        let recent = telemetry.recent();
        let requests: Vec<u64> = recent.records.iter().map(|record| record.request).collect();
        assert_eq!(requests, [3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]);
        assert_eq!((recent.recorded, telemetry.recorded()), (18, 18));
    }

    #[test]
    fn off_records_nothing() {
        let telemetry = Telemetry::new(false, 4);
        let clock = StageClock::starting_at(Nanos(1));
        telemetry.request(&RequestIds { number: 1, name: "a".into() }, &clock, None);
        assert_eq!(telemetry.recorded(), 0);
    }
}
