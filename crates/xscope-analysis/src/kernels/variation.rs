//! What changes between executions of the same kernel.
//!
//! The executions of a kernel on a device are put into groups in several ways: the first against the
//! others, the earlier half against the later, those after a gap of their thread against the others,
//! by module execution, by how much they copy. The way that explains most of the variance of their
//! durations is named, with its fastest and slowest group; the variance that it explains is corrected
//! for the number of groups, so that many small groups explain nothing.

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::Picos;
use xscope_trace::stats::as_f64;

/// Fewest executions that can be told apart.
const FEWEST: usize = 4;

/// Deviation relative to the mean from which a kernel varies at all.
const STEADY: f64 = 0.1;

/// Share of the variance from which a cause is named.
const EXPLAINS: f64 = 0.3;

/// Why executions of a kernel differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Variation {
    /// `nothing` (they are steady), `first`, `drift`, `gap`, `execution`, `bytes` or `unknown`.
    pub with: &'static str,
    /// Share of the variance that this explains, corrected for the number of groups; 0 if unknown.
    pub explains: f64,
    /// Mean of the fastest and of the slowest group; of all, if nothing explains them.
    pub fastest_us: f64,
    /// The same of the slowest.
    pub slowest_us: f64,
}

/// One execution.
#[derive(Debug, Clone, Copy)]
pub(super) struct KernelRun {
    pub start: Picos,
    pub dur: Picos,
    pub run: i64,
    pub after_gap: bool,
    pub bytes: u64,
}

pub(super) fn variation(mut runs: Vec<KernelRun>) -> Option<Variation> {
    if runs.len() < FEWEST {
        return None;
    }
    runs.sort_by_key(|run| (run.start, run.dur));
    let times: Vec<f64> = runs.iter().map(|run| run.dur.as_micros()).collect();
    let mean = mean(&times);
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    let deviation = (squares / as_f64(times.len() as u64)).sqrt();
    let fold = |first: f64, pick: fn(f64, f64) -> f64| times.iter().copied().fold(first, pick);
    let plain = |with| Variation {
        with,
        explains: 0.0,
        fastest_us: fold(f64::INFINITY, f64::min),
        slowest_us: fold(0.0, f64::max),
    };
    if deviation <= STEADY * mean {
        return Some(plain("nothing"));
    }
    let half = runs.len() / 2;
    let ways: [(&'static str, Vec<u64>); 5] = [
        ("first", (0..runs.len()).map(|at| u64::from(at > 0)).collect()),
        ("drift", (0..runs.len()).map(|at| u64::from(at >= half)).collect()),
        ("gap", runs.iter().map(|run| u64::from(run.after_gap)).collect()),
        ("execution", runs.iter().map(|run| run.run.cast_unsigned()).collect()),
        ("bytes", runs.iter().map(|run| run.bytes).collect()),
    ];
    let explained = ways.iter().filter_map(|(with, keys)| explained(with, keys, &times, squares));
    let best = explained.max_by(|a, b| a.explains.total_cmp(&b.explains));
    Some(best.filter(|best| best.explains >= EXPLAINS).unwrap_or_else(|| plain("unknown")))
}

/// What grouping by `keys` explains of the squares around the mean.
fn explained(with: &'static str, keys: &[u64], times: &[f64], squares: f64) -> Option<Variation> {
    let mut places: FxHashMap<u64, usize> = FxHashMap::default();
    let mut sums: Vec<(f64, u64)> = Vec::new();
    let groups: Vec<usize> = keys
        .iter()
        .zip(times)
        .map(|(&key, time)| {
            let place = *places.entry(key).or_insert(sums.len());
            if place == sums.len() {
                sums.push((0.0, 0));
            }
            let (sum, count) = &mut sums[place];
            (*sum, *count) = (*sum + time, *count + 1);
            place
        })
        .collect();
    let (n, count) = (times.len(), sums.len());
    if count < 2 || count >= n || squares <= 0.0 {
        return None;
    }
    let means: Vec<f64> = sums.iter().map(|&(sum, count)| sum / as_f64(count)).collect();
    let within: f64 =
        groups.iter().zip(times).map(|(&group, time)| (time - means[group]).powi(2)).sum();
    let freedom = as_f64((n - 1) as u64) / as_f64((n - count) as u64);
    Some(Variation {
        with,
        explains: (1.0 - within / squares * freedom).max(0.0),
        fastest_us: means.iter().copied().fold(f64::INFINITY, f64::min),
        slowest_us: means.iter().copied().fold(0.0, f64::max),
    })
}

fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / as_f64(times.len() as u64)
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::{KernelRun, variation};

    fn check(times: &[(i64, i64)], expected: &str) {
        let runs = (0..).zip(times).map(|(at, &(dur, run))| KernelRun {
            start: Picos(at * 1_000),
            dur: Picos(dur * 1_000_000),
            run,
            after_gap: false,
            bytes: 0,
        });
        let found = variation(runs.collect()).unwrap();
        assert_eq!(found.with, expected, "{found:?}");
    }

    #[test]
    fn the_cause_that_explains_most_is_named() {
        check(&[(10, 0); 8], "nothing");
        check(&[(90, 0), (10, 0), (11, 0), (10, 0), (9, 0), (10, 0)], "first");
        check(&[(10, 0), (11, 0), (10, 0), (20, 0), (21, 0), (20, 0)], "drift");
        check(
            &[(10, 1), (30, 2), (10, 3), (11, 1), (31, 2), (9, 3), (10, 1), (30, 2), (10, 3)],
            "execution",
        );
        check(&[(10, 1), (30, 2), (12, 3), (31, 4), (9, 5), (29, 6), (11, 7), (30, 8)], "unknown");
        assert_eq!(variation(Vec::new()), None);
    }
}
