//! Statistics of durations, and figures that may be missing.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::metric::{Metric, Status};
use crate::time::Nanos;

/// A number, or a metric that says what is wrong with it. The benchmark's contract has plain
/// numbers here, so only what is missing or not what it seems takes the long form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    Value(f64),
    Qualified(Metric),
}

impl Default for Figure {
    fn default() -> Self {
        Self::unavailable("", "not measured")
    }
}

impl From<Metric> for Figure {
    fn from(metric: Metric) -> Self {
        match (metric.value, metric.status) {
            (Some(value), Status::Valid) => Self::Value(value),
            _ => Self::Qualified(metric),
        }
    }
}

impl Figure {
    /// The number, if there is one, degraded or not.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Qualified(metric) => metric.value,
        }
    }

    /// The same number, with what is wrong with it.
    #[must_use]
    pub fn degraded(self, unit: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        match self {
            Self::Value(value) => Self::Qualified(Metric::degraded(value, unit, reason)),
            qualified @ Self::Qualified(_) => qualified,
        }
    }

    /// Unavailable, in `unit`, for `reason`.
    pub fn unavailable(unit: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Qualified(Metric::unavailable(unit, reason))
    }
}

/// Statistics of a set of durations, in milliseconds, from the raw samples.
///
/// Percentiles are nearest-rank: the smallest sample that at least that share of the samples do
/// not exceed. Each is unavailable where the samples are too few to have one above it on
/// average: p50 needs 2, p95 needs 20, p99 needs 100.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Durations {
    /// Number of samples.
    pub n: u64,
    pub min_ms: Figure,
    pub mean_ms: Figure,
    /// Standard deviation of the samples themselves: what they are the sample of is not asked.
    pub std_ms: Figure,
    pub p50_ms: Figure,
    pub p95_ms: Figure,
    pub p99_ms: Figure,
    pub max_ms: Figure,
}

impl Durations {
    pub fn of(mut samples: Vec<Nanos>) -> Self {
        samples.sort_unstable();
        let figure = |sample: Option<&Nanos>| match sample {
            Some(sample) => Figure::Value(sample.as_millis()),
            None => Figure::unavailable("ms", "no samples"),
        };
        Self {
            n: samples.len() as u64,
            min_ms: figure(samples.first()),
            mean_ms: mean_ms(&samples),
            std_ms: std_ms(&samples),
            p50_ms: percentile_ms(&samples, 500),
            p95_ms: percentile_ms(&samples, 950),
            p99_ms: percentile_ms(&samples, 990),
            max_ms: figure(samples.last()),
        }
    }
}

/// The fewest samples that give a percentile, in thousandths below 1000.
pub fn samples_for(permille: u64) -> u64 {
    1000_u64.div_ceil(1000 - permille.min(999))
}

/// Nearest-rank percentile of sorted samples, `permille` in thousandths below 1000.
fn percentile_ms(sorted: &[Nanos], permille: u64) -> Figure {
    let n = sorted.len() as u64;
    let needed = samples_for(permille);
    if n < needed {
        return Figure::unavailable("ms", format!("needs {needed} samples, has {n}"));
    }
    let rank = (n * permille).div_ceil(1000).max(1);
    // `rank` is at most `n`, an index that the slice has.
    let index = usize::try_from(rank - 1).expect("a rank within a slice fits its index");
    Figure::Value(sorted[index].as_millis())
}

fn mean_ms(samples: &[Nanos]) -> Figure {
    if samples.is_empty() {
        return Figure::unavailable("ms", "no samples");
    }
    let sum: f64 = samples.iter().map(|sample| sample.as_millis()).sum();
    Figure::Value(sum / count_to_f64(samples.len() as u64))
}

fn std_ms(samples: &[Nanos]) -> Figure {
    let Some(mean) = mean_ms(samples).value() else {
        return Figure::unavailable("ms", "no samples");
    };
    let squares: f64 = samples.iter().map(|sample| (sample.as_millis() - mean).powi(2)).sum();
    Figure::Value((squares / count_to_f64(samples.len() as u64)).sqrt())
}

