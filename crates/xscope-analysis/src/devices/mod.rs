//! How busy each device was.

pub mod collectives;
pub mod host_code;
pub(crate) mod host_kinds;
pub mod idle;
pub mod programs;
pub mod steps;
pub mod timeline;

use rayon::prelude::*;
use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, TrackKind};
use xscope_trace::stats::share;
use xscope_trace::{Picos, Trace};

use crate::intervals::Intervals;

/// One device's time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceRow {
    /// No two devices have one name; where files have devices of one name, the host, the folder or a
    /// number is in it.
    pub name: String,
    /// `tpu`, `gpu`, `cpu` or `custom`.
    pub kind: String,
    /// What the device says it is; empty if it does not say.
    pub model: String,
    /// The machine; empty if unknown.
    #[serde(rename = "hostname")]
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

/// When operations ran on each device, in the trace's order of devices: the union of those on all of
/// its tracks. Asynchronous operations and derived lines do not count.
pub(crate) fn busy(trace: &Trace) -> IdVec<DeviceId, Intervals> {
    let of_device = |device: DeviceId| {
        let tracks = trace.device_tracks(device, TrackKind::Ops);
        Intervals::of_tracks(tracks.map(|track| &track.slices))
    };
    let devices: Vec<DeviceId> = trace.devices.ids().collect();
    devices.into_par_iter().map(of_device).collect::<Vec<_>>().into()
}

/// Busy and idle time of every device, in the trace's order of devices; see [`busy`] for what counts.
pub(crate) fn devices(trace: &Trace, busy: &IdVec<DeviceId, Intervals>) -> Vec<DeviceRow> {
    let devices: Vec<DeviceId> = busy.ids().collect();
    devices.into_par_iter().map(|device| row(trace, device, &busy[device])).collect()
}

fn row(trace: &Trace, id: DeviceId, busy: &Intervals) -> DeviceRow {
    let device = &trace.devices[id];
    let window = busy.extent().map_or(Picos::ZERO, |(start, end)| end - start);
    let busy = busy.total();
    let text = |id| trace.strings.get(id).to_owned();
    DeviceRow {
        name: trace.device_label(id).to_owned(),
        kind: device.kind.name().to_owned(),
        model: text(device.model),
        host: text(trace.sources[device.source].host),
        window_us: window.as_micros(),
        busy_us: busy.as_micros(),
        idle_us: (window - busy).as_micros(),
        busy_share: share(busy, window),
        busy,
        window,
    }
}
