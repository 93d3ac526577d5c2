//! Launches whose kernels are not in the trace: PyTorch's profiler gives both one number.

use rustc_hash::FxHashSet;
use xscope_trace::Trace;
use xscope_trace::model::{Track, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;
use xscope_trace::{Picos, ids::IdVec, model::MetaId};

use crate::quality::facts::Facts;

/// Share of launches without kernels from which on the device figures are not to be trusted.
const MANY_LOST: f64 = 0.01;

/// The number that a launch and what it launched share.
const NUMBER: &str = "correlation";

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    trace.strings.find(NUMBER)?;
    // While a graph is captured nothing of what is launched runs.
    if has(trace, "StreamBeginCapture") {
        return None;
    }
    let ran: FxHashSet<i64> = facts
        .gpu_streams()
        .flat_map(|(_, track)| (0..track.slices.len()).filter_map(|row| number(trace, track, row)))
        .collect();
    let launches: IdVec<MetaId, bool> =
        trace.metas.ids().map(|meta| is_launch(trace.label(meta))).collect::<Vec<_>>().into();
    let (mut all, mut lost) = (0_i64, 0_i64);
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread) {
        let rows = track.slices.meta.iter().enumerate().filter(|&(_, &meta)| launches[meta]);
        for number in rows.filter_map(|(row, _)| number(trace, track, row)) {
            all += 1;
            lost += i64::from(!ran.contains(&number));
        }
    }
    (!ran.is_empty() && share(Picos(lost), Picos(all)) > MANY_LOST).then(|| {
        let message = format!(
            "{lost} of {all} launches have no kernel in the trace: busy time, kernels and layers lack \
             them; warm the profiler up for a step before the one that counts, and end the capture \
             after the device has"
        );
        Finding::new(Code::DeviceOperationsLost, message).times(lost.unsigned_abs())
    })
}

/// Whether an event launches one kernel. A graph has many, and none if it is empty.
fn is_launch(name: &str) -> bool {
    name.contains("LaunchKernel")
}

fn has(trace: &Trace, part: &str) -> bool {
    trace.metas.ids().any(|meta| trace.label(meta).contains(part))
}

fn number(trace: &Trace, track: &Track, row: usize) -> Option<i64> {
    track.slices.args.find(row, NUMBER, &trace.strings)?.as_i64()
}
