//! Which execution on one source is which on another: a session that began later lacks the first ones.

use xscope_trace::Picos;

/// How many executions more than the difference of their counts two sessions may be apart.
const MORE: i64 = 3;

/// Ends of an operation tell sessions apart only from so many on.
const LEAST: usize = 4;

/// Which execution of another list is the first of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lag {
    pub by: i64,
    /// Whether others would fit as well.
    pub is_ambiguous: bool,
}

/// How many executions `ends` begins after `others`, both in order. Ends of the same executions differ
/// by what their clocks differ, and by little more: at any other lag they scatter as the executions do.
pub(super) fn lag(others: &[Picos], ends: &[Picos]) -> Lag {
    let count = |ends: &[Picos]| i64::try_from(ends.len()).unwrap_or(i64::MAX);
    let more = count(others) - count(ends);
    let most = more.abs().saturating_add(MORE);
    let found = (-most..=most).filter_map(|by| Some((by, fit(others, ends, by)?)));
    let mut found: Vec<(i64, Fit)> = found.collect();
    found.sort_by_key(|(by, fit)| (fit.scatter, by.abs()));
    // What is told without looking at how they scatter: as many are the same ones, else the clocks say.
    let by_count = match more {
        0 => 0,
        _ => found.iter().min_by_key(|(_, fit)| fit.apart).map_or(0, |(by, _)| *by),
    };
    let least = |by| found.iter().find(|(it, _)| *it == by).map(|(_, fit)| fit.scatter);
    match found.as_slice() {
        [(by, best), (_, next), ..] if 3 * best.scatter.max(1) <= next.scatter => {
            Lag { by: *by, is_ambiguous: false }
        }
        // Too few to tell, or as good.
        [] | [_] => Lag { by: by_count, is_ambiguous: more != 0 },
        [(_, best), ..] => {
            let fits = least(by_count).is_some_and(|scatter| scatter <= 3 * best.scatter.max(1));
            let by = if fits { by_count } else { found[0].0 };
            Lag { by, is_ambiguous: more != 0 || !fits }
        }
    }
}

/// How well two lists agree at a lag.
struct Fit {
    /// The median distance of the differences from their median.
    scatter: i64,
    /// The median difference.
    apart: i64,
}

fn fit(others: &[Picos], ends: &[Picos], by: i64) -> Option<Fit> {
    let (skip, own) = (usize::try_from(by).unwrap_or(0), usize::try_from(-by).unwrap_or(0));
    let pairs = others.get(skip..)?.iter().zip(ends.get(own..)?);
    let mut apart: Vec<i64> = pairs.map(|(other, end)| end.0.saturating_sub(other.0)).collect();
    if apart.len() < LEAST {
        return None;
    }
    let middle = median(&mut apart);
    let mut scatter: Vec<i64> =
        apart.iter().map(|it| it.saturating_sub(middle).saturating_abs()).collect();
    Some(Fit { scatter: median(&mut scatter), apart: middle.saturating_abs() })
}

fn median(values: &mut [i64]) -> i64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::{Lag, lag};

    /// Executions that are not as long as each other, from one on.
    fn ends(first: i64, count: i64, ahead: i64) -> Vec<Picos> {
        let end = |at: i64| Picos(at * 1000 + (at * at * 37) % 211 + ahead);
        (first..first + count).map(end).collect()
    }

    #[test]
    fn a_session_that_began_later_or_ended_earlier_is_found_by_how_ends_differ() {
        let all = ends(0, 20, 0);
        for (first, count, by) in [(0, 20, 0), (1, 19, 1), (3, 17, 3), (0, 18, 0), (2, 20, 2)] {
            let found = lag(&all, &ends(first, count, 5_000_000));
            assert_eq!(found, Lag { by, is_ambiguous: false }, "{first} {count}");
        }
        assert_eq!(lag(&ends(2, 10, 0), &ends(0, 12, 0)).by, -2);
    }

    #[test]
    fn executions_that_are_all_alike_are_told_by_their_count_or_by_the_clocks() {
        let alike = |count: i64, ahead| (0..count).map(|at| Picos(at * 1000 + ahead)).collect();
        let all: Vec<Picos> = alike(10, 0);
        assert_eq!(lag(&all, &alike(10, 7)), Lag { by: 0, is_ambiguous: false });
        assert_eq!(lag(&all, &alike(8, 2000)), Lag { by: 2, is_ambiguous: true });
        assert_eq!(lag(&all[..2], &alike(2, 7)), Lag::default());
        assert_eq!(lag(&[], &[]), Lag::default());
    }
}
