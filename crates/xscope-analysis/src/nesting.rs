//! Self time: the time of a slice that none of its direct children covers.

use xscope_trace::Picos;
use xscope_trace::model::Slices;

/// Self time of every row of a track.
///
/// A slice is the child of the nearest earlier one that includes it wholly; one that only overlaps
/// another is its sibling. This is XProf's definition.
pub(crate) fn self_times(slices: &Slices) -> Vec<Picos> {
    let mut own: Vec<Picos> = slices.dur.iter().map(|&dur| dur.max(Picos::ZERO)).collect();
    let mut open: Vec<usize> = Vec::new();
    for row in 0..slices.len() {
        let end = slices.end(row);
        while let Some(&top) = open.last()
            && slices.end(top) < end.max(slices.start[row])
        {
            open.pop();
        }
        // A parent that ends where this one starts is no parent, unless this one is empty.
        while let Some(&top) = open.last()
            && slices.end(top) <= slices.start[row]
            && end > slices.start[row]
        {
            open.pop();
        }
        if let Some(&top) = open.last() {
            own[top] = (own[top] - own_duration(slices, row)).max(Picos::ZERO);
        }
        open.push(row);
    }
    own
}

fn own_duration(slices: &Slices, row: usize) -> Picos {
    slices.dur[row].max(Picos::ZERO)
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;
    use xscope_trace::model::{MetaId, Slices};

    use super::self_times;

    fn check(rows: &[(i64, i64)], expected: &[i64]) {
        let slices = Slices {
            start: rows.iter().map(|row| Picos(row.0)).collect(),
            dur: rows.iter().map(|row| Picos(row.1)).collect(),
            meta: vec![MetaId(0); rows.len()],
            ..Slices::default()
        };
        let own: Vec<i64> = self_times(&slices).iter().map(|time| time.0).collect();
        assert_eq!(own, expected, "{rows:?}");
    }

    #[test]
    fn only_direct_children_count() {
        check(&[(0, 100), (10, 50), (20, 10), (70, 20)], &[30, 40, 10, 20]);
    }

    #[test]
    fn neighbours_and_overlaps_are_siblings() {
        check(&[(0, 10), (10, 10)], &[10, 10]);
        check(&[(0, 10), (5, 10)], &[10, 10]);
        check(&[(0, 10), (0, 10), (0, 0)], &[0, 10, 0]);
    }
}
