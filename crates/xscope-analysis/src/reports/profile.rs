//! The report on a profiled scoring run: requests joined to the work that they caused.

use std::collections::BTreeMap;

use serde::{Deserialize as _, Serialize};
use xscope_trace::model::SpanKey;
use xscope_trace::overhead::OverheadRecord;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::results::TargetCheck;
use xscope_trace::run::{RunDir, RunManifest, RunStatus};
use xscope_trace::{Metric, Picos, Trace};

use crate::memory::MemoryReport;
use crate::overhead::{OverheadReport, overhead};
use crate::reports::analyze::{AnalyzeReport, analyze};
use crate::reports::targets::{Overrides, Targets, check_profile};
use crate::requests::batches::{BatchSummary, BatchView};
use crate::requests::launches::Launches;
use crate::requests::{FORWARD, RequestView, StageRow, UNACCOUNTED};
use crate::stats::{as_f64, mean_micros, millis, percentile, share, sum};

/// Version of [`ProfileReport`] as JSON.
pub const SCHEMA: &str = "xscope/profile/1";

/// Unaccounted share of wall time above which the waterfall is degraded.
const MUCH_UNACCOUNTED: f64 = 0.02;

/// Fewest requests that have one above their 99th percentile.
const ENOUGH_FOR_P99: usize = 100;

/// How many bins a histogram has.
const BINS: u32 = 40;

/// The left edge of a histogram is not below this: its bins are factors.
const SHORTEST_MS: f64 = 1e-3;

/// How many requests are kept one by one.
const POINTS: usize = 1000;

/// What a profiled run says.
///
/// The fields of [`Profiled`] at its top are those of the typical request: the measured one whose
/// latency is the median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileReport {
    pub schema: &'static str,
    /// The run directory, as given to the command.
    pub run_dir: String,
    /// Whether the run came to its end.
    pub complete: bool,
    #[serde(flatten)]
    pub typical: Profiled,
    pub requests: RequestCounts,
    pub latency: Latency,
    pub stages: Vec<StageRow>,
    pub slowest: Option<Profiled>,
    /// Measured requests by start; of many, the slowest of each of as many groups as are kept.
    pub points: Vec<RequestPoint>,
    pub batches: Option<BatchSummary>,
    /// What recording does to latency; absent if it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<OverheadReport>,
    /// What the run should reach, and whether it does.
    pub checks: Vec<TargetCheck>,
    /// The device's side of the run.
    pub analysis: AnalyzeReport,
}

/// One profiled request, with the names that users of the Score API have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profiled {
    pub request_id: String,
    pub total_latency_ms: f64,
    pub tokenization_ms: Metric,
    pub queue_wait_ms: Metric,
    pub model_forward_ms: Metric,
    /// Of that, what the tokens took that only fill its batches up.
    pub padding_ms: Metric,
    pub logprob_extraction_ms: Metric,
    pub softmax_ms: Metric,
    /// Sequences in the largest batch that it was part of.
    pub batch_size: Metric,
    pub num_items: u64,
    pub num_label_tokens: u64,
    /// Tokens of each of its sequences, as the server counted them; empty if it does not say.
    pub sequence_lengths: Vec<u64>,
    /// Tokens of all its sequences together.
    pub tokens: Metric,
    /// Its share of the device time of its batches, by tokens.
    pub device_ms: Metric,
    pub peak_hbm_mb: Metric,
    pub activation_memory_mb: Metric,
    /// What the server calls its model; absent if it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// What it ran on; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// Every stage with its time; they add up to `total_latency_ms`.
    pub waterfall: BTreeMap<String, f64>,
}

/// How many requests there were, and of what kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    pub measured: u64,
    pub warmup: u64,
    pub failed: u64,
}

/// Latency of the measured requests, from the intended send time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    pub n: u64,
    pub p50_ms: Metric,
    pub p95_ms: Metric,
    pub p99_ms: Metric,
    pub mean_ms: Metric,
    /// Items that were scored per second of the measured window.
    pub items_per_sec: Metric,
    /// How many requests took how long; the bins grow by a constant factor.
    pub histogram: Vec<Bin>,
    /// Percentages, and the latency in ms that so many do not exceed; only those that have a
    /// sample above them.
    pub percentiles: Vec<(f64, f64)>,
}

/// A bar of a histogram: `from_ms` is in it, `to_ms` only in the last one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    pub from_ms: f64,
    pub to_ms: f64,
    pub count: u64,
}

/// One measured request on the time axis of the trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestPoint {
    pub request_id: String,
    /// From the start of the trace to when it was due.
    pub start_us: f64,
    pub latency_ms: f64,
}

