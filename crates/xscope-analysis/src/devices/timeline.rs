//! What each device's time went into: computation, communication and copies that nothing hides,
//! and nothing at all.
//!
//! Communication is exposed where no computation runs beside it, a copy where neither of them does.
//! The three and the idle time add up to the device's window.

use rayon::prelude::*;
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::components::is_collective;
use crate::devices::device_id;
use crate::intervals::{Intervals, join};
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

/// What an operation is to the timeline, in the order of the sets of an [`Activity`].
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

/// The time that operations of each [`Class`] cover on one device.
pub(crate) type Activity = [Intervals; 3];

/// The class of each operation that has a row, by its meta.
pub(crate) fn classes(trace: &Trace, kernels: &[KernelRow]) -> Vec<Option<Class>> {
    let mut classes = vec![None; trace.metas.len()];
    for kernel in kernels {
        classes[kernel.meta.0 as usize] = Some(class(&kernel.category));
    }
    classes
}

/// What every device did when, in the trace's order; only operations with a class count.
pub(crate) fn activities(trace: &Trace, classes: &[Option<Class>]) -> Vec<Activity> {
    let of_device = |(index, _)| activity(trace, device_id(index), classes);
    trace.devices.par_iter().enumerate().map(of_device).collect()
}

fn activity(trace: &Trace, device: DeviceId, classes: &[Option<Class>]) -> Activity {
    let tracks = || trace.device_tracks(device, TrackKind::Ops).map(|track| &track.slices);
    let class = |meta: MetaId| classes[meta.0 as usize];
    let mut counts = [0; 3];
    for class in tracks().flat_map(|slices| &slices.meta).filter_map(|&meta| class(meta)) {
        counts[class as usize] += 1;
    }
    let mut activity = counts.map(Vec::with_capacity);
    for slices in tracks() {
        for (row, &meta) in slices.meta.iter().enumerate() {
            if let Some(class) = class(meta) {
                join(&mut activity[class as usize], (slices.start[row], slices.end(row)));
            }
        }
    }
    activity.map(Intervals::of)
}

/// The breakdown of every device, and when it did anything, in the trace's order.
pub(crate) fn timeline(
    trace: &Trace,
    activities: &[Activity],
) -> (Vec<TimelineRow>, Vec<Intervals>) {
    let row = |(index, did)| row(trace.device_label(device_id(index)), did);
    activities.par_iter().enumerate().map(row).unzip()
}

fn row(device: &str, [computation, communication, copies]: &Activity) -> (TimelineRow, Intervals) {
    let with_communication = computation.union(communication);
    let communicated = with_communication.total();
    let all = match copies.extent().is_none() {
        true => with_communication,
        false => with_communication.union(copies),
    };
    let window = all.extent().map_or(Picos::ZERO, |(start, end)| end - start);
    let row = TimelineRow {
        device: device.to_owned(),
        computation_us: computation.total().as_micros(),
        exposed_communication_us: (communicated - computation.total()).as_micros(),
        exposed_copy_us: (all.total() - communicated).as_micros(),
        idle_us: (window - all.total()).as_micros(),
        window_us: window.as_micros(),
        communication_us: communication.total().as_micros(),
        copy_us: copies.total().as_micros(),
    };
    (row, all)
}
