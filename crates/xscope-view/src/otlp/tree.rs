//! Which span lies in which.

use xscope_trace::model::RequestSpan;

/// For each of spans that are ordered by start and descending end: the innermost one before it
/// that encloses it.
pub(crate) fn parents(ordered: &[&RequestSpan]) -> Vec<Option<usize>> {
    let mut open: Vec<usize> = Vec::new();
    let mut parents = Vec::with_capacity(ordered.len());
    for (index, span) in ordered.iter().enumerate() {
        // One that ends before this encloses nothing that begins later and is not in this one.
        while open.pop_if(|at| ordered[*at].end() < span.end()).is_some() {}
        parents.push(open.last().copied());
        open.push(index);
    }
    parents
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;
    use xscope_trace::model::{RequestSpan, SourceId};
    use xscope_trace::strings::StrId;

    use super::parents;

    #[test]
    fn spans_lie_in_the_innermost_that_encloses_them() {
        let span = |(start, end): (i64, i64)| RequestSpan {
            name: StrId::EMPTY,
            source: SourceId(0),
            start: Picos(start),
            dur: Picos(end - start),
            tid: 0,
            request: None,
            batch: None,
            args: Vec::new(),
        };
        let spans = [(0, 100), (0, 10), (5, 20), (6, 8), (30, 90), (40, 50), (45, 95), (95, 101)];
        let spans = spans.map(span);
        let found = parents(&spans.each_ref());
        let expected = [None, Some(0), Some(0), Some(2), Some(0), Some(4), Some(0), None];
        assert_eq!(found, expected);
    }
}