/// What a run says of itself, beside its trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFacts {
    /// The run directory, as given to the command.
    pub run_dir: String,
    /// Whether it came to its end.
    pub complete: bool,
    pub model_name: Option<String>,
    pub hardware: Option<String>,
    /// Its windows with more and less recording.
    pub overhead: Option<OverheadRecord>,
    pub targets: Targets,
}

impl RunFacts {
    /// What a run directory says.
    pub fn of(run: &RunDir) -> Self {
        let stated = |field: &str| {
            let info = run.manifest.other.get("server_info")?;
            info.get(field)?.as_str().map(str::to_owned)
        };
        Self {
            run_dir: run.path().display().to_string(),
            complete: run.manifest.status == RunStatus::Complete,
            model_name: stated("served_model_name").or_else(|| stated("model_path")),
            hardware: stated("device").or_else(|| run.manifest.host.cpu_model.clone()),
            overhead: run.read_json(&run.overhead_path()),
            targets: stated_targets(&run.manifest),
        }
    }
}

/// The targets that the run was taken for: those of the RFC, but for the limits in its manifest.
fn stated_targets(manifest: &RunManifest) -> Targets {
    let stated = manifest.other.get("targets");
    let overrides = stated.and_then(|targets| Overrides::deserialize(targets).ok());
    Targets::with(&overrides.unwrap_or_default()).unwrap_or_default()
}

/// Analyses the trace of a run directory.
pub fn profile(trace: &Trace, run: &RunFacts) -> ProfileReport {
    let mut analysis = analyze(trace);
    let requests = analysis.requests.take();
    let name = |request: Profiled| Profiled {
        model_name: run.model_name.clone(),
        hardware: run.hardware.clone(),
        ..request
    };
    let (typical, slowest, batches) = match &requests {
        Some(found) => (found.typical.clone(), found.slowest.clone(), found.batches.clone()),
        None => (None, None, None),
    };
    let (counts, latency, stages, points) = match requests {
        Some(found) => {
            analysis.quality.extend(found.findings);
            (found.requests, found.latency, found.stages, found.points)
        }
        None => {
            let none = RequestCounts { measured: 0, warmup: 0, failed: 0 };
            (none, latency(&[]), Vec::new(), Vec::new())
        }
    };
    let mut report = ProfileReport {
        schema: SCHEMA,
        run_dir: run.run_dir.clone(),
        complete: run.complete,
        typical: typical.map_or_else(no_request, name),
        requests: counts,
        latency,
        stages,
        slowest: slowest.map(name),
        points,
        batches,
        overhead: run.overhead.as_ref().map(|record| overhead(record, trace)),
        checks: Vec::new(),
        analysis,
    };
    report.checks = check_profile(&report, &run.targets);
    report
}

pub(crate) fn request_findings(measured: &[&RequestView]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unjoined = measured.iter().filter(|view| !view.has_server).count() as u64;
    if unjoined > 0 {
        findings.push(
            Finding::new(
                Code::RequestsUnjoined,
                "requests have no span of the server; where their time went inside it is unknown: \
                 start the server under `xscope run`, or profile the built-in engine",
            )
            .times(unjoined),
        );
    }
    let total = sum(&measured.iter().map(|view| view.total).collect::<Vec<_>>());
    let lost = sum(&measured.iter().map(|view| view.stage(UNACCOUNTED)).collect::<Vec<_>>());
    if unjoined == 0 && share(lost, total) > MUCH_UNACCOUNTED {
        findings.push(Finding::new(
            Code::RequestsUnaccounted,
            format!(
                "{:.1} % of the requests' wall time is in no stage",
                100.0 * share(lost, total)
            ),
        ));
    }
    findings
}

/// Whether a request is one that the client of the run sent; all are where there is no client.
pub(crate) fn is_ours(trace: &Trace, view: &RequestView) -> bool {
    view.has_client || trace.client.is_empty()
}

