//! Whether a point's figures mean what their names say, and if not, why. Pure: samples and evidence
//! in, causes out.

use xscope_trace::Metric;
use xscope_trace::Nanos;
use xscope_trace::results::{Cause, CauseKind, CompileSplit, Durations, PointResult, Validity};
use xscope_trace::stats::{Percentile, as_f64};

use crate::audit::{audit, due_per_sec};
use crate::evidence::Evidence;
use crate::plan::Plan;
use crate::record::{Sample, TrialSamples};

/// A schedule that was later than this on average ...
const LAG_MS: f64 = 0.1;
/// ... and than this share of the mean latency was not kept.
const LAG_SHARE: f64 = 0.05;
/// In a closed loop, which has no schedule, it takes more to say that a figure is the client's.
const CLOSED_LAG_SHARE: f64 = 0.2;
/// One whose 99th percentile was later than this ...
const LATE_MS: f64 = 1.0;
/// ... and than this share of that of the latency shows in the tail.
const LATE_SHARE: f64 = 0.1;
const TAIL: [&str; 3] = ["p95_ms", "p99_ms", "max_ms"];
/// The least share of the requested rate that counts as delivered.
const DELIVERED: f64 = 0.95;
/// A sending thread that is busier than this may have been waited for.
const BUSY: f64 = 0.9;
/// The least growth of the requests in flight that counts, as a share of all requests.
const GROWTH: f64 = 0.04;

const RATES: [&str; 4] = [
    "throughput_items_per_sec",
    "requests_per_sec",
    "input_tokens_per_sec",
    "output_tokens_per_sec",
];
const PERCENTILES: [(&str, Percentile); 3] =
    [("p50_ms", Percentile::P50), ("p95_ms", Percentile::P95), ("p99_ms", Percentile::P99)];

/// Latencies of right answers that did and did not meet a compilation.
#[derive(Debug, Default)]
pub(crate) struct Split {
    pub(crate) clean: Vec<Nanos>,
    pub(crate) hit: Vec<Nanos>,
    pub(crate) evidence: Vec<String>,
}

/// Where compilations would have been seen: nowhere, if empty.
pub(crate) fn detected_by(trials: &[TrialSamples], evidence: &Evidence) -> String {
    let mut samples = trials.iter().flat_map(|trial| &trial.samples);
    match evidence.detected_by.as_str() {
        "" if samples.any(|sample| sample.compiled.is_some()) => "header".to_owned(),
        known => known.to_owned(),
    }
}

pub(crate) fn split(trials: &[TrialSamples], evidence: &Evidence) -> Split {
    let mut split = Split::default();
    let met = |sample: &Sample| {
        evidence.compiles.iter().find(|sign| sign.from <= sample.end && sample.intended <= sign.to)
    };
    for sample in trials.iter().flat_map(|trial| &trial.samples) {
        let sign = met(sample);
        let is_hit = sign.is_some() || sample.compiled == Some(true);
        if let Some(sign) = sign.filter(|sign| split.evidence.last() != Some(&sign.text)) {
            split.evidence.push(sign.text.clone());
        }
        if sample.failure.is_none() {
            let side = if is_hit { &mut split.hit } else { &mut split.clean };
            side.push(sample.latency());
        }
    }
    split
}

