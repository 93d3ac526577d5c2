//! What can go wrong while an XPlane file is written.

use std::io;
use std::path::PathBuf;

/// What can go wrong while an XPlane file is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XPlaneWriteError {
    #[error("cannot create an XPlane file, which must not exist yet: {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot append {bytes} bytes to an XPlane file; is the disk full? {}", path.display())]
    Append { path: PathBuf, bytes: usize, source: io::Error },
    #[error("cannot read an XPlane file to merge its planes: {}", path.display())]
    Read { path: PathBuf, source: crate::Error },
    #[error("cannot write the merged XPlane file beside {}; its chunks are kept", path.display())]
    Merge { path: PathBuf, source: io::Error },
}
