//! What can go wrong with a load as a whole, and how words are spelled that say what it is. A single
//! request that fails is not an error of these types: it is a row with a [`Failure`].

use std::path::PathBuf;
use std::time::Duration;

use crate::check::Failure;

/// Why a load or a probe did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The address cannot be used as it is.
    #[error("cannot use {url:?} as the address of a server: {reason}")]
    Url { url: String, reason: String },

    /// TLS is not spoken here.
    #[error(
        "cannot load {url:?}: https is not supported, only plain http; use the server's http:// \
         port, or a tunnel that ends TLS on this machine"
    )]
    Https { url: String },

    /// The workload asks for requests that cannot be made, or that would hurt a server.
    #[error("cannot make this workload: {field} {reason}")]
    Workload { field: &'static str, reason: String },

    /// A file that the workload names cannot be read.
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },

    /// A file is no workload.
    #[error("{} is no workload (see docs/bench.md): {reason}", path.display())]
    Toml { path: PathBuf, reason: String },

    /// The server went away, so the rest of the load was not sent. The rows of what ended before
    /// have been handed out.
    #[error(
        "server at {url} is gone ({answered} requests answered before): {reason}; look at the end \
         of the server's own log, restart it and run again"
    )]
    ServerGone { url: String, reason: String, answered: u64 },

    /// The server did not become ready in time.
    #[error(
        "server at {url} was not ready after {:.1} s: {last}; check that it runs and listens \
         there, or wait longer",
        waited.as_secs_f64()
    )]
    NotReady { url: String, waited: Duration, last: String },

    /// One call beside the load (a probe, the profiler's switches) failed.
    #[error("{method} {url} failed: {failure}")]
    Call { method: &'static str, url: String, failure: Failure },

    #[error("cannot start a thread")]
    Thread { source: std::io::Error },

    /// A task of the load itself died: a defect of xscope.
    #[error("a worker of the load died, which is a defect of xscope: please report it")]
    Worker { source: tokio::task::JoinError },
}

/// Why a word is no part of a workload; the message says how to write one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpellingError {
    #[error(
        "{text:?} is no length: write 20, [10,20,40], uniform:10-30, normal:20,5, lognormal:20,0.5 \
         or zipf:1.2,100"
    )]
    Length { text: String },
    #[error(
        "{text:?} is no way to arrive: write closed:4, constant:20/s, poisson:20/s, gamma:20/s,0.5, \
         ramp:1-50/s,60s, stages:10/s*30s+20/s*30s or replay:FILE (requests.jsonl of a run)"
    )]
    Arrivals { text: String },
    #[error("{text:?} is no backend: there are {known}")]
    Backend { text: String, known: String },
    #[error("give exactly one of the tables [score], [generate], [rerank], [fixed]")]
    Tables,
}

/// What is wrong with a field of a workload, as an error.
pub(crate) fn refused<T>(field: &'static str, reason: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError::Workload { field, reason: reason.into() })
}
