//! What several analyses need of every operation, computed once.

use rayon::prelude::*;
use xscope_trace::args::ArgValue;
use xscope_trace::model::{DeviceKind, Track, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::nesting::self_times;
use crate::peaks::Peaks;

/// A trace with the times of its operations.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub trace: &'a Trace,
    /// Self time of every row of each track of operations; empty for other tracks.
    pub own: Vec<Vec<Picos>>,
    /// Durations on the device's own clock, where a track has them; else empty.
    device_dur: Vec<Vec<Picos>>,
    /// Peaks of a CPU that somebody measured.
    pub measured: Option<Peaks>,
}

impl<'a> Work<'a> {
    pub(crate) fn of(trace: &'a Trace) -> Self {
        let times = |track: &Track| match track.kind {
            TrackKind::Ops => match device_clock(trace, track) {
                Some(rows) => (ordered_self_times(&rows), rows.iter().map(|row| row.1).collect()),
                None => (self_times(&track.slices.start, &track.slices.dur), Vec::new()),
            },
            _ => (Vec::new(), Vec::new()),
        };
        let (own, device_dur) = trace.tracks.par_iter().map(times).unzip();
        Self { trace, own, device_dur, measured: None }
    }

    /// Durations of the rows of a track.
    pub(crate) fn durations(&self, track: usize) -> &[Picos] {
        match self.device_dur[track].is_empty() {
            true => &self.trace.tracks[track].slices.dur,
            false => &self.device_dur[track],
        }
    }
}

/// Starts and durations as the device itself counted them, if every row has them.
///
/// A TPU's operations carry two times: where they lie on the common time line, and what the device
/// measured (`device_offset_ps`, `device_duration_ps`). They differ by half where the common one was
/// corrected; XProf's operation figures are of the second.
fn device_clock(trace: &Trace, track: &Track) -> Option<Vec<(Picos, Picos)>> {
    let device = track.device?;
    let is_tpu =
        matches!(trace.devices[device.0 as usize].kind, DeviceKind::Tpu | DeviceKind::SparseCore);
    let read = |row: usize| {
        let (mut start, mut dur) = (None, None);
        for (key, value) in track.slices.args.get(row, &trace.strings) {
            let time = match value {
                ArgValue::Int(value) => Some(Picos(value)),
                ArgValue::Uint(value) => i64::try_from(value).ok().map(Picos),
                _ => None,
            };
            match key {
                "device_offset_ps" => start = time,
                "device_duration_ps" => dur = time,
                _ => {}
            }
        }
        start.zip(dur)
    };
    if !is_tpu || track.slices.is_empty() || read(0).is_none() {
        return None;
    }
    (0..track.slices.len()).into_par_iter().map(read).collect()
}

/// Self times of rows that need not be in order.
fn ordered_self_times(rows: &[(Picos, Picos)]) -> Vec<Picos> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| (rows[row].0, std::cmp::Reverse(rows[row].1)));
    let start: Vec<Picos> = order.iter().map(|&row| rows[row].0).collect();
    let dur: Vec<Picos> = order.iter().map(|&row| rows[row].1).collect();
    let mut own = vec![Picos::ZERO; rows.len()];
    for (&row, time) in order.iter().zip(self_times(&start, &dur)) {
        own[row] = time;
    }
    own
}
