//! The index of one track: where each slice is drawn, and from which zoom level on.
//!
//! Slices are put into rows in which none overlaps another. Within a row each slice is stored once,
//! in the coarsest layer in which it is visible: where it is at least as long as that layer's
//! resolution, or begins that long after the last visible one. What is hidden between two visible
//! slices needs no entry: ranks in the row say how many there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use xscope_trace::Picos;
use xscope_trace::model::Slices;

/// Most rows of a track. What is nested deeper is found and counted, but not drawn.
const MOST_ROWS: u32 = 1024;

/// Rows with fewer slices are looked through: layers would not be shorter.
const FEW: usize = 128;

/// Resolutions are powers of two, in picoseconds.
const LAYER_COUNT: u8 = 63;
const LAYERS: usize = LAYER_COUNT as usize;

/// Every how many slices of a row the sum of durations is kept.
const STRIDE: usize = 16;

/// The row of a slice that has none, because it is nested too deep.
pub(crate) const NO_ROW: u16 = u16::MAX;

/// Where the slices of one track are drawn.
#[derive(Debug, Default)]
pub(crate) struct TrackIndex {
    rows: Vec<Row>,
    /// The row of each slice.
    row_of: Vec<u16>,
    /// Slices that have no row.
    pub too_deep: u64,
}

#[derive(Debug, Default)]
struct Row {
    /// Slices in the order of time: a slice's place here is its rank.
    slices: Vec<u32>,
    /// Ranks by layer, coarsest first; empty for short rows.
    layers: Vec<u32>,
    /// Resolution of each layer as a power of two, and where it begins in `layers`.
    starts: Vec<(u8, u32)>,
    /// Sum of durations before rank 0, [`STRIDE`], two of it ...; kept with `layers` only.
    sums: Vec<i64>,
}

/// What is drawn as one box: a slice, or several that are too short to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Row in the track.
    pub row: u16,
    /// The first slice.
    pub slice: u32,
    pub count: u32,
    pub start: Picos,
    /// To the end of the last slice; negative for one that never ended.
    pub dur: Picos,
    /// Time in which slices run.
    pub busy: Picos,
}

/// A stretch of time and the length of a pixel in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub from: Picos,
    pub to: Picos,
    pub pixel: Picos,
}

impl View {
    pub(crate) fn new(from: Picos, to: Picos, pixels: u32) -> Self {
        let to = to.max(from);
        let pixel = (to - from).0 / i64::from(pixels.max(1));
        Self { from, to, pixel: Picos(pixel.max(1)) }
    }
}

impl TrackIndex {
    pub(crate) fn of(slices: &Slices) -> Self {
        let row_of = nested(slices).unwrap_or_else(|| first_fit(slices));
        let count = row_of.iter().filter(|&&row| row != NO_ROW).max().map_or(0, |&row| row + 1);
        let mut sizes = vec![0; usize::from(count)];
        for &row in row_of.iter().filter(|&&row| row != NO_ROW) {
            sizes[usize::from(row)] += 1;
        }
        let mut rows: Vec<Row> = sizes
            .into_iter()
            .map(|size| Row { slices: Vec::with_capacity(size), ..Row::default() })
            .collect();
        let mut too_deep = 0;
        for (&row, slice) in row_of.iter().zip(0_u32..) {
            match rows.get_mut(usize::from(row)) {
                Some(row) => row.slices.push(slice),
                None => too_deep += 1,
            }
        }
        for row in rows.iter_mut().filter(|row| row.slices.len() >= FEW) {
            row.add_layers(slices);
        }
        Self { rows, row_of, too_deep }
    }

    pub(crate) fn row_count(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(MOST_ROWS)
    }

    /// The row that a slice is drawn in.
    pub(crate) fn row_of(&self, slice: u32) -> u16 {
        self.row_of.get(slice as usize).copied().unwrap_or(NO_ROW)
    }

    /// Adds what is drawn of `view`: row by row, in the order of time.
    pub(crate) fn query(&self, slices: &Slices, view: View, out: &mut Vec<Merged>) {
        let mut shown = Vec::new();
        for (row, number) in self.rows.iter().zip(0..) {
            row.shown(slices, view, &mut shown);
            row.merge(slices, view, &shown, number, out);
        }
    }
}

