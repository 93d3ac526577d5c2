//! Requests that are in no figure, sent while devices were recorded.

use xscope_trace::Picos;
use xscope_trace::model::TrackKind;
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;
use crate::words::counted;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let mut warm_up = trace.client.iter().filter(|request| !request.phase.is_measured()).peekable();
    warm_up.peek()?;
    let extents = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    let extents: Vec<(Picos, Picos)> = extents.filter_map(|track| track.slices.extent()).collect();
    let inside = |end: Picos| extents.iter().any(|&(first, last)| first < end && end < last);
    let count = warm_up.filter(|request| inside(request.end)).count() as u64;
    (count > 0).then(|| {
        let message = format!(
            "{} of warm-up and checks ran inside the window of the device profile: kernels, \
             layers and busy time have their work in them, the requests' figures do not",
            counted(count, "request")
        );
        Finding::new(Code::WarmUpRequests, message).times(count)
    })
}
