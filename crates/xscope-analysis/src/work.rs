//! What several analyses need of every operation, computed once.

use rayon::prelude::*;
use xscope_trace::model::TrackKind;
use xscope_trace::{Picos, Trace};

use crate::nesting::self_times;

/// A trace with the self times of its operations.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub trace: &'a Trace,
    /// Self time of every row of each track of operations; empty for other tracks.
    pub own: Vec<Vec<Picos>>,
}

impl<'a> Work<'a> {
    pub(crate) fn of(trace: &'a Trace) -> Self {
        let own = |track: &xscope_trace::model::Track| match track.kind {
            TrackKind::Ops => self_times(&track.slices),
            _ => Vec::new(),
        };
        Self { trace, own: trace.tracks.par_iter().map(own).collect() }
    }
}
