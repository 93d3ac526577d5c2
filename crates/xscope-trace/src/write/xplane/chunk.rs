//! Appends chunks to a file while a capture runs.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::time::Bytes;
use crate::wire_write::put_bytes;
use crate::write::xplane::builder::PlaneBuilder;
use crate::write::xplane::compact::{Compacted, compact_file};
use crate::write::xplane::error::XPlaneWriteError;

/// An XPlane file that grows chunk by chunk and can be read up to the last one at any time.
#[derive(Debug)]
pub struct ChunkWriter {
    path: PathBuf,
    file: File,
    /// Bytes of whole chunks.
    len: u64,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    /// Creates the file, which must not exist, and writes the name of the host into it.
    ///
    /// TensorBoard's name for it is `<host>.xplane.pb`.
    ///
    /// # Errors
    ///
    /// The file exists or cannot be created or written.
    pub fn create(path: &Path, hostname: &str) -> Result<Self, XPlaneWriteError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| XPlaneWriteError::Create { path: path.into(), source })?;
        let mut writer = Self { path: path.into(), file, len: 0, buffer: Vec::new() };
        put_bytes(&mut writer.buffer, 4, hostname.as_bytes());
        writer.write_buffer()?;
        Ok(writer)
    }

    /// Appends what waits in `planes`, all in one write.
    ///
    /// # Errors
    ///
    /// The write failed: the file is cut back to what it was, and the events of this chunk are
    /// lost.
    pub fn append<'a>(
        &mut self,
        planes: impl IntoIterator<Item = &'a mut PlaneBuilder>,
    ) -> Result<(), XPlaneWriteError> {
        for plane in planes {
            plane.encode_into(&mut self.buffer);
        }
        self.write_buffer()
    }

    /// Bytes written so far.
    pub fn len(&self) -> Bytes {
        Bytes(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Merges the chunks, so that XProf finds each plane once, and replaces the file by the
    /// result in one step.
    ///
    /// # Errors
    ///
    /// The merged file cannot be written; the file with the chunks stays.
    pub fn finish(self) -> Result<Compacted, XPlaneWriteError> {
        drop(self.file);
        compact_file(&self.path)
    }

    fn write_buffer(&mut self) -> Result<(), XPlaneWriteError> {
        let bytes = self.buffer.len();
        let result = self.file.write_all(&self.buffer);
        self.buffer.clear();
        if let Err(source) = result {
            // Chunks that follow half of one could not be read. If this fails as well there is
            // nothing left to try: readers stop at the half.
            let cut = self.file.set_len(self.len);
            drop(cut.and_then(|()| self.file.seek(SeekFrom::Start(self.len))));
            return Err(XPlaneWriteError::Append { path: self.path.clone(), bytes, source });
        }
        self.len += bytes as u64;
        Ok(())
    }
}
