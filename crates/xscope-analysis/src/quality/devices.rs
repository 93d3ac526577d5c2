//! What the recorders of devices left out.

use xscope_trace::model::{DeviceId, DeviceKind, MetaId, Track, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::{Picos, Trace};

use xscope_trace::ids::IdVec;
use xscope_trace::stats::share;

/// Share of program executions without operations from which on the device figures are not to be
/// trusted.
const MANY_LOST: f64 = 0.01;

/// Names of host calls that run a recorded graph of kernels at once.
const GRAPH_LAUNCHES: [&str; 3] = ["cuGraphLaunch", "cudaGraphLaunch", "hipGraphLaunch"];

/// Executions of programs in which no operation was recorded: the device's buffer was full.
pub(super) fn lost_operations(trace: &Trace) -> Option<Finding> {
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

/// Launches of whole graphs (XLA's command buffers), whose kernels say neither program nor scope.
pub(super) fn command_buffers(trace: &Trace) -> Option<Finding> {
    let is_launch: IdVec<MetaId, bool> = trace
        .metas
        .ids()
        .map(|meta| GRAPH_LAUNCHES.iter().any(|name| trace.label(meta).starts_with(name)))
        .collect();
    if !is_launch.contains(&true) {
        return None;
    }
    let of_host = |track: &&Track| track.kind == TrackKind::HostThread;
    let launches: u64 = trace
        .tracks
        .iter()
        .filter(of_host)
        .flat_map(|track| &track.slices.meta)
        .map(|meta| u64::from(is_launch[*meta]))
        .sum();
    (launches > 0).then(|| {
        let message = format!(
            "{launches} graphs of kernels were launched as a whole: their kernels name no operation of \
             a program, so layers and scopes lack them; capture once more with \
             XLA_FLAGS=--xla_gpu_enable_command_buffer= to see them apart"
        );
        Finding::new(Code::GpuCommandBuffers, message).times(launches)
    })
}

/// No counter of the hardware says how busy the units of an accelerator were.
pub(super) fn missing_counters(trace: &Trace) -> Option<Finding> {
    let is_counted = |key: &str| key.ends_with("_utilization_percent");
    let stated = trace.sources.iter().flat_map(|source| &source.facts).any(|(key, value)| {
        // The runtime writes 0 where the chip's counters were not read.
        is_counted(key) && value.parse::<f64>().is_ok_and(|percent| percent > 0.0)
    });
    let counted = !trace.counters.is_empty();
    let is_chip = |kind: DeviceKind| matches!(kind, DeviceKind::Tpu | DeviceKind::Gpu);
    let chips = trace.devices.iter().filter(|device| is_chip(device.kind)).count() as u64;
    (chips > 0 && !stated && !counted).then(|| {
        Finding::new(
            Code::CountersMissing,
            "no hardware counters are in the trace: FLOP/s and bytes/s are costs stated by the \
             compiler over measured time, and how busy the matrix units were cannot be told",
        )
        .times(chips)
    })
}
