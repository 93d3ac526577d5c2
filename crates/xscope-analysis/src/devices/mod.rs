//! How busy each device was.

pub mod collectives;
pub mod idle;
pub mod programs;
pub mod steps;
pub mod timeline;

use serde::Serialize;
use xscope_trace::model::{DeviceId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::intervals::Intervals;
use crate::stats::share;

/// One device's time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceRow {
    pub name: String,
    pub kind: String,
    /// What the device says it is; empty if it does not say.
    pub model: String,
    pub host: String,
    /// From the start of its first operation to the end of its last.
    pub window_us: f64,
    /// Time in which at least one operation ran.
    pub busy_us: f64,
    /// The rest of the window.
    pub idle_us: f64,
    /// `busy_us / window_us`.
    pub busy_share: f64,
    #[serde(skip)]
    pub busy: Picos,
    #[serde(skip)]
    pub window: Picos,
}

/// Busy and idle time of every device, in the trace's order of devices.
///
/// Busy time is the union of the operations on all of the device's tracks; asynchronous
/// operations and derived lines do not count.
pub fn devices(trace: &Trace) -> Vec<DeviceRow> {
    let ids = (0..trace.devices.len()).filter_map(|index| u32::try_from(index).ok());
    ids.map(|index| row(trace, DeviceId(index))).collect()
}

fn row(trace: &Trace, id: DeviceId) -> DeviceRow {
    let device = &trace.devices[id.0 as usize];
    let tracks = trace.device_tracks(id, TrackKind::Ops);
    let union = Intervals::of_tracks(tracks.map(|track| &track.slices));
    let window = match (union.0.first(), union.0.last()) {
        (Some(&(start, _)), Some(&(_, end))) => end - start,
        _ => Picos::ZERO,
    };
    let busy = union.total();
    let text = |id| trace.strings.get(id).to_owned();
    DeviceRow {
        name: text(device.name),
        kind: device.kind.name().to_owned(),
        model: text(device.model),
        host: text(trace.sources[device.source.0 as usize].host),
        window_us: window.as_micros(),
        busy_us: busy.as_micros(),
        idle_us: (window - busy).as_micros(),
        busy_share: share(busy, window),
        busy,
        window,
    }
}
