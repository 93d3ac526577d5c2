//! From raw samples to a point's figures. Pure.

use std::collections::BTreeMap;

use xscope_trace::Nanos;
use xscope_trace::results::{
    ClientAudit, CompileSplit, Durations, Figure, PointResult, StreamTimes, Trial, Verdict,
    WarmupReport, count_to_f64,
};

use crate::plan::Plan;
use crate::record::{Sample, Window};
use crate::verdict::{self, CompileSign};

/// Evidence that is kept word for word.
const MAX_EVIDENCE: usize = 5;

/// What is known of a point besides its samples.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub warmup: WarmupReport,
    /// Where compilations would have been seen: `log`, `header`; empty: nowhere.
    pub detected_by: String,
    /// Compilations that were seen, measured window or not.
    pub compiles: Vec<CompileSign>,
    /// Why the server is gone, with its last words, if it is.
    pub died: Option<String>,
    /// Whether the user ended it.
    pub interrupted: bool,
    /// Requests that were sent again and again, to see whether their answers stay the same.
    pub checks: Vec<Window>,
    /// Figures that were asked for, by the names of their fields; those that matter where nobody
    /// says, if empty.
    pub asked: Vec<String>,
}

/// The figures of a point and the verdict on them.
pub fn point_result(plan: &Plan, windows: &[Window], evidence: &Evidence) -> PointResult {
    let samples = || windows.iter().flat_map(|window| &window.samples);
    let right = || samples().filter(|sample| sample.failure.is_none());
    let arrivals = &plan.workload().arrivals;
    let detected_by = verdict::detected_by(windows, evidence);
    let causes = verdict::causes(plan, windows, evidence);
    let asked = verdict::asked(plan, evidence);
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let (requests, ok) = (samples().count() as u64, right().count() as u64);
    let latency = Durations::of(right().map(Sample::latency).collect());
    let rate = |unit, of: fn(&Sample) -> u64| rate(windows, unit, of);
    PointResult {
        point: plan.name().to_owned(),
        shape: plan.shape(),
        workload_hash: plan.workload_hash().to_owned(),
        arrivals: arrivals.to_string(),
        concurrency: arrivals
            .concurrency()
            .or_else(|| windows.iter().map(|window| window.most_in_flight).max())
            .unwrap_or(0),
        requests,
        ok,
        failed: requests - ok,
        failures: failures(windows),
        from_sent: Durations::of(right().filter_map(|s| Some(s.end - s.sent?)).collect()),
        item_ms: item_ms(right()),
        throughput_items_per_sec: rate("1/s", |sample| u64::from(sample.items)),
        requests_per_sec: rate("1/s", |_| 1),
        input_tokens_per_sec: rate("1/s", |sample| sample.prompt_tokens),
        output_tokens_per_sec: rate("1/s", |sample| sample.output_tokens),
        stream: stream_times(right()),
        client: audit(windows),
        compile: (!detected_by.is_empty()).then(|| split_of(windows, evidence, detected_by)),
        warmup: evidence.warmup.clone(),
        server_ms: server_ms(windows),
        drift_compared: windows.iter().chain(&evidence.checks).map(|w| w.compared).sum(),
        trials: windows.iter().filter(|w| !w.samples.is_empty()).map(trial).collect(),
        verdict: Verdict::on(causes, &asked),
        latency,
        ..PointResult::default()
    }
}

/// The requests of a window that was profiled, by the compilations that its trace shows.
pub fn profiled_split(window: &Window, compiles: Vec<CompileSign>) -> CompileSplit {
    let evidence = Evidence { compiles, ..Evidence::default() };
    split_of(std::slice::from_ref(window), &evidence, "trace".to_owned())
}

fn split_of(windows: &[Window], evidence: &Evidence, detected_by: String) -> CompileSplit {
    let split = verdict::split(windows, evidence);
    CompileSplit {
        detected_by,
        evidence: split.evidence.into_iter().take(MAX_EVIDENCE).collect(),
        clean: Durations::of(split.clean),
        hit: Durations::of(split.hit),
    }
}

fn trial(window: &Window) -> Trial {
    let one = std::slice::from_ref(window);
    let latency = Durations::of(window.latencies());
    let right = || window.samples.iter().filter(|sample| sample.failure.is_none());
    let generates = right().any(|sample| sample.output_tokens > 0);
    Trial {
        trial: window.trial,
        started: window.started,
        ended: window.ended,
        throughput_items_per_sec: rate(one, "1/s", |sample| u64::from(sample.items)),
        requests_per_sec: rate(one, "1/s", |_| 1),
        output_tokens_per_sec: generates.then(|| rate(one, "1/s", |sample| sample.output_tokens)),
        stream: stream_times(right()),
        failed: window.samples.len() as u64 - latency.n,
        latency,
    }
}

