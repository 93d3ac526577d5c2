//! Why a profile could not be read at all.

use std::path::PathBuf;

/// A failure that leaves nothing to analyse.
///
/// Damage that leaves something is not an error but a [`crate::quality::Finding`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot read {}; check that it exists and that you may read it", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is no profile that xscope knows ({found}); it reads {known}, each also packed (.gz, .xz), \
         TensorBoard log directories and run directories", path.display()
    )]
    UnknownFormat {
        path: PathBuf,
        found: String,
        /// What is read, in words.
        known: String,
    },
    #[error("{} is empty (0 bytes): {hint}", path.display())]
    Empty { path: PathBuf, hint: &'static str },
    #[error("{} is damaged at byte {offset}: {what}; {hint}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String, hint: String },
    #[error("{}: {what}", path.display())]
    NothingFound { path: PathBuf, what: String },
    #[error("{} grows past {limit} bytes when decompressed; unpack it and give the file itself", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error(
        "cannot unpack {} into the temporary folder; give it room, set TMPDIR to another folder, or \
         unpack the file yourself", path.display()
    )]
    Unpack { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}; check that its folder exists and has room", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "an XPlane file holds one host, but the trace is of {}; export each on its own, or as \
         Perfetto or Chrome JSON, which hold several",
        hosts.join(", ")
    )]
    NotOneHost { hosts: Vec<String> },
}

pub type Result<T> = std::result::Result<T, Error>;
