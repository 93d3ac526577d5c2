//! The slowest 1 % of the requests against the others: where they were longer, and what they have in
//! common.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::model::SpanKey;
use xscope_trace::stats::{FEWEST_FOR_INTERVAL, Line, as_f64, median, millis};
use xscope_trace::{Metric, Picos};

use crate::requests::batches::BatchView;
use crate::requests::stages::{StageRow, stages};
use crate::requests::view::RequestView;

/// The slowest 1 % of the requests, at least one, against the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowReport {
    /// How many are slow.
    #[serde(rename = "slow_requests")]
    pub slow: u64,
    /// How many are not.
    #[serde(rename = "other_requests")]
    pub others: u64,
    /// Latency of the fastest of the slow ones.
    pub from_ms: f64,
    /// By what they add to a slow request, largest first.
    pub stages: Vec<SlowStage>,
    /// What else slow requests have more or less of.
    pub traits: Vec<TraitRow>,
    /// The slow requests, the slowest first, and what their sizes explain.
    #[serde(rename = "by_size")]
    pub requests: Vec<SlowRequest>,
}

/// One of the slow requests: slow because it is large, or though it is not.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowRequest {
    /// Its id.
    pub request: String,
    /// From the intended send time to the last byte of the answer.
    pub latency_ms: f64,
    /// Tokens that were computed for it: those its prompts' batches were padded to, else its own.
    #[serde(rename = "computed_tokens")]
    pub tokens: Metric,
    /// What a request of so many tokens takes, by a line through the others.
    pub expected_ms: Metric,
    /// What its latency is more than that.
    pub residual_ms: Metric,
    /// `large` if its size explains at least half of what it takes longer than the median of the
    /// others, else `not_size`; `unknown` without an expectation.
    pub slow_by: &'static str,
}

/// Mean time in a stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowStage {
    /// The stage.
    pub name: String,
    /// Mean of the slow requests.
    pub slow_ms: f64,
    /// Mean of the others.
    pub others_ms: f64,
    /// The difference.
    pub added_ms: f64,
}

/// A mean over the slow requests and over the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TraitRow {
    /// `batch_size` (of a request's largest batch), `batches` (that it was cut into), `items`,
    /// `tokens`, `in_compile` (share of the
    /// requests that were in flight while a host thread compiled).
    pub name: &'static str,
    /// Mean of the slow requests.
    #[serde(rename = "slow_mean")]
    pub slow: Metric,
    /// Mean of the others.
    #[serde(rename = "others_mean")]
    pub others: Metric,
}

/// Compares the slowest 1 % of requests that are ordered by latency to the others; `compiling` is when
/// programs were compiled.
pub(crate) fn slow(
    by_latency: &[&RequestView],
    batches: &[BatchView],
    compiling: &[(Picos, Picos)],
) -> Option<SlowReport> {
    let count = by_latency.len().div_ceil(100);
    let (others, slow) = by_latency.split_at(by_latency.len() - count);
    if others.is_empty() {
        return None;
    }
    let sides = [slow, others];
    let means = sides.map(|views| -> BTreeMap<String, f64> {
        let mean = |row: StageRow| Some((row.name.to_string(), row.mean_ms.value?));
        stages(views).into_iter().filter_map(mean).collect()
    });
    let names: BTreeSet<&String> = means.iter().flat_map(BTreeMap::keys).collect();
    let mut rows: Vec<SlowStage> = names
        .into_iter()
        .map(|name| {
            let [slow_ms, others_ms] = [0, 1].map(|side| *means[side].get(name).unwrap_or(&0.0));
            SlowStage { name: name.clone(), slow_ms, others_ms, added_ms: slow_ms - others_ms }
        })
        .collect();
    rows.sort_by(|a, b| b.added_ms.total_cmp(&a.added_ms).then_with(|| a.name.cmp(&b.name)));
    let rows_of: BTreeMap<SpanKey, u64> =
        batches.iter().map(|batch| (batch.batch, batch.rows)).collect();
    let batch_size =
        |view: &RequestView| view.batches.iter().filter_map(|id| rows_of.get(id)).max().copied();
    let cut_into = |view: &RequestView| Some(view.batches.len() as u64).filter(|&count| count > 0);
    let items = |view: &RequestView| Some(view.items).filter(|&items| items > 0);
    let tokens =
        |view: &RequestView| Some(view.sequence_tokens.iter().sum()).filter(|&sum: &u64| sum > 0);
    let in_compile = |view: &RequestView| {
        let end = view.start + view.total;
        let overlaps = |&(from, to): &(Picos, Picos)| from < end && to > view.start;
        Some(u64::from(compiling.iter().any(overlaps)))
    };
    let row = |name, get: &dyn Fn(&RequestView) -> Option<u64>| {
        let [slow, others] = sides.map(|views| mean(views, get));
        TraitRow { name, slow, others }
    };
    Some(SlowReport {
        slow: slow.len() as u64,
        others: others.len() as u64,
        from_ms: slow.first().map_or(0.0, |view| millis(view.total)),
        stages: rows,
        traits: vec![
            row("batch_size", &batch_size),
            row("batches", &cut_into),
            row("items", &items),
            row("tokens", &tokens),
            row("in_compile", &in_compile),
        ],
        requests: by_size(slow, others, batches),
    })
}

