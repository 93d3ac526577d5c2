//! Writing an `.xspan` file without locks on the way of a span.
//!
//! A span costs one atomic add (its index) and eight stores into the mapping. The file grows by
//! segments, each mapped on its own, so that no mapping ever moves under a writing thread.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use memmap2::{MmapOptions, MmapRaw};
use rustc_hash::FxHashMap;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::clock;
use crate::span::{
    Counter, Fields, HEADER_CAPACITY, HEADER_DROPPED, HEADER_STATE, Header, MAGIC, MAX_TEXT_BYTES,
    NameId, PART_BYTES, RECORD_BYTES, RecordIndex, STATE_CLOSED, Span, ThreadId, VALUE_SHIFT,
    Value, WORDS, Words, kind,
};
use crate::time::Bytes;

/// By how much a file grows: a multiple of every page size in use.
const SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENT_SLOTS: u64 = SEGMENT_BYTES / SLOT_BYTES;
const SLOT_BYTES: u64 = RECORD_BYTES as u64;

/// What can go wrong with the file of a [`SpanWriter`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    #[error(
        "cannot create the span file, which must not exist yet, in a directory that does: {path}"
    )]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot reserve {bytes} bytes for spans; is the disk full? {path}")]
    Grow { path: PathBuf, bytes: u64, source: io::Error },
    #[error("cannot map {bytes} bytes of the span file into memory: {path}")]
    Map { path: PathBuf, bytes: u64, source: io::Error },
    #[error("cannot cut the span file to the {bytes} bytes in use: {path}")]
    Close { path: PathBuf, bytes: u64, source: io::Error },
    #[error("a span file of {max_bytes} bytes has no room for one record; allow at least 128")]
    TooSmall { max_bytes: u64 },
}

/// What a closed file holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closed {
    /// Records in the file, strings among them.
    pub records: u64,
    /// Records lost because the file was full.
    pub dropped: u64,
    pub bytes: Bytes,
    /// Why the file stopped growing before its limit, if it did: a full disk.
    pub stopped_by: Option<SpanError>,
}

/// Appends to an `.xspan` file from any number of threads.
///
/// Nothing here fails once the file exists: what does not fit is counted in the file's header.
#[derive(Debug)]
pub struct SpanWriter {
    path: PathBuf,
    file: File,
    /// The slot that is given out next. Slot 0 is the header, slot `i + 1` is record `i`.
    next: AtomicU64,
    /// No slot from here on may be used: the maximum, or less once growing failed.
    limit: AtomicU64,
    header: MmapRaw,
    /// Segments of [`SEGMENT_SLOTS`] slots; the last may be shorter.
    segments: Box<[OnceLock<MmapRaw>]>,
    growth: Mutex<Growth>,
    strings: Mutex<StringTable>,
}

#[derive(Debug, Default)]
struct Growth {
    closed: bool,
    stopped_by: Option<SpanError>,
}