impl Row {
    fn add_layers(&mut self, slices: &Slices) {
        let mut layers: [Vec<u32>; LAYERS] = [const { Vec::new() }; LAYERS];
        // End of the last slice that is visible in each layer.
        let mut last: [i64; LAYERS] = [i64::MIN; LAYERS];
        let mut sum = 0_i64;
        for (&slice, rank) in self.slices.iter().zip(0_u32..) {
            let slice = slice as usize;
            if (rank as usize).is_multiple_of(STRIDE) {
                self.sums.push(sum);
            }
            let dur = slices.dur[slice].0.max(0);
            sum = sum.saturating_add(dur);
            let (start, end) = (slices.start[slice].0, slices.end(slice).0);
            let gap = |layer: usize| start.saturating_sub(last[layer]);
            let long = log2(dur);
            // No layer can be coarser than the gap to what its coarsest one shows.
            let mut layer = log2(gap(LAYERS - 1)).max(long);
            while layer > long && gap(layer) < 1 << layer {
                layer -= 1;
            }
            layers[layer].push(rank);
            last[..=layer].fill(end);
        }
        self.layers.reserve_exact(self.slices.len());
        for (layer, resolution) in layers.iter().zip(0..LAYER_COUNT).rev() {
            if !layer.is_empty() {
                let at = u32::try_from(self.layers.len()).unwrap_or(u32::MAX);
                self.starts.push((resolution, at));
                self.layers.extend_from_slice(layer);
            }
        }
    }

    /// The ranks that touch the view.
    fn range(&self, slices: &Slices, view: View) -> (usize, usize) {
        let start = |slice: u32| slices.start[slice as usize];
        let mut first = self.slices.partition_point(|&slice| start(slice) < view.from);
        let until = self.slices.partition_point(|&slice| start(slice) < view.to);
        if let Some(&before) = first.checked_sub(1).and_then(|rank| self.slices.get(rank))
            && slices.end(before as usize) > view.from
        {
            first -= 1;
        }
        (first, until.max(first))
    }

    /// Puts the ranks that begin a box into `shown`, in order, and behind them where the last ends.
    fn shown(&self, slices: &Slices, view: View, shown: &mut Vec<u32>) {
        shown.clear();
        let (first, until) = self.range(slices, view);
        if first == until {
            return;
        }
        let [first, until] = [first, until].map(|rank| u32::try_from(rank).unwrap_or(u32::MAX));
        shown.push(first);
        if self.layers.is_empty() {
            shown.extend(first + 1..until);
        } else {
            self.visible(view.pixel, first + 1..until, shown);
            shown.sort_unstable();
        }
        shown.push(until);
    }

    /// Adds the ranks in `range` of all layers that a pixel can show.
    fn visible(&self, pixel: Picos, range: std::ops::Range<u32>, out: &mut Vec<u32>) {
        let finest = log2(pixel.0);
        for (index, &(resolution, at)) in self.starts.iter().enumerate() {
            if usize::from(resolution) < finest {
                break;
            }
            let end = self.starts.get(index + 1).map_or(self.layers.len(), |next| next.1 as usize);
            let layer = &self.layers[at as usize..end];
            let from = layer.partition_point(|&rank| rank < range.start);
            let to = layer.partition_point(|&rank| rank < range.end);
            out.extend_from_slice(&layer[from..to.max(from)]);
        }
    }

    /// Makes boxes of at least a pixel, as far as slices allow, of what stands between two ranks of
    /// `shown`.
    fn merge(&self, slices: &Slices, view: View, shown: &[u32], row: u16, out: &mut Vec<Merged>) {
        let short = |rank: u32| {
            let dur = slices.dur[self.slices[rank as usize] as usize];
            dur >= Picos::ZERO && dur < view.pixel
        };
        let start_of = |rank: u32| slices.start[self.slices[rank as usize] as usize];
        let mut open: Option<u32> = None;
        for pair in shown.windows(2) {
            let (rank, next) = (pair[0], pair[1]);
            if !short(rank) {
                if let Some(begin) = open.take() {
                    out.push(self.merged(slices, begin..rank, row));
                }
                out.push(self.merged(slices, rank..rank + 1, row));
                if rank + 1 < next {
                    open = Some(rank + 1);
                }
                continue;
            }
            if let Some(begin) = open
                && start_of(rank) - start_of(begin) >= view.pixel
            {
                out.push(self.merged(slices, begin..rank, row));
                open = None;
            }
            open.get_or_insert(rank);
        }
        if let (Some(begin), Some(&until)) = (open, shown.last()) {
            out.push(self.merged(slices, begin..until, row));
        }
    }