/// The median; of an even number of values the mean of the middle two.
pub fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The interval that holds the median of what `values` are drawn from with 95 % confidence,
/// whatever its distribution: from one order statistic to another. Needs 6 values.
pub fn median_interval(values: &[f64]) -> Option<[f64; 2]> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    // Values below the median are as many as heads of fair coins.
    let coins = i32::try_from(sorted.len()).ok()?;
    let (mut probability, mut below, mut rank) = (0.5_f64.powi(coins), 0.0, 0);
    loop {
        below += probability;
        if below > 0.025 {
            break;
        }
        rank += 1;
        let heads = f64::from(rank);
        probability *= (f64::from(coins) - heads + 1.0) / heads;
    }
    let lowest = usize::try_from(rank - 1).ok()?;
    Some([*sorted.get(lowest)?, *sorted.get(sorted.len() - 1 - lowest)?])
}

/// A count as a float, to be divided.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
pub fn count_to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(millis: impl Iterator<Item = i64>) -> Durations {
        Durations::of(millis.map(|ms| Nanos(ms * 1_000_000)).collect())
    }

    #[test]
    fn percentiles_of_one_to_a_hundred() {
        // Nearest rank: the k-th of 1..=100 is k. Given backwards, since raw samples are unsorted.
        let all = durations((1..=100).rev());
        let expected = Durations {
            n: 100,
            min_ms: Figure::Value(1.0),
            mean_ms: Figure::Value(50.5),
            // Of 1 to n it is the root of (n² - 1) / 12.
            std_ms: Figure::Value(833.25_f64.sqrt()),
            p50_ms: Figure::Value(50.0),
            p95_ms: Figure::Value(95.0),
            p99_ms: Figure::Value(99.0),
            max_ms: Figure::Value(100.0),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn percentiles_between_ranks_take_the_upper_sample() {
        // ceil(0.5 * 5) = 3rd, ceil(0.95 * 21) = 20th, ceil(0.99 * 101) = 100th.
        assert_eq!(durations([10, 20, 30, 40, 50].into_iter()).p50_ms, Figure::Value(30.0));
        assert_eq!(durations(1..=21).p95_ms, Figure::Value(20.0));
        assert_eq!(durations(1..=101).p99_ms, Figure::Value(100.0));
    }

    #[test]
    fn too_few_samples_give_no_percentile() {
        let check = |n, p50: bool, p95: bool, p99: bool| {
            let got = durations(1..=n);
            let have = [&got.p50_ms, &got.p95_ms, &got.p99_ms].map(|f| f.value().is_some());
            assert_eq!(have, [p50, p95, p99], "{n} samples");
        };
        check(0, false, false, false);
        check(1, false, false, false);
        check(2, true, false, false);
        check(19, true, false, false);
        check(20, true, true, false);
        check(99, true, true, false);
        check(100, true, true, true);
        let missing = Figure::unavailable("ms", "needs 100 samples, has 99");
        assert_eq!(durations(1..=99).p99_ms, missing);
        assert_eq!(durations(std::iter::empty()).mean_ms.value(), None);
    }

    #[test]
    fn the_interval_of_a_median_is_between_order_statistics() {
        let check = |n: i32, expected| {
            let values: Vec<f64> = (1..=n).rev().map(f64::from).collect();
            assert_eq!(median_interval(&values), expected, "{n}");
        };
        // Ranks from tables of the sign test at 5 %, two-sided.
        check(5, None);
        check(6, Some([1.0, 6.0]));
        check(8, Some([1.0, 8.0]));
        check(9, Some([2.0, 8.0]));
        check(20, Some([6.0, 15.0]));
        check(100, Some([40.0, 61.0]));
        assert_eq!(median_of(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median_of(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median_of(Vec::new()), None);
    }

    #[test]
    fn figures_are_plain_numbers_in_json() {
        let got = serde_json::to_string(&durations([2, 4].into_iter())).unwrap();
        assert_eq!(
            got,
            r#"{"n":2,"min_ms":2.0,"mean_ms":3.0,"std_ms":1.0,"p50_ms":2.0,"p95_ms":{"value":null,"unit":"ms","status":"unavailable","reason":"needs 20 samples, has 2"},"p99_ms":{"value":null,"unit":"ms","status":"unavailable","reason":"needs 100 samples, has 2"},"max_ms":4.0}"#
        );
        let back: Durations = serde_json::from_str(&got).unwrap();
        assert_eq!(back, durations([2, 4].into_iter()));
    }
}