fn stream_times<'s>(right: impl Iterator<Item = &'s Sample> + Clone) -> StreamTimes {
    if !right.clone().any(|sample| sample.first_token.is_some()) {
        return StreamTimes::default();
    }
    let first = right.clone().filter_map(|sample| Some(sample.first_token? - sample.intended));
    let tokens = right.clone().filter_map(Sample::token_time);
    let gaps = right.flat_map(|sample| sample.gaps.iter().copied());
    StreamTimes {
        ttft: Some(Durations::of(first.collect())),
        tpot: Some(Durations::of(tokens.collect())),
        itl: Some(Durations::of(gaps.collect())),
    }
}

fn failures(windows: &[Window]) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for (kind, (count, _)) in windows.iter().flat_map(|window| &window.failures) {
        *failures.entry(kind.name().to_owned()).or_default() += count;
    }
    failures
}

/// Right answers per second over the windows, each from its first intended send to its last end.
fn rate(windows: &[Window], unit: &'static str, count: fn(&Sample) -> u64) -> Figure {
    let right = windows.iter().flat_map(|window| &window.samples);
    let right = right.filter(|sample| sample.failure.is_none());
    let counted: u64 = right.clone().map(count).sum();
    let secs: f64 =
        windows.iter().map(|window| (window.ended - window.started).as_millis() / 1e3).sum();
    match right.count() {
        0 => Figure::unavailable(unit, "no right answers"),
        _ if secs <= 0.0 => Figure::unavailable(unit, "the measured window has no length"),
        _ if counted == 0 => Figure::unavailable(unit, "the requests have none, or do not say"),
        _ => Figure::Value(count_to_f64(counted) / secs),
    }
}

fn item_ms<'s>(right: impl Iterator<Item = &'s Sample>) -> Figure {
    let (mut ms, mut items) = (0.0, 0_u64);
    for sample in right {
        ms += sample.latency().as_millis();
        items += u64::from(sample.items);
    }
    match items {
        0 => Figure::unavailable("ms", "the requests have no items"),
        items => Figure::Value(ms / count_to_f64(items)),
    }
}

/// What the client did, over all windows.
pub(crate) fn audit(windows: &[Window]) -> ClientAudit {
    let samples = || windows.iter().flat_map(|window| &window.samples);
    let lags = samples().filter_map(|sample| Some(sample.sent? - sample.intended));
    let secs = |of: fn(&Window) -> Nanos| -> f64 {
        windows.iter().map(|window| of(window).as_millis() / 1e3).sum()
    };
    let requested: Vec<f64> = windows.iter().filter_map(|w| w.requested_per_sec).collect();
    let (cpu, wall) = (secs(|window| window.cpu), secs(|window| window.wall));
    ClientAudit {
        schedule_lag: Durations::of(lags.collect()),
        requested_per_sec: match requested.is_empty() {
            true => None,
            false => Some(requested.iter().sum::<f64>() / count_to_f64(requested.len() as u64)),
        },
        delivered_per_sec: delivered(windows),
        cpu_cores: match wall > 0.0 {
            true => Figure::Value(cpu / wall),
            false => Figure::unavailable("cores", "the window has no length"),
        },
        cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        unsent: windows.iter().map(|window| window.unsent).sum(),
    }
}

/// The rate at which requests were sent, between the first and the last.
fn delivered(windows: &[Window]) -> Figure {
    let (mut gaps, mut secs) = (0, 0.0);
    for window in windows {
        let sent = || window.samples.iter().filter_map(|sample| sample.sent);
        if let (Some(first), Some(last)) = (sent().min(), sent().max()) {
            gaps += sent().count() as u64 - 1;
            secs += (last - first).as_millis() / 1e3;
        }
    }
    match gaps > 0 && secs > 0.0 {
        true => Figure::Value(count_to_f64(gaps) / secs),
        false => Figure::unavailable("1/s", "fewer than two requests were sent"),
    }
}

fn server_ms(windows: &[Window]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for (stage, (ms, count)) in windows.iter().flat_map(|window| &window.server_ms) {
        let sum = sums.entry(stage.clone()).or_default();
        *sum = (sum.0 + ms, sum.1 + count);
    }
    sums.into_iter().map(|(stage, (ms, count))| (stage, ms / count_to_f64(count))).collect()
}
