//! The `.xspan` file of a capture: requests, batches and counters, as they happen.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;
use xscope_model::Owner;
use xscope_trace::{
    Bytes, Nanos,
    span::{Closed, Counter, NameId, Span, SpanError, SpanWriter, ThreadId, Value},
};

use crate::{
    records::{BatchDone, RequestIds},
    stage::{Stage, StageClock},
};

/// 8 million records: hours of requests, and short of filling a disk.
const MAX_BYTES: Bytes = Bytes(512 << 20);

/// Rows that are no threads have ids from here on: one for each request that is under way.
const FIRST_ROW: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct SpanSink {
    writer: SpanWriter,
    names: Names,
    rows: Mutex<Rows>,
}

/// Leave to write into a sink. Whoever ends a capture waits until there is none left.
#[derive(Debug, Clone)]
pub(crate) struct SinkRef {
    sink: Arc<SpanSink>,
    /// The other end is closed when the last of these goes.
    _alive: mpsc::Sender<()>,
}

impl SinkRef {
    /// The receiver gets nothing, and is closed when the last copy of the leave goes.
    pub(crate) fn new(sink: Arc<SpanSink>) -> (Self, mpsc::Receiver<()>) {
        let (alive, gone) = mpsc::channel(1);
        (Self { sink, _alive: alive }, gone)
    }

    pub(crate) fn sink(&self) -> &SpanSink {
        &self.sink
    }
}

#[derive(Debug)]
struct Names {
    request: NameId,
    request_id: NameId,
    sequence_tokens: NameId,
    stages: [NameId; Stage::ALL.len()],
    batch: NameId,
    batch_forward: NameId,
    rows: NameId,
    tokens: NameId,
    padded_tokens: NameId,
    queue_items: NameId,
    live: [NameId; Owner::COUNT],
    peak: [NameId; Owner::COUNT],
}

impl Names {
    fn new(writer: &SpanWriter) -> Self {
        let memory = |kind: &str| {
            Owner::ALL.map(|owner| writer.name(&format!("memory_{}_{kind}_bytes", owner.as_str())))
        };
        Self {
            request: writer.name("request"),
            request_id: writer.name("request_id"),
            sequence_tokens: writer.name("sequence_tokens"),
            stages: Stage::ALL.map(|stage| writer.name(stage.name())),
            batch: writer.name("batch"),
            batch_forward: writer.name("batch.forward"),
            rows: writer.name("rows"),
            tokens: writer.name("tokens"),
            padded_tokens: writer.name("padded_tokens"),
            queue_items: writer.name("queue_items"),
            live: memory("live"),
            peak: memory("peak"),
        }
    }
}

/// Tokens of a request's prompts in one batch, without padding.
fn tokens_in(clock: &StageClock, batch: u64) -> u64 {
    let mine = clock.sequences.iter().filter(|sequence| sequence.batch == batch);
    mine.map(|sequence| sequence.tokens).sum()
}

/// Rows for requests, so that requests that overlap in time do not share one.
#[derive(Debug, Default)]
struct Rows {
    /// When the last request on each row ended.
    ends: Vec<Nanos>,
    named: BTreeSet<u32>,
}

impl Rows {
    /// The first row that is free from `start` on.
    fn place(&mut self, start: Nanos, end: Nanos) -> u32 {
        let free = self.ends.iter().position(|&last| last <= start);
        let row = free.unwrap_or_else(|| {
            self.ends.push(Nanos::ZERO);
            self.ends.len() - 1
        });
        self.ends[row] = end;
        u32::try_from(row).unwrap_or(u32::MAX)
    }
}

