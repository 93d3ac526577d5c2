//! What several analyses need of every operation, computed once.

use rayon::prelude::*;
use xscope_trace::ids::{Id as _, IdVec};
use xscope_trace::model::{DeviceKind, Slices, Track, TrackId, TrackKind};
use xscope_trace::trim::Window;
use xscope_trace::{Picos, Trace};

use crate::kernels::nesting::self_times;
use crate::kernels::peaks::GivenPeaks;

/// A trace with the times of its operations.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub trace: &'a Trace,
    /// Self time of every row of each track of operations; empty where nothing is nested, so that all
    /// time is.
    own: IdVec<TrackId, Vec<Picos>>,
    /// Durations on the device's own clock, where a track has them; else empty.
    device_dur: IdVec<TrackId, Vec<Picos>>,
    /// Peaks that a user knows.
    pub given: GivenPeaks,
    /// The window that the trace was cut to.
    pub window: Option<&'a Window>,
}

impl<'a> Work<'a> {
    pub(crate) fn of(trace: &'a Trace, window: Option<&'a Window>, given: GivenPeaks) -> Self {
        let times = |(index, track): (usize, &Track)| match track.kind {
            TrackKind::Ops => {
                match device_clock(trace, track, cut_rows(window, TrackId::at(index))) {
                    Some(rows) => {
                        (ordered_self_times(&rows), rows.iter().map(|row| row.1).collect())
                    }
                    None if is_flat(&track.slices) => (Vec::new(), Vec::new()),
                    None => (self_times(&track.slices.start, &track.slices.dur), Vec::new()),
                }
            }
            _ => (Vec::new(), Vec::new()),
        };
        let (own, device_dur): (Vec<_>, Vec<_>) =
            trace.tracks.par_iter().enumerate().map(times).unzip();
        let (own, device_dur) = (own.into(), device_dur.into());
        Self { trace, own, device_dur, given, window }
    }

    /// Self times of the rows of a track of operations.
    pub(crate) fn own(&self, track: TrackId) -> impl Iterator<Item = Picos> {
        let own = match self.own[track].is_empty() {
            true => self.durations(track),
            false => &self.own[track],
        };
        own.iter().map(|&own| own.max(Picos::ZERO))
    }

    /// Durations of the rows of a track.
    pub(crate) fn durations(&self, track: TrackId) -> &[Picos] {
        match self.device_dur[track].is_empty() {
            true => &self.trace.tracks[track].slices.dur,
            false => &self.device_dur[track],
        }
    }
}

/// Whether each row ends before the next starts.
fn is_flat(slices: &Slices) -> bool {
    (1..slices.len()).all(|row| slices.end(row - 1) <= slices.start[row])
}

/// Rows of a track that the window cut, with start and duration before.
type CutRows = Vec<(u32, (Picos, Picos))>;

fn cut_rows(window: Option<&Window>, track: TrackId) -> CutRows {
    window.map(|window| window.cut_rows(track).collect()).unwrap_or_default()
}

/// Starts and durations as the device itself counted them, if every row has them.
///
/// A TPU's operations carry two times: where they lie on the common time line, and what the device
/// measured (`device_offset_ps`, `device_duration_ps`). They differ by half where the common one was
/// corrected; XProf's operation figures are of the second.
fn device_clock(trace: &Trace, track: &Track, cut: CutRows) -> Option<Vec<(Picos, Picos)>> {
    let device = track.device?;
    let is_tpu = matches!(trace.devices[device].kind, DeviceKind::Tpu | DeviceKind::SparseCore);
    let read = |row: usize| {
        let (mut start, mut dur) = (None, None);
        for (key, value) in track.slices.args.get(row, &trace.strings) {
            let time = value.as_i64().map(Picos);
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
    let mut rows: Vec<(Picos, Picos)> =
        (0..track.slices.len()).into_par_iter().map(read).collect::<Option<_>>()?;
    for (row, (start, dur)) in cut {
        let row = row as usize;
        let (from, to) = (track.slices.start[row], track.slices.end(row));
        rows[row] = part(rows[row], (start, dur), (from, to));
    }
    Some(rows)
}

/// The part of a slice on the device's clock that lies between two times of the common one, on
/// which it starts at `start` and takes `dur`. Parts that touch add up to their whole exactly.
fn part(
    (device_start, device_dur): (Picos, Picos),
    (start, dur): (Picos, Picos),
    (from, to): (Picos, Picos),
) -> (Picos, Picos) {
    let at = |time: Picos| {
        let product = i128::from(device_dur.0) * i128::from((time - start).0);
        let offset = product.checked_div(i128::from(dur.0)).unwrap_or(0);
        Picos(i64::try_from(offset).unwrap_or(0))
    };
    (device_start + at(from), at(to) - at(from))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, prop_assume, proptest};
    use xscope_trace::Picos;
    use xscope_trace::model::Slices;

    use super::{is_flat, self_times};

    proptest! {
        #[test]
        fn all_time_is_self_time_where_nothing_is_nested(
            rows in proptest::collection::vec((0_i64..3, -1_i64..3), 0..6)
        ) {
            let mut slices = Slices::default();
            let mut at = Picos::ZERO;
            for (step, dur) in rows {
                at = at + Picos(step);
                slices.start.push(at);
                slices.dur.push(Picos(dur));
            }
            prop_assume!(is_flat(&slices));
            let durations: Vec<Picos> =
                slices.dur.iter().map(|&dur| dur.max(Picos::ZERO)).collect();
            prop_assert_eq!(self_times(&slices.start, &slices.dur), durations);
        }
    }
}
