//! Cuts a trace to a window of time, slices at its edges included: what is summed over the parts of
//! a trace then adds up to the whole. [`trim`] keeps such slices whole instead,
//! so that a file still shows what really happened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::ids::IdVec;
use crate::model::{DeviceId, MetaId, SliceRef, Slices, SourceId, Trace, TrackId, TrackKind};
use crate::time::Picos;
use crate::trim::slices::{Cut, trim};

/// The window that a trace was cut to, and what only the whole trace said.
#[derive(Debug, Clone)]
pub struct Window {
    /// Included.
    pub from: Picos,
    /// Excluded.
    pub to: Picos,
    /// Start and duration that slices had before they were cut.
    whole: BTreeMap<SliceRef, (Picos, Picos)>,
    /// Slices of each source before the cut.
    events: IdVec<SourceId, u64>,
    /// Operations before the window of executions that reach into it.
    ran_before: BTreeMap<(DeviceId, i64, MetaId), u64>,
}

impl Window {
    /// The rows of a track that an edge of the window cut, with their start and duration before.
    pub fn cut_rows(&self, track: TrackId) -> impl Iterator<Item = (u32, (Picos, Picos))> {
        let first = SliceRef { track, row: 0 };
        let last = SliceRef { track, row: u32::MAX };
        self.whole.range(first..=last).map(|(slice, &times)| (slice.row, times))
    }

    /// How many slices a source had, those outside of the window included.
    pub fn events_of(&self, source: SourceId) -> u64 {
        self.events.get(source).copied().unwrap_or(0)
    }

    /// How often an operation had run before the window in an execution (`run_id`, 0 where there
    /// is none) that reaches into it.
    pub fn ran_before(&self, device: DeviceId, run: i64, meta: MetaId) -> u64 {
        self.ran_before.get(&(device, run, meta)).copied().unwrap_or(0)
    }

    /// Whether a stretch lies wholly in the window.
    pub fn holds(&self, start: Picos, end: Picos) -> bool {
        start >= self.from && end <= self.to
    }
}

/// Cuts `trace` to the window between `from`, included, and `to`, excluded. Times stay as they are.
///
/// Slices that reach into the window are cut at its edges; requests and their spans are kept whole.
/// A slice that never ended begins at the edge and still has no end.
pub fn clip(trace: &mut Trace, from: Picos, to: Picos) -> Window {
    let mut events = IdVec::filled(&trace.sources, 0);
    for track in &trace.tracks {
        if let Some(count) = events.get_mut(track.source) {
            *count += track.slices.len() as u64;
        }
    }
    let ran_before = ran_before(trace, from);
    trim(trace, &Cut { window: Some((from, to)), drop: Vec::new() });
    let mut window = Window { from, to, whole: BTreeMap::new(), events, ran_before };
    let mut moved: FxHashMap<SliceRef, SliceRef> = FxHashMap::default();
    for id in trace.tracks.ids() {
        clip_slices(&mut trace.tracks[id].slices, id, &mut window, &mut moved);
    }
    if !moved.is_empty() {
        let flows = trace.flows.iter_mut().flat_map(|flow| [&mut flow.from, &mut flow.to]);
        for end in flows.chain(trace.replays.iter_mut().map(|replay| &mut replay.op)) {
            *end = moved.get(end).copied().unwrap_or(*end);
        }
    }
    window
}

fn ran_before(trace: &Trace, from: Picos) -> BTreeMap<(DeviceId, i64, MetaId), u64> {
    let mut counts = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        let Some(device) = track.device else { continue };
        let slices = &track.slices;
        let run = |row: usize| slices.run_of(row).unwrap_or(0);
        let begun = slices.start.partition_point(|&start| start < from);
        let (before, reaching): (Vec<usize>, Vec<usize>) =
            (0..begun).partition(|&row| slices.end(row) <= from && slices.dur[row] >= Picos::ZERO);
        let inside: BTreeSet<i64> =
            reaching.into_iter().chain(begun..slices.len()).map(run).collect();
        for row in before.into_iter().filter(|&row| inside.contains(&run(row))) {
            *counts.entry((device, run(row), slices.meta[row])).or_default() += 1;
        }
    }
    counts
}

