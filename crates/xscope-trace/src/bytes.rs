//! The bytes of a file: mapped where that pays, owned where the file is small, compressed or may
//! change under us.

use std::fs::{self, File};
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Files up to this size are copied: a mapped file that shrinks kills the reader with SIGBUS.
const COPY_BELOW: u64 = 1 << 20;

/// Bytes of one file.
#[derive(Debug)]
pub(crate) enum FileBytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

/// A mapped or owned file, shared by the readers and by what is decoded on demand.
pub(crate) type SharedBytes = Arc<FileBytes>;

impl Deref for FileBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl FileBytes {
    /// The bytes of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, mapped or read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() <= COPY_BELOW {
            return fs::read(path).map(Self::Owned).map_err(io);
        }
        Self::map(&file).map_err(io)
    }

    /// The bytes of a file that nobody shortens.
    ///
    /// # Errors
    /// If the system does not map it.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only and private to this process. Another process that
        // truncates the file while it is read ends this one with SIGBUS; finished profiles are
        // not rewritten in place by any profiler we know.
        #[expect(unsafe_code, reason = "mapping a file has no safe form")]
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self::Mapped(map))
    }

    /// Lets go of the memory that a part of a mapped file takes, so that a reader that went past
    /// it holds only what it decoded. The bytes stay readable: touched again, they come from the
    /// file. `part` may reach past the end.
    pub(crate) fn release(&self, part: Range<u64>) {
        let Self::Mapped(map) = self else { return };
        let clamp = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(map.len());
        // Only whole pages: what shares one with a neighbour is the neighbour's to release.
        let (start, end) = (clamp(part.start).next_multiple_of(PAGE), clamp(part.end));
        let Some(len) = end.checked_sub(start).filter(|&len| len >= PAGE) else { return };
        let len = len / PAGE * PAGE;
        // SAFETY: the map is private, read-only and of a file, so its pages hold nothing that the
        // file does not: reading them again gives the same bytes to whoever borrows them.
        #[expect(unsafe_code, reason = "releasing mapped pages has no safe form")]
        let released =
            unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len) };
        // A system that keeps the pages costs memory, not correctness.
        drop(released);
    }
}

/// Granularity of [`FileBytes::release`]: a multiple of the page size of every system we run on.
const PAGE: usize = 64 << 10;
