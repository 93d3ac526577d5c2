//! What each device's time went into: computation, communication and copies that nothing hides,
//! and nothing at all.
//!
//! Communication is exposed where no computation runs beside it, a copy where neither of them does.
//! The three and the idle time add up to the device's window.

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::components::is_collective;
use crate::intervals::Intervals;
use crate::kernels::KernelRow;

/// The breakdown of one device's window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineRow {
    pub device: String,
    pub computation_us: f64,
    pub exposed_communication_us: f64,
    pub exposed_copy_us: f64,
    pub idle_us: f64,
    /// First operation to last; the four above add up to it.
    pub window_us: f64,
    /// Communication and copies, hidden or not.
    pub communication_us: f64,
    pub copy_us: f64,
}

/// What an operation is to the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Computation,
    Communication,
    Copy,
}

/// The class of a category.
pub(crate) fn class(category: &str) -> Class {
    match category {
        _ if is_collective(category) => Class::Communication,
        "copy" | "copy-start" | "copy-done" | "async-copy" | "host-transfer" => Class::Copy,
        _ => Class::Computation,
    }
}

/// The breakdown of every device, in the trace's order.
pub(crate) fn timeline(trace: &Trace, kernels: &[KernelRow]) -> Vec<TimelineRow> {
    let classes: FxHashMap<MetaId, Class> =
        kernels.iter().map(|kernel| (kernel.meta, class(&kernel.category))).collect();
    let ids: Vec<u32> =
        (0..trace.devices.len()).filter_map(|index| u32::try_from(index).ok()).collect();
    ids.par_iter().map(|&id| row(trace, DeviceId(id), &classes)).collect()
}

/// The time that operations of one class cover on a device.
pub(crate) fn covered(
    trace: &Trace,
    device: DeviceId,
    classes: &FxHashMap<MetaId, Class>,
    wanted: Class,
) -> Intervals {
    let wanted_metas: Vec<bool> = (0..trace.metas.len())
        .map(|index| {
            let meta = MetaId(u32::try_from(index).unwrap_or(u32::MAX));
            classes.get(&meta) == Some(&wanted)
        })
        .collect();
    Intervals::of_sets(trace.device_tracks(device, TrackKind::Ops).map(|track| {
        let slices = &track.slices;
        let rows = (0..slices.len()).filter(|&row| wanted_metas[slices.meta[row].0 as usize]);
        Intervals::of_ordered(rows.map(|row| (slices.start[row], slices.end(row))))
    }))
}

fn row(trace: &Trace, device: DeviceId, classes: &FxHashMap<MetaId, Class>) -> TimelineRow {
    let computation = covered(trace, device, classes, Class::Computation);
    let communication = covered(trace, device, classes, Class::Communication);
    let copies = covered(trace, device, classes, Class::Copy);
    let with_communication = computation.union(&communication);
    let all = with_communication.union(&copies);
    let window = match (all.0.first(), all.0.last()) {
        (Some(&(start, _)), Some(&(_, end))) => end - start,
        _ => Picos::ZERO,
    };
    TimelineRow {
        device: trace.strings.get(trace.devices[device.0 as usize].name).to_owned(),
        computation_us: computation.total().as_micros(),
        exposed_communication_us: (with_communication.total() - computation.total()).as_micros(),
        exposed_copy_us: (all.total() - with_communication.total()).as_micros(),
        idle_us: (window - all.total()).as_micros(),
        window_us: window.as_micros(),
        communication_us: communication.total().as_micros(),
        copy_us: copies.total().as_micros(),
    }
}
