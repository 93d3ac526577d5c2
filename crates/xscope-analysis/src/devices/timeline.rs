//! What each device's time went into: computation, communication and copies that nothing hides,
//! and nothing at all.
//!
//! Communication is exposed where no computation runs beside it, a copy where neither of them does.
//! The three and the idle time add up to the device's window.

use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, MetaId, Slices, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::intervals::{Intervals, Merged};
use crate::kernels::row::KernelRow;
use crate::layers::components::is_collective;

/// The breakdown of one device's window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimelineRow {
    /// The device, by the name that it has in `devices`.
    pub device: String,
    /// Computing.
    pub computation_us: f64,
    /// Communicating, and nothing else went on.
    pub exposed_communication_us: f64,
    /// Copying, and nothing else went on.
    pub exposed_copy_us: f64,
    /// Nothing went on.
    pub idle_us: f64,
    /// First operation to last; the four above add up to it.
    pub window_us: f64,
    /// Communication and copies, hidden or not.
    pub communication_us: f64,
    /// Copies, hidden or not.
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

/// When one device did what.
#[derive(Debug)]
pub(crate) struct Activity {
    pub computation: Intervals,
    /// Operations of any class.
    pub any: Intervals,
}

/// An operation: start, end and class.
type Stretch = (Picos, Picos, Class);

/// The class of each operation that has a row.
pub(crate) type Classes = IdVec<MetaId, Option<Class>>;

/// The classes of the operations of these kernels.
pub(crate) fn classes(trace: &Trace, kernels: &[KernelRow]) -> Classes {
    let mut classes = IdVec::filled(&trace.metas, None);
    for kernel in kernels {
        classes[kernel.meta] = Some(class(&kernel.category));
    }
    classes
}

/// The breakdown of a device and when it did what; only operations with a class count.
pub(crate) fn timeline(
    trace: &Trace,
    device: DeviceId,
    classes: &Classes,
) -> (TimelineRow, Activity) {
    let tracks: Vec<&Slices> =
        trace.device_tracks(device, TrackKind::Ops).map(|track| &track.slices).collect();
    let most = tracks.iter().map(|slices| slices.len()).sum();
    row(trace.device_label(device), stretches(tracks, classes), most)
}

/// The operations of several tracks that have a class, in order of their start.
fn stretches<'a>(
    tracks: Vec<&'a Slices>,
    classes: &'a Classes,
) -> impl Iterator<Item = Stretch> + 'a {
    let of_track = |slices: &'a Slices| {
        let rows = slices.times().zip(&slices.meta);
        rows.filter_map(|((start, end), meta)| Some((start, end, classes[*meta]?)))
    };
    Merged::of(tracks.into_iter().map(of_track).collect(), |stretch| stretch.0)
}

/// How much time is covered by intervals that come in order of their start.
struct Covered {
    total: Picos,
    until: Picos,
}

impl Covered {
    const NONE: Self = Self { total: Picos::ZERO, until: Picos(i64::MIN) };

    fn add(&mut self, (start, end): (Picos, Picos)) {
        let from = start.max(self.until);
        if end > from {
            self.total = self.total.saturating_add(end - from);
            self.until = end;
        }
    }
}

/// The breakdown of a device with at most so many stretches, which come in order of their start.
fn row(
    device: &str,
    stretches: impl Iterator<Item = Stretch>,
    most: usize,
) -> (TimelineRow, Activity) {
    let (mut computation, mut any) = (Intervals::with_room(most), Intervals::with_room(most));
    let [mut communication, mut copies, mut not_copies] = [const { Covered::NONE }; 3];
    for (start, end, class) in stretches {
        any.push((start, end));
        match class {
            Class::Computation => computation.push((start, end)),
            Class::Communication => communication.add((start, end)),
            Class::Copy => copies.add((start, end)),
        }
        if class != Class::Copy {
            not_copies.add((start, end));
        }
    }
    let window = any.extent().map_or(Picos::ZERO, |(start, end)| end - start);
    let (computed, busy) = (computation.total(), any.total());
    let row = TimelineRow {
        device: device.to_owned(),
        computation_us: computed.as_micros(),
        exposed_communication_us: (not_copies.total - computed).as_micros(),
        exposed_copy_us: (busy - not_copies.total).as_micros(),
        idle_us: (window - busy).as_micros(),
        window_us: window.as_micros(),
        communication_us: communication.total.as_micros(),
        copy_us: copies.total.as_micros(),
    };
    (row, Activity { computation, any })
}
