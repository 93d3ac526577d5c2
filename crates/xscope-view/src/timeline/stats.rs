//! Statistics of a range of time, by name.

use std::cmp::Reverse;
use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_analysis::kernels::nesting::self_times;
use xscope_trace::Picos;
use xscope_trace::model::{SliceRef, Slices, TrackId};

use super::{ItemKind, Timeline};

/// Most names that are told one by one.
const MOST_NAMES: usize = 200;

/// What lies in a range. Slices are cut at its edges, so that the parts of a trace add up to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeStats {
    pub slices: u64,
    /// Sum of self times.
    pub self_us: f64,
    /// By self time, largest first.
    pub names: Vec<NameStats>,
    /// Names beside those.
    pub more_names: u64,
}

/// The slices of one name in a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NameStats {
    pub name: String,
    pub count: u64,
    pub total_us: f64,
    pub self_us: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    total: Picos,
    own: Picos,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.total = self.total + other.total;
        self.own = self.own + other.own;
    }
}

impl Timeline {
    /// Sums up what lies between two times on some items; on all tracks if none is named.
    pub fn stats(&self, from: Picos, to: Picos, items: &[Range<u32>]) -> RangeStats {
        let sums = self
            .tracks(items)
            .into_par_iter()
            .map(|track| self.sums_of_track(track, from, to))
            .reduce(FxHashMap::default, |mut a, b| {
                #[expect(clippy::iter_over_hash_type, reason = "sums do not depend on the order")]
                for (name, sum) in b {
                    a.entry(name).or_insert_with(Sum::default).add(sum);
                }
                a
            });
        let mut sums: Vec<(u32, Sum)> = sums.into_iter().collect();
        sums.sort_unstable_by_key(|&(name, sum)| (Reverse((sum.own, sum.total)), name));
        let own = sums.iter().fold(Picos::ZERO, |total, (_, sum)| total + sum.own);
        let names = sums.iter().take(MOST_NAMES).map(|&(name, sum)| NameStats {
            name: self.name(name),
            count: sum.count,
            total_us: sum.total.as_micros(),
            self_us: sum.own.as_micros(),
        });
        RangeStats {
            slices: sums.iter().map(|(_, sum)| sum.count).sum(),
            self_us: own.as_micros(),
            names: names.collect(),
            more_names: sums.len().saturating_sub(MOST_NAMES) as u64,
        }
    }

    fn tracks(&self, items: &[Range<u32>]) -> Vec<TrackId> {
        let all = 0..u32::try_from(self.tree.items.len()).unwrap_or(u32::MAX);
        let items = if items.is_empty() { std::slice::from_ref(&all) } else { items };
        let last = all.end;
        let places = items.iter().flat_map(|range| range.start.min(last)..range.end.min(last));
        let mut tracks: Vec<TrackId> = places
            .filter_map(|item| match self.tree.items[item as usize].kind {
                ItemKind::Track(track) => Some(track),
                _ => None,
            })
            .collect();
        tracks.sort_unstable();
        tracks.dedup();
        tracks
    }

    fn sums_of_track(&self, track: TrackId, from: Picos, to: Picos) -> FxHashMap<u32, Sum> {
        let mut sums: FxHashMap<u32, Sum> = FxHashMap::default();
        let Some(slices) = self.slices(track) else { return sums };
        let (rows, start, dur) = cut_rows(slices, from, to);
        for ((row, own), &total) in rows.into_iter().zip(self_times(&start, &dur)).zip(&dur) {
            let name = self.name_id(SliceRef { track, row });
            sums.entry(name).or_default().add(Sum { count: 1, total, own });
        }
        sums
    }
}

/// The slices of a range, with start and duration cut at its edges.
fn cut_rows(slices: &Slices, from: Picos, to: Picos) -> (Vec<u32>, Vec<Picos>, Vec<Picos>) {
    let (mut rows, mut starts, mut durs) = (Vec::new(), Vec::new(), Vec::new());
    let until = slices.start.partition_point(|&start| start < to);
    for (row, number) in (0..until).zip(0_u32..) {
        let (start, end) = (slices.start[row], slices.end(row));
        if end > from || start >= from {
            let start = start.max(from);
            rows.push(number);
            starts.push(start);
            durs.push(end.min(to) - start);
        }
    }
    (rows, starts, durs)
}