#[derive(Debug, Default)]
struct StringTable {
    last_id: u32,
    ids: FxHashMap<Box<str>, NameId>,
}

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// The kernel's id of the calling thread, read once per thread.
pub fn current_thread() -> ThreadId {
    THREAD.with(|cell| {
        if cell.get() == 0 {
            cell.set(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
        }
        ThreadId(cell.get())
    })
}

impl SpanWriter {
    /// Creates `path`, which must not exist, to grow to at most `max` bytes (rounded down to
    /// whole records).
    ///
    /// # Errors
    ///
    /// The file exists or cannot be created, there is no space for its first segment (1 MiB, or
    /// `max` if that is less), or `max` is below 128.
    pub fn create(path: &Path, max: Bytes) -> Result<Self, SpanError> {
        let (wall_offset, wall_offset_error) = clock::wall_offset();
        let created = clock::monotonic();
        let pid = std::process::id();
        let own = Header { pid, wall_offset, wall_offset_error, created, ..Header::default() };
        Self::create_as(path, max, &own)
    }

    /// As [`Self::create`], for records that another process wrote: with its id and its clock.
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn create_as(path: &Path, max: Bytes, of: &Header) -> Result<Self, SpanError> {
        let slots = max.0 / SLOT_BYTES;
        if slots < 2 {
            return Err(SpanError::TooSmall { max_bytes: max.0 });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| SpanError::Create { path: path.into(), source })?;
        let header_map = |bytes| {
            grow_file(&file, 0, bytes)?;
            MmapOptions::new().len(RECORD_BYTES).map_raw(&file)
        };
        let bytes = SLOT_BYTES.saturating_mul(slots.min(SEGMENT_SLOTS));
        let header = header_map(bytes).map_err(|source| SpanError::Grow {
            path: path.into(),
            bytes,
            source,
        })?;
        let writer = Self {
            path: path.into(),
            file,
            next: AtomicU64::new(1),
            limit: AtomicU64::new(slots),
            header,
            segments: (0..slots.div_ceil(SEGMENT_SLOTS)).map(|_| OnceLock::new()).collect(),
            growth: Mutex::default(),
            strings: Mutex::default(),
        };
        writer.write_header(of, slots - 1);
        if writer.grow(0).is_none()
            && let Some(error) = lock(&writer.growth).stopped_by.take()
        {
            return Err(error);
        }
        Ok(writer)
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of a text, written to the file the first time that it is seen.
    ///
    /// Takes a lock: keep the ids of names that are used often. Texts are cut at
    /// [`MAX_TEXT_BYTES`]. A text that the full file cannot hold gets id 0.
    pub fn name(&self, text: &str) -> NameId {
        let mut strings = lock(&self.strings);
        if let Some(&id) = strings.ids.get(text) {
            return id;
        }
        let id = self.define(&mut strings, text);
        if id != NameId::default() {
            strings.ids.insert(text.into(), id);
        }
        id
    }

    /// Writes a text that will not come again (the id of a request) and does not remember it.
    pub fn text(&self, text: &str) -> NameId {
        self.define(&mut lock(&self.strings), text)
    }

    /// Names a thread. The last name counts.
    pub fn thread_name(&self, thread: ThreadId, name: &str) {
        let name = self.name(name);
        self.append(&Fields { name: name.0, thread: thread.0, ..Fields::new(kind::THREAD) });
    }

    /// Writes a span. Says where, for [`Self::extra_arg`], or `None` if it was dropped.
    pub fn span(&self, span: &Span) -> Option<RecordIndex> {
        self.append(&Fields::from(span))
    }

    /// Writes a sample of a counter.
    pub fn counter(&self, counter: &Counter) {
        self.append(&Fields::from(counter));
    }

    /// Attaches a further argument to a span.
    pub fn extra_arg(&self, record: RecordIndex, key: NameId, value: Value) {
        let mut fields = Fields { key: key.0, start: record.0, ..Fields::new(kind::EXTRA_ARG) };
        fields.set_value(VALUE_SHIFT, Some(value));
        self.append(&fields);
    }

    /// Records dropped so far.
    pub fn dropped(&self) -> u64 {
        u64::from_le(word(&self.header, HEADER_DROPPED).load(Ordering::Relaxed))
    }

    /// Ends the file: marks it closed and cuts off what was reserved and not used.
    ///
    /// What other threads write from here on is dropped and counted. A second call changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// The file cannot be cut; it stays readable.
    pub fn close(&self) -> Result<Closed, SpanError> {
        let mut growth = lock(&self.growth);
        let used = if growth.closed { self.file_slots() } else { Ok(self.stop(&mut growth)) };
        let bytes = used.as_ref().map_or(0, |slots| slots * SLOT_BYTES);
        used.and_then(|_| self.file.set_len(bytes)).map_err(|source| SpanError::Close {
            path: self.path.clone(),
            bytes,
            source,
        })?;
        word(&self.header, HEADER_STATE).store(STATE_CLOSED.to_le(), Ordering::Release);
        Ok(Closed {
            records: bytes / SLOT_BYTES - 1,
            dropped: self.dropped(),
            bytes: Bytes(bytes),
            stopped_by: growth.stopped_by.take(),
        })
    }

    /// Gives out no more slots. Returns how many there are, the header's included.
    fn stop(&self, growth: &mut Growth) -> u64 {
        growth.closed = true;
        // A writing thread adds to `next` and then reads `limit`; this writes `limit` and then
        // reads `next`. In one total order (SeqCst), a thread that still saw the old limit has a
        // slot below what is read here.
        let limit = self.limit.swap(0, Ordering::SeqCst);
        let next = self.next.load(Ordering::SeqCst);
        let mapped = (0u64..)
            .zip(&self.segments)
            .find(|(_, segment)| segment.get().is_none())
            .map_or(u64::MAX, |(index, _)| index * SEGMENT_SLOTS);
        next.min(limit).min(mapped).max(1)
    }

    fn file_slots(&self) -> io::Result<u64> {
        Ok((self.file.metadata()?.len() / SLOT_BYTES).max(1))
    }

    fn write_header(&self, of: &Header, capacity: u64) {
        let sizes = (RECORD_BYTES as u64) | u64::from(of.pid) << 32;
        let words: Words = [
            0,
            sizes,
            of.wall_offset.0.cast_unsigned(),
            of.wall_offset_error.0.cast_unsigned(),
            0,
            capacity,
            of.created.0.cast_unsigned(),
            0,
        ];
        for (index, value) in words.iter().enumerate().skip(1) {
            word(&self.header, index).store(value.to_le(), Ordering::Relaxed);
        }
        // The magic last: until then this is no span file.
        word(&self.header, 0).store(u64::from_le_bytes(MAGIC).to_le(), Ordering::Release);
    }

    fn define(&self, strings: &mut StringTable, text: &str) -> NameId {
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        let Some(id) = strings.last_id.checked_add(1) else { return NameId::default() };
        let parts = text.len().div_ceil(PART_BYTES).max(1);
        let Some(first) = self.reserve(parts as u64) else { return NameId::default() };
        strings.last_id = id;
        for (slot, part) in (first..).zip(0..parts) {
            let bytes = &text.as_bytes()[part * PART_BYTES..];
            self.store(slot, &string_words(id, part, text.len(), bytes));
        }
        NameId(id)
    }

    fn append(&self, fields: &Fields) -> Option<RecordIndex> {
        let slot = self.reserve(1)?;
        self.store(slot, &fields.words()).then(|| RecordIndex(slot - 1))
    }

    /// Takes the next `count` slots, or counts them as dropped.
    fn reserve(&self, count: u64) -> Option<u64> {
        let first = self.next.fetch_add(count, Ordering::SeqCst);
        if first.saturating_add(count) > self.limit.load(Ordering::SeqCst) {
            self.drop_record();
            return None;
        }
        Some(first)
    }

    fn store(&self, slot: u64, words: &Words) -> bool {
        let Some(segment) = self.segment(slot / SEGMENT_SLOTS) else {
            self.drop_record();
            return false;
        };
        let base = usize::try_from(slot % SEGMENT_SLOTS).map_or(0, |slot| slot * WORDS);
        for (index, value) in words.iter().enumerate().skip(1) {
            word(segment, base + index).store(value.to_le(), Ordering::Relaxed);
        }
        // The word that holds the kind: from here on the record counts.
        word(segment, base).store(words[0].to_le(), Ordering::Release);
        true
    }

    fn segment(&self, index: u64) -> Option<&MmapRaw> {
        let cell = self.segments.get(usize::try_from(index).ok()?)?;
        cell.get().or_else(|| self.grow(index))
    }

    /// Maps all segments up to `index`, in order, so that a file never has an unmapped middle.
    #[cold]
    fn grow(&self, index: u64) -> Option<&MmapRaw> {
        let mut growth = lock(&self.growth);
        if growth.closed || growth.stopped_by.is_some() {
            return None;
        }
        for (position, cell) in (0..=index).zip(&self.segments) {
            if cell.get().is_some() {
                continue;
            }
            match self.map_segment(position) {
                Ok(map) => {
                    cell.get_or_init(|| map);
                }
                Err(error) => {
                    self.limit.fetch_min(position * SEGMENT_SLOTS, Ordering::SeqCst);
                    growth.stopped_by = Some(error);
                    return None;
                }
            }
        }
        self.segments.get(usize::try_from(index).ok()?)?.get()
    }

    fn map_segment(&self, index: u64) -> Result<MmapRaw, SpanError> {
        let offset = index * SEGMENT_BYTES;
        let end = (self.capacity() + 1) * SLOT_BYTES;
        let bytes = (end - offset).min(SEGMENT_BYTES);
        let path = || self.path.clone();
        grow_file(&self.file, offset, bytes).map_err(|source| SpanError::Grow {
            path: path(),
            bytes,
            source,
        })?;
        usize::try_from(bytes)
            .map_err(io::Error::other)
            .and_then(|len| MmapOptions::new().offset(offset).len(len).map_raw(&self.file))
            .map_err(|source| SpanError::Map { path: path(), bytes, source })
    }

    fn capacity(&self) -> u64 {
        u64::from_le(word(&self.header, HEADER_CAPACITY).load(Ordering::Relaxed))
    }

    #[cold]
    fn drop_record(&self) {
        let word = word(&self.header, HEADER_DROPPED);
        // The stored number is little endian, so a plain atomic add would be wrong on others.
        let add_one = |stored| Some(u64::from_le(stored).wrapping_add(1).to_le());
        word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add_one).ok();
    }
}

impl Drop for SpanWriter {
    fn drop(&mut self) {
        // A file that cannot be cut is complete all the same, and nobody is left to tell.
        drop(self.close());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One word of a mapping of whole records.
#[inline]
fn word(map: &MmapRaw, index: usize) -> &AtomicU64 {
    assert!(index < map.len() / size_of::<u64>(), "word {index} lies outside of the mapping");
    #[expect(unsafe_code, reason = "the file is a shared mapping: that is what survives a kill")]
    // SAFETY: the index was checked above; a mapping begins at a page boundary, so every word is
    // aligned; it lives as long as `map`; and this process reads and writes it through atomics
    // only. The file was allocated over this range before it was mapped, and `close` cuts it only
    // behind the last slot that was given out, so the access cannot fault unless somebody else
    // cuts the file, which ends the process by SIGBUS and breaks no memory.
    unsafe {
        AtomicU64::from_ptr(map.as_mut_ptr().cast::<u64>().add(index))
    }
}

/// Gives `bytes` of a file their blocks, as zeros.
fn grow_file(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, bytes) {
            Err(Errno::INTR) => {}
            // Some file systems (NFS before 4.2) cannot: what posix_fallocate then does is this.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
                return file.write_all_at(&zeros, offset);
            }
            result => return Ok(result?),
        }
    }
}

fn string_words(id: u32, part: usize, text_bytes: usize, text: &[u8]) -> Words {
    let mut bytes = [0; RECORD_BYTES];
    bytes[0] = kind::STRING;
    // A text has at most MAX_TEXT_BYTES, so both numbers fit.
    bytes[2..4].copy_from_slice(&u16::try_from(part).unwrap_or(u16::MAX).to_le_bytes());
    bytes[4..8].copy_from_slice(&id.to_le_bytes());
    bytes[8..12].copy_from_slice(&u32::try_from(text_bytes).unwrap_or(u32::MAX).to_le_bytes());
    let text = &text[..text.len().min(PART_BYTES)];
    bytes[12..12 + text.len()].copy_from_slice(text);
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}