impl SpanSink {
    /// Makes `<dir>/<pid>.xspan`, or the next free name where a capture of this process has left
    /// that one.
    pub(crate) fn create(dir: &Path) -> Result<Self, SpanError> {
        let writer = SpanWriter::create(&free_path(dir), MAX_BYTES)?;
        let names = Names::new(&writer);
        Ok(Self { writer, names, rows: Mutex::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.writer.path()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    pub(crate) fn name_thread(&self, thread: ThreadId, name: &str) {
        self.writer.thread_name(thread, name);
    }

    /// Writes a request and its stages, on a row of its own.
    pub(crate) fn request(&self, ids: &RequestIds, clock: &StageClock) {
        let request = Some(integer(ids.number));
        let thread = self.row(clock.start(), clock.start() + clock.total());
        let name = self.writer.text(&ids.name);
        let record = self.writer.span(&Span {
            name: self.names.request,
            thread,
            start: clock.start(),
            dur: clock.total(),
            request,
            arg: Some((self.names.request_id, Value::Text(name))),
            ..Span::default()
        });
        if let Some(record) = record {
            for sequence in &clock.sequences {
                let tokens = integer(sequence.tokens);
                self.writer.extra_arg(record, self.names.sequence_tokens, tokens);
            }
        }
        for piece in clock.pieces() {
            let forward = piece.stage == Stage::Forward;
            let tokens = || (self.names.tokens, integer(tokens_in(clock, piece.batch)));
            self.writer.span(&Span {
                name: self.names.stages[piece.stage as usize],
                thread,
                start: piece.start,
                dur: piece.end - piece.start,
                request,
                batch: (piece.batch != 0).then(|| integer(piece.batch)),
                arg: forward.then(tokens),
                ..Span::default()
            });
        }
    }

    fn row(&self, start: Nanos, end: Nanos) -> ThreadId {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.place(start, end);
        let thread = ThreadId(FIRST_ROW.saturating_add(row));
        if rows.named.insert(row) {
            self.writer.thread_name(thread, &format!("requests {row}"));
        }
        thread
    }

    /// Writes a batch, on the row of the thread that runs it, and its counters.
    pub(crate) fn batch(&self, done: &BatchDone, thread: ThreadId) {
        let batch = Some(integer(done.batch));
        let record = self.writer.span(&Span {
            name: self.names.batch,
            thread,
            start: done.schedule,
            dur: done.end - done.schedule,
            batch,
            arg: Some((self.names.rows, integer(done.size.rows))),
            ..Span::default()
        });
        if let Some(record) = record {
            self.writer.extra_arg(record, self.names.tokens, integer(done.size.tokens));
            let padded = integer(done.size.padded_tokens);
            self.writer.extra_arg(record, self.names.padded_tokens, padded);
        }
        self.writer.span(&Span {
            name: self.names.batch_forward,
            thread,
            start: done.forward,
            dur: done.extract - done.forward,
            batch,
            ..Span::default()
        });
        self.count(self.names.queue_items, done.schedule, done.queue_items);
        if let Some(memory) = done.memory {
            for (&name, bytes) in self.names.live.iter().zip(memory.live) {
                self.count(name, done.extract, bytes.0);
            }
            for (&name, bytes) in self.names.peak.iter().zip(memory.peak) {
                self.count(name, done.extract, bytes.0);
            }
        }
    }

    fn count(&self, name: NameId, ts: Nanos, value: u64) {
        self.writer.counter(&Counter { name, thread: ThreadId(0), ts, value: integer(value) });
    }

    pub(crate) fn close(&self) -> Result<Closed, SpanError> {
        self.writer.close()
    }
}

fn integer(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn free_path(dir: &Path) -> PathBuf {
    let pid = std::process::id();
    let first = dir.join(format!("{pid}.xspan"));
    if !first.exists() {
        return first;
    }
    (2_u32..)
        .map(|number| dir.join(format!("{pid}-{number}.xspan")))
        .find(|path| !path.exists())
        .unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_overlap_get_different_rows() {
        let mut rows = Rows::default();
        assert_eq!(rows.place(Nanos(10), Nanos(20)), 0);
        assert_eq!(rows.place(Nanos(15), Nanos(30)), 1);
        assert_eq!(rows.place(Nanos(20), Nanos(25)), 0);
        assert_eq!(rows.place(Nanos(22), Nanos(24)), 2);
    }
}