/// The figures that a point is judged by: in an open loop rates are the offer's, not the server's.
pub(crate) fn asked(plan: &Plan, evidence: &Evidence) -> Vec<String> {
    if !evidence.asked.is_empty() {
        return evidence.asked.clone();
    }
    let is_closed = plan.workload().arrivals.concurrency().is_some();
    let names: &[&str] =
        if is_closed { &["p50_ms", "mean_ms", RATES[0], RATES[1]] } else { &["p50_ms", "mean_ms"] };
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Adds the requests that were sent while a point's profile was taken. One that compiled then, after
/// all else, was not warm; a log or a header knows better whether that was so while it was measured.
pub fn add_profiled(point: &mut PointResult, split: CompileSplit) {
    if split.hit.n > 0 && point.compile.is_none() {
        let first = split.evidence.first().map_or("", String::as_str);
        let detail = format!(
            "{} of {} requests met a compilation while the profile was taken, after the trials \
             ({first}): some that were measured may have, too, and nothing would show it \
             (a log with its compilations would: JAX_LOG_COMPILES=1 for the server, --server-log)",
            split.hit.n,
            split.hit.n + split.clean.n,
        );
        let cause = Cause { cause: CauseKind::NotWarm, detail, spoils: Vec::new() };
        point.validity.causes.push(cause);
        point.validity = Validity::on(std::mem::take(&mut point.validity.causes), &[]);
    }
    point.compile_profiled = Some(split);
}

/// All that is wrong with a point.
pub(crate) fn causes(plan: &Plan, trials: &[TrialSamples], evidence: &Evidence) -> Vec<Cause> {
    let gone = || trials.iter().find_map(|trial| trial.gone.clone());
    let mut causes = Vec::new();
    let mut add = |cause, detail, spoils: &[&str]| {
        let spoils = spoils.iter().map(|&name| name.to_owned()).collect();
        causes.push(Cause { cause, detail, spoils });
    };
    let died = evidence.died.clone().or_else(gone);
    let is_cut = died.is_some() || evidence.interrupted;
    if let Some(detail) = died {
        add(CauseKind::ServerDied, detail, &[]);
    }
    if evidence.interrupted {
        add(CauseKind::Interrupted, "stopped by the user before its end".to_owned(), &[]);
    }
    if let Some(detail) = failed(trials, true).or_else(|| failed(&evidence.checks, true)) {
        add(CauseKind::WrongAnswers, detail, &[]);
    }
    if let Some(detail) = failed(trials, false) {
        add(CauseKind::FailedRequests, detail, &[]);
    }
    let limited = client_limited(trials, is_cut);
    let overloaded = overloaded(trials);
    let is_open = plan.workload().arrivals.concurrency().is_none();
    if let Some((detail, spoils)) = &limited {
        add(CauseKind::ClientLimited, detail.clone(), spoils);
    }
    let Split { hit, evidence: lines, .. } = split(trials, evidence);
    if !hit.is_empty() {
        let line = lines.first().map_or_else(String::new, |line| format!(": {line}"));
        let detail = format!("{} requests met a compilation{line}", hit.len());
        add(CauseKind::CompileInWindow, detail, &[]);
    }
    if evidence.warmup.warm == Some(false) {
        let detail = evidence.warmup.evidence.join("; ");
        add(CauseKind::NotWarm, format!("warm-up was given up: {detail}"), &[]);
    }
    match overloaded {
        Some(detail) if is_open => add(CauseKind::Overloaded, detail, &[]),
        _ if is_open && limited.is_none() && !is_cut => {
            let detail = "the server served all that was offered: rates are those of the offer";
            add(CauseKind::OfferedLimited, detail.to_owned(), &RATES);
        }
        _ => {}
    }
    let right = trials.iter().flat_map(|trial| &trial.samples);
    let n = right.filter(|sample| sample.failure.is_none()).count() as u64;
    let few = PERCENTILES.map(|(name, percentile)| (name, percentile.samples_needed()));
    let few: Vec<(&str, u64)> = few.into_iter().filter(|(_, needed)| n < *needed).collect();
    if !few.is_empty() {
        let needs = few.iter().map(|(name, needed)| format!("{name} needs {needed} samples"));
        let detail = format!("{}, there are {n}", needs.collect::<Vec<_>>().join(", "));
        let names: Vec<&str> = few.iter().map(|(name, _)| *name).collect();
        add(CauseKind::TooFewSamples, detail, &names);
    }
    causes
}

/// Failed requests, of those that gave a wrong answer or of the others.
fn failed(trials: &[TrialSamples], is_wrong: bool) -> Option<String> {
    let all: usize = trials.iter().map(|trial| trial.samples.len()).sum();
    let kinds = trials.iter().flat_map(|trial| &trial.failures);
    let mut kinds = kinds.filter(|(kind, _)| kind.is_wrong_answer() == is_wrong).peekable();
    let (_, (_, first)) = kinds.peek().copied()?;
    let count: u64 = kinds.map(|(_, (count, _))| count).sum();
    let what = if is_wrong { "answers were wrong" } else { "requests failed" };
    Some(format!("{count} of {all} {what}, the first: {first}"))
}

/// Why the client was what limited the load, if it was, and which figures that spoils.
fn client_limited(
    trials: &[TrialSamples],
    is_cut: bool,
) -> Option<(String, &'static [&'static str])> {
    let audit = audit(trials);
    let samples = || trials.iter().flat_map(|trial| &trial.samples);
    let latency = Durations::of(samples().map(Sample::latency).collect());
    let lag = &audit.schedule_lag;
    let value = |figure: &Metric| figure.value.unwrap_or(0.0);
    let (mean, of) = (value(&lag.mean_ms), value(&latency.mean_ms));
    let share = if audit.requested_per_sec.is_some() { LAG_SHARE } else { CLOSED_LAG_SHARE };
    if mean > LAG_MS && mean > share * of {
        let detail = format!("requests were sent {mean:.2} ms late on average: the client is slow");
        return Some((detail, &[]));
    }
    let delivered = value(&audit.delivered_per_sec);
    if let (Some(_), Some(due)) = (audit.requested_per_sec, due_per_sec(trials))
        && delivered < DELIVERED * due
        && !is_cut
    {
        let detail = format!("{delivered:.1} requests/s were sent of {due:.1} that were due");
        return Some((detail, &[]));
    }
    let busy = trials.iter().map(|trial| trial.sender_busy).fold(0.0, f64::max);
    if busy > BUSY {
        let percent = busy * 100.0;
        let detail = format!("the thread that sends was busy for {percent:.0} % of the time");
        return Some((detail, &[]));
    }
    let cpu = value(&audit.cpu_cores);
    if audit.cores > 0 && cpu > BUSY * f64::from(audit.cores) {
        let cores = audit.cores;
        let detail = format!("the client took {cpu:.1} of {cores} cores: nothing is left for more");
        return Some((detail, &[]));
    }
    let (late, of) = (value(&lag.p99_ms), value(&latency.p99_ms));
    (late > LATE_MS && late > LATE_SHARE * of).then(|| {
        let detail = format!("one request in a hundred was sent {late:.1} ms late or later");
        (detail, TAIL.as_slice())
    })
}

/// Whether requests in flight became ever more, in any window: between the second and the last
/// quarter of the arrivals by more than chance explains.
fn overloaded(trials: &[TrialSamples]) -> Option<String> {
    trials.iter().find_map(|trial| {
        let mut due: Vec<Nanos> = trial.samples.iter().map(|sample| sample.intended).collect();
        let mut ends: Vec<Nanos> = trial.samples.iter().map(|sample| sample.end).collect();
        due.sort_unstable();
        ends.sort_unstable();
        let n = due.len();
        // In flight when the i-th arrives: those before it without those that had ended.
        let in_flight = |i: usize| i - ends.partition_point(|end| *end <= due[i]);
        let mean = |from: usize, to: usize| {
            let sum: usize = (from..to).map(in_flight).sum();
            as_f64(sum as u64) / as_f64((to - from).max(1) as u64)
        };
        let (before, after) = (mean(n / 4, n / 2), mean(3 * n / 4, n));
        let all = as_f64(n as u64);
        (after - before > (GROWTH * all).max(all.sqrt())).then(|| {
            format!(
                "requests in flight grew from {before:.0} to {after:.0}: more is offered than is \
                 served, and latencies depend on how long that goes on"
            )
        })
    })
}
