//! The newest spans of a server's processes, and copies of those that are worth keeping.
//!
//! Each process writes files of about a megabyte and deletes its oldest (`ring.py`). What is copied
//! goes to one ordinary span file for each process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use xscope_trace::span::{
    self, Counter, Header, NameId, RECORD_BYTES, RecordIndex, SpanFile, SpanRow, SpanWriter,
    ThreadId, Value,
};
use xscope_trace::{Bytes, Nanos};

/// The most that is copied of one process; the file then counts what it lacks.
const MOST_BYTES: Bytes = Bytes(256 << 20);

/// The name of the span of a request, in the process that speaks HTTP.
const REQUEST: &str = "request";

/// A request's span may still get arguments for so long after its end.
const WRITING: Nanos = Nanos(50_000_000);

/// A file of the ring: names are used again, so the time of its creation tells files apart.
type FileId = (u32, Nanos);

/// A request that the server has answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// As the client calls it, if it does.
    pub id: Option<String>,
    pub start: Nanos,
    pub end: Nanos,
    pid: u32,
    key: String,
    path: Option<String>,
    rids: BTreeSet<String>,
}

/// What makes one request like another to a server that compiles for shapes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Like {
    /// The path of its URL; `null` if unknown.
    pub path: Option<String>,
    /// Items of the request.
    pub items: usize,
    /// Tokens of all items, rounded up to a power of two.
    pub tokens: u64,
    /// Its labels.
    pub labels: BTreeSet<String>,
}

/// The ring of a server, and what was copied of it.
#[derive(Debug)]
pub(crate) struct Ring {
    directory: PathBuf,
    /// Where copies go.
    spans: PathBuf,
    writers: BTreeMap<u32, SpanWriter>,
    written: BTreeSet<(FileId, RecordIndex)>,
    /// Threads whose names were copied.
    named: BTreeSet<(u32, ThreadId)>,
    /// The last request of each process that was looked at.
    seen: BTreeMap<u32, (Nanos, RecordIndex)>,
}

impl Ring {
    pub(crate) fn new(directory: PathBuf, spans: PathBuf) -> Self {
        Self {
            directory,
            spans,
            writers: BTreeMap::new(),
            written: BTreeSet::new(),
            named: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// The requests that ended since the last call.
    pub(crate) fn requests(&mut self, now: Nanos) -> Vec<Request> {
        let mut found = Vec::new();
        for (id, path) in self.files() {
            let (pid, created) = id;
            let last = self.seen.get(&pid).copied();
            if last.is_some_and(|(file, _)| created < file) {
                continue;
            }
            let Some(bytes) = read(&path, id) else { continue };
            let (file, _) = span::read(&bytes);
            for row in file.spans.iter().filter(|row| is_request(&file, row)) {
                let known = last.is_some_and(|last| (created, row.record) <= last);
                if known || row.span.start + row.span.dur + WRITING > now {
                    continue;
                }
                self.seen.insert(pid, (created, row.record));
                found.push(request(&file, row));
            }
        }
        found
    }

    /// What a request is like, as far as its spans say.
    pub(crate) fn like(&self, request: &Request) -> Like {
        let bytes = self.load(request.start);
        let files: Vec<SpanFile<'_>> = bytes.iter().map(|(_, bytes)| span::read(bytes).0).collect();
        like(&files, request)
    }

    /// Copies what happened between two moments, with the whole of the requests that were under
    /// way. What was copied before is not copied again.
    pub(crate) fn keep(&mut self, from: Nanos, to: Nanos) -> Result<(), span::SpanError> {
        let (from, to) = widened(&self.load(from), from, to);
        for (id, bytes) in self.load(from) {
            let (file, _) = span::read(&bytes);
            for row in &file.spans {
                let (start, end) = (row.span.start, row.span.start + row.span.dur);
                let is_cut = is_request(&file, row) && (start < from || end > to);
                if start <= to && end >= from && !is_cut && self.written.insert((id, row.record)) {
                    let is_new = self.named.insert((id.0, row.span.thread));
                    let writer = self.writer(&file)?;
                    if let (true, Some(&name)) = (is_new, file.threads.get(&row.span.thread)) {
                        writer.thread_name(
                            row.span.thread,
                            file.strings.get(name).unwrap_or_default(),
                        );
                    }
                    copy(writer, &file, row);
                }
            }
        }
        let left: BTreeSet<FileId> = self.files().into_iter().map(|(id, _)| id).collect();
        self.written.retain(|(id, _)| left.contains(id));
        Ok(())
    }

    /// Spans that the ring has thrown away.
    pub(crate) fn thrown_away(&self) -> u64 {
        let mut of_process: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, path) in self.files() {
            if let Some(header) = header(&path) {
                let most = of_process.entry(header.pid).or_default();
                *most = (*most).max(header.dropped);
            }
        }
        of_process.values().sum()
    }

    /// What copies of a process go to; it says what recording costs there, as the process does.
    fn writer(&mut self, file: &SpanFile<'_>) -> Result<&SpanWriter, span::SpanError> {
        let header = &file.header;
        let writer = match self.writers.remove(&header.pid) {
            Some(writer) => writer,
            None => {
                let path = self.spans.join(format!("{}.xspan", header.pid));
                let writer = SpanWriter::create_as(&path, MOST_BYTES, header)?;
                for row in file.counters.iter().filter(|row| file.is_cost(row.counter.name)) {
                    let name = file.strings.get(row.counter.name).unwrap_or_default();
                    writer.counter(&Counter { name: writer.name(name), ..row.counter });
                }
                writer
            }
        };
        Ok(self.writers.entry(header.pid).or_insert(writer))
    }

    /// All files, in the order of their processes and of time.
    fn files(&self) -> Vec<(FileId, PathBuf)> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .map(|entry| entry.path())
            .filter_map(|path| header(&path).map(|head| ((head.pid, head.created), path)))
            .collect();
        files.sort();
        files
    }

