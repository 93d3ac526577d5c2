//! Causes and effects: from a launch to its kernel, from a request to what was done for it.

use std::collections::{BTreeSet, VecDeque};

use xscope_trace::model::{Flow, SliceRef};

/// Most arrows that are followed from one slice.
const MOST_ARROWS: usize = 256;

/// An arrow from one slice to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub from: SliceRef,
    pub to: SliceRef,
    /// The slice of the request that it belongs to, if it is of one only: a batch serves many, and
    /// whoever follows one of them must not end up with all.
    pub owner: Option<SliceRef>,
}

/// Arrows by either end.
#[derive(Debug, Default)]
pub(crate) struct Arrows {
    by_from: Vec<Arrow>,
    /// Places in `by_from`.
    by_to: Vec<u32>,
}

impl Arrows {
    pub(crate) fn new(flows: &[Flow], own: Vec<Arrow>) -> Self {
        let flows = flows.iter().map(|flow| Arrow { from: flow.from, to: flow.to, owner: None });
        let mut by_from: Vec<Arrow> = flows.chain(own).collect();
        by_from.sort_unstable();
        by_from.dedup();
        let mut by_to: Vec<u32> = (0..u32::try_from(by_from.len()).unwrap_or(u32::MAX)).collect();
        by_to.sort_unstable_by_key(|&index| by_from[index as usize].to);
        Self { by_from, by_to }
    }

    fn out_of(&self, slice: SliceRef) -> impl Iterator<Item = Arrow> {
        let first = self.by_from.partition_point(|arrow| arrow.from < slice);
        self.by_from[first..].iter().take_while(move |arrow| arrow.from == slice).copied()
    }

    fn into(&self, slice: SliceRef) -> impl Iterator<Item = Arrow> {
        let to = |&index: &u32| self.by_from[index as usize].to;
        let first = self.by_to.partition_point(|index| to(index) < slice);
        let arrows = self.by_to[first..].iter().map(|&index| self.by_from[index as usize]);
        arrows.take_while(move |arrow| arrow.to == slice)
    }

    /// All arrows that lead away from a slice and to it, over others, nearest first.
    pub(crate) fn follow(&self, slice: SliceRef) -> Vec<Arrow> {
        let mut found = self.walk(slice, |at| self.out_of(at).collect(), |arrow| arrow.to);
        found.extend(self.walk(slice, |at| self.into(at).collect(), |arrow| arrow.from));
        found
    }

    fn walk(
        &self,
        slice: SliceRef,
        step: impl Fn(SliceRef) -> Vec<Arrow>,
        far_end: impl Fn(&Arrow) -> SliceRef,
    ) -> Vec<Arrow> {
        let is_request = self.out_of(slice).any(|arrow| arrow.owner == Some(slice));
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([slice]);
        let mut pending = VecDeque::from([slice]);
        while let Some(at) = pending.pop_front() {
            for arrow in step(at) {
                if is_request && arrow.owner.is_some_and(|owner| owner != slice) {
                    continue;
                }
                if found.len() == MOST_ARROWS {
                    return found;
                }
                found.push(arrow);
                let far = far_end(&arrow);
                if seen.insert(far) {
                    pending.push_back(far);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::model::{SliceRef, TrackId};

    use super::{Arrow, Arrows};

    #[test]
    fn a_request_is_followed_through_its_batch_but_not_into_others() {
        let at = |row| SliceRef { track: TrackId(0), row };
        let arrow = |from, to, owner: Option<u32>| Arrow {
            from: at(from),
            to: at(to),
            owner: owner.map(at),
        };
        // Requests 0 and 1 meet in batch 2, which runs kernel 3; their answers are 4 and 5.
        let own = vec![
            arrow(0, 2, Some(0)),
            arrow(1, 2, Some(1)),
            arrow(2, 3, None),
            arrow(2, 4, Some(0)),
            arrow(2, 5, Some(1)),
        ];
        let arrows = Arrows::new(&[], own);
        let ends = |slice| {
            let mut ends: Vec<_> =
                arrows.follow(at(slice)).iter().map(|it| (it.from.row, it.to.row)).collect();
            ends.sort_unstable();
            ends
        };
        assert_eq!(ends(0), [(0, 2), (2, 3), (2, 4)]);
        assert_eq!(ends(1), [(1, 2), (2, 3), (2, 5)]);
        assert_eq!(ends(3), [(0, 2), (1, 2), (2, 3)]);
    }
}
