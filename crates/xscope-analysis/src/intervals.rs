//! Sets of time intervals.

use xscope_trace::Picos;
use xscope_trace::model::Slices;

/// Half-open intervals, sorted, disjoint and not touching.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Intervals(pub Vec<(Picos, Picos)>);

impl Intervals {
    /// The union of intervals in any order.
    pub(crate) fn of(mut intervals: Vec<(Picos, Picos)>) -> Self {
        intervals.sort();
        let mut union = Self::default();
        for interval in intervals {
            union.push(interval);
        }
        union
    }

    /// The union of the slices of several tracks; each track's rows are sorted by start.
    pub(crate) fn of_tracks<'a>(tracks: impl Iterator<Item = &'a Slices>) -> Self {
        let mut all = Vec::new();
        for slices in tracks {
            let mut union = Self::default();
            for row in 0..slices.len() {
                union.push((slices.start[row], slices.end(row)));
            }
            all.append(&mut union.0);
        }
        Self::of(all)
    }

    /// Adds an interval that starts at or after the start of the last one.
    fn push(&mut self, (start, end): (Picos, Picos)) {
        match self.0.last_mut() {
            Some((_, last)) if start <= *last => *last = (*last).max(end),
            _ if end > start => self.0.push((start, end)),
            _ => {}
        }
    }

    pub(crate) fn total(&self) -> Picos {
        self.0.iter().fold(Picos::ZERO, |sum, &(start, end)| sum.saturating_add(end - start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy as _, prop_assert_eq, proptest};
    use xscope_trace::Picos;

    use super::Intervals;

    proptest! {
        #[test]
        fn a_union_covers_each_point_once(
            pairs in proptest::collection::vec((0_i64..60, 0_i64..20), 0..20)
                .prop_map(|pairs| pairs.into_iter().map(|(s, d)| (Picos(s), Picos(s + d))).collect::<Vec<_>>())
        ) {
            let covered = (0..100)
                .filter(|&t| pairs.iter().any(|&(s, e)| s <= Picos(t) && Picos(t) < e))
                .count();
            prop_assert_eq!(Intervals::of(pairs).total().0, i64::try_from(covered).unwrap());
        }
    }
}
