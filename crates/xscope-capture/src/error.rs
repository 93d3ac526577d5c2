//! Why there is no run.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

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
    #[error(
        "a server answers at {url} before the command was started, and would be measured instead of \
         it: stop it, leave out the command to measure it, or give both another port"
    )]
    Occupied { url: String },
    /// A server that xscope started ended by itself.
    #[error("the server ended by itself with {status}; its log is {}, and ends with:\n{tail}", log.display())]
    Died { status: ExitStatus, log: PathBuf, tail: String },
    #[error("cannot read the table of probes {name}: {why}")]
    Table { name: String, why: String },
    #[error("{tracer}_tracer_level is {level}: it must be 0 to {most}")]
    Level { tracer: &'static str, level: u8, most: u8 },
    /// A server's profiler does not do what it is told.
    #[error("the profiler of {url}: {why}")]
    Profiler { url: String, why: String },
    #[error(
        "no load within {:.0} s, so nothing was started: a profile without work is empty; send \
         requests, or let xscope send them (--load), or start at once (--wait-load 0s); \
         last seen: {seen}",
        waited.as_secs_f64()
    )]
    NoLoad { waited: Duration, seen: String },
    #[error("{what} is {value:?}: {why}")]
    Option { what: &'static str, value: String, why: &'static str },
    #[error(
        "nothing is collected yet: no profile is in {}; copy the server's files there:\n{}",
        folder.display(), commands.join("\n")
    )]
    NotCollected { folder: PathBuf, commands: Vec<String> },
    /// A sweep cannot be made as it was asked for.
    #[error("cannot sweep: {why}")]
    Grid { why: String },
    #[error("cannot {what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}
