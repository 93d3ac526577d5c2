//! Sets of time intervals.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rayon::prelude::*;
use xscope_trace::Picos;
use xscope_trace::model::Slices;

/// Half-open intervals, sorted, disjoint and not touching.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Intervals(pub Vec<(Picos, Picos)>);

impl Intervals {
    /// The union of intervals in any order.
    pub(crate) fn of(mut intervals: Vec<(Picos, Picos)>) -> Self {
        intervals.retain(|&(start, end)| start < end);
        intervals.sort_unstable();
        intervals.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        Self(intervals)
    }

    /// The union of the slices of several tracks; each track's rows are sorted by start.
    pub(crate) fn of_tracks<'a>(tracks: impl Iterator<Item = &'a Slices>) -> Self {
        Self::of_sets(tracks.map(|slices| Self::of_ordered(slices.times())).collect())
    }

    /// The union of intervals in order of their start.
    pub(crate) fn of_ordered(intervals: impl Iterator<Item = (Picos, Picos)>) -> Self {
        let mut union = Self::default();
        for interval in intervals {
            union.push(interval);
        }
        union
    }

    /// The union of several sets.
    pub(crate) fn of_sets(mut sets: Vec<Self>) -> Self {
        while sets.len() > 1 {
            sets = Self::unions_of_pairs(&sets);
        }
        sets.pop().unwrap_or_default()
    }

    /// The union of several sets that others need, too.
    pub(crate) fn of_all(sets: &[&Self]) -> Self {
        Self::of_sets(Self::unions_of_pairs(sets))
    }

    /// Half as many sets; so none is gone through more often than their number can be halved.
    fn unions_of_pairs<S: Borrow<Self> + Sync>(sets: &[S]) -> Vec<Self> {
        let union = |pair: &[S]| match pair {
            [first, second] => first.borrow().union(second.borrow()),
            rest => rest.first().map(|first| first.borrow().clone()).unwrap_or_default(),
        };
        sets.par_chunks(2).map(union).collect()
    }

    /// Adds an interval that starts at or after the start of the last one.
    pub(crate) fn push(&mut self, (start, end): (Picos, Picos)) {
        match self.0.last_mut() {
            Some((_, last)) if start <= *last => *last = (*last).max(end),
            _ if end > start => self.0.push((start, end)),
            _ => {}
        }
    }

    /// An empty set with room for the most that it can have: memory that is never touched costs
    /// nothing, and to grow is to copy.
    pub(crate) fn with_room(most: usize) -> Self {
        Self(Vec::with_capacity(most))
    }

    /// An empty set with room for the most that two can make.
    fn room_with(&self, other: &Self) -> Self {
        Self::with_room(self.0.len() + other.0.len())
    }

    /// What lies in either.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.as_slice(), other.0.as_slice());
        let mut union = self.room_with(other);
        while let (Some((&first, after)), Some((&second, others))) =
            (a.split_first(), b.split_first())
        {
            if first.0 <= second.0 {
                union.push(first);
                a = after;
            } else {
                union.push(second);
                b = others;
            }
        }
        for &interval in a.iter().chain(b) {
            union.push(interval);
        }
        union
    }

    /// What lies in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut common = self.room_with(other);
        let (mut a, mut b) = (0, 0);
        while let (Some(&(start, end)), Some(&(other_start, other_end))) =
            (self.0.get(a), other.0.get(b))
        {
            let (from, to) = (start.max(other_start), end.min(other_end));
            if from < to {
                common.0.push((from, to));
            }
            if end <= other_end {
                a += 1;
            } else {
                b += 1;
            }
        }
        common
    }

    /// What lies in this one only.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut rest = self.room_with(other);
        let mut at = 0;
        for &(start, end) in &self.0 {
            let mut from = start;
            while other.0.get(at).is_some_and(|hole| hole.1 <= start) {
                at += 1;
            }
            let holes = other.0[at..].iter().take_while(|hole| hole.0 < end);
            for &(hole_start, hole_end) in holes {
                if hole_start > from {
                    rest.0.push((from, hole_start));
                }
                from = from.max(hole_end);
            }
            if from < end {
                rest.0.push((from, end));
            }
        }
        rest
    }

    /// Takes out what lies in the other one; how much that is.
    pub(crate) fn cut(&mut self, other: &Self) -> Picos {
        if other.0.is_empty() {
            return Picos::ZERO;
        }
        let before = self.total();
        *self = self.minus(other);
        before - self.total()
    }

    /// Time between `start` and `end` that is covered.
    pub(crate) fn within(&self, start: Picos, end: Picos) -> Picos {
        let mut first = self.0.partition_point(|interval| interval.1 <= start);
        self.within_from(&mut first, start, end)
    }

    /// Time between `start` and `end` that is covered, of which `from` on may count; for questions in
    /// order of their start, which move `from` on.
    pub(crate) fn within_from(&self, from: &mut usize, start: Picos, end: Picos) -> Picos {
        *from += ahead(&self.0[*from..], |interval| interval.1 <= start);
        let inside = self.0[*from..].iter().take_while(|interval| interval.0 < end);
        inside.fold(Picos::ZERO, |sum, interval| {
            sum.saturating_add(interval.1.min(end) - interval.0.max(start))
        })
    }

    /// From the start of the first to the end of the last; `None` if there is none.
    pub(crate) fn extent(&self) -> Option<(Picos, Picos)> {
        self.0.first().zip(self.0.last()).map(|(first, last)| (first.0, last.1))
    }

    pub(crate) fn total(&self) -> Picos {
        self.0.iter().fold(Picos::ZERO, |sum, &(start, end)| sum.saturating_add(end - start))
    }
}

