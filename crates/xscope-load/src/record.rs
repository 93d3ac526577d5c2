//! What the client saw: one row per request, and the figures made from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xscope_trace::results::{Durations, Ended, Figure, count_to_f64};
use xscope_trace::{Bytes, Nanos};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
