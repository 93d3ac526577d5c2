//! What the client saw: one row per request, and the figures made from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xscope_trace::{Bytes, Metric, Nanos};

use crate::{check::FailureKind, workload::Point};

/// Version of [`RequestRow`] and [`LoadSummary`] as JSON.
pub const SCHEMA: u32 = 1;

/// Whether a request counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sent so that the server compiles and allocates; in no figure.
    Warmup,
    Measure,
}

/// One request, one line of `requests.jsonl`.
///
/// Rows come in the order in which the requests ended. All times are on the monotonic clock of
/// the client's machine, the clock that spans use too.
///
/// | field | type | meaning |
/// |---|---|---|
/// | `index` | integer | order in which requests were given out, over the whole load, from 0 |
/// | `request_id` | string | id to find the request by on the server: the answer's `x-request-id`, else the one that was sent |
/// | `phase` | `warmup` \| `measure` | |
/// | `batch_size`, `label_count` | integer | the point |
/// | `worker` | integer | which of the concurrent connections |
/// | `prompt_tokens` | integer? | of all items, queries included; as the server counts, else as sent; absent if unknown |
/// | `intended_ns` | integer | when it was due; in a closed loop: when its worker became free |
/// | `sent_ns` | integer? | when it was handed to an open connection; absent if there was none |
/// | `first_byte_ns` | integer? | when the head of the answer was there; absent if none came |
/// | `end_ns` | integer | when the last byte was there, or the request was given up |
/// | `latency_ms` | number | `end_ns - intended_ns` |
/// | `request_bytes`, `response_bytes` | integer | bodies only |
/// | `status` | integer? | HTTP status; absent if none came |
/// | `ok` | bool | answered, and right |
/// | `failure` | string? | why not, as a kind: see [`FailureKind`] |
/// | `error` | string? | why not, as a sentence |
/// | `server_ms` | object | stage → milliseconds, from the answer's `server-timing` |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRow {
    pub index: u64,
    pub request_id: String,
    pub phase: Phase,
    #[serde(flatten)]
    pub point: Point,
    pub worker: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    #[serde(rename = "intended_ns")]
    pub intended: Nanos,
    #[serde(rename = "sent_ns", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Nanos>,
    #[serde(rename = "first_byte_ns", default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Nanos>,
    #[serde(rename = "end_ns")]
    pub end: Nanos,
    pub latency_ms: f64,
    pub request_bytes: Bytes,
    pub response_bytes: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub server_ms: BTreeMap<String, f64>,
}

/// A number, or a metric that says why there is none. The benchmark's contract has plain numbers
/// here, so only what is missing takes the long form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    Value(f64),
    Missing(Metric),
}

impl Figure {
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Missing(_) => None,
        }
    }

    /// Unavailable, in `unit`, for `reason`.
    pub fn unavailable(unit: &str, reason: impl Into<String>) -> Self {
        Self::Missing(Metric::unavailable(unit, reason))
    }
}

/// Statistics of a set of durations, in milliseconds, from the raw samples.
///
/// Percentiles are nearest-rank: the smallest sample that at least that share of the samples do
/// not exceed. Each is unavailable where the samples are too few to have one above it on
/// average: p50 needs 2, p95 needs 20, p99 needs 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Number of samples.
    pub n: u64,
    pub min_ms: Figure,
    pub mean_ms: Figure,
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
            p50_ms: percentile_ms(&samples, 500),
            p95_ms: percentile_ms(&samples, 950),
            p99_ms: percentile_ms(&samples, 990),
            max_ms: figure(samples.last()),
        }
    }
}

/// The figures of one point. Latencies and rates count right answers of the measured phase only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointSummary {
    #[serde(flatten)]
    pub point: Point,
    /// Measured requests that ended.
    pub requests: u64,
    pub ok: u64,
    pub failed: u64,
    /// Failed requests by reason.
    pub failures: BTreeMap<FailureKind, u64>,
    /// From the intended send time to the last byte of the answer. In JSON its figures stand
    /// beside the others, under the names of the benchmark's contract (`p50_ms`, ...).
    #[serde(flatten)]
    pub latency: Durations,
    /// From the intended to the actual send time: what the client itself added.
    pub send_lag: Durations,
    /// Right answers per second, from the first intended send to the last end. In a closed loop
    /// this is what the server served, and says nothing of what it could be offered.
    pub requests_per_sec: Figure,
    /// The same in items.
    pub throughput_items_per_sec: Figure,
    /// Answers that were compared with that of an equal request; 0: drift was not checked.
    pub drift_compared: u64,
}