/// What several sources have in order of time, all in order of time.
pub(crate) struct Merged<S: Iterator, K> {
    sources: Vec<S>,
    /// What each source has next.
    next: Vec<Option<S::Item>>,
    /// The source whose next is the earliest: mostly the same as before.
    current: usize,
    /// When the next of the others are, the earliest on top.
    others: BinaryHeap<Reverse<(Picos, usize)>>,
    time: K,
}

impl<S: Iterator, K: Fn(&S::Item) -> Picos> Merged<S, K> {
    pub(crate) fn of(mut sources: Vec<S>, time: K) -> Self {
        let next: Vec<Option<S::Item>> = sources.iter_mut().map(Iterator::next).collect();
        let begun = next.iter().enumerate();
        let times =
            begun.filter_map(|(source, item)| Some(Reverse((time(item.as_ref()?), source))));
        let mut others: BinaryHeap<_> = times.collect();
        let current = others.pop().map_or(0, |Reverse((_, source))| source);
        Self { sources, next, current, others, time }
    }
}

impl<S: Iterator, K: Fn(&S::Item) -> Picos> Iterator for Merged<S, K> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        let next = self.next.get_mut(self.current)?;
        let item = std::mem::replace(next, self.sources[self.current].next());
        match next.as_ref().map(&self.time) {
            Some(time) => {
                if self.others.peek().is_some_and(|Reverse(first)| first.0 < time)
                    && let Some(mut first) = self.others.peek_mut()
                {
                    let Reverse((_, source)) = *first;
                    *first = Reverse((time, self.current));
                    self.current = source;
                }
            }
            None => {
                if let Some(Reverse((_, source))) = self.others.pop() {
                    self.current = source;
                }
            }
        }
        item
    }
}

/// How many items at the beginning are as asked; none of the others is. Looks at few where few are.
pub(crate) fn ahead<T>(items: &[T], is_ahead: impl Fn(&T) -> bool) -> usize {
    let mut end = 1;
    while items.get(end - 1).is_some_and(&is_ahead) {
        end *= 2;
    }
    let begin = end / 2;
    begin + items[begin..items.len().min(end)].partition_point(is_ahead)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy as _, prop_assert_eq, proptest};
    use xscope_trace::Picos;

    use super::{Intervals, Merged, ahead};

    proptest! {
        #[test]
        fn what_several_have_in_order_is_merged_in_order(
            mut sources in proptest::collection::vec(proptest::collection::vec(0_i64..30, 0..9), 0..6)
        ) {
            sources.iter_mut().for_each(|times| times.sort_unstable());
            let mut all = sources.concat();
            all.sort_unstable();
            let sources = sources.into_iter().map(Vec::into_iter).collect();
            prop_assert_eq!(Merged::of(sources, |&time| Picos(time)).collect::<Vec<_>>(), all);
        }

        #[test]
        fn what_is_ahead_is_counted(count in 0_usize..70, of in 0_usize..70) {
            let items: Vec<usize> = (0..of).collect();
            prop_assert_eq!(ahead(&items, |&item| item < count), count.min(of));
        }

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

        #[test]
        fn both_and_only_this_one_are_this_one(
            pairs in proptest::collection::vec((0_i64..60, 0_i64..20, proptest::bool::ANY), 0..20)
        ) {
            let side = |wanted| {
                let pairs = pairs.iter().filter(|pair| pair.2 == wanted);
                Intervals::of(pairs.map(|pair| (Picos(pair.0), Picos(pair.0 + pair.1))).collect())
            };
            let (a, b) = (side(true), side(false));
            let (common, only) = (a.intersection(&b), a.minus(&b));
            prop_assert_eq!(&common.union(&only), &a);
            prop_assert_eq!(common.total() + only.total(), a.total());
            prop_assert_eq!(a.union(&b).total(), only.total() + b.total());
        }

        #[test]
        fn a_union_of_sets_is_the_union_of_all(
            pairs in proptest::collection::vec((0_i64..60, 0_i64..20, 0_usize..5), 0..30)
        ) {
            let of = |wanted: &dyn Fn(usize) -> bool| {
                let pairs = pairs.iter().filter(|pair| wanted(pair.2));
                Intervals::of(pairs.map(|pair| (Picos(pair.0), Picos(pair.0 + pair.1))).collect())
            };
            let sets: Vec<Intervals> = (0..5).map(|set| of(&|of| of == set)).collect();
            prop_assert_eq!(Intervals::of_all(&sets.iter().collect::<Vec<_>>()), of(&|_| true));
            prop_assert_eq!(Intervals::of_sets(sets), of(&|_| true));
        }

        #[test]
        fn time_within_is_the_same_asked_once_or_in_order(
            pairs in proptest::collection::vec((0_i64..60, 0_i64..20), 0..20),
            mut questions in proptest::collection::vec((0_i64..80, 0_i64..30), 0..20)
        ) {
            let set = pairs.iter().map(|pair| (Picos(pair.0), Picos(pair.0 + pair.1))).collect();
            let set = Intervals::of(set);
            questions.sort_unstable();
            let mut from = 0;
            for (start, dur) in questions {
                let (start, end) = (Picos(start), Picos(start + dur));
                let part = set.intersection(&Intervals::of(vec![(start, end)])).total();
                prop_assert_eq!(set.within(start, end), part);
                prop_assert_eq!(set.within_from(&mut from, start, end), part);
            }
        }
    }
}
