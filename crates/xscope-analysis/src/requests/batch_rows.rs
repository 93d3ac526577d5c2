//! Every batch, and whose time it took.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::model::SpanKey;
use xscope_trace::stats::{millis, share};
use xscope_trace::{Metric, Picos, Trace};

use crate::requests::batches::BatchView;
use crate::requests::spans::key_text;
use crate::requests::view::RequestView;

/// One batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchRow {
    /// Its number, as its recorder calls it.
    pub batch: String,
    /// `prefill` or `decode`.
    pub stage: &'static str,
    /// Sequences in it.
    #[serde(rename = "sequences")]
    pub rows: u64,
    /// Tokens that requests asked for.
    pub tokens: u64,
    /// Tokens with the padding; 0 if no span says it.
    pub padded_tokens: u64,
    /// Device time.
    pub device_ms: f64,
    /// Unavailable if the recorder does not say what it was padded to.
    pub padding_share: Metric,
    /// Device time by request; with the padding they add up to the batch.
    pub shares: Vec<BatchShare>,
}

/// What a batch did for one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchShare {
    /// The request's id.
    pub request: String,
    /// Device time.
    pub device_ms: f64,
}

pub(crate) fn batch_rows(
    trace: &Trace,
    views: &[RequestView],
    batches: &[BatchView],
) -> Vec<BatchRow> {
    let names: BTreeMap<SpanKey, &str> =
        views.iter().filter_map(|view| Some((view.key?, view.id.as_str()))).collect();
    let name = |key: SpanKey| match names.get(&key) {
        Some(&name) => name.to_owned(),
        None => key_text(trace, key),
    };
    let part = |&(key, time): &(SpanKey, Picos)| BatchShare {
        request: name(key),
        device_ms: millis(time),
    };
    let rows = batches.iter().map(|batch| BatchRow {
        batch: key_text(trace, batch.batch),
        stage: if batch.is_decode { "decode" } else { "prefill" },
        rows: batch.rows,
        tokens: batch.tokens,
        padded_tokens: batch.padded_tokens,
        device_ms: millis(batch.device),
        padding_share: Metric::known(
            batch.is_counted().then(|| share(batch.padding, batch.device)),
            "1",
            "no span says how many tokens the batch has and is padded to",
        ),
        shares: batch.shares.iter().filter(|_| batch.tokens > 0).map(part).collect(),
    });
    rows.collect()
}
