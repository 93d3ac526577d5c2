//! Statistics of durations.

use serde::{Deserialize, Serialize};

use crate::metric::{Metric, in_unit};
use crate::stats::{Percentile, mean, population_deviation};
use crate::time::Nanos;

/// Statistics of a set of durations, in milliseconds, from the raw samples.
///
/// Percentiles are those of [`crate::stats`]: p50 needs 2 samples, p95 needs 20, p99 needs 100.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Durations {
    /// Number of samples.
    pub n: u64,
    /// The shortest.
    #[serde(with = "in_unit::Ms")]
    pub min_ms: Metric,
    /// Their mean.
    #[serde(with = "in_unit::Ms")]
    pub mean_ms: Metric,
    /// Standard deviation of the samples themselves (divided by `n`): what they are the sample of is not
    /// asked.
    #[serde(with = "in_unit::Ms")]
    pub std_ms: Metric,
    /// The median.
    #[serde(with = "in_unit::Ms")]
    pub p50_ms: Metric,
    /// 95 % are not longer; needs 20 samples.
    #[serde(with = "in_unit::Ms")]
    pub p95_ms: Metric,
    /// 99 % are not longer; needs 100 samples.
    #[serde(with = "in_unit::Ms")]
    pub p99_ms: Metric,
    /// The longest.
    #[serde(with = "in_unit::Ms")]
    pub max_ms: Metric,
}

impl Durations {
    pub fn of(mut samples: Vec<Nanos>) -> Self {
        samples.sort_unstable();
        let millis: Vec<f64> = samples.iter().map(|sample| sample.as_millis()).collect();
        let derived = |value| Metric::known(value, "ms", "no samples");
        let figure = |sample: Option<&f64>| derived(sample.copied());
        Self {
            n: samples.len() as u64,
            min_ms: figure(millis.first()),
            mean_ms: derived(mean(millis.iter().copied())),
            std_ms: derived(population_deviation(&millis)),
            p50_ms: Percentile::P50.metric(&samples),
            p95_ms: Percentile::P95.metric(&samples),
            p99_ms: Percentile::P99.metric(&samples),
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
            min_ms: Metric::valid(1.0, "ms"),
            mean_ms: Metric::valid(50.5, "ms"),
            // Of 1 to n it is the root of (n² - 1) / 12.
            std_ms: Metric::valid(833.25_f64.sqrt(), "ms"),
            p50_ms: Metric::valid(50.0, "ms"),
            p95_ms: Metric::valid(95.0, "ms"),
            p99_ms: Metric::valid(99.0, "ms"),
            max_ms: Metric::valid(100.0, "ms"),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn plain_numbers_of_other_files_read_as_metrics() {
        let whole = serde_json::to_string(&durations([2, 4].into_iter())).unwrap();
        let few = r#"{"value":null,"unit":"ms","status":"unavailable","reason":"needs 20 samples, has 2"}"#;
        assert!(
            whole.contains(r#""p50_ms":{"value":2.0,"unit":"ms","status":"valid"}"#),
            "{whole}"
        );
        assert!(whole.contains(few), "{whole}");
        let plain = format!(
            r#"{{"n":2,"min_ms":2,"mean_ms":3.0,"std_ms":1,"p50_ms":2.0,"p95_ms":{few},"p99_ms":{},"max_ms":4}}"#,
            few.replace("20", "100")
        );
        for text in [whole, plain] {
            let back: Durations = serde_json::from_str(&text).unwrap();
            assert_eq!(back, durations([2, 4].into_iter()), "{text}");
        }
    }
}
