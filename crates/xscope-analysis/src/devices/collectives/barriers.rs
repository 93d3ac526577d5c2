//! Where chips of a TPU wait for each other before a program exchanges anything: `barrier-cores`, which
//! each notes from its arrival to the arrival of the last.

use xscope_trace::model::{DeviceId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::kernels::inside::is_stage_line;

const BARRIER: &str = "barrier-cores";

/// The barriers of one device, by start.
pub(crate) struct Barriers {
    times: Vec<(Picos, Picos)>,
    /// Executions of programs.
    programs: Vec<(Picos, Picos)>,
}

impl Barriers {
    pub(crate) fn of(trace: &Trace, device: DeviceId) -> Self {
        let lines = trace.tracks.iter().filter(|track| track.device == Some(device));
        let notes = lines.filter(|track| is_stage_line(trace, track));
        let is_barrier = |name: &str| name == BARRIER || name.starts_with("barrier-cores.");
        let rows = notes.flat_map(|track| {
            let rows = track.slices.meta.iter().zip(track.slices.times());
            rows.filter(|(meta, _)| is_barrier(trace.label(**meta))).map(|(_, times)| times)
        });
        let mut times: Vec<(Picos, Picos)> = rows.collect();
        times.sort_unstable();
        let programs = match times.is_empty() {
            true => Vec::new(),
            false => trace
                .device_tracks(device, TrackKind::Modules)
                .flat_map(|track| track.slices.times())
                .collect(),
        };
        Self { times, programs }
    }

    /// The waits of a device that are of the first exchange after them in the same execution of a
    /// program, of exchanges by start: which, and for how long.
    pub(super) fn of_exchanges(&self, starts: &[Picos]) -> Vec<(usize, Picos)> {
        let mut waits = Vec::new();
        for &(start, end) in &self.times {
            let next = starts.partition_point(|&at| at < start);
            let Some(&exchange) = starts.get(next) else { continue };
            let is_one = |&(from, to): &(Picos, Picos)| from <= start && exchange < to;
            if self.programs.is_empty() || self.programs.iter().any(is_one) {
                waits.push((next, end - start));
            }
        }
        waits
    }

    /// When the device was in a barrier.
    pub(crate) fn times(&self) -> &[(Picos, Picos)] {
        &self.times
    }
}