/// How a load ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// All requests of the plan were sent.
    Complete,
    /// Some were not: the load is still running, was cancelled, or lost its server.
    Early,
}

/// The figures of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadSummary {
    pub schema: u32,
    pub ended: Ended,
    /// Requests that got an HTTP answer of whatever status, warm-up included.
    pub answered: u64,
    /// Warm-up requests that ended.
    pub warmup_requests: u64,
    /// Those of them that failed.
    pub warmup_failed: u64,
    /// Requests under way when the load was cut short. They have no row.
    pub abandoned: u64,
    /// The points that have rows, in the order of the workload.
    pub points: Vec<PointSummary>,
}

/// The raw samples of one point.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    latencies: Vec<Nanos>,
    send_lags: Vec<Nanos>,
    requests: u64,
    failures: BTreeMap<FailureKind, u64>,
    span: Option<(Nanos, Nanos)>,
}

impl Samples {
    pub(crate) fn add(&mut self, row: &RequestRow) {
        self.requests += 1;
        let (first, last) = self.span.unwrap_or((row.intended, row.end));
        self.span = Some((first.min(row.intended), last.max(row.end)));
        match row.failure {
            Some(kind) => *self.failures.entry(kind).or_default() += 1,
            None => self.latencies.push(row.end - row.intended),
        }
        if let Some(sent) = row.sent {
            self.send_lags.push(sent - row.intended);
        }
    }

    pub(crate) fn summary(&self, point: Point, drift_compared: u64) -> PointSummary {
        let ok = self.latencies.len() as u64;
        let requests_per_sec = self.rate(ok);
        let throughput_items_per_sec = self.rate(ok * u64::from(point.batch_size));
        PointSummary {
            point,
            requests: self.requests,
            ok,
            failed: self.requests - ok,
            failures: self.failures.clone(),
            latency: Durations::of(self.latencies.clone()),
            send_lag: Durations::of(self.send_lags.clone()),
            requests_per_sec,
            throughput_items_per_sec,
            drift_compared,
        }
    }

    fn rate(&self, count: u64) -> Figure {
        let window = self.span.map_or(Nanos::ZERO, |(first, last)| last - first);
        if count == 0 {
            Figure::unavailable("1/s", "no right answers")
        } else if window <= Nanos::ZERO {
            Figure::unavailable("1/s", "the measured window has no length")
        } else {
            Figure::Value(count_to_f64(count) / (window.as_millis() / 1000.0))
        }
    }
}

/// Nearest-rank percentile of sorted samples, `permille` in thousandths below 1000.
fn percentile_ms(sorted: &[Nanos], permille: u64) -> Figure {
    let n = sorted.len() as u64;
    let needed = 1000_u64.div_ceil(1000 - permille);
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

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn count_to_f64(count: u64) -> f64 {
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
    fn points_have_the_names_of_the_contract_in_json() {
        let summary = Samples::default().summary(Point { batch_size: 4, label_count: 2 }, 0);
        let json = serde_json::to_value(&summary).unwrap();
        for name in [
            "batch_size",
            "label_count",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "mean_ms",
            "throughput_items_per_sec",
        ] {
            assert!(json.get(name).is_some(), "{name} in {json}");
        }
        assert_eq!(serde_json::from_value::<PointSummary>(json).unwrap(), summary);
    }

    #[test]
    fn figures_are_plain_numbers_in_json() {
        let got = serde_json::to_string(&durations([2, 4].into_iter())).unwrap();
        assert_eq!(
            got,
            r#"{"n":2,"min_ms":2.0,"mean_ms":3.0,"p50_ms":2.0,"p95_ms":{"value":null,"unit":"ms","status":"unavailable","reason":"needs 20 samples, has 2"},"p99_ms":{"value":null,"unit":"ms","status":"unavailable","reason":"needs 100 samples, has 2"},"max_ms":4.0}"#
        );
        let back: Durations = serde_json::from_str(&got).unwrap();
        assert_eq!(back, durations([2, 4].into_iter()));
    }
}
