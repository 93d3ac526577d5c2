//! What keeps an engine from starting, and what ends a score request early.

use std::{io, net::SocketAddr, path::PathBuf};

/// An error of the engine itself. What is wrong with the body of a request is no error here but
/// an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A value of the configuration that cannot work.
    #[error("{field} is {value}: {problem}")]
    Config { field: &'static str, value: String, problem: &'static str },

    #[error("cannot load the model")]
    Model(#[from] xscope_model::ModelError),

    #[error("cannot listen on {addr}: choose another port, or 0 for a free one")]
    Listen { addr: SocketAddr, source: io::Error },

    #[error("cannot start a thread of the engine")]
    Thread(#[source] io::Error),

    /// A capture is in progress, so another cannot start.
    #[error(
        "profiling is already in progress (it writes to {}): stop it with POST /stop_profile, or \
         wait until GET /profile_status says idle", output_dir.display()
    )]
    CaptureInProgress { output_dir: PathBuf },

    #[error("profiling is not in progress: start it with POST /start_profile")]
    CaptureIdle,

    #[error("telemetry is off, so there is nothing to capture: start the server with telemetry on")]
    TelemetryOff,

    /// The capture ended with less than it should hold.
    #[error("the profile is incomplete: {0}")]
    Capture(String),

    /// The span file of a capture.
    #[error(transparent)]
    Spans(#[from] xscope_trace::span::SpanError),

    /// The XPlane file of a capture.
    #[error(transparent)]
    XPlane(#[from] xscope_trace::write::xplane::XPlaneWriteError),

    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("the scheduler has too many commands waiting; try again in a moment")]
    Busy,

    #[error("the engine is shutting down")]
    Closed,

    /// More items are waiting than the queue holds.
    #[error(
        "the queue is full: {waiting} items wait and the limit is {limit}; try again in a moment, \
         with fewer requests at once"
    )]
    QueueFull { waiting: usize, limit: usize },

    /// The forward pass panicked or failed; the engine lives on.
    #[error("the model failed on this batch: {0}")]
    Forward(String),
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
