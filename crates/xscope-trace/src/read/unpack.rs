//! Compressed files: gzip and xz, of one member or several, with a limit on what they grow to.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::mem;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::bytes::FileBytes;
use crate::error::{Error, Result};

/// How large a compressed file may grow when it is unpacked.
const UNPACKED_LIMIT: u64 = 8 << 30;

/// How many times its size a compressed file may grow beyond [`ALWAYS_UNPACKED`]. Profiles grow 5
/// to 40 times; only what is made to fill memory grows a thousand times.
const UNPACKED_RATIO: u64 = 200;

/// What any compressed file may grow to.
const ALWAYS_UNPACKED: u64 = 64 << 20;

/// What an xz file may ask for to be decoded with, in KiB: four times what `xz -9` asks for.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// Up to this size what is unpacked stays in memory.
const IN_MEMORY: u64 = 1 << 20;

/// How much is unpacked at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// What is unpacked: in memory while it is small, then in a temporary file that has no name, so that
/// it takes no more memory than a file that is not packed.
#[derive(Default)]
pub(crate) struct Spill {
    memory: Vec<u8>,
    file: Option<File>,
    len: u64,
    /// What is on its way.
    buffer: Vec<u8>,
}

impl Spill {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends a stream to its end; the inner result says whether that is its own end or damage.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn take_all(&mut self, stream: &mut impl Read) -> io::Result<io::Result<()>> {
        let mut buffer = mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(len) => self.append(&buffer[..len])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(damage) => break Err(damage),
            }
        };
        self.buffer = buffer;
        Ok(end)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        if self.len <= IN_MEMORY && self.file.is_none() {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all(&mem::take(&mut self.memory))?;
        file.write_all(bytes)
    }

    /// Takes back what came after the first `len` bytes.
    ///
    /// # Errors
    /// If the temporary file cannot be cut.
    pub(crate) fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.len = len.min(self.len);
        match &mut self.file {
            None => self.memory.truncate(usize::try_from(self.len).unwrap_or(usize::MAX)),
            Some(file) => {
                file.set_len(self.len)?;
                file.seek(SeekFrom::Start(self.len))?;
            }
        }
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// If the temporary file cannot be mapped.
    pub(crate) fn into_bytes(self) -> io::Result<FileBytes> {
        match self.file {
            Some(file) if self.len > 0 => FileBytes::map(&file),
            _ => Ok(FileBytes::Owned(self.memory)),
        }
    }
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
}

/// What a compressed file may grow to.
pub(crate) fn unpacked_limit(packed: &[u8]) -> u64 {
    (packed.len() as u64).saturating_mul(UNPACKED_RATIO).clamp(ALWAYS_UNPACKED, UNPACKED_LIMIT)
}

impl Packing {
    /// What the names of packed files end with.
    pub(crate) const SUFFIXES: [&str; 2] = [".gz", ".xz"];