    /// The files with spans that ended at `from` or later. They are read, not mapped: their
    /// processes cut them.
    fn load(&self, from: Nanos) -> Vec<(FileId, Vec<u8>)> {
        let files = self.files();
        let is_older = |index: usize| {
            let ((pid, _), next) = (files[index].0, files.get(index + 1));
            next.is_some_and(|&((owner, created), _)| owner == pid && created < from)
        };
        (0..files.len())
            .filter(|&index| !is_older(index))
            .filter_map(|index| Some((files[index].0, read(&files[index].1, files[index].0)?)))
            .collect()
    }
}

/// The bytes of a file, if it is still the one that it was.
fn read(path: &Path, id: FileId) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let head = span::read(bytes.get(..RECORD_BYTES)?).0.header;
    ((head.pid, head.created) == id).then_some(bytes)
}

fn header(path: &Path) -> Option<Header> {
    let mut head = [0; RECORD_BYTES];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let header = span::read(&head).0.header;
    (header.pid != 0).then_some(header)
}

fn is_request(file: &SpanFile<'_>, row: &SpanRow) -> bool {
    file.strings.get(row.span.name) == Some(REQUEST)
}

fn request(file: &SpanFile<'_>, row: &SpanRow) -> Request {
    let one = |key| args(file, row, key).next().map(|value| text(file, value));
    Request {
        id: one("request_id"),
        start: row.span.start,
        end: row.span.start + row.span.dur,
        pid: file.header.pid,
        key: row.span.request.map(|key| text(file, key)).unwrap_or_default(),
        path: one("path"),
        rids: args(file, row, "rid").map(|rid| text(file, rid)).collect(),
    }
}

fn like(files: &[SpanFile<'_>], request: &Request) -> Like {
    let rows = || files.iter().flat_map(|file| file.spans.iter().map(move |row| (file, row)));
    let batch = |file: &SpanFile<'_>, row: &SpanRow| {
        row.span.batch.map(|batch| (file.header.pid, text(file, batch)))
    };
    let is_own = |file: &SpanFile<'_>, row: &SpanRow| {
        file.header.pid == request.pid
            && row.span.request.is_some_and(|key| text(file, key) == request.key)
    };
    let is_in = |file: &SpanFile<'_>, row: &SpanRow| {
        args(file, row, "rid").any(|rid| request.rids.contains(&text(file, rid)))
    };
    let batches: BTreeSet<(u32, String)> = rows()
        .filter(|(file, row)| row.span.batch.is_some() && is_in(file, row))
        .filter_map(|(file, row)| batch(file, row))
        .collect();
    let labels = rows()
        .filter(|(file, row)| batch(file, row).is_some_and(|batch| batches.contains(&batch)))
        .flat_map(|(file, row)| args(file, row, "labels").map(|labels| text(file, labels)))
        .collect();
    let tokens: u64 = rows()
        .filter(|(file, row)| is_own(file, row))
        .flat_map(|(file, row)| args(file, row, "sequence_tokens"))
        .filter_map(
            |value| if let Value::Int(tokens) = value { tokens.try_into().ok() } else { None },
        )
        .fold(0, u64::saturating_add);
    Like {
        path: request.path.clone(),
        items: request.rids.len(),
        tokens: tokens.checked_next_power_of_two().unwrap_or(tokens),
        labels,
    }
}

/// The stretch of time in which all requests are whole that were under way in a shorter one.
fn widened(files: &[(FileId, Vec<u8>)], from: Nanos, to: Nanos) -> (Nanos, Nanos) {
    let (mut first, mut last) = (from, to);
    for (_, bytes) in files {
        let (file, _) = span::read(bytes);
        for row in file.spans.iter().filter(|row| is_request(&file, row)) {
            let (start, end) = (row.span.start, row.span.start + row.span.dur);
            if start <= to && end >= from {
                (first, last) = (first.min(start), last.max(end));
            }
        }
    }
    (first, last)
}

/// The arguments of a span that have this name.
fn args<'f>(
    file: &'f SpanFile<'_>,
    row: &'f SpanRow,
    key: &'f str,
) -> impl Iterator<Item = Value> + use<'f> {
    let from = file.extra_args.partition_point(|arg| arg.record < row.record);
    let extra = file.extra_args[from..].iter().take_while(|arg| arg.record == row.record);
    let extra = extra.map(|arg| (arg.key, arg.value));
    let all = row.span.arg.into_iter().chain(extra);
    all.filter(move |&(name, _)| file.strings.get(name) == Some(key)).map(|(_, value)| value)
}

fn text(file: &SpanFile<'_>, value: Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(id) => file.strings.get(id).unwrap_or_default().to_owned(),
    }
}

/// Writes a span with all that belongs to it into another file.
fn copy(writer: &SpanWriter, file: &SpanFile<'_>, row: &SpanRow) {
    let name = |id: NameId| writer.name(file.strings.get(id).unwrap_or_default());
    let value = |value: Value| match value {
        Value::Text(id) => Value::Text(name(id)),
        other => other,
    };
    let mut copied = row.span;
    copied.name = name(copied.name);
    copied.request = copied.request.map(value);
    copied.batch = copied.batch.map(value);
    copied.arg = copied.arg.map(|(key, of)| (name(key), value(of)));
    let Some(record) = writer.span(&copied) else { return };
    let from = file.extra_args.partition_point(|arg| arg.record < row.record);
    for arg in file.extra_args[from..].iter().take_while(|arg| arg.record == row.record) {
        writer.extra_arg(record, name(arg.key), value(arg.value));
    }
}