    fn merged(&self, slices: &Slices, ranks: std::ops::Range<u32>, row: u16) -> Merged {
        let first = self.slices[ranks.start as usize];
        let last = self.slices[ranks.end as usize - 1] as usize;
        let start = slices.start[first as usize];
        let count = ranks.end - ranks.start;
        let dur = match count {
            1 => slices.dur[last],
            _ => slices.end(last) - start,
        };
        let (from, to) = (ranks.start as usize, ranks.end as usize);
        let busy = match count {
            1 => dur.max(Picos::ZERO),
            _ => Picos(self.sum_before(slices, to).saturating_sub(self.sum_before(slices, from))),
        };
        Merged { row, slice: first, count, start, dur, busy }
    }

    /// Time in slices of lower rank.
    fn sum_before(&self, slices: &Slices, rank: usize) -> i64 {
        // The last stride may begin behind the last slice.
        let stride = (rank / STRIDE).min(self.sums.len().saturating_sub(1));
        let begin = if self.sums.is_empty() { 0 } else { stride * STRIDE };
        let rest = self.slices[begin..rank].iter();
        let known = self.sums.get(stride).copied().unwrap_or(0);
        rest.fold(known, |sum, &slice| sum.saturating_add(slices.dur[slice as usize].0.max(0)))
    }
}

/// The power of two that is not above `value`; 0 for what is below 2.
fn log2(value: i64) -> usize {
    value.checked_ilog2().map_or(0, |power| power as usize).min(LAYERS - 1)
}

/// Rows by nesting; `None` if slices overlap that do not nest.
fn nested(slices: &Slices) -> Option<Vec<u16>> {
    let mut open: Vec<Picos> = Vec::new();
    let mut rows = Vec::with_capacity(slices.len());
    for slice in 0..slices.len() {
        let start = slices.start[slice];
        while open.last().is_some_and(|&end| end <= start) {
            open.pop();
        }
        let end = slices.end(slice);
        if open.last().is_some_and(|&around| around < end) {
            return None;
        }
        rows.push(row_number(open.len()));
        open.push(end);
    }
    Some(rows)
}

/// Each slice in the first row that is free.
fn first_fit(slices: &Slices) -> Vec<u16> {
    let mut used: BinaryHeap<Reverse<(Picos, usize)>> = BinaryHeap::new();
    let mut free: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    let mut count = 0;
    let mut rows = Vec::with_capacity(slices.len());
    for slice in 0..slices.len() {
        let start = slices.start[slice];
        while let Some(&Reverse((end, row))) = used.peek()
            && end <= start
        {
            used.pop();
            free.push(Reverse(row));
        }
        let row = free.pop().map_or(count, |row| row.0);
        count = count.max(row + 1);
        rows.push(row_number(row));
        used.push(Reverse((slices.end(slice), row)));
    }
    rows
}

