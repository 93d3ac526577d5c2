//! Statistics of durations, and figures that may be missing.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::metric::{Metric, Status};
use crate::stats::{Percentile, mean, population_deviation};
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
/// Percentiles are those of [`crate::stats`]: p50 needs 2 samples, p95 needs 20, p99 needs 100.
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
        let millis: Vec<f64> = samples.iter().map(|sample| sample.as_millis()).collect();
        let derived = |value| Figure::from(Metric::known(value, "ms", "no samples"));
        let figure = |sample: Option<&f64>| derived(sample.copied());
        Self {
            n: samples.len() as u64,
            min_ms: figure(millis.first()),
            mean_ms: derived(mean(millis.iter().copied())),
            std_ms: derived(population_deviation(&millis)),
            p50_ms: Percentile::P50.metric(&samples).into(),
            p95_ms: Percentile::P95.metric(&samples).into(),
            p99_ms: Percentile::P99.metric(&samples).into(),
            max_ms: figure(millis.last()),
        }
    }
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
