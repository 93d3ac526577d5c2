//! Why there is no run.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use xscope_load::LoadError;
use xscope_trace::run::RunError;

/// A failure to get a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The target did not get ready, cannot be loaded, or went away.
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("cancelled before anything was measured")]
    Cancelled,
    #[error("no command to run")]
    NoCommand,
    #[error("cannot start the command; is its program there? {command}")]
    Spawn { command: String, source: io::Error },
    /// A server that xscope started ended by itself.
    #[error("the server ended by itself with {status}; its log is {}, and ends with:\n{tail}", log.display())]
    Died { status: ExitStatus, log: PathBuf, tail: String },
    #[error("cannot read the table of probes {name}: {why}")]
    Table { name: String, why: String },
    #[error("cannot {what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}