/// Says how batches were joined to the device's work, where that was a matter of time and order.
pub(crate) fn join_finding(launches: &Launches) -> Option<Finding> {
    let (joined, uncertain) = (launches.joined, launches.uncertain);
    let message = format!(
        "the device does not know the server's batches: {joined} executions were joined to them \
         by time and order, {uncertain} of them while several batches were under way"
    );
    let finding = Finding::new(Code::BatchesJoinedByTime, message);
    (joined > 0).then(|| if uncertain == 0 { finding.harmless() } else { finding })
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
    trace: &Trace,
    view: &RequestView,
    batches: &[BatchView],
    shares: &BTreeMap<SpanKey, Picos>,
    memory: &MemoryReport,
) -> Profiled {
    let stage = |name: &str| match view.has_server {
        true => Metric::valid(millis(view.stage(name)), "ms"),
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
        total_latency_ms: millis(view.total),
        tokenization_ms: stage("tokenize"),
        queue_wait_ms: stage("queue.wait"),
        model_forward_ms: stage("forward"),
        padding_ms: padding_ms(view, &mine),
        logprob_extraction_ms: stage("logprob.extract"),
        softmax_ms: stage("softmax"),
        batch_size: count(mine.iter().map(|batch| batch.rows).max().unwrap_or(0)),
        num_items: view.items,
        num_label_tokens: view.labels,
        sequence_lengths: view.sequence_tokens.clone(),
        tokens: count(view.sequence_tokens.iter().sum()),
        device_ms: Metric::known(
            device,
            "ms",
            "no device work could be joined to the request, or its batches' tokens are not known",
        ),
        peak_hbm_mb: hbm_peak(trace, memory),
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
    Metric::degraded(millis(view.stage(FORWARD)) * share, "ms", why)
}

/// The most device memory that was in use.
pub(crate) fn hbm_peak(trace: &Trace, memory: &MemoryReport) -> Metric {
    use xscope_trace::model::{DeviceKind, MemoryReport as ReportedMemory};
    const MIB: f64 = 1_048_576.0;
    let reports = &trace.memory_reports;
    let most = |values: Vec<f64>| values.into_iter().reduce(f64::max).map(|mib| mib * MIB / 1e6);
    if let Some(peak) = most(reports.iter().filter_map(|report| report.peak_memory_mb).collect()) {
        return Metric::valid(peak, "MB");
    }
    // Of sglang-jax's own reports each sees only some of the tensors.
    let whole = |report: &&ReportedMemory| trace.strings.get(report.report_type) == "device";
    let live = reports.iter().filter(whole).map(|report| report.total_memory_mb).collect();
    if let Some(live) = most(live) {
        let reason = "arrays alive at the snapshots; the device does not count its peak";
        return Metric::degraded(live, "MB", reason);
    }
    let on_cpu = trace.devices.iter().all(|device| device.kind == DeviceKind::Cpu);
    match on_cpu && !trace.devices.is_empty() {
        true => Metric::unavailable("MB", "the device is a CPU; see memory for its peak"),
        false => memory.peak.clone(),
    }
}

fn no_request() -> Profiled {
    let none = |unit: &'static str| Metric::unavailable(unit, "no request was measured");
    Profiled {
        request_id: String::new(),
        total_latency_ms: 0.0,
        tokenization_ms: none("ms"),
        queue_wait_ms: none("ms"),
        model_forward_ms: none("ms"),
        padding_ms: none("ms"),
        logprob_extraction_ms: none("ms"),
        softmax_ms: none("ms"),
        batch_size: none("1"),
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

pub(crate) fn latency(measured: &[&RequestView]) -> Latency {
    let mut times: Vec<Picos> = measured.iter().map(|view| view.total).collect();
    times.sort_unstable();
    let n = times.len();
    let at = |percent| match n {
        0 => Metric::unavailable("ms", "no request was measured"),
        _ if percent == 99 && n < ENOUGH_FOR_P99 => Metric::degraded(
            millis(percentile(&times, percent)),
            "ms",
            format!("only {n} samples: fewer than {ENOUGH_FOR_P99} have none above their p99"),
        ),
        _ => Metric::valid(millis(percentile(&times, percent)), "ms"),
    };
    let mean = (n > 0).then(|| mean_micros(sum(&times), n as u64) / 1e3);
    Latency {
        n: n as u64,
        p50_ms: at(50),
        p95_ms: at(95),
        p99_ms: at(99),
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
fn tail(times: &[Picos]) -> Vec<(f64, f64)> {
    const SHARES: [(u64, u64); 9] = [
        (10, 100),
        (25, 100),
        (50, 100),
        (75, 100),
        (90, 100),
        (95, 100),
        (99, 100),
        (999, 1000),
        (9999, 10_000),
    ];
    let n = times.len() as u64;
    let supported = SHARES.iter().filter(|(part, whole)| n * (whole - part) >= *whole);
    supported
        .filter_map(|&(part, whole)| {
            let rank = usize::try_from((n * part).div_ceil(whole).max(1) - 1).ok()?;
            Some((100.0 * as_f64(part) / as_f64(whole), millis(*times.get(rank)?)))
        })
        .collect()
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
    use xscope_trace::model::SpanKey;

    use super::{BatchView, RequestView, histogram, padding_ms, tail};

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
        assert_eq!(tail(&times).last(), Some(&(99.0, 99.0)));
        assert_eq!(tail(&times[..1]), []);
    }

    #[test]
    fn padding_is_a_share_of_the_forward_pass() {
        let mut view = RequestView { total: Picos(100), ..RequestView::default() };
        view.stages.insert("forward".to_owned(), Picos(80_000_000_000));
        let batch = |tokens, padded_tokens, is_decode| BatchView {
            batch: SpanKey::Number(1),
            rows: 1,
            tokens,
            padded_tokens,
            device: Picos(1),
            shares: Vec::new(),
            padding: Picos(0),
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
