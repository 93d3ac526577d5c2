//! Reading an `.xspan` file, whole or damaged, from its bytes.

use std::borrow::Cow;

use crate::quality::Code;
use crate::span::file::{CounterRow, ExtraArg, Header, Issues, SpanFile, SpanIssue, SpanRow};
use crate::span::{
    Counter, Fields, MAGIC, NOTES_MAGIC, NameId, PART_BYTES, RECORD_BYTES, RecordIndex,
    STATE_CLOSED, Span, ThreadId, VALUE_SHIFT, Value, WORDS, Words, halves, kind, notes,
};
use crate::time::Nanos;

/// Reads a file, or as much of one as there is.
///
/// Any bytes give an answer. Memory is bounded by a small multiple of `bytes`.
pub fn read(bytes: &[u8]) -> (SpanFile<'_>, Vec<SpanIssue>) {
    let mut issues = Issues::default();
    let file = read_file(bytes, &mut issues);
    (file.unwrap_or_default(), issues.finish())
}

fn read_file<'a>(bytes: &'a [u8], issues: &mut Issues) -> Option<SpanFile<'a>> {
    let (header, record_bytes, has_notes) = read_header(bytes, issues)?;
    if has_notes {
        return Some(notes::read(bytes, header, record_bytes, issues));
    }
    let mut reader = Reader {
        bytes,
        file: SpanFile { header, ..SpanFile::default() },
        issues,
        parts: Vec::new(),
    };
    let records = bytes[RECORD_BYTES..].chunks(record_bytes);
    let mut unused = Unused::default();
    for (index, record) in (0..).zip(records) {
        let offset = RECORD_BYTES + index * record_bytes;
        let Some((record, _)) = record.split_first_chunk::<RECORD_BYTES>() else {
            reader.issues.add(
                Code::XspanTruncated,
                offset,
                "record is cut off at the end of the file",
            );
            break;
        };
        if record[0] == 0 {
            unused.add(offset);
            continue;
        }
        unused.flush(reader.issues);
        reader.record(RecordIndex(index as u64), offset, record);
    }
    reader.assemble_strings();
    reader.check(record_bytes);
    Some(reader.file)
}

/// The header, the size of a record or a segment, and whether notes stand behind it.
fn read_header(bytes: &[u8], issues: &mut Issues) -> Option<(Header, usize, bool)> {
    let Some((head, _)) = bytes.split_first_chunk::<RECORD_BYTES>() else {
        issues.add(Code::SourceUnreadable, 0, "file is shorter than a header");
        return None;
    };
    let words = words(head);
    let (magic, has_notes) = (&head[..MAGIC.len()], head[..MAGIC.len()] == NOTES_MAGIC);
    if magic[..MAGIC.len() - 1] != MAGIC[..MAGIC.len() - 1] {
        issues.add(Code::SourceUnreadable, 0, "file does not begin with the magic of a span file");
        return None;
    }
    if magic != MAGIC && !has_notes {
        issues.add(
            Code::SourceUnreadable,
            7,
            "file has a format version that this reader does not know",
        );
        return None;
    }
    let (pid, record_bytes) = halves(words[1]);
    let record_bytes = usize::try_from(record_bytes)
        .ok()
        .filter(|&size| size >= RECORD_BYTES && size % size_of::<u64>() == 0)
        .unwrap_or_else(|| {
            issues.add(
                Code::XspanBadRecordSize,
                8,
                "header names an impossible record size; took 64",
            );
            RECORD_BYTES
        });
    let header = Header {
        pid,
        wall_offset: Nanos(words[2].cast_signed()),
        wall_offset_error: Nanos(words[3].cast_signed()),
        dropped: words[4],
        capacity: words[5],
        created: Nanos(words[6].cast_signed()),
        closed: words[7] == STATE_CLOSED,
    };
    if !header.closed {
        let what = "writer did not close the file: it still runs or was killed";
        issues.add(Code::XspanNotClosed, 56, what);
    }
    if header.dropped > 0 {
        issues.add_many(
            Code::XspanDropped,
            32,
            header.dropped,
            "record was dropped: the file was full",
        );
    }
    Some((header, record_bytes, has_notes))
}

/// One part of a string, as found.
struct Part {
    id: NameId,
    part: u16,
    total: u32,
    offset: usize,
}

struct Reader<'a, 'i> {
    bytes: &'a [u8],
    file: SpanFile<'a>,
    issues: &'i mut Issues,
    parts: Vec<Part>,
}

impl Reader<'_, '_> {
    fn record(&mut self, record: RecordIndex, offset: usize, bytes: &[u8; RECORD_BYTES]) {
        let words = words(bytes);
        let fields = Fields::from_words(&words);
        match fields.kind {
            kind::STRING => self.parts.push(Part {
                id: NameId(fields.name),
                part: u16::from_le_bytes([bytes[2], bytes[3]]),
                total: fields.thread,
                offset,
            }),
            kind::SPAN => self.span(record, offset, Span::from(&fields)),
            kind::COUNTER => {
                let Some(value) = self.required_value(&fields, offset) else { return };
                let (name, thread) = (NameId(fields.name), ThreadId(fields.thread));
                let ts = Nanos(fields.start.cast_signed());
                let counter = Counter { name, thread, ts, value };
                self.file.counters.push(CounterRow { record, counter });
            }
            kind::THREAD => {
                self.file.threads.insert(ThreadId(fields.thread), NameId(fields.name));
            }
            kind::EXTRA_ARG => {
                let Some(value) = self.required_value(&fields, offset) else { return };
                let (record, key) = (RecordIndex(fields.start), NameId(fields.key));
                self.file.extra_args.push(ExtraArg { record, key, value });
            }
            _ => self.issues.add(
                Code::XspanUnknownKind,
                offset,
                "record is of an unknown kind; skipped",
            ),
        }
    }

