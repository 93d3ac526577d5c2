//! How much the figures of a single trial move by themselves.
//!
//! Requests of a trial depend on each other (batches, queues, stalls), so whole stretches of them
//! are resampled (circular block bootstrap). What comes out is a floor: it knows nothing of the
//! next trial.

use std::collections::BTreeMap;

use xscope_trace::results::Durations;
use xscope_trace::stats::{FEWEST_FOR_BLOCKS, Percentile, Random, as_f64, block_resample, moments};
use xscope_trace::{Metric, Nanos};

/// Times of a request that was answered right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub intended: Nanos,
    pub end: Nanos,
}

const RESAMPLES: usize = 300;

const PERCENTILES: [(&str, Percentile); 3] =
    [("p50_ms", Percentile::P50), ("p95_ms", Percentile::P95), ("p99_ms", Percentile::P99)];

/// The standard deviation of the logarithm of each figure over resamples of the requests; empty
/// if they are too few.
pub(crate) fn spread_within(mut requests: Vec<Request>) -> BTreeMap<String, f64> {
    if requests.len() < FEWEST_FOR_BLOCKS {
        return BTreeMap::new();
    }
    requests.sort_unstable_by_key(|request| request.end);
    let latency = |request: &Request| (request.end - request.intended).as_millis();
    let latencies: Vec<f64> = requests.iter().map(latency).collect();
    // From each end to the next: what throughput is made of.
    let gaps: Vec<f64> =
        requests.windows(2).map(|pair| (pair[1].end - pair[0].end).as_millis()).collect();
    let mut draws: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut random = Random::new(1);
    for _ in 0..RESAMPLES {
        let drawn = block_resample(&gaps, &mut random);
        draws.entry("throughput_items_per_sec".to_owned()).or_default().push(moments(&drawn).0);
        let mut drawn = block_resample(&latencies, &mut random);
        draws.entry("mean_ms".to_owned()).or_default().push(moments(&drawn).0);
        drawn.sort_unstable_by(f64::total_cmp);
        for (name, percentile) in PERCENTILES {
            draws.entry(name.to_owned()).or_default().extend(percentile.of(&drawn));
        }
    }
    draws
        .into_iter()
        .filter(|(_, values)| values.iter().all(|value| *value > 0.0))
        .filter_map(|(name, values)| {
            let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
            Some((name, moments(&logs).1?.sqrt()))
        })
        .collect()
}

/// Requests of a trial depend on each other: what their percentiles say of independent ones is
/// taken so many times.
const DEPENDENCE: f64 = 2.0;

/// The same from percentiles alone, as if latencies were spread evenly about the median and its
/// logarithm normally; the requests themselves would say less, so this is the larger. Empty if the
/// percentiles are not known.
pub(crate) fn spread_of(latency: &Durations) -> BTreeMap<String, f64> {
    const Z95: f64 = 1.645;
    let above =
        |value: &Metric, below: f64| Some((value.value? / below).ln()).filter(|it| *it > 0.0);
    let by_percentile =
        latency.p50_ms.value.and_then(|p50| above(&latency.p95_ms, p50)).map(|it| it / Z95);
    let by_deviation = latency.mean_ms.value.and_then(|mean| Some(latency.std_ms.value? / mean));
    let deviation = by_percentile.into_iter().chain(by_deviation).reduce(f64::max);
    let Some(deviation) = deviation.filter(|it| it.is_finite() && latency.n > 0) else {
        return BTreeMap::new();
    };
    let one = DEPENDENCE * deviation / as_f64(latency.n).sqrt();
    // How much less exact a percentile of normal samples is than their mean.
    let figures = [
        ("mean_ms", 1.0),
        ("throughput_items_per_sec", 1.0),
        ("requests_per_sec", 1.0),
        ("p50_ms", 1.25),
        ("p95_ms", 2.11),
        ("p99_ms", 3.74),
    ];
    figures.into_iter().map(|(name, times)| (name.to_owned(), times * one)).collect()
}

#[cfg(test)]
mod tests {
    use xscope_trace::Nanos;
    use xscope_trace::stats::Random;

    use super::{Request, spread_within};

    /// A closed loop of `count` requests whose latency stays for `run` requests.
    fn trial(count: u32, run: u32, seed: u64) -> Vec<Request> {
        let mut random = Random::new(seed);
        let mut clock = 0;
        let mut latency = 0;
        let request = |index: u32| {
            if index.is_multiple_of(run) {
                latency = 1_000_000 + i64::from(random.below(1_000_000));
            }
            let intended = Nanos(clock);
            clock += latency;
            Request { intended, end: Nanos(clock) }
        };
        (0..count).map(request).collect()
    }

    /// The mean of 1000 independent uniform values between 1 and 2 has a standard deviation of
    /// sqrt(1/12/1000) = 0.0091, 0.61 % of it; of values that come in runs of 20, more than three
    /// times as much, which blocks see for the most part and single requests would not at all.
    #[test]
    fn dependence_counts() {
        let independent = spread_within(trial(1000, 1, 1))["mean_ms"];
        assert!((0.0045..0.0080).contains(&independent), "{independent}");
        let dependent = spread_within(trial(1000, 20, 1))["mean_ms"];
        assert!(dependent > 2.5 * independent, "{dependent} {independent}");
        let rate = spread_within(trial(1000, 1, 1))["throughput_items_per_sec"];
        assert!((rate - independent).abs() < 0.003, "one worker: gaps are latencies; {rate}");
    }

    #[test]
    fn few_requests_say_nothing() {
        assert!(spread_within(trial(9, 1, 1)).is_empty());
        assert_eq!(spread_within(trial(10, 1, 1)).len(), 5);
    }
}
