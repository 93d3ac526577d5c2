//! The bytes of a file: mapped where that pays, owned where the file is small, compressed or may
//! change under us.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::Path;

use crate::error::{Error, Result};

/// Files up to this size are copied: a mapped file that shrinks kills the reader with SIGBUS.
const COPY_BELOW: u64 = 1 << 20;

/// Bytes of one file.
#[derive(Debug)]
pub enum FileBytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

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
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() <= COPY_BELOW {
            return fs::read(path).map(Self::Owned).map_err(io);
        }
        // SAFETY: the map is read-only and private to this process. Another process that
        // truncates the file while it is read ends this one with SIGBUS; finished profiles are
        // not rewritten in place by any profiler we know.
        #[expect(unsafe_code, reason = "mapping a file has no safe form")]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(map))
    }
}