/// Cuts the slices of one track; `moved` gets the rows that change places.
fn clip_slices(
    slices: &mut Slices,
    track: TrackId,
    window: &mut Window,
    moved: &mut FxHashMap<SliceRef, SliceRef>,
) {
    let rows = u32::try_from(slices.len()).unwrap_or(u32::MAX);
    let mut cut: Vec<(u32, (Picos, Picos))> = Vec::new();
    for row in 0..rows {
        let at = row as usize;
        let (start, dur) = (slices.start[at], slices.dur[at]);
        let from = start.max(window.from);
        let to = slices.end(at).min(window.to).max(from);
        let is_finished = dur >= Picos::ZERO;
        if from != start || (is_finished && to - from != dur) {
            cut.push((row, (start, dur)));
            slices.start[at] = from;
            slices.dur[at] = if is_finished { to - from } else { dur };
        }
    }
    // Slices that overlap in part may end in another order than they began.
    let first = slices.start.partition_point(|&start| start <= window.from);
    let length = |row: usize| match slices.dur[row] {
        dur if dur < Picos::ZERO => Picos(i64::MAX),
        dur => dur,
    };
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order[..first].sort_by_key(|&row| Reverse(length(row)));
    let mut places: FxHashMap<u32, u32> = FxHashMap::default();
    if !order.is_sorted() {
        slices.permute(&order);
        for (new, &old) in (0..).zip(&order[..first]) {
            let Ok(old) = u32::try_from(old) else { continue };
            places.insert(old, new);
            moved.insert(SliceRef { track, row: old }, SliceRef { track, row: new });
        }
    }
    for (row, times) in cut {
        let row = places.get(&row).copied().unwrap_or(row);
        window.whole.insert(SliceRef { track, row }, times);
    }
}

#[cfg(test)]
mod tests {
    use super::{Picos, clip};
    use crate::model::{
        Flow, MetaId, SliceRef, Slices, SourceId, Trace, Track, TrackId, TrackKind,
    };
    use crate::strings::StrId;

    fn trace(rows: &[(i64, i64)]) -> Trace {
        let mut trace = Trace::default();
        trace.metas.push(crate::model::EventMeta::default());
        trace.tracks.push(Track {
            kind: TrackKind::Ops,
            name: StrId::EMPTY,
            source: SourceId(0),
            process: StrId::EMPTY,
            pid: 1,
            tid: 1,
            device: None,
            slices: Slices {
                start: rows.iter().map(|row| Picos(row.0)).collect(),
                dur: rows.iter().map(|row| Picos(row.1)).collect(),
                meta: vec![MetaId(0); rows.len()],
                ..Slices::default()
            },
        });
        trace
    }

    fn check(rows: &[(i64, i64)], window: (i64, i64), expected: &[(i64, i64)]) {
        let mut trace = trace(rows);
        clip(&mut trace, Picos(window.0), Picos(window.1));
        let slices = &trace.tracks[TrackId(0)].slices;
        let found: Vec<_> = slices.start.iter().zip(&slices.dur).map(|(s, d)| (s.0, d.0)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn slices_are_cut_at_the_edges_and_stay_in_order() {
        check(&[(0, 100), (10, 20), (40, 100)], (20, 50), &[(20, 30), (20, 10), (40, 10)]);
        check(&[(0, 10), (20, 5), (25, 0), (30, 0)], (10, 30), &[(20, 5), (25, 0)]);
        // The second ends later than the first, so it comes first where both are cut.
        check(&[(0, 10), (5, 10)], (8, 20), &[(8, 7), (8, 2)]);
        check(&[(0, -1), (5, 5)], (8, 20), &[(8, -1), (8, 2)]);
    }

    #[test]
    fn what_refers_to_slices_follows_them() {
        let mut trace = trace(&[(0, 10), (5, 10)]);
        let at = |row| SliceRef { track: TrackId(0), row };
        trace.flows.push(Flow { from: at(0), to: at(1) });
        let window = clip(&mut trace, Picos(8), Picos(20));
        assert_eq!(trace.flows, [Flow { from: at(1), to: at(0) }]);
        let cut: Vec<_> = window.cut_rows(TrackId(0)).collect();
        assert_eq!(cut, [(0, (Picos(5), Picos(10))), (1, (Picos(0), Picos(10)))]);
    }
}
