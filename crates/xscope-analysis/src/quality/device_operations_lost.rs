//! Executions of programs in which no operation was recorded: the device's buffer was full.

use xscope_trace::Picos;
use xscope_trace::model::{DeviceId, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;

use crate::quality::facts::Facts;

/// Share of program executions without operations from which on the device figures are not to be
/// trusted.
const MANY_LOST: f64 = 0.01;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let (mut all, mut empty) = (0_u64, 0_u64);
    let has_modules = |&device: &DeviceId| {
        trace.device_tracks(device, TrackKind::Modules).any(|modules| !modules.slices.is_empty())
    };
    for device in trace.devices.ids().filter(has_modules) {
        let mut starts: Vec<Picos> = trace
            .device_tracks(device, TrackKind::Ops)
            .flat_map(|track| track.slices.start.iter().copied())
            .collect();
        starts.sort_unstable();
        for modules in trace.device_tracks(device, TrackKind::Modules) {
            for row in 0..modules.slices.len() {
                let (start, end) = (modules.slices.start[row], modules.slices.end(row));
                let next = starts.partition_point(|&op| op < start);
                all += 1;
                empty += u64::from(starts.get(next).is_none_or(|&op| op > end));
            }
        }
    }
    let lost = share(Picos(empty.cast_signed()), Picos(all.cast_signed()));
    (lost > MANY_LOST).then(|| {
        let message = format!(
            "{empty} of {all} executions of programs have no operations: the device's buffer was \
             full before the capture ended, so its busy time, kernels and layers lack them; capture \
             for a shorter time or fewer steps"
        );
        Finding::new(Code::DeviceOperationsLost, message).times(empty)
    })
}
