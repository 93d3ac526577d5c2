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
    trace.replays.retain_mut(|replay| match moved(replay.op) {
        Some(op) => {
            replay.op = op;
            true
        }
        None => false,
    });
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
