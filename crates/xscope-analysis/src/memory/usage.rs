//! Bytes in use over time, as one recorder says it.

use xscope_trace::Picos;
use xscope_trace::model::{SourceId, Track};

/// Bytes in use over time.
pub(crate) struct Usage {
    pub source: SourceId,
    pub pid: i64,
    /// By time.
    pub samples: Vec<(Picos, f64)>,
}

impl Usage {
    pub(crate) fn of(track: &Track, mut samples: Vec<(Picos, f64)>) -> Self {
        samples.sort_by_key(|&(at, _)| at);
        Self { source: track.source, pid: track.pid, samples }
    }
}
