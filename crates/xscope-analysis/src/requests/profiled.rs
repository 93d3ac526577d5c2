//! One request under the names that users of the Score API have.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::model::SpanKey;
use xscope_trace::stats::{as_f64, millis};
use xscope_trace::{Metric, Picos};

use crate::memory::MemoryReport;
use crate::requests::batches::BatchView;
use crate::requests::view::RequestView;
use xscope_trace::stage::{Stage, StageName};

/// One profiled request, with the names that users of the Score API have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Profiled {
    /// The answer's `x-request-id`, else the one that was sent.
    pub request_id: String,
    /// The point of a matrix that it belongs to; empty if the load has none.
    pub point: String,
    /// From the intended send time to the last byte of the answer.
    pub total_latency_ms: f64,
    /// Time in the stage `tokenize`.
    pub tokenization_ms: Metric,
    /// Time in the stage `queue.wait`.
    pub queue_wait_ms: Metric,
    /// Time in the stage `forward`.
    pub model_forward_ms: Metric,
    /// Of that, what the tokens took that only fill its batches up.
    pub padding_ms: Metric,
    /// Time in the stage `logprob.extract`.
    pub logprob_extraction_ms: Metric,
    /// Time in the stage `softmax`.
    pub softmax_ms: Metric,
    /// Sequences in the largest batch that it was part of; `null` if none is known.
    pub batch_size: Option<u64>,
    /// Items that were scored.
    pub num_items: u64,
    /// Labels of each item.
    pub num_label_tokens: u64,
    /// Tokens of each of its sequences, as the server counted them; empty if it does not say.
    pub sequence_lengths: Vec<u64>,
    /// Tokens of all its sequences together.
    #[serde(rename = "total_tokens")]
    pub tokens: Metric,
    /// Its share of the device time of its batches, by tokens.
    #[serde(rename = "device_share_ms")]
    pub device_ms: Metric,
    /// The most device memory in use.
    pub peak_hbm_mb: Metric,
    /// The most that activations took.
    pub activation_memory_mb: Metric,
    /// What the server calls its model; absent if it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// What it ran on; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// Every stage with its milliseconds, in the order of the pipeline; they add up to
    /// `total_latency_ms`.
    #[serde(rename = "waterfall_ms")]
    pub waterfall: BTreeMap<StageName, f64>,
}

pub(crate) fn shares_by_request(batches: &[BatchView]) -> BTreeMap<SpanKey, Picos> {
    let mut shares: BTreeMap<SpanKey, Picos> = BTreeMap::new();
    for &(request, time) in batches.iter().flat_map(|batch| &batch.shares) {
        let sum = shares.entry(request).or_default();
        *sum = sum.saturating_add(time);
    }
    shares
}

pub(crate) fn profiled(
    view: &RequestView,
    batches: &[BatchView],
    shares: &BTreeMap<SpanKey, Picos>,
    memory: &MemoryReport,
) -> Profiled {
    let stage = |stage: Stage| match view.has_server {
        true => Metric::valid(millis(view.stage(stage)), "ms"),
        false => Metric::unavailable("ms", "the server recorded no spans for this request"),
    };
    let mine: Vec<&BatchView> =
        batches.iter().filter(|batch| view.batches.contains(&batch.batch)).collect();
    // Without tokens nothing can be shared out, and a share of nothing would read as zero.
    let is_shared = mine.iter().all(|batch| batch.tokens > 0);
    let device = view.key.and_then(|key| shares.get(&key)).filter(|_| is_shared);
    let device = device.map(|&time| millis(time));
    let count = |value: u64| Metric::known((value > 0).then_some(as_f64(value)), "1", "no spans");
    Profiled {
        request_id: view.id.clone(),
        point: view.point.clone(),
        total_latency_ms: millis(view.total),
        tokenization_ms: stage(Stage::Tokenize),
        queue_wait_ms: stage(Stage::QueueWait),
        model_forward_ms: stage(Stage::Forward),
        padding_ms: padding_ms(view, &mine),
        logprob_extraction_ms: stage(Stage::LogprobExtract),
        softmax_ms: stage(Stage::Softmax),
        batch_size: mine.iter().map(|batch| batch.rows).max(),
        num_items: view.items,
        num_label_tokens: view.labels,
        sequence_lengths: view.sequence_tokens.clone(),
        tokens: count(view.sequence_tokens.iter().sum()),
        device_ms: Metric::known(
            device,
            "ms",
            "no device work could be joined to the request, or its batches' tokens are not known",
        ),
        peak_hbm_mb: memory.peak_hbm_mb.clone(),
        activation_memory_mb: Metric::known(
            memory.owner_peak("activations"),
            "MB",
            "the trace has no memory counters by owner",
        ),
        model_name: None,
        hardware: None,
        waterfall: view.stages.iter().map(|(name, &time)| (name.clone(), millis(time))).collect(),
    }
}

