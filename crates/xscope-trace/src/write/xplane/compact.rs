//! Merges the chunks of an XPlane file.
//!
//! Walks the wire format and copies byte ranges: no event is decoded. Memory grows with the
//! number of chunks and metadata entries, not with the events.

use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::bytes::FileBytes;
use crate::time::Bytes;
use crate::wire::{FieldBytes, Message};
use crate::wire_write::{field_len, put_bytes, put_header, put_int};
use crate::write::xplane::error::XPlaneWriteError;

/// What was merged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Planes in the result.
    pub planes: usize,
    /// Planes in the source.
    pub chunks: usize,
    /// Size of the result. Protobuf readers, XProf among them, refuse more than 2 GiB.
    pub bytes: Bytes,
    /// Where the first chunk begins that could not be read and was left out: the last, if the
    /// writer was killed.
    pub damaged_at: Option<u64>,
}

/// Merges the planes of a name and id, and in them the lines of an id and timestamp, of the
/// XSpace in `source`.
///
/// What several chunks repeat is written once. What is damaged is left out. A plane that numbers
/// its metadata differently than an earlier one of its name (it comes from another process) stays
/// a plane of its own.
///
/// # Errors
///
/// Those of `out`.
pub fn compact(source: &[u8], out: &mut impl Write) -> io::Result<Compacted> {
    let mut space = Space::default();
    space.scan(source);
    let bytes = space.write(out)?;
    let Space { planes, chunks, damaged_at, .. } = space;
    Ok(Compacted { planes: planes.len(), chunks, bytes: Bytes(bytes), damaged_at })
}

/// Compacts a file in place: writes beside it and renames, so that the file is whole at any time.
///
/// # Errors
///
/// The file cannot be read, or not be written beside itself; it stays as it was.
pub fn compact_file(path: &Path) -> Result<Compacted, XPlaneWriteError> {
    let source = FileBytes::open(path)
        .map_err(|source| XPlaneWriteError::Read { path: path.into(), source })?;
    crate::atomic::replace(path, |file| {
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        let compacted = compact(&source, &mut out)?;
        out.flush()?;
        Ok(compacted)
    })
    .map_err(|source| XPlaneWriteError::Merge { path: path.into(), source })
}

#[derive(Default)]
struct Space<'a> {
    planes: Vec<Plane<'a>>,
    /// The last plane of each name and id.
    by_name: FxHashMap<(&'a [u8], i64), usize>,
    /// Host names, errors, warnings: whole fields.
    other: Distinct<'a>,
    chunks: usize,
    damaged_at: Option<u64>,
}

/// One plane message of the source.
#[derive(Default)]
struct Chunk<'a> {
    id: i64,
    name: &'a [u8],
    /// Whole fields by field number (4 or 5) and key.
    metadata: Vec<((u32, i64), &'a [u8])>,
    /// Stats and unknown fields, whole.
    other: Vec<&'a [u8]>,
    lines: Vec<Line<'a>>,
}

/// The chunks of one plane, merged.
#[derive(Default)]
struct Plane<'a> {
    id: i64,
    name: &'a [u8],
    metadata: FxHashMap<(u32, i64), &'a [u8]>,
    /// The same, in the order in which they came.
    metadata_fields: Vec<&'a [u8]>,
    other: Distinct<'a>,
    lines: Vec<Line<'a>>,
    line_index: FxHashMap<(i64, i64), usize>,
}

#[derive(Default)]
struct Line<'a> {
    id: i64,
    timestamp: i64,
    duration: i64,
    /// Names and unknown fields, whole.
    head: Vec<&'a [u8]>,
    /// Stretches of whole event fields.
    events: Vec<&'a [u8]>,
}

/// Fields in the order in which they came, without repetitions.
#[derive(Default)]
struct Distinct<'a> {
    fields: Vec<&'a [u8]>,
    seen: FxHashSet<&'a [u8]>,
}

impl<'a> Distinct<'a> {
    fn add(&mut self, field: &'a [u8]) {
        if self.seen.insert(field) {
            self.fields.push(field);
        }
    }
}

impl<'a> Space<'a> {
    fn scan(&mut self, source: &'a [u8]) {
        let message = Message { bytes: source, offset: 0 };
        let mut begin = 0;
        for field in FieldBytes::of(message) {
            match field {
                Some((_, 1, value)) => {
                    self.chunks += 1;
                    match value.message().and_then(Chunk::scan) {
                        Some(chunk) => self.add(chunk),
                        None => self.damage(begin),
                    }
                }
                Some((field, ..)) => self.other.add(field),
                None => self.damage(begin),
            }
            begin += field.map_or(0, |(field, ..)| field.len() as u64);
        }
    }

    fn damage(&mut self, offset: u64) {
        self.damaged_at.get_or_insert(offset);
    }

    fn add(&mut self, chunk: Chunk<'a>) {
        let key = (chunk.name, chunk.id);
        let known = self.by_name.get(&key).map(|&index| &mut self.planes[index]);
        if let Some(plane) = known.filter(|plane| plane.agrees(&chunk)) {
            plane.merge(chunk);
            return;
        }
        self.by_name.insert(key, self.planes.len());
        let mut plane = Plane { id: chunk.id, name: chunk.name, ..Plane::default() };
        plane.merge(chunk);
        self.planes.push(plane);
    }

