//! Self time: the time of a slice that none of its direct children covers.

use xscope_trace::Picos;

/// Self time of every row of a track.
///
/// A slice is the child of the nearest earlier one that includes it wholly; one that only overlaps
/// another is its sibling. This is XProf's definition.
pub fn self_times(start: &[Picos], dur: &[Picos]) -> Vec<Picos> {
    let end_of = |row: usize| start[row].saturating_add(dur[row].max(Picos::ZERO));
    let mut own: Vec<Picos> = dur.iter().map(|&dur| dur.max(Picos::ZERO)).collect();
    let mut open: Vec<usize> = Vec::new();
    for row in 0..start.len() {
        let end = end_of(row);
        while let Some(&top) = open.last()
            && end_of(top) < end.max(start[row])
        {
            open.pop();
        }
        // A parent that ends where this one starts is no parent, unless this one is empty.
        while let Some(&top) = open.last()
            && end_of(top) <= start[row]
            && end > start[row]
        {
            open.pop();
        }
        if let Some(&top) = open.last() {
            own[top] = (own[top] - dur[row].max(Picos::ZERO)).max(Picos::ZERO);
        }
        open.push(row);
    }
    own
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::self_times;

    fn check(rows: &[(i64, i64)], expected: &[i64]) {
        let start: Vec<Picos> = rows.iter().map(|row| Picos(row.0)).collect();
        let dur: Vec<Picos> = rows.iter().map(|row| Picos(row.1)).collect();
        let own: Vec<i64> = self_times(&start, &dur).iter().map(|time| time.0).collect();
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