    /// The packing that the first bytes of a file show.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    /// What is packed, as a stream; members follow each other without a seam.
    pub(crate) fn reader(self, packed: &[u8]) -> Box<dyn Read + '_> {
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB)),
        }
    }

    /// The first bytes of what is packed, as far as they can be had.
    pub(crate) fn head(self, packed: &[u8], len: u64) -> Vec<u8> {
        let mut head = Vec::new();
        // Damage, or the end of a beginning: what came before it is all the same there.
        drop(self.reader(packed).take(len).read_to_end(&mut head));
        head
    }

    /// What is packed, up to the first damage: the reader says where the data ends.
    ///
    /// # Errors
    /// If it is more than `limit` bytes, nothing of it can be had, or there is no room for it.
    pub(crate) fn unpack(self, path: &Path, packed: &[u8], limit: u64) -> Result<FileBytes> {
        let room = |source| Error::Unpack { path: path.to_owned(), source };
        let mut unpacked = Spill::default();
        let mut stream = self.reader(packed).take(limit.saturating_add(1));
        let end = unpacked.take_all(&mut stream).map_err(room)?;
        match end {
            Ok(()) if unpacked.len() > limit => {
                Err(Error::TooLarge { path: path.to_owned(), limit })
            }
            Err(source) if unpacked.len() == 0 => Err(Error::Io { path: path.to_owned(), source }),
            _ => unpacked.into_bytes().map_err(room),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use flate2::{Compression, write::GzEncoder};

    use super::{ALWAYS_UNPACKED, FileBytes, Packing, unpacked_limit};
    use crate::Error;

    /// `xz` of a hundred bytes 0x41, as the command line tool writes it.
    const XZ_MEMBER: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21,
        0x01, 0x1c, 0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0xe0, 0x00, 0x63, 0x00, 0x06, 0x5d,
        0x00, 0x20, 0xee, 0x9e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9b, 0xc2, 0xa4, 0x48, 0xa7,
        0x47, 0xb7, 0xbd, 0x00, 0x01, 0x22, 0x64, 0x4a, 0x56, 0xeb, 0xcd, 0x1f, 0xb6, 0xf3, 0x7d,
        0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_unpacks_past_the_limit_is_refused() {
        let packed = gzip(&[0; 100_000]);
        let path = Path::new("bomb.xplane.pb.gz");
        let unpack = |limit| Packing::Gzip.unpack(path, &packed, limit);
        assert_eq!(unpack(100_000).unwrap().len(), 100_000);
        let error = unpack(99_999).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 99_999, .. }));
        assert!(error.to_string().contains("bomb.xplane.pb.gz grows past 99999 bytes"), "{error}");
        assert_eq!(unpacked_limit(&packed), ALWAYS_UNPACKED);
        assert!(Packing::Xz.unpack(path, XZ_MEMBER, 99).is_err());
    }

    #[test]
    fn members_follow_each_other() {
        let path = Path::new("host.xplane.pb.xz");
        let twice = [XZ_MEMBER, XZ_MEMBER].concat();
        assert_eq!(Packing::of(&twice), Some(Packing::Xz));
        assert_eq!(*Packing::Xz.unpack(path, &twice, 1000).unwrap(), [0x41; 200]);
        let twice = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(Packing::of(&twice), Some(Packing::Gzip));
        assert_eq!(*Packing::Gzip.unpack(path, &twice, 1000).unwrap(), *b"abcd");
        assert_eq!(Packing::of(b"\x0a\x05"), None);
    }

    #[test]
    fn what_is_large_is_mapped_and_what_is_damaged_ends_there() {
        let path = Path::new("large.xplane.pb.gz");
        let text: Vec<u8> = (0..1 << 20).flat_map(u32::to_le_bytes).collect();
        let packed = gzip(&text);
        let limit = text.len() as u64;
        let whole = Packing::Gzip.unpack(path, &packed, limit).unwrap();
        assert!(matches!(whole, FileBytes::Mapped(_)) && *whole == text);
        let error = Packing::Gzip.unpack(path, &packed, limit - 1).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        let cut = Packing::Gzip.unpack(path, &packed[..packed.len() * 3 / 4], limit).unwrap();
        assert!(cut.len() > 1 << 20 && cut.len() < text.len() && text.starts_with(&cut));
    }

    #[test]
    fn a_damaged_file_gives_what_comes_before_the_damage() {
        let path = Path::new("cut.gz");
        let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = gzip(&text);
        let cut = Packing::Gzip.unpack(path, &packed[..packed.len() / 2], 1 << 20).unwrap();
        assert!(!cut.is_empty() && text.starts_with(&cut));
        for len in 0..XZ_MEMBER.len() {
            let cut = Packing::Xz.unpack(path, &XZ_MEMBER[..len], 1000);
            assert!(cut.is_err() || cut.is_ok_and(|cut| cut.iter().all(|&byte| byte == 0x41)));
        }
    }
}
