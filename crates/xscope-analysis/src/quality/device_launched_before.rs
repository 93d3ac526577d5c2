//! Work of GPUs that was launched before the capture began: nothing says where in the code that was.

use rustc_hash::FxHashMap;
use xscope_trace::Picos;
use xscope_trace::model::{TrackId, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{share, sum};

use crate::quality::facts::Facts;
use crate::words::percent;

/// Share of the operations' time from which on it is worth a word.
const MUCH: f64 = 0.01;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    // Of a part of a capture it is no flaw that its first work was launched before.
    if facts.window.is_some() {
        return None;
    }
    let trace = facts.trace;
    // A stream runs in the order of launches, so what comes before the first whose launch was recorded was
    // launched before that.
    let mut first: FxHashMap<TrackId, u32> = FxHashMap::default();
    for flow in &trace.flows {
        if trace.tracks[flow.from.track].kind == TrackKind::HostThread {
            let row = first.entry(flow.to.track).or_insert(flow.to.row);
            *row = flow.to.row.min(*row);
        }
    }
    let (mut before, mut whole, mut count) = (Picos::ZERO, Picos::ZERO, 0);
    for (id, track) in facts.gpu_streams() {
        let rows = first.get(&id).map_or(0, |&row| row as usize).min(track.slices.len());
        before = before.saturating_add(sum(&track.slices.dur[..rows]));
        whole = whole.saturating_add(sum(&track.slices.dur));
        count += rows as u64;
    }
    let part = share(before, whole);
    (part >= MUCH).then(|| {
        let message = format!(
            "{} of the operations' time is of work that was launched before the capture began: no module \
             and no launch is known of it; begin to capture when the device has nothing to do, or look at \
             what comes later with --from",
            percent(part)
        );
        Finding::new(Code::DeviceLaunchedBefore, message).times(count)
    })
}