fn row_number(row: usize) -> u16 {
    u16::try_from(row).ok().filter(|&row| u32::from(row) < MOST_ROWS).unwrap_or(NO_ROW)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xscope_trace::Picos;
    use xscope_trace::model::{MetaId, Slices};

    use super::{Merged, TrackIndex, View};

    fn slices(mut rows: Vec<(i64, i64)>) -> Slices {
        rows.sort_by_key(|&(start, dur)| (start, std::cmp::Reverse(dur)));
        Slices {
            start: rows.iter().map(|row| Picos(row.0)).collect(),
            dur: rows.iter().map(|row| Picos(row.1)).collect(),
            meta: vec![MetaId(0); rows.len()],
            ..Slices::default()
        }
    }

    fn query(slices: &Slices, view: View) -> Vec<Merged> {
        let mut out = Vec::new();
        TrackIndex::of(slices).query(slices, view, &mut out);
        out
    }

    fn touches(slices: &Slices, slice: usize, view: View) -> bool {
        let start = slices.start[slice];
        start < view.to && (start >= view.from || slices.end(slice) > view.from)
    }

    /// What must hold of every answer, found out by looking at every slice.
    fn check(slices: &Slices, view: View) {
        let index = TrackIndex::of(slices);
        let boxes = query(slices, view);
        let inside: Vec<usize> =
            (0..slices.len()).filter(|&slice| touches(slices, slice, view)).collect();
        let drawn: usize = boxes.iter().map(|it| it.count as usize).sum();
        assert_eq!(drawn, inside.len(), "every slice is in one box");
        let busy: i64 = boxes.iter().map(|it| it.busy.0).sum();
        let expected: i64 = inside.iter().map(|&slice| slices.dur[slice].0.max(0)).sum();
        assert_eq!(busy, expected, "no time is lost");
        for &slice in &inside {
            let row = index.row_of(u32::try_from(slice).unwrap());
            let (start, end) = (slices.start[slice], slices.end(slice));
            let holds = |it: &&Merged| {
                it.row == row && it.start <= start && end <= it.start + it.dur.max(Picos::ZERO)
            };
            let around = boxes.iter().find(holds).expect("a box holds each slice");
            if slices.dur[slice] >= view.pixel {
                assert_eq!(around.count, 1, "what a pixel can show stands alone");
            }
        }
        for pair in boxes.windows(2).filter(|pair| pair[0].row == pair[1].row) {
            assert!(pair[0].start + pair[0].dur.max(Picos::ZERO) <= pair[1].start);
        }
        let pixels = (view.to - view.from).0 / view.pixel.0 + 1;
        let bound = 4 * pixels + 4;
        let rows = i64::from(index.row_count());
        if slices.len() >= super::FEW {
            assert!(i64::try_from(boxes.len()).unwrap() <= bound * rows, "{}", boxes.len());
        }
    }

    proptest! {
        #[test]
        fn a_window_holds_what_looking_at_every_slice_finds(
            rows in prop::collection::vec((0_i64..5_000, -1_i64..400), 0..700),
            from in -10_i64..5_000,
            length in 1_i64..6_000,
            pixels in 1_u32..200,
        ) {
            check(&slices(rows), View::new(Picos(from), Picos(from + length), pixels));
        }

        #[test]
        fn short_slices_are_merged_and_counted(
            gaps in prop::collection::vec((0_i64..40, 0_i64..9), 130..900),
            from in 0_i64..3_000,
            length in 1_i64..30_000,
            pixels in 1_u32..50,
        ) {
            let mut at = 0;
            let rows = gaps.iter().map(|&(gap, dur)| {
                at += gap;
                let row = (at, dur);
                at += dur;
                row
            });
            check(&slices(rows.collect()), View::new(Picos(from), Picos(from + length), pixels));
        }
    }

    #[test]
    fn rows_nest_or_take_the_first_that_is_free() {
        let rows = |rows: &[(i64, i64)]| TrackIndex::of(&slices(rows.to_vec())).row_of;
        assert_eq!(rows(&[(0, 100), (10, 50), (20, 10), (70, 20)]), [0, 1, 2, 1]);
        assert_eq!(rows(&[(0, 10), (5, 10), (10, 10)]), [0, 1, 0]);
        assert_eq!(rows(&[(0, 10), (10, 0), (10, 5)]), [0, 0, 1]);
    }

    #[test]
    fn what_is_nested_too_deep_is_counted() {
        let deep: Vec<_> = (0..3000).map(|at| (at, 10_000 - 2 * at)).collect();
        let index = TrackIndex::of(&slices(deep));
        assert_eq!((index.row_count(), index.too_deep), (super::MOST_ROWS, 3000 - 1024));
    }

    #[test]
    fn times_at_the_ends_of_the_range_are_no_trouble() {
        let rows = vec![(i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (0, -1), (i64::MIN, 0)];
        let found = query(&slices(rows), View::new(Picos(i64::MIN), Picos(i64::MAX), 100));
        assert_eq!(found.iter().map(|it| it.count).sum::<u32>(), 3, "the end is excluded");
    }
}
