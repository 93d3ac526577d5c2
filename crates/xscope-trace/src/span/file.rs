//! What an `.xspan` file holds, and what is wrong with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::quality::Code;
use crate::span::{Counter, MAX_TEXT_BYTES, NameId, RecordIndex, Span, ThreadId, Value};
use crate::time::Nanos;

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Header {
    pub pid: u32,
    /// Add this to a time of the file to get wall time.
    pub wall_offset: Nanos,
    /// Error of `wall_offset`, ±.
    pub wall_offset_error: Nanos,
    /// Records, or notes, lost because the file was full.
    pub dropped: u64,
    /// The most records that the file may hold; the most bytes of one of notes.
    pub capacity: u64,
    /// When the file was created, on the monotonic clock.
    pub created: Nanos,
    /// The writer ended in order.
    pub closed: bool,
}

/// A span and where it stood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanRow {
    pub record: RecordIndex,
    pub span: Span,
}

/// A sample and where it stood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CounterRow {
    pub record: RecordIndex,
    pub counter: Counter,
}

/// A further argument of the span at `record`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExtraArg {
    pub record: RecordIndex,
    pub key: NameId,
    pub value: Value,
}

/// What a file holds, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SpanFile<'a> {
    pub header: Header,
    pub strings: Strings<'a>,
    pub spans: Vec<SpanRow>,
    pub counters: Vec<CounterRow>,
    /// The last name of each thread.
    pub threads: BTreeMap<ThreadId, NameId>,
    /// Sorted by record; of one record, in the order in which they were written.
    pub extra_args: Vec<ExtraArg>,
}

/// The texts of a file by their id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings<'a> {
    pub(super) texts: FxHashMap<NameId, Cow<'a, str>>,
}

impl Strings<'_> {
    /// The text of an id; `None` for id 0 and for ids that the file does not define.
    pub fn get(&self, id: NameId) -> Option<&str> {
        self.texts.get(&id).map(AsRef::as_ref)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Gives texts their ids.
#[derive(Debug, Default)]
pub(super) struct Texts<'a> {
    ids: FxHashMap<Cow<'a, str>, NameId>,
}

impl<'a> Texts<'a> {
    /// The id of a text, which is cut to what a writer of records would store.
    pub(super) fn id(&mut self, text: Cow<'a, str>) -> NameId {
        let end = text.floor_char_boundary(MAX_TEXT_BYTES);
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        };
        let next = NameId(u32::try_from(self.ids.len() + 1).unwrap_or(u32::MAX));
        *self.ids.entry(text).or_insert(next)
    }

    pub(super) fn finish(self) -> Strings<'a> {
        Strings { texts: self.ids.into_iter().map(|(text, id)| (id, text)).collect() }
    }
}

/// Something wrong with a file. At most one for each code: the message counts the cases, the
/// offset is that of the first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanIssue {
    /// [`Code::SourceUnreadable`] if nothing could be read.
    pub code: Code,
    pub message: String,
    /// In bytes from the start of the file.
    pub offset: u64,
}

/// Counts issues by their code, so that a broken file of a gigabyte gives ten lines.
#[derive(Default)]
pub(super) struct Issues {
    by_code: BTreeMap<Code, (usize, u64, &'static str)>,
}

impl Issues {
    pub(super) fn add(&mut self, code: Code, offset: usize, what: &'static str) {
        self.add_many(code, offset, 1, what);
    }

    pub(super) fn add_many(&mut self, code: Code, offset: usize, count: u64, what: &'static str) {
        let (first, total, _) = self.by_code.entry(code).or_insert((offset, 0, what));
        *first = offset.min(*first);
        *total = total.saturating_add(count);
    }

    pub(super) fn finish(self) -> Vec<SpanIssue> {
        self.by_code
            .into_iter()
            .map(|(code, (offset, count, what))| SpanIssue {
                code,
                message: if count == 1 {
                    what.to_owned()
                } else {
                    format!("{count} times: {what}")
                },
                offset: offset as u64,
            })
            .collect()
    }
}