/// The slow requests against what others of their sizes take.
fn by_size(
    slow: &[&RequestView],
    others: &[&RequestView],
    batches: &[BatchView],
) -> Vec<SlowRequest> {
    let prompts = batches.iter().filter(|batch| !batch.is_decode && batch.is_counted());
    let padded: BTreeMap<SpanKey, u64> =
        prompts.map(|batch| (batch.batch, batch.padded_tokens)).collect();
    let tokens = |view: &RequestView| -> Option<u64> {
        let computed: u64 = view.batches.iter().filter_map(|batch| padded.get(batch)).sum();
        let own = || view.sequence_tokens.iter().sum();
        Some(if computed > 0 { computed } else { own() }).filter(|&tokens| tokens > 0)
    };
    let latency = |view: &RequestView| millis(view.total);
    let known = others.iter().filter_map(|view| Some((as_f64(tokens(view)?), latency(view))));
    let known: Vec<(f64, f64)> = known.collect();
    let usual = median(others.iter().map(|view| latency(view)).collect()).unwrap_or_default();
    let expected = |tokens: Option<u64>| -> Metric {
        let Some(tokens) = tokens else {
            return Metric::unavailable("ms", "no span of the server says how many tokens it has");
        };
        let tokens = as_f64(tokens);
        if known.len() < FEWEST_FOR_INTERVAL {
            let why = format!("needs {FEWEST_FOR_INTERVAL} others whose tokens are known");
            return Metric::unavailable("ms", why);
        }
        let largest = known.iter().map(|&(tokens, _)| tokens).fold(0.0, f64::max);
        match Line::through(&known) {
            // All others are of one size, and so is it.
            None if tokens <= largest => Metric::valid(usual, "ms"),
            None => Metric::unavailable("ms", "all others are smaller, and of one size"),
            Some(line) if tokens <= largest => Metric::valid(line.at(tokens), "ms"),
            Some(line) => {
                let why = format!("all others are smaller: at most {largest} tokens");
                Metric::degraded(line.at(tokens), "ms", why)
            }
        }
    };
    let describe = |view: &&RequestView| {
        let (tokens, latency_ms) = (tokens(view), latency(view));
        let expected_ms = expected(tokens);
        let slow_by = match expected_ms.value {
            None => "unknown",
            Some(ms) if 2.0 * (ms - usual) >= latency_ms - usual => "large",
            Some(_) => "not_size",
        };
        SlowRequest {
            request: view.id.clone(),
            latency_ms,
            tokens: Metric::known(tokens.map(as_f64), "1", "no span of the server says it"),
            residual_ms: Metric {
                value: expected_ms.value.map(|ms| latency_ms - ms),
                ..expected_ms.clone()
            },
            expected_ms,
            slow_by,
        }
    };
    slow.iter().rev().map(describe).collect()
}

/// The mean of what is known.
fn mean(views: &[&RequestView], get: &dyn Fn(&RequestView) -> Option<u64>) -> Metric {
    let known: Vec<u64> = views.iter().filter_map(|view| get(view)).collect();
    let mean = as_f64(known.iter().sum()) / as_f64(known.len() as u64);
    Metric::known((!known.is_empty()).then_some(mean), "1", "no span of the server says it")
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;
    use xscope_trace::metric::Status;

    use super::by_size;
    use crate::requests::view::RequestView;

    fn request(tokens: u64, us: u64) -> RequestView {
        RequestView {
            total: Picos(i64::try_from(us).unwrap() * 1_000_000),
            sequence_tokens: vec![tokens],
            ..RequestView::default()
        }
    }

    #[test]
    fn the_size_of_a_request_explains_its_time_or_does_not() {
        let others: Vec<RequestView> =
            (10..50).map(|tokens| request(tokens, 1000 + 100 * tokens)).collect();
        let others: Vec<&RequestView> = others.iter().collect();
        let (large, small, between) =
            (request(200, 22_000), request(20, 23_000), request(49, 6000));
        let unknown = RequestView { total: Picos(9_000_000_000), ..RequestView::default() };
        let slow = by_size(&[&between, &unknown, &large, &small], &others, &[]);
        let told: Vec<_> = slow
            .iter()
            .map(|one| (one.slow_by, one.expected_ms.status, one.residual_ms.value))
            .collect();
        let rounded = |ms: f64| (ms * 1000.0).round() / 1000.0;
        let told: Vec<_> =
            told.into_iter().map(|(by, status, ms)| (by, status, ms.map(rounded))).collect();
        let expected = [
            ("not_size", Status::Valid, Some(20.0)),
            // No other is as large.
            ("large", Status::Degraded, Some(1.0)),
            ("unknown", Status::Unavailable, None),
            ("large", Status::Valid, Some(0.1)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn without_enough_others_nothing_is_expected() {
        let others: Vec<RequestView> = (1..=5).map(|tokens| request(tokens, tokens)).collect();
        let others: Vec<&RequestView> = others.iter().collect();
        assert_eq!(by_size(&[&request(3, 9)], &others, &[])[0].slow_by, "unknown");
        let same: Vec<RequestView> = (0..9).map(|_| request(4, 4)).collect();
        let same: Vec<&RequestView> = same.iter().collect();
        assert_eq!(by_size(&[&request(4, 9)], &same, &[])[0].slow_by, "not_size");
        assert_eq!(by_size(&[&request(8, 9)], &same, &[])[0].slow_by, "unknown", "all are smaller");
    }
}