    fn write(&self, out: &mut impl Write) -> io::Result<u64> {
        let mut bytes = 0;
        for field in &self.other.fields {
            out.write_all(field)?;
            bytes += field.len() as u64;
        }
        for plane in &self.planes {
            let mut head = Vec::new();
            put_header(&mut head, 1, plane.len());
            out.write_all(&head)?;
            plane.write(out)?;
            bytes += field_len(1, plane.len());
        }
        Ok(bytes)
    }
}

impl<'a> Chunk<'a> {
    /// The parts of one plane message, or `None` if it is damaged.
    fn scan(message: Message<'a>) -> Option<Self> {
        let mut chunk = Self::default();
        for field in FieldBytes::of(message) {
            match field? {
                (_, 1, value) => chunk.id = value.int(),
                (_, 2, value) => chunk.name = value.bytes(),
                (_, 3, value) => chunk.lines.push(Line::scan(value.message()?)?),
                (field, number @ (4 | 5), value) => {
                    chunk.metadata.push(((number, map_key(value.message()?)?), field));
                }
                (field, ..) => chunk.other.push(field),
            }
        }
        keep_last(&mut chunk.metadata);
        Some(chunk)
    }
}

/// Of the entries with one key the last counts, as in every protobuf map.
fn keep_last(metadata: &mut Vec<((u32, i64), &[u8])>) {
    let last: FxHashMap<_, _> =
        metadata.iter().enumerate().map(|(index, (key, _))| (*key, index)).collect();
    if last.len() < metadata.len() {
        let mut indices = 0..;
        metadata.retain(|(key, _)| last.get(key).copied() == indices.next());
    }
}

impl<'a> Plane<'a> {
    /// Whether all ids of `chunk` mean the same here.
    fn agrees(&self, chunk: &Chunk<'a>) -> bool {
        let same = |(key, field): &((u32, i64), &[u8])| {
            self.metadata.get(key).is_none_or(|known| known == field)
        };
        chunk.metadata.iter().all(same)
    }

    fn merge(&mut self, chunk: Chunk<'a>) {
        for (key, field) in chunk.metadata {
            if self.metadata.insert(key, field).is_none() {
                self.metadata_fields.push(field);
            }
        }
        for field in chunk.other {
            self.other.add(field);
        }
        for line in chunk.lines {
            match self.line_index.entry((line.id, line.timestamp)) {
                Entry::Occupied(known) => self.lines[*known.get()].merge(line),
                Entry::Vacant(entry) => {
                    entry.insert(self.lines.len());
                    self.lines.push(line);
                }
            }
        }
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        put_int(&mut head, 1, self.id);
        put_bytes(&mut head, 2, self.name);
        head
    }

    fn fields(&self) -> impl Iterator<Item = &&'a [u8]> {
        self.metadata_fields.iter().chain(&self.other.fields)
    }

    /// Bytes of the message.
    fn len(&self) -> u64 {
        let lines: u64 = self.lines.iter().map(|line| field_len(3, line.len())).sum();
        self.head().len() as u64 + total(self.fields()) + lines
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head())?;
        for field in self.fields() {
            out.write_all(field)?;
        }
        for line in &self.lines {
            let mut head = Vec::new();
            put_header(&mut head, 3, line.len());
            head.extend(line.head());
            out.write_all(&head)?;
            for field in line.head.iter().chain(&line.events) {
                out.write_all(field)?;
            }
        }
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn scan(message: Message<'a>) -> Option<Self> {
        let mut line = Self::default();
        // Events that follow each other are one stretch, so memory does not grow with them.
        let mut events = 0..0;
        let mut end = 0;
        for field in FieldBytes::of(message) {
            let (field, number, value) = field?;
            let begin = end;
            end += field.len();
            if number == 4 {
                if events.is_empty() {
                    events = begin..begin;
                }
                events.end = end;
                continue;
            }
            line.events.extend(message.bytes.get(std::mem::take(&mut events)).filter(not_empty));
            match number {
                1 => line.id = value.int(),
                3 => line.timestamp = value.int(),
                9 => line.duration = value.int(),
                _ => line.head.push(field),
            }
        }
        line.events.extend(message.bytes.get(events).filter(not_empty));
        Some(line)
    }

    fn merge(&mut self, other: Self) {
        self.duration = self.duration.max(other.duration);
        self.events.extend(other.events);
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        put_int(&mut head, 1, self.id);
        put_int(&mut head, 3, self.timestamp);
        if self.duration != 0 {
            put_int(&mut head, 9, self.duration);
        }
        head
    }

    /// Bytes of the message.
    fn len(&self) -> u64 {
        self.head().len() as u64 + total(&self.head) + total(&self.events)
    }
}

fn not_empty(bytes: &&[u8]) -> bool {
    !bytes.is_empty()
}

fn total<'b, 'a: 'b>(parts: impl IntoIterator<Item = &'b &'a [u8]>) -> u64 {
    parts.into_iter().map(|part| part.len() as u64).sum()
}

/// The key of a map entry; 0 if it is left out. `None` if the entry is damaged.
fn map_key(entry: Message<'_>) -> Option<i64> {
    let mut key = 0;
    for field in entry.fields() {
        if let (1, value) = field.ok()? {
            key = value.int();
        }
    }
    Some(key)
}
