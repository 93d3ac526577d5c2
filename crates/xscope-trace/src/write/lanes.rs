//! Distributes slices that overlap over lanes in which they nest, because most formats hold a
//! stack of slices for each track.

use crate::model::Slices;
use crate::time::Picos;

/// Most lanes of a track. A slice that fits in none of them is cut where the one around it ends.
const MOST_LANES: usize = 256;

/// When a slice starts and ends; what never ended encloses the rest.
pub(super) fn stretch(slices: &Slices, row: usize) -> (Picos, Picos) {
    let end = match slices.dur[row] {
        dur if dur < Picos::ZERO => Picos(i64::MAX),
        _ => slices.end(row),
    };
    (slices.start[row], end)
}

/// One end of a slice in one lane, in the order in which a stack opens and closes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Begin,
    End,
}

/// What [`Lanes`] hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub edge: Edge,
    pub lane: usize,
    pub row: usize,
    pub at: Picos,
    /// How many slices are open around it.
    pub depth: usize,
}

/// The lanes of one track: for each, the slices that are open.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    open: Vec<Vec<(usize, Picos)>>,
    pub clipped: u64,
}

impl Lanes {
    /// Walks the rows of a track in order, and tells `visit` each begin and end. Ends of slices
    /// that never ended are not told.
    pub(super) fn walk<E>(
        slices: &Slices,
        mut visit: impl FnMut(Step) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut lanes = Self::default();
        for row in 0..slices.len() {
            let (start, end) = stretch(slices, row);
            lanes.push(row, start, end, &mut visit)?;
        }
        lanes.finish(&mut visit)?;
        Ok(lanes)
    }

    /// Adds a slice that starts no earlier than those before it.
    pub(super) fn push<E>(
        &mut self,
        row: usize,
        start: Picos,
        end: Picos,
        visit: &mut impl FnMut(Step) -> Result<(), E>,
    ) -> Result<(), E> {
        for lane in 0..self.open.len() {
            self.close(lane, start, visit)?;
        }
        let fits = |stack: &Vec<(usize, Picos)>| stack.last().is_none_or(|&(_, top)| top >= end);
        let (lane, end) = match self.open.iter().position(fits) {
            Some(lane) => (lane, end),
            None if self.open.len() < MOST_LANES => {
                self.open.push(Vec::new());
                (self.open.len() - 1, end)
            }
            None => {
                self.clipped += 1;
                let top = self.open[MOST_LANES - 1].last().map_or(end, |&(_, top)| top);
                (MOST_LANES - 1, top.min(end))
            }
        };
        let depth = self.open[lane].len();
        visit(Step { edge: Edge::Begin, lane, row, at: start, depth })?;
        self.open[lane].push((row, end));
        Ok(())
    }

    /// Ends all slices that are still open.
    pub(super) fn finish<E>(
        &mut self,
        visit: &mut impl FnMut(Step) -> Result<(), E>,
    ) -> Result<(), E> {
        for lane in 0..self.open.len() {
            // What never ended stays open, and with it nothing else: it encloses the rest.
            self.close(lane, Picos(i64::MAX - 1), visit)?;
        }
        Ok(())
    }

    fn close<E>(
        &mut self,
        lane: usize,
        until: Picos,
        visit: &mut impl FnMut(Step) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&(row, end)) = self.open[lane].last() {
            if end > until {
                break;
            }
            self.open[lane].pop();
            let depth = self.open[lane].len();
            visit(Step { edge: Edge::End, lane, row, at: end, depth })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Edge, Lanes};
    use crate::model::{MetaId, Slices};
    use crate::time::Picos;

    fn walk(rows: &[(i64, i64)]) -> Vec<(bool, usize, usize, i64)> {
        let slices = Slices {
            start: rows.iter().map(|row| Picos(row.0)).collect(),
            dur: rows.iter().map(|row| Picos(row.1)).collect(),
            meta: vec![MetaId(0); rows.len()],
            ..Slices::default()
        };
        let mut steps = Vec::new();
        let lanes = Lanes::walk(&slices, |step| {
            steps.push((step.edge == Edge::Begin, step.lane, step.row, step.at.0));
            Ok::<(), ()>(())
        });
        assert_eq!(lanes.unwrap().clipped, 0);
        steps
    }

    #[test]
    fn what_nests_stays_in_one_lane_and_what_crosses_does_not() {
        let steps = walk(&[(0, 10), (2, 3), (4, 10), (20, -1), (21, 1)]);
        let expected = [
            (true, 0, 0, 0),
            (true, 0, 1, 2),
            (true, 1, 2, 4),
            (false, 0, 1, 5),
            (false, 0, 0, 10),
            (false, 1, 2, 14),
            (true, 0, 3, 20),
            (true, 0, 4, 21),
            (false, 0, 4, 22),
        ];
        assert_eq!(steps, expected);
    }
}
