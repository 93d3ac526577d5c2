//! Where in a trace something lies that is asked for by name or number.

use crate::model::{Trace, Track, TrackKind};
use crate::time::Picos;

/// The window from the first start to the last end of the slices that are called `name`, or whose
/// names contain it if none is called so.
pub fn around(trace: &Trace, name: &str) -> Option<(Picos, Picos)> {
    extent(trace, |trace, track, row| trace.label(track.slices.meta[row]) == name).or_else(|| {
        extent(trace, |trace, track, row| trace.label(track.slices.meta[row]).contains(name))
    })
}

/// The window of the steps from number `first` to `last`, both included: the number that a step's
/// name ends with, else that of its execution, else its place among the steps.
pub fn steps(trace: &Trace, first: u64, last: u64) -> Option<(Picos, Picos)> {
    extent(trace, |trace, track, row| {
        step_number(trace, track, row).is_some_and(|it| (first..=last).contains(&it))
    })
}

/// The numbers of the first and the last step, if there are any.
pub fn step_numbers(trace: &Trace) -> Option<(u64, u64)> {
    let rows = trace.tracks.iter().flat_map(|track| {
        (0..track.slices.len()).filter_map(move |row| step_number(trace, track, row))
    });
    rows.fold(None, |range, number| {
        let (first, last) = range.unwrap_or((number, number));
        Some((first.min(number), last.max(number)))
    })
}

fn step_number(trace: &Trace, track: &Track, row: usize) -> Option<u64> {
    if track.kind != TrackKind::Steps {
        return None;
    }
    let label = trace.label(track.slices.meta[row]);
    let digits = label.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let run = || track.slices.run_of(row).and_then(|run| u64::try_from(run).ok());
    digits.parse().ok().or_else(run).or(Some(row as u64))
}

fn extent(trace: &Trace, fits: impl Fn(&Trace, &Track, usize) -> bool) -> Option<(Picos, Picos)> {
    let rows =
        trace.tracks.iter().flat_map(|track| (0..track.slices.len()).map(move |row| (track, row)));
    rows.filter(|&(track, row)| fits(trace, track, row))
        // A window excludes its end, which a slice without a duration would be.
        .map(|(track, row)| {
            (track.slices.start[row], track.slices.end(row).saturating_add(Picos(1)))
        })
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}
