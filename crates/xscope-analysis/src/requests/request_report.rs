//! The requests of a run: stages, the typical and the slowest one, what the slowest have in common,
//! and the batches that served them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::model::SpanKey;
use xscope_trace::quality::Finding;
use xscope_trace::stats::{as_f64, millis, share};
use xscope_trace::window::Window;
use xscope_trace::{Metric, Picos, Trace};

use crate::compiles::CompileRow;
use crate::memory::MemoryReport;
use crate::reports::profile::{
    Latency, Profiled, RequestCounts, RequestPoint, is_ours, join_finding, latency, points,
    profiled, request_findings, shares_by_request,
};
use crate::requests::batches::{BatchSummary, BatchView, batches_of, summary};
use crate::requests::join::Join;
use crate::requests::launches::Launches;
use crate::requests::recompiles;
use crate::requests::waste;
use crate::requests::{RequestView, StageRow, key_text, requests_of, stages};

/// What a trace says of its requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestsReport {
    pub requests: RequestCounts,
    pub latency: Latency,
    pub stages: Vec<StageRow>,
    /// The measured request with the median latency.
    pub typical: Option<Profiled>,
    pub slowest: Option<Profiled>,
    /// Measured requests by start; of many, the slowest of each of as many groups as are kept.
    pub points: Vec<RequestPoint>,
    /// The slowest 1 % against the others; absent if there are no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowReport>,
    pub batches: Option<BatchSummary>,
    /// Every batch that a recorder gave an identity.
    pub batch_rows: Vec<BatchRow>,
    /// What makes these figures wrong.
    pub findings: Vec<Finding>,
}

/// The slowest 1 % of the requests, at least one, against the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowReport {
    pub slow: u64,
    pub others: u64,
    /// Latency of the fastest of the slow ones.
    pub from_ms: f64,
    /// By what they add to a slow request, largest first.
    pub stages: Vec<SlowStage>,
    pub traits: Vec<TraitRow>,
}

/// Mean time in a stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowStage {
    pub name: String,
    pub slow_ms: f64,
    pub others_ms: f64,
    /// The difference.
    pub added_ms: f64,
}

/// A mean over the slow requests and over the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraitRow {
    /// `batch_size` (of a request's largest batch), `batches` (that it was cut into), `items`,
    /// `tokens`, `in_compile` (share of the
    /// requests that were in flight while a host thread compiled).
    pub name: &'static str,
    pub slow: Metric,
    pub others: Metric,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchRow {
    pub batch: String,
    /// `prefill` or `decode`.
    pub stage: &'static str,
    pub rows: u64,
    pub tokens: u64,
    pub padded_tokens: u64,
    pub device_ms: f64,
    /// Unavailable if the recorder does not say what it was padded to.
    pub padding_share: Metric,
    /// Device time by request; with the padding they add up to the batch.
    pub shares: Vec<BatchShare>,
}

/// What a batch did for one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchShare {
    pub request: String,
    pub device_ms: f64,
}

/// The requests of a trace; `None` if it knows of none.
pub(crate) fn request_report(
    trace: &Trace,
    window: Option<&Window>,
    memory: &MemoryReport,
    compiles: &[CompileRow],
) -> Option<RequestsReport> {
    if trace.client.is_empty() && trace.spans.is_empty() {
        return None;
    }
    let join = Join::of(trace);
    let launches = Launches::of(trace, &join);
    let mut views = requests_of(trace, &join, &launches);
    views.retain(|view| window.is_none_or(|w| w.holds(view.start, view.start + view.total)));
    let batches = batches_of(trace, &join, &launches);
    let measured: Vec<&RequestView> =
        views.iter().filter(|view| !view.is_warmup && view.ok && is_ours(trace, view)).collect();
    let mut by_latency = measured.clone();
    by_latency.sort_by(|a, b| (a.total, &a.id).cmp(&(b.total, &b.id)));
    let shares = shares_by_request(&batches);
    let describe = |view: &&RequestView| profiled(trace, view, &batches, &shares, memory);
    let mut findings = request_findings(&measured);
    findings.extend(join_finding(&launches));
    findings.extend(waste::findings(trace, &join, &launches, &measured));
    findings.extend(recompiles::finding(&recompiles::recompiles(trace, &views)));
    Some(RequestsReport {
        requests: RequestCounts {
            measured: measured.len() as u64,
            warmup: views.iter().filter(|view| view.is_warmup).count() as u64,
            failed: views.iter().filter(|view| !view.ok).count() as u64,
        },
        latency: latency(&measured),
        stages: stages(&measured),
        typical: by_latency.get(by_latency.len().saturating_sub(1) / 2).map(describe),
        slowest: by_latency.last().map(describe),
        points: points(&measured, trace.start()),
        slow: slow(&by_latency, &batches, compiles),
        batches: summary(&batches),
        batch_rows: batch_rows(trace, &views, &batches),
        findings,
    })
}

/// Compares the slowest 1 % of requests that are ordered by latency to the others.
fn slow(
    by_latency: &[&RequestView],
    batches: &[BatchView],
    compiles: &[CompileRow],
) -> Option<SlowReport> {
    let count = by_latency.len().div_ceil(100);
    let (others, slow) = by_latency.split_at(by_latency.len() - count);
    if others.is_empty() {
        return None;
    }
    let sides = [slow, others];
    let means = sides.map(|views| -> BTreeMap<String, f64> {
        stages(views).into_iter().map(|row| (row.name, row.mean_ms)).collect()
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
        let overlaps = |row: &CompileRow| row.start < end && row.start + row.duration > view.start;
        Some(u64::from(compiles.iter().any(overlaps)))
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

fn batch_rows(trace: &Trace, views: &[RequestView], batches: &[BatchView]) -> Vec<BatchRow> {
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

#[cfg(test)]
mod tests {
    use xscope_trace::model::{ClientRequest, SourceId};
    use xscope_trace::{Metric, Picos, Trace};

    use super::request_report;
    use crate::memory::memory;

    #[test]
    fn the_slowest_are_told_from_the_others() {
        let mut trace = Trace::default();
        for index in 0..200 {
            // Two wait 9 ms longer before they are sent.
            let wait = if index % 100 == 7 { 9_000_000_000 } else { 0 };
            let intended = index * 20_000_000_000;
            trace.client.push(ClientRequest {
                id: format!("r{index}"),
                source: SourceId(0),
                is_warmup: false,
                ok: true,
                items: if wait > 0 { 8 } else { 2 },
                labels: 2,
                intended: Picos(intended),
                sent: Some(Picos(intended + wait)),
                end: Picos(intended + wait + 1_000_000_000),
            });
        }
        let report = request_report(&trace, None, &memory(&trace, &[], &[]), &[]).unwrap();
        let slow = report.slow.unwrap();
        assert_eq!((slow.slow, slow.others), (2, 198));
        assert!((slow.from_ms - 10.0).abs() < 1e-9);
        let first = &slow.stages[0];
        assert_eq!((first.name.as_str(), first.added_ms), ("client.wait", 9.0));
        let items = slow.traits.iter().find(|row| row.name == "items").unwrap();
        assert_eq!(items.slow, Metric::valid(8.0, "1"));
        assert_eq!(items.others, Metric::valid(2.0, "1"));
        assert!(request_report(&Trace::default(), None, &memory(&trace, &[], &[]), &[]).is_none());
    }
}
