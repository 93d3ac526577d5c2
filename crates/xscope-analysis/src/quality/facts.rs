//! What findings are told from.

use xscope_trace::Trace;
use xscope_trace::model::{DeviceKind, Track, TrackId, TrackKind};
use xscope_trace::trim::Window;

use crate::compiles::CompileRow;
use crate::devices::DeviceRow;
use crate::devices::programs::Execution;
use crate::framework::Framework;
use crate::kernels::row::KernelRow;
use crate::layers::LayersReport;

/// A profile and what was made of it.
pub(crate) struct Facts<'a> {
    pub trace: &'a Trace,
    /// Whose profile it is, if that is known.
    pub framework: Option<Framework>,
    /// The window that the trace was cut to.
    pub window: Option<&'a Window>,
    pub devices: &'a [DeviceRow],
    pub kernels: &'a [KernelRow],
    pub executions: &'a [Execution],
    pub compiles: &'a [CompileRow],
    pub layers: &'a LayersReport,
}

impl<'a> Facts<'a> {
    /// The streams of GPUs, each of which runs one operation after the other.
    pub(super) fn gpu_streams(&self) -> impl Iterator<Item = (TrackId, &'a Track)> + use<'a> {
        let trace = self.trace;
        trace.tracks.iter_ids().filter(move |(_, track)| {
            let kind = track.device.map(|id| trace.devices[id].kind);
            track.kind == TrackKind::Ops && kind == Some(DeviceKind::Gpu)
        })
    }
}
