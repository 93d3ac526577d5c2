//! Latency of the measured requests: percentiles, a histogram, the requests one by one.

use serde::Serialize;
use xscope_trace::stats::{Percentile, as_f64, mean_micros, millis, sum};
use xscope_trace::{Metric, Picos};

use crate::requests::view::RequestView;

/// How many bins a histogram has.
const BINS: u32 = 40;

/// The left edge of a histogram is not below this: its bins are factors.
const SHORTEST_MS: f64 = 1e-3;

/// How many requests are kept one by one.
const POINTS: usize = 1000;

/// Latency of the measured requests, from the intended send time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// Measured requests.
    pub n: u64,
    /// The median.
    pub p50_ms: Metric,
    /// 95 % take no longer; needs 20 samples.
    pub p95_ms: Metric,
    /// 99 % take no longer; needs 100 samples.
    pub p99_ms: Metric,
    /// The mean.
    pub mean_ms: Metric,
    /// Items that were scored per second of the measured window.
    pub items_per_sec: Metric,
    /// How many requests took how long; the bins grow by a constant factor.
    pub histogram: Vec<Bin>,
    /// Percentiles that have a sample above them.
    pub percentiles: Vec<PercentilePoint>,
}

/// One percentile.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PercentilePoint {
    /// Which one: 99.9 of 100 requests take no longer.
    pub percent: f64,
    /// The latency that so many do not exceed.
    pub latency_ms: f64,
}

/// A bar of a histogram: `from_ms` is in it, `to_ms` only in the last one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bin {
    /// Where it begins.
    pub from_ms: f64,
    /// Where it ends.
    pub to_ms: f64,
    /// Requests in it.
    pub count: u64,
}

/// One measured request on the time axis of the trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestPoint {
    /// The answer's `x-request-id`, else the one that was sent.
    pub request_id: String,
    /// From the start of the trace to when it was due.
    pub start_us: f64,
    /// From the intended send time to the last byte of the answer.
    pub latency_ms: f64,
}

pub(crate) fn latency(measured: &[&RequestView]) -> Latency {
    let mut times: Vec<Picos> = measured.iter().map(|view| view.total).collect();
    times.sort_unstable();
    let n = times.len();
    let mean = (n > 0).then(|| mean_micros(sum(&times), n as u64) / 1e3);
    Latency {
        n: n as u64,
        p50_ms: Percentile::P50.metric(&times),
        p95_ms: Percentile::P95.metric(&times),
        p99_ms: Percentile::P99.metric(&times),
        mean_ms: Metric::known(mean, "ms", "no request was measured"),
        items_per_sec: items_per_sec(measured),
        histogram: histogram(&times),
        percentiles: tail(&times),
    }
}

/// Counts sorted times in bins whose edges grow by a constant factor, so that a long tail leaves
/// room for the rest.
fn histogram(times: &[Picos]) -> Vec<Bin> {
    let (Some(&least), Some(&most)) = (times.first(), times.last()) else { return Vec::new() };
    let least = millis(least).max(SHORTEST_MS);
    let factor = (millis(most).max(least) / least).powf(1.0 / f64::from(BINS));
    let edge = |bin: u32| least * factor.powf(f64::from(bin));
    let below = |bin| match bin {
        0 => 0,
        BINS => times.len(),
        _ => times.partition_point(|&time| millis(time) < edge(bin)),
    };
    let bin = |bin| Bin {
        from_ms: edge(bin),
        to_ms: edge(bin + 1),
        count: (below(bin + 1) - below(bin)) as u64,
    };
    (0..BINS).map(bin).collect()
}

/// Percentiles of sorted times, as far out as there are samples.
fn tail(times: &[Picos]) -> Vec<PercentilePoint> {
    let point = |percentile: Percentile| {
        let latency_ms = millis(percentile.given(times)?);
        Some(PercentilePoint { percent: percentile.percent(), latency_ms })
    };
    Percentile::CURVE.into_iter().filter_map(point).collect()
}

/// Requests, ordered by start, on the time axis that begins at `zero`.
pub(crate) fn points(measured: &[&RequestView], zero: Picos) -> Vec<RequestPoint> {
    let slowest = |group: &[&RequestView]| {
        let view = group.iter().max_by_key(|view| view.total)?;
        Some(RequestPoint {
            request_id: view.id.clone(),
            start_us: (view.start - zero).as_micros(),
            latency_ms: millis(view.total),
        })
    };
    measured.chunks(measured.len().div_ceil(POINTS).max(1)).filter_map(slowest).collect()
}

fn items_per_sec(measured: &[&RequestView]) -> Metric {
    let start = measured.iter().map(|view| view.start).min();
    let end = measured.iter().map(|view| view.start.saturating_add(view.total)).max();
    let seconds = start.zip(end).map(|(start, end)| (end - start).as_micros() / 1e6);
    let items: u64 = measured.iter().map(|view| view.items).sum();
    if items == 0 && !measured.is_empty() {
        return Metric::unavailable("items/s", "neither a client nor the server counted items");
    }
    let rate = seconds.filter(|&seconds| seconds > 0.0).map(|seconds| as_f64(items) / seconds);
    Metric::known(rate, "items/s", "no request was measured")
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::{PercentilePoint, histogram, tail};

    #[test]
    fn a_histogram_counts_every_request_once() {
        for times in [vec![5], vec![7, 7, 7], (1..=500).collect(), vec![0, 0, 3, 90_000]] {
            let times: Vec<Picos> = times.into_iter().map(|ms| Picos(ms * 1_000_000_000)).collect();
            let bins = histogram(&times);
            let counted: u64 = bins.iter().map(|bin| bin.count).sum();
            assert_eq!(counted, times.len() as u64, "{bins:?}");
            assert!(bins.is_sorted_by(|a, b| a.to_ms <= b.to_ms));
        }
        assert!(histogram(&[]).is_empty());
    }

    #[test]
    fn a_percentile_without_a_sample_above_it_is_left_out() {
        let times: Vec<Picos> = (1..=100).map(|ms| Picos(ms * 1_000_000_000)).collect();
        let last = PercentilePoint { percent: 99.0, latency_ms: 99.0 };
        assert_eq!(tail(&times).last(), Some(&last));
        assert_eq!(tail(&times[..1]), []);
    }
}
