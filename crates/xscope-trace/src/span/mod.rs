//! The `.xspan` file: spans, counters and names that a process leaves behind while it runs.
//!
//! One process writes one file, through a shared memory mapping: records of a fixed size, or (the
//! probes in a Python server) notes of calls, of which [`read`] makes spans. What is in the mapping
//! belongs to the kernel's page cache, so a process that dies by `SIGKILL` loses at most what its
//! threads were writing at that instant. (A machine that loses power may lose more: nothing is
//! synced.) Nothing is ever rewritten in place except two header words, so a file can be read while
//! it grows.
//!
//! This module knows bytes and nothing of requests or stages; joining spans into a waterfall is
//! the work of the readers above it.
//!
#![doc = include_str!("../../../../docs/xspan.md")]

mod file;
mod marshal;
mod notes;
mod read;
mod recorded;
mod write;

pub use file::{CounterRow, ExtraArg, Header, SpanFile, SpanIssue, SpanRow, Strings};
pub use read::read;
pub use recorded::Recorded;
pub use write::{Closed, SpanError, SpanWriter, current_thread};

use crate::time::Nanos;

/// Bytes of the header, and of every record.
pub const RECORD_BYTES: usize = 64;

/// Bytes of text in one string record.
const PART_BYTES: usize = 52;

/// The longest text that a writer stores, in bytes; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The first bytes of a file of records, and of one of notes; the last is the version.
const MAGIC: [u8; 8] = *b"XSPAN\0\0\x01";
const NOTES_MAGIC: [u8; 8] = *b"XSPAN\0\0\x02";

const WORDS: usize = RECORD_BYTES / 8;

/// One record as little-endian words, converted to the machine's order.
type Words = [u64; WORDS];

const HEADER_CAPACITY: usize = 5;
/// The words of the header that change while a file is written.
const HEADER_DROPPED: usize = 4;
const HEADER_STATE: usize = 7;
const STATE_CLOSED: u64 = 1;

mod kind {
    pub(super) const STRING: u8 = 1;
    pub(super) const SPAN: u8 = 2;
    pub(super) const COUNTER: u8 = 3;
    pub(super) const THREAD: u8 = 4;
    pub(super) const EXTRA_ARG: u8 = 5;
}

/// The id of a string of one file. 0 (the default) is no string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NameId(pub u32);

/// A row that spans sit on: a kernel thread id, or 2³¹ and above for rows that are no threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ThreadId(pub u32);

/// The position of a record in its file, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RecordIndex(pub u64);

/// A typed value: an argument, a sample, or the id of a request or batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Int(i64),
    Text(NameId),
    Float(f64),
}

/// A stretch of work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Span {
    pub name: NameId,
    pub thread: ThreadId,
    /// Monotonic clock.
    pub start: Nanos,
    /// Not negative.
    pub dur: Nanos,
    pub request: Option<Value>,
    pub batch: Option<Value>,
    /// The inline argument: key and value. More are written by [`SpanWriter::extra_arg`].
    pub arg: Option<(NameId, Value)>,
    /// The span may overlap others of its thread and takes no part in their nesting.
    pub overlaps: bool,
}

/// A sample of a counter; it holds until the next sample of the same name and thread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    /// The unit is the name's last word: `_bytes`, `_nanos`, `_tokens`, `_ratio` ...
    pub name: NameId,
    /// 0 for a counter of the whole process.
    pub thread: ThreadId,
    /// Monotonic clock.
    pub ts: Nanos,
    pub value: Value,
}

const FORM_INT: u8 = 1;
const FORM_TEXT: u8 = 2;
const FORM_FLOAT: u8 = 3;

const REQUEST_SHIFT: u32 = 0;
const BATCH_SHIFT: u32 = 2;
const VALUE_SHIFT: u32 = 4;
const OVERLAPS: u8 = 1 << 6;