/// What of a request's forward pass the padding of its batches took. A share of the measured stage
/// and no stage itself: nothing measures it, so the waterfall stays what was measured.
fn padding_ms(view: &RequestView, batches: &[&BatchView]) -> Metric {
    let prefills = || batches.iter().filter(|batch| !batch.is_decode);
    if prefills().next().is_none() || !prefills().all(|batch| batch.is_counted()) {
        let why = "no span says how many tokens the request's batches have and are padded to";
        return Metric::unavailable("ms", why);
    }
    let sum = |get: fn(&BatchView) -> u64| {
        prefills().fold(0_u64, |sum, batch| sum.saturating_add(get(batch)))
    };
    let (tokens, padded) = (sum(|batch| batch.tokens), sum(|batch| batch.padded_tokens));
    let share = as_f64(padded.saturating_sub(tokens)) / as_f64(padded);
    let why = "the share of `forward` that padding has of the batches' tokens, as if every token took \
               the same time";
    Metric::degraded(millis(view.stage(Stage::Forward)) * share, "ms", why)
}

pub(crate) fn no_request() -> Profiled {
    let none = |unit: &'static str| Metric::unavailable(unit, "no request was measured");
    Profiled {
        request_id: String::new(),
        point: String::new(),
        total_latency_ms: 0.0,
        tokenization_ms: none("ms"),
        queue_wait_ms: none("ms"),
        model_forward_ms: none("ms"),
        padding_ms: none("ms"),
        logprob_extraction_ms: none("ms"),
        softmax_ms: none("ms"),
        batch_size: None,
        num_items: 0,
        num_label_tokens: 0,
        sequence_lengths: Vec::new(),
        tokens: none("1"),
        device_ms: none("ms"),
        peak_hbm_mb: none("MB"),
        activation_memory_mb: none("MB"),
        model_name: None,
        hardware: None,
        waterfall: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;
    use xscope_trace::model::SpanKey;
    use xscope_trace::stage::Stage;

    use super::{BatchView, RequestView, padding_ms};

    #[test]
    fn padding_is_a_share_of_the_forward_pass() {
        let mut view = RequestView { total: Picos(100), ..RequestView::default() };
        view.stages.insert(Stage::Forward.into(), Picos(80_000_000_000));
        let batch = |tokens, padded_tokens, is_decode| BatchView {
            batch: SpanKey::Number(1),
            rows: 1,
            tokens,
            padded_tokens,
            device: Picos(1),
            shares: Vec::new(),
            padding: Picos(0),
            decode: Picos(0),
            is_decode,
        };
        let of =
            |batches: &[BatchView]| padding_ms(&view, &batches.iter().collect::<Vec<_>>()).value;
        let step = batch(1, 32, true);
        assert_eq!(of(&[batch(30, 40, false), step.clone()]), Some(20.0));
        assert_eq!(of(&[batch(30, 40, false), batch(10, 40, false)]), Some(40.0));
        assert_eq!(of(&[batch(30, 30, false)]), Some(0.0));
        // What no span says is not zero.
        for unknown in [&[batch(30, 0, false)][..], &[batch(0, 40, false)], &[step], &[]] {
            assert_eq!(of(unknown), None, "{unknown:?}");
        }
    }
}