    fn span(&mut self, record: RecordIndex, offset: usize, mut span: Span) {
        if span.dur < Nanos::ZERO {
            let what = "span has a negative duration; took 0";
            self.issues.add(Code::XspanNegativeDuration, offset, what);
            span.dur = Nanos::ZERO;
        }
        self.file.spans.push(SpanRow { record, span });
    }

    fn required_value(&mut self, fields: &Fields, offset: usize) -> Option<Value> {
        let value = fields.value(VALUE_SHIFT);
        if value.is_none() {
            self.issues.add(
                Code::XspanMissingValue,
                offset,
                "counter or argument has no value; skipped",
            );
        }
        value
    }

    fn assemble_strings(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        // Stable: the first definition of a part comes first, and the others are passed over.
        parts.sort_by_key(|part| (part.id, part.part));
        parts.dedup_by_key(|part| (part.id, part.part));
        for string in parts.chunk_by(|a, b| a.id == b.id) {
            let text = self.assemble(string);
            self.file.strings.texts.insert(string[0].id, text);
        }
    }
}

impl<'a> Reader<'a, '_> {
    /// Puts together the parts of one string, which are sorted, unique and at least one.
    fn assemble(&mut self, parts: &[Part]) -> Cow<'a, str> {
        let first = &parts[0];
        let total = usize::try_from(first.total).unwrap_or(usize::MAX);
        let mut pieces = Vec::new();
        let mut length = 0;
        for (expected, part) in (0..).zip(parts) {
            if part.part != expected || length == total && total > 0 {
                break;
            }
            let piece = &self.bytes[part.offset + 12..part.offset + RECORD_BYTES];
            let piece = &piece[..PART_BYTES.min(total - length)];
            length += piece.len();
            pieces.push(piece);
        }
        if length < total {
            let what = "string lacks a part; took what stands before it";
            self.issues.add(Code::XspanIncompleteString, first.offset, what);
        }
        let bytes = match pieces[..] {
            [piece] => Cow::Borrowed(piece),
            _ => Cow::Owned(pieces.concat()),
        };
        let (text, valid) = decode(bytes);
        // A string that lacks its end may end inside of a character.
        if !valid && length == total {
            let what = "string is not UTF-8; replaced what is not";
            self.issues.add(Code::XspanInvalidUtf8, first.offset, what);
        }
        text
    }

    /// Finds references that lead nowhere: reports ids without a text, drops arguments without
    /// a span.
    fn check(&mut self, record_bytes: usize) {
        let SpanFile { strings, spans, counters, extra_args, .. } = &mut self.file;
        extra_args.sort_by_key(|arg| arg.record);
        extra_args.retain(|arg| {
            let found = spans.binary_search_by_key(&arg.record, |row| row.record).is_ok();
            if !found {
                let offset = offset_of(arg.record, record_bytes);
                let what = "argument belongs to a record that is no span; skipped";
                self.issues.add(Code::XspanDanglingArg, offset, what);
            }
            found
        });
        let mut check = |record: RecordIndex, ids: &[NameId]| {
            for id in ids {
                if *id != NameId::default() && strings.get(*id).is_none() {
                    let offset = offset_of(record, record_bytes);
                    self.issues.add(Code::XspanUndefinedString, offset, "string id has no text");
                }
            }
        };
        for &SpanRow { record, span } in &*spans {
            let (key, value) = span.arg.unzip();
            let texts = [span.request, span.batch, value].map(text_id);
            check(record, &[span.name, key.unwrap_or_default()]);
            check(record, &texts);
        }
        for &CounterRow { record, counter } in &*counters {
            check(record, &[counter.name, text_id(Some(counter.value))]);
        }
        for arg in &*extra_args {
            check(arg.record, &[arg.key, text_id(Some(arg.value))]);
        }
    }
}

/// The text of some bytes, and whether they were UTF-8.
fn decode(bytes: Cow<'_, [u8]>) -> (Cow<'_, str>, bool) {
    match bytes {
        Cow::Borrowed(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let valid = matches!(text, Cow::Borrowed(_));
            (text, valid)
        }
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => (Cow::Owned(text), true),
            Err(error) => {
                (Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()), false)
            }
        },
    }
}

fn text_id(value: Option<Value>) -> NameId {
    match value {
        Some(Value::Text(id)) => id,
        _ => NameId::default(),
    }
}

fn offset_of(record: RecordIndex, record_bytes: usize) -> usize {
    usize::try_from(record.0)
        .unwrap_or(usize::MAX)
        .saturating_mul(record_bytes)
        .saturating_add(RECORD_BYTES)
}

fn words(bytes: &[u8; RECORD_BYTES]) -> Words {
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

/// A stretch of unused records: holes if a used one follows, and just the room at the end if not.
#[derive(Default)]
struct Unused {
    first: usize,
    count: u64,
}

impl Unused {
    fn add(&mut self, offset: usize) {
        if self.count == 0 {
            self.first = offset;
        }
        self.count += 1;
    }

    fn flush(&mut self, issues: &mut Issues) {
        if self.count > 0 {
            let what = "record was begun and never finished: its thread was killed in it";
            issues.add_many(Code::XspanHole, self.first, self.count, what);
        }
        self.count = 0;
    }
}
