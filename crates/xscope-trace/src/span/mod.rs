//! The `.xspan` file: spans, counters and names that a process leaves behind while it runs.
//!
//! One process writes one file, through a shared memory mapping, in records of a fixed size. What
//! is in the mapping belongs to the kernel's page cache, so a process that dies by `SIGKILL`
//! loses at most the records that its threads were writing at that instant. (A machine that
//! loses power may lose more: nothing is synced.) Nothing is ever rewritten in place except two header words, so a file can be read while it grows.
//!
//! This module knows bytes and nothing of requests or stages; joining spans into a waterfall is
//! the work of the readers above it.
//!
//! # Format, version 1
//!
//! All integers are little endian. A file is a header of 64 bytes and then records of 64 bytes;
//! record `i` (counted from 0) begins at byte `64 + 64 * i`.
//!
//! ## Header
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0  | 8 bytes | magic: `58 53 50 41 4e 00 00 01`, which is `XSPAN`, two zeros, and the version |
//! | 8  | u32 | size of a record in bytes: 64. A later version may use longer records with more fields at their end; a reader steps by this number and ignores what it does not know |
//! | 12 | u32 | process id of the writer |
//! | 16 | i64 | nanoseconds to add to a time of this file to get wall time (Unix epoch, UTC) |
//! | 24 | i64 | error of that offset in nanoseconds, ± |
//! | 32 | u64 | records dropped because the file was full; grows while the writer runs |
//! | 40 | u64 | capacity: the most records that this file may ever hold |
//! | 48 | i64 | when the file was created, nanoseconds of the monotonic clock |
//! | 56 | u64 | state: 0 = open (the writer runs, or was killed), 1 = closed by its writer |
//!
//! ## Clock
//!
//! Times are nanoseconds of `CLOCK_MONOTONIC`, the same clock for all processes of a machine
//! (`std::time::Instant` and Python's `time.monotonic_ns()` and `time.perf_counter_ns()` read it
//! on Linux). Durations are nanoseconds.
//!
//! ## Records
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0  | u8  | kind: 0 = unused, 1 = string, 2 = span, 3 = counter, 4 = thread name, 5 = extra argument |
//! | 1  | u8  | flags |
//! | 2  | u16 | part (strings), otherwise 0 |
//! | 4  | u32 | name: a string id |
//! | 8  | u32 | thread |
//! | 12 | u32 | argument key: a string id |
//! | 16 | i64 | start |
//! | 24 | i64 | duration |
//! | 32 | u64 | request |
//! | 40 | u64 | batch |
//! | 48 | u64 | value |
//! | 56 | u64 | reserved: written as 0, ignored |
//!
//! A field that a kind does not use is written as 0 and ignored. What the kinds use:
//!
//! | kind | name | thread | key | start | duration | request, batch | value |
//! |---|---|---|---|---|---|---|---|
//! | 2 span | what was done | where | of the inline argument | begin | length, ≥ 0 | whose work it was | of the inline argument |
//! | 3 counter | what is counted | where, or 0 for the process | – | time of the sample | – | – | the sample |
//! | 4 thread name | its name | the thread | – | – | – | – | – |
//! | 5 extra argument | – | – | its key | index of the record it belongs to (u64) | – | – | its value |
//!
//! **Flags.** Request, batch and value are 64 bits whose reading a two-bit *form* gives:
//! 0 = absent, 1 = integer (i64), 2 = string id, 3 = IEEE-754 double. Bits 0–1 are the form of
//! the request, bits 2–3 of the batch, bits 4–5 of the value. Bit 6, on a span: it may overlap
//! other spans of its thread (time in a queue, an asynchronous call) and takes no part in their
//! nesting. Bit 7 is 0.
//!
//! **Strings** are defined by id, before the record that uses them. Ids are the writer's choice, from 1; 0 means "no
//! string". The text is UTF-8, cut into parts of 52 bytes, each a record of its own:
//!
//! | offset | type | field of a string record |
//! |---|---|---|
//! | 0  | u8  | kind: 1 |
//! | 1  | u8  | 0 |
//! | 2  | u16 | part: this record holds bytes `52 * part ..` of the text |
//! | 4  | u32 | id |
//! | 8  | u32 | length of the whole text in bytes, the same in each of its parts |
//! | 12 | 52 bytes | the text of this part, then zeros |
//!
//! The empty string is one record of length 0. Writers cut texts at 4096 bytes. An id that is
//! defined twice keeps its first text.
//!
//! **Threads** are the kernel's thread ids (`gettid`), unique in a process. A row that is not a
//! thread (one for each slot of a batch, say) takes an id of 2³¹ or more. Spans of one thread
//! either nest or do not touch, but for those with bit 6.
//!
//! **Counters** carry their unit as the last word of their name: `_bytes`, `_nanos`, `_tokens`,
//! `_requests`, `_ratio`, `_total` for a sum that only grows. A sample holds until the next one.
//!
//! ## How a record is written
//!
//! 1. Take the next index (records are never freed). If the file has no room, add 1 to *dropped*
//!    in the header, and stop.
//! 2. Write bytes 1 to 63.
//! 3. Write byte 0, the kind, **last** (in a language with a memory model: a release store).
//!
//! A record whose writer died in between has kind 0 and reads as unused. Unused records can lie
//! between used ones when several threads write; a reader counts them as *holes* and reads on to
//! the end of the file. Allocate the bytes of the file before you write them (`posix_fallocate`):
//! a full disk then is an error and not a `SIGBUS`. When the writer ends, it sets *state* to 1
//! and cuts the file after the last record. A forked child must not go on with its parent's
//! file.
//!
//! Readers skip kinds they do not know.

mod read;
mod write;

pub use read::{CounterRow, ExtraArg, Header, SpanFile, SpanIssue, SpanRow, Strings, read};
pub use write::{Closed, SpanError, SpanWriter, current_thread};

use crate::time::Nanos;

/// Bytes of the header, and of every record.
pub const RECORD_BYTES: usize = 64;

/// Bytes of text in one string record.
const PART_BYTES: usize = 52;

/// The longest text that a writer stores, in bytes; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"XSPAN\0\0\x01";

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
