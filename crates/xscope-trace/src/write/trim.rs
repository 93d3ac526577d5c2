//! Cuts a stretch of time out of a trace, and drops what is noise.

use crate::ids::IdVec;
use crate::model::{Flow, SliceRef, Slices, Trace, Track, TrackId, TrackKind};
use crate::time::Picos;

/// What is left out of a trace on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Noise {
    /// What the Python tracer recorded: names that start with `$`.
    Python,
    /// Marks without a duration that thread pools leave at each of their polls.
    IdlePolls,
    /// All host slices that are no operations.
    Host,
}

impl Noise {
    /// Whether a slice of this name and length is it; for [`Self::Host`] its track decides.
    pub(super) fn is_named(self, name: &[u8], dur: Picos) -> bool {
        match self {
            Self::Python => name.starts_with(b"$"),
            Self::IdlePolls => dur == Picos::ZERO && name.starts_with(b"ThreadpoolListener::"),
            Self::Host => false,
        }
    }
}

/// What [`trim`] keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// From, included, and to, excluded: slices that reach into it are kept whole.
    pub window: Option<(Picos, Picos)>,
    pub drop: Vec<Noise>,
}

/// What was kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    pub kept: u64,
    pub dropped: u64,
    /// Where the first part lies in the file that could not be read and was left out.
    pub damaged_at: Option<u64>,
}

impl Cut {
    /// Whether a slice reaches into the window.
    pub(super) fn covers(&self, start: Picos, end: Picos) -> bool {
        self.window.is_none_or(|(from, to)| start < to && (end > from || start >= from))
    }
}

/// Cuts `trace` down to what `cut` keeps. Times stay as they are.
pub fn trim(trace: &mut Trace, cut: &Cut) -> Trimmed {
    let mut result = Trimmed::default();
    let mut kept_rows: IdVec<TrackId, Vec<usize>> = IdVec::default();
    for track in &trace.tracks {
        let kept: Vec<usize> =
            (0..track.slices.len()).filter(|&row| keeps(trace, track, row, cut)).collect();
        result.kept += kept.len() as u64;
        result.dropped += (track.slices.len() - kept.len()) as u64;
        kept_rows.push(kept);
    }
    let moved = |slice: SliceRef| {
        let row = kept_rows.get(slice.track)?.binary_search(&(slice.row as usize)).ok()?;
        Some(SliceRef { track: slice.track, row: u32::try_from(row).ok()? })
    };
    trace.flows = trace
        .flows
        .iter()
        .filter_map(|flow| Some(Flow { from: moved(flow.from)?, to: moved(flow.to)? }))
        .collect();
    for (track, kept) in trace.tracks.iter_mut().zip(&kept_rows) {
        select(&mut track.slices, kept);
    }
    for counter in &mut trace.counters {
        let Some((from, to)) = cut.window else { continue };
        // The sample before the window says what the value is where it begins.
        let first = counter.at.partition_point(|&at| at <= from).saturating_sub(1);
        let last = counter.at.partition_point(|&at| at < to).max(first);
        counter.at = counter.at[first..last].to_vec();
        counter.value = counter.value[first..last].to_vec();
    }
    trace.spans.retain(|span| cut.covers(span.start, span.end()));
    trace.client.retain(|request| cut.covers(request.intended, request.end));
    result
}

fn keeps(trace: &Trace, track: &Track, row: usize, cut: &Cut) -> bool {
    let slices = &track.slices;
    let end = if slices.dur[row] < Picos::ZERO { Picos(i64::MAX) } else { slices.end(row) };
    let name = trace.strings.get(trace.meta(slices.meta[row]).name).as_bytes();
    let is_noise = |noise: &Noise| match noise {
        Noise::Host => track.kind == TrackKind::HostThread,
        named => named.is_named(name, slices.dur[row]),
    };
    cut.covers(slices.start[row], end) && !cut.drop.iter().any(is_noise)
}

fn select(slices: &mut Slices, kept: &[usize]) {
    if kept.len() < slices.len() {
        slices.permute(kept);
    }
}

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
