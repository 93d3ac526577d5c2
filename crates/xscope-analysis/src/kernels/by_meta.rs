//! Columns in which the rows of one event lie together.

use std::ops::Range;

use xscope_trace::Trace;
use xscope_trace::ids::IdVec;
use xscope_trace::model::MetaId;

/// Where rows go in a column that has those of each meta together, each in the order it is put.
///
/// One column is one allocation; a vector for each meta would be thousands.
pub(crate) struct ByMeta {
    /// The metas that have rows, in order, and where those are.
    pub ranges: Vec<(MetaId, Range<usize>)>,
    /// By meta, its place in `ranges`; means nothing for one without rows.
    places: IdVec<MetaId, u32>,
    /// By place, where the next row goes.
    next: Vec<usize>,
}

impl ByMeta {
    /// For these rows of a trace.
    pub(crate) fn of(trace: &Trace, rows: impl Iterator<Item = MetaId>) -> Self {
        let mut counts = IdVec::filled(&trace.metas, 0_usize);
        rows.for_each(|meta| counts[meta] += 1);
        let (mut ranges, mut end) = (Vec::new(), 0);
        let mut places = IdVec::filled(&trace.metas, 0);
        let counted = counts.iter_ids().filter(|&(_, &count)| count > 0);
        for (place, (meta, &count)) in (0..).zip(counted) {
            places[meta] = place;
            ranges.push((meta, end..end + count));
            end += count;
        }
        let next = ranges.iter().map(|(_, range)| range.start).collect();
        Self { ranges, places, next }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.ranges.last().map_or(0, |(_, range)| range.end)
    }

    /// The place of a meta in `ranges`, and where in the column its next row goes.
    pub(crate) fn put(&mut self, meta: MetaId) -> (usize, usize) {
        let place = self.places[meta] as usize;
        let at = self.next[place];
        self.next[place] += 1;
        (place, at)
    }
}
