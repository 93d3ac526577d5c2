//! A file on its way into a trace: its name, and its bytes, packed or not.

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::bytes::FileBytes;
use crate::error::Result;
use crate::read::riegeli::{self, Lost};
use crate::read::unpack::{Packing, unpacked_limit};

/// How much of the (unpacked) beginning of a file tells what it is, in bytes. Kineto writes two
/// kilobytes about the devices and the environment before its first event.
pub(super) const HEAD: u64 = 64 << 10;

/// A file that is to be read.
#[derive(Debug)]
pub(crate) struct Input {
    pub path: PathBuf,
    bytes: FileBytes,
    packing: Option<Packing>,
}

/// What tells the format of a file.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Its name without folders and packing.
    pub name: &'a str,
    /// How it begins, unpacked.
    pub bytes: Cow<'a, [u8]>,
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self::of(path, FileBytes::open(path)?))
    }

    pub(super) fn of(path: &Path, bytes: FileBytes) -> Self {
        let packing = Packing::of(&bytes);
        Self { path: path.to_owned(), bytes, packing }
    }

    /// As messages and reports call it.
    pub(super) fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn head(&self) -> Head<'_> {
        let len = usize::try_from(HEAD).unwrap_or(usize::MAX).min(self.bytes.len());
        let bytes = match self.packing {
            Some(packing) => Cow::Owned(packing.head(&self.bytes, HEAD)),
            None => Cow::Borrowed(&self.bytes[..len]),
        };
        Head { name: plain_name(&self.path), bytes }
    }

    /// All bytes, unpacked.
    pub(super) fn whole(self) -> Result<FileBytes> {
        match self.packing {
            Some(packing) => packing.unpack(&self.path, &self.bytes, unpacked_limit(&self.bytes)),
            None => Ok(self.bytes),
        }
    }

    /// All bytes of an XPlane file, out of whatever holds them, and which are lost.
    pub(crate) fn xplane(self) -> Result<(FileBytes, Lost)> {
        let path = self.path.clone();
        let bytes = self.whole()?;
        match riegeli::is_riegeli(&bytes) {
            true => riegeli::records(&path, &bytes),
            false => Ok((bytes, Lost::default())),
        }
    }

    /// The bytes as a stream, for what is read only once and grows tenfold when unpacked.
    pub(super) fn stream(&self) -> Box<dyn Read + '_> {
        match self.packing {
            Some(packing) => packing.reader(&self.bytes),
            None => Box::new(&self.bytes[..]),
        }
    }
}

/// The name of a file without folders and packing: `host.xplane.pb` of `a/host.xplane.pb.gz`.
pub(super) fn plain_name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Packing::SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}
