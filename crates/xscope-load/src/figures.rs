//! From raw samples to a point's figures. Pure.

use std::collections::BTreeMap;

use xscope_trace::Metric;
use xscope_trace::results::{CompileSplit, Durations, PointResult, StreamTimes, Trial, Validity};
use xscope_trace::stats::as_f64;

use crate::audit::audit;
use crate::evidence::{CompileSign, Evidence};
use crate::plan::Plan;
use crate::record::{Sample, TrialSamples};
use crate::validity;

/// Evidence that is kept word for word.
const MAX_EVIDENCE: usize = 5;

/// The figures of a point and the verdict on them.
pub fn point_result(plan: &Plan, trials: &[TrialSamples], evidence: &Evidence) -> PointResult {
    let samples = || trials.iter().flat_map(|trial| &trial.samples);
    let right = || samples().filter(|sample| sample.failure.is_none());
    let arrivals = &plan.workload().arrivals;
    let detected_by = validity::detected_by(trials, evidence);
    let causes = validity::causes(plan, trials, evidence);
    let asked = validity::asked(plan, evidence);
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let (requests, ok) = (samples().count() as u64, right().count() as u64);
    let latency = Durations::of(right().map(Sample::latency).collect());
    let rate = |unit, of: fn(&Sample) -> u64| rate(trials, unit, of);
    PointResult {
        point: plan.name().to_owned(),
        shape: plan.shape(),
        workload_hash: plan.workload_hash().to_owned(),
        arrivals: arrivals.to_string(),
        concurrency: arrivals
            .concurrency()
            .or_else(|| trials.iter().map(|trial| trial.most_in_flight).max())
            .unwrap_or(0),
        requests,
        ok,
        failed: requests - ok,
        failures: failures(trials),
        from_sent: Durations::of(right().filter_map(|s| Some(s.end - s.sent?)).collect()),
        item_ms: item_ms(right()),
        throughput_items_per_sec: rate("items/s", |sample| u64::from(sample.items)),
        requests_per_sec: rate("1/s", |_| 1),
        input_tokens_per_sec: rate("tokens/s", |sample| sample.prompt_tokens),
        output_tokens_per_sec: rate("tokens/s", |sample| sample.output_tokens),
        stream: stream_times(right()),
        client: audit(trials),
        compile: (!detected_by.is_empty()).then(|| split_of(trials, evidence, detected_by)),
        warmup: evidence.warmup.clone(),
        server_ms: server_ms(trials),
        drift_compared: trials.iter().chain(&evidence.checks).map(|trial| trial.compared).sum(),
        trials: trials.iter().filter(|trial| !trial.samples.is_empty()).map(trial).collect(),
        validity: Validity::on(causes, &asked),
        latency,
        ..PointResult::default()
    }
}

/// The requests of a stretch that was profiled, by the compilations that its trace shows.
pub fn profiled_split(trial: &TrialSamples, compiles: Vec<CompileSign>) -> CompileSplit {
    let evidence = Evidence { compiles, ..Evidence::default() };
    split_of(std::slice::from_ref(trial), &evidence, "trace".to_owned())
}

fn split_of(trials: &[TrialSamples], evidence: &Evidence, detected_by: String) -> CompileSplit {
    let split = validity::split(trials, evidence);
    CompileSplit {
        detected_by,
        evidence: split.evidence.into_iter().take(MAX_EVIDENCE).collect(),
        clean: Durations::of(split.clean),
        hit: Durations::of(split.hit),
    }
}

fn trial(trial: &TrialSamples) -> Trial {
    let one = std::slice::from_ref(trial);
    let latency = Durations::of(trial.latencies());
    let right = || trial.samples.iter().filter(|sample| sample.failure.is_none());
    let generates = right().any(|sample| sample.output_tokens > 0);
    Trial {
        trial: trial.trial,
        started: trial.started,
        ended: trial.ended,
        throughput_items_per_sec: rate(one, "items/s", |sample| u64::from(sample.items)),
        requests_per_sec: rate(one, "1/s", |_| 1),
        output_tokens_per_sec: generates
            .then(|| rate(one, "tokens/s", |sample| sample.output_tokens)),
        stream: stream_times(right()),
        failed: trial.samples.len() as u64 - latency.n,
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

fn failures(trials: &[TrialSamples]) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for (kind, (count, _)) in trials.iter().flat_map(|trial| &trial.failures) {
        *failures.entry(kind.name().to_owned()).or_default() += count;
    }
    failures
}

/// Right answers per second over the trials, each from its first intended send to its last end.
fn rate(trials: &[TrialSamples], unit: &'static str, count: fn(&Sample) -> u64) -> Metric {
    let right = trials.iter().flat_map(|trial| &trial.samples);
    let right = right.filter(|sample| sample.failure.is_none());
    let counted: u64 = right.clone().map(count).sum();
    let secs: f64 =
        trials.iter().map(|trial| (trial.ended - trial.started).as_millis() / 1e3).sum();
    match right.count() {
        0 => Metric::unavailable(unit, "no right answers"),
        _ if secs <= 0.0 => Metric::unavailable(unit, "the measured window has no length"),
        _ if counted == 0 => Metric::unavailable(unit, "the requests have none, or do not say"),
        _ => Metric::valid(as_f64(counted) / secs, unit),
    }
}

fn item_ms<'s>(right: impl Iterator<Item = &'s Sample>) -> Metric {
    let (mut ms, mut items) = (0.0, 0_u64);
    for sample in right {
        ms += sample.latency().as_millis();
        items += u64::from(sample.items);
    }
    match items {
        0 => Metric::unavailable("ms", "the requests have no items"),
        items => Metric::valid(ms / as_f64(items), "ms"),
    }
}

fn server_ms(trials: &[TrialSamples]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for (stage, (ms, count)) in trials.iter().flat_map(|trial| &trial.server_ms) {
        let sum = sums.entry(stage.clone()).or_default();
        *sum = (sum.0 + ms, sum.1 + count);
    }
    sums.into_iter().map(|(stage, (ms, count))| (stage, ms / as_f64(count))).collect()
}