/// The fields of every record that is not a string.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Fields {
    kind: u8,
    flags: u8,
    name: u32,
    thread: u32,
    key: u32,
    start: u64,
    dur: u64,
    request: u64,
    batch: u64,
    value: u64,
}

impl Fields {
    fn new(kind: u8) -> Self {
        Self { kind, ..Self::default() }
    }

    fn words(&self) -> Words {
        let word0 = u64::from(self.kind) | u64::from(self.flags) << 8 | u64::from(self.name) << 32;
        let word1 = u64::from(self.thread) | u64::from(self.key) << 32;
        [word0, word1, self.start, self.dur, self.request, self.batch, self.value, 0]
    }

    fn from_words(words: &Words) -> Self {
        let [kind, flags, ..] = words[0].to_le_bytes();
        let (name, _) = halves(words[0]);
        let (key, thread) = halves(words[1]);
        let [_, _, start, dur, request, batch, value, _] = *words;
        Self { kind, flags, name, thread, key, start, dur, request, batch, value }
    }

    #[inline]
    fn set_value(&mut self, shift: u32, value: Option<Value>) {
        let (form, bits) = match value {
            None => (0, 0),
            Some(Value::Int(int)) => (FORM_INT, int.cast_unsigned()),
            Some(Value::Text(NameId(id))) => (FORM_TEXT, u64::from(id)),
            Some(Value::Float(float)) => (FORM_FLOAT, float.to_bits()),
        };
        self.flags |= form << shift;
        match shift {
            REQUEST_SHIFT => self.request = bits,
            BATCH_SHIFT => self.batch = bits,
            _ => self.value = bits,
        }
    }

    fn value(&self, shift: u32) -> Option<Value> {
        let bits = match shift {
            REQUEST_SHIFT => self.request,
            BATCH_SHIFT => self.batch,
            _ => self.value,
        };
        match self.flags >> shift & 3 {
            FORM_INT => Some(Value::Int(bits.cast_signed())),
            FORM_TEXT => Some(Value::Text(NameId(halves(bits).1))),
            FORM_FLOAT => Some(Value::Float(f64::from_bits(bits))),
            _ => None,
        }
    }
}

impl From<&Span> for Fields {
    #[inline]
    fn from(span: &Span) -> Self {
        let mut fields = Self {
            flags: if span.overlaps { OVERLAPS } else { 0 },
            name: span.name.0,
            thread: span.thread.0,
            start: span.start.0.cast_unsigned(),
            dur: span.dur.0.cast_unsigned(),
            ..Self::new(kind::SPAN)
        };
        fields.set_value(REQUEST_SHIFT, span.request);
        fields.set_value(BATCH_SHIFT, span.batch);
        if let Some((NameId(key), value)) = span.arg {
            fields.key = key;
            fields.set_value(VALUE_SHIFT, Some(value));
        }
        fields
    }
}

impl From<&Fields> for Span {
    fn from(fields: &Fields) -> Self {
        Self {
            name: NameId(fields.name),
            thread: ThreadId(fields.thread),
            start: Nanos(fields.start.cast_signed()),
            dur: Nanos(fields.dur.cast_signed()),
            request: fields.value(REQUEST_SHIFT),
            batch: fields.value(BATCH_SHIFT),
            arg: fields.value(VALUE_SHIFT).map(|value| (NameId(fields.key), value)),
            overlaps: fields.flags & OVERLAPS != 0,
        }
    }
}

impl From<&Counter> for Fields {
    fn from(counter: &Counter) -> Self {
        let mut fields = Self {
            name: counter.name.0,
            thread: counter.thread.0,
            start: counter.ts.0.cast_unsigned(),
            ..Self::new(kind::COUNTER)
        };
        fields.set_value(VALUE_SHIFT, Some(counter.value));
        fields
    }
}

/// The high and the low half of a word.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (u32::from_le_bytes([e, f, g, h]), u32::from_le_bytes([a, b, c, d]))
}
