//! The slowest 1 % of the requests against the others: where they were longer, and what they have in
//! common.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::model::SpanKey;
use xscope_trace::stats::{as_f64, millis};
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
    })
}

/// The mean of what is known.
fn mean(views: &[&RequestView], get: &dyn Fn(&RequestView) -> Option<u64>) -> Metric {
    let known: Vec<u64> = views.iter().filter_map(|view| get(view)).collect();
    let mean = as_f64(known.iter().sum()) / as_f64(known.len() as u64);
    Metric::known((!known.is_empty()).then_some(mean), "1", "no span of the server says it")
}
