//! What recording does to the latency of requests, against the budget for it.
//!
//! Windows of one load with more and less recording follow each other in rounds. In each round the
//! medians of two windows make one ratio; the figure is the median of the ratios of all rounds, its
//! interval that of the ranks of a median (no assumption about how latencies are distributed, and
//! rounds that something else disturbed do not move it). What the probes cost is also counted: the
//! records of a request, and what each takes.

pub mod recording;
mod span_costs;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::model::{Trace, Track};
use xscope_trace::overhead::{OverheadRecord, OverheadWindow, Recording};
use xscope_trace::stats::{
    FEWEST_FOR_INTERVAL, MEDIAN_CONFIDENCE, POWER, as_f64, median, median_interval, share, sum,
    t_critical,
};
use xscope_trace::{Metric, Picos};

use crate::overhead::span_costs::span_costs_us;
use crate::requests::measured::measured_windows;

/// What the windows of a run say.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OverheadReport {
    /// Items of a request.
    pub batch_size: u32,
    /// Labels of a request.
    pub label_count: u32,
    /// Requests in flight at once.
    pub concurrency: u32,
    /// Median of the windows that the others are compared to.
    pub p50_ms: Metric,
    /// What each kind of recording costs.
    #[serde(rename = "costs")]
    pub rows: Vec<OverheadRow>,
    /// Whether answers change.
    pub answers: Vec<AnswersRow>,
    /// Of the intervals.
    pub confidence: f64,
}

/// Whether answers change while something is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AnswersRow {
    /// What was recorded.
    pub recording: Recording,
    /// Answers that were compared.
    #[serde(rename = "compared")]
    pub answers: u64,
    /// Those that differ from the first one to an equal request.
    pub differ: u64,
}

/// What one kind of recording costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OverheadRow {
    /// `probes`, `counted`, `basic`, `full`, `memory`, `scopes`.
    pub name: &'static str,
    /// What is added, and to what.
    pub what: &'static str,
    /// Change of the median latency that it makes.
    #[serde(rename = "change_percent")]
    pub change: Metric,
    /// The interval that holds the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_percent: Option<f64>,
    /// Its upper end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_percent: Option<f64>,
    /// The smallest change that so many rounds would tell from none, four times out of five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectable_percent: Option<f64>,
    /// What it may cost.
    pub budget_percent: f64,
    /// The change against its budget.
    pub verdict: BudgetVerdict,
    /// Ratios that it was made of.
    pub rounds: u64,
}

/// A change against its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BudgetVerdict {
    /// The whole interval is.
    Within,
    /// The whole interval is above the budget.
    Over,
    /// The budget is inside the interval: too few rounds, or too much noise.
    CannotTell,
    /// Nothing was measured.
    NotMeasured,
}

/// A kind of recording that windows measure: its name, what it adds, its windows and those without
/// it, its budget.
const MEASURED: [(&str, &str, Recording, Recording, f64); 3] = [
    (
        "probes",
        "the probes' recording, to none, one request at a time",
        Recording::Probes,
        Recording::Nothing,
        PROBES_PERCENT,
    ),
    (
        "basic",
        "the server's profiler without the Python tracer",
        Recording::Basic,
        Recording::Probes,
        10.0,
    ),
    (
        "full",
        "the server's profiler with the Python tracer",
        Recording::Full,
        Recording::Probes,
        25.0,
    ),
];

/// Budget of the probes.
const PROBES_PERCENT: f64 = 1.0;

/// Budget of memory snapshots, and of named scopes.
const MEMORY_PERCENT: f64 = 20.0;
const SCOPES_PERCENT: f64 = 1.0;

/// Spans of the probes that take a snapshot.
const SNAPSHOT: &str = "xscope.memory";

/// The figures of a record; `trace` is that of its run.
pub fn overhead(record: &OverheadRecord, trace: &Trace) -> OverheadReport {
    let mut rows: Vec<OverheadRow> = MEASURED
        .iter()
        .map(|&(name, what, with, without, budget_percent)| {
            let ratios = log_ratios(&record.windows, with, without);
            let left_out = record.left_out.iter().find(|it| {
                [with, without].contains(&it.recording) && ratios.len() < FEWEST_FOR_INTERVAL
            });
            match left_out {
                Some(it) => not_measured(name, what, budget_percent, it.why.clone()),
                None => row(name, what, budget_percent, &ratios),
            }
        })
        .collect();
    rows.insert(1, counted(trace));
    rows.push(snapshots(trace));
    rows.push(not_measured(
        "scopes",
        "named scopes",
        SCOPES_PERCENT,
        "scopes are names in compiled programs and cannot be switched in a running server; \
         compare servers with and without them with `xscope bench ab`",
    ));
    let compared_to = record.windows.iter().filter(|it| it.recording == Recording::Probes);
    let compared_to: Vec<f64> =
        compared_to.filter_map(|window| median(window.latencies_ms.clone())).collect();
    OverheadReport {
        batch_size: record.batch_size,
        label_count: record.label_count,
        concurrency: record.concurrency,
        p50_ms: Metric::known(median(compared_to), "ms", "no window was measured"),
        rows,
        answers: answers(&record.windows),
        confidence: MEDIAN_CONFIDENCE,
    }
}

fn answers(windows: &[OverheadWindow]) -> Vec<AnswersRow> {
    let mut rows: BTreeMap<Recording, AnswersRow> = BTreeMap::new();
    for window in windows {
        let recording = window.recording;
        let row = rows.entry(recording).or_insert(AnswersRow { recording, answers: 0, differ: 0 });
        row.answers += window.latencies_ms.len() as u64;
        row.differ += window.differ;
    }
    rows.into_values().collect()
}

/// For each round with both kinds, the logarithm of the ratio of their medians.
fn log_ratios(windows: &[OverheadWindow], with: Recording, without: Recording) -> Vec<f64> {
    let of = |round: &[OverheadWindow], recording| {
        let window = round.iter().find(|window| window.recording == recording)?;
        median(window.latencies_ms.clone()).filter(|&ms| ms > 0.0 && window.failed == 0)
    };
    let rounds = windows.chunk_by(|a, b| a.round == b.round);
    rounds.filter_map(|round| Some((of(round, with)? / of(round, without)?).ln())).collect()
}

fn row(name: &'static str, what: &'static str, budget: f64, ratios: &[f64]) -> OverheadRow {
    let rounds = as_f64(ratios.len() as u64);
    let percent = |log: f64| 100.0 * log.exp_m1();
    let Some([low, high]) = median_interval(ratios) else {
        let why = format!(
            "{rounds} rounds say too little, {FEWEST_FOR_INTERVAL} are needed: allow more time with \
             --overhead-secs"
        );
        return OverheadRow {
            rounds: ratios.len() as u64,
            ..not_measured(name, what, budget, why)
        };
    };
    // Half of the interval is so many standard errors; the power to see a change takes some more.
    let freedom = rounds - 1.0;
    let errors = t_critical(1.0 - MEDIAN_CONFIDENCE, freedom);
    let more = t_critical(2.0 * (1.0 - POWER), freedom);
    let detectable = percent((high - low) / 2.0 * (1.0 + more / errors));
    let (low, high) = (percent(low), percent(high));
    let value = percent(median(ratios.to_vec()).unwrap_or_default());
    let verdict = match () {
        () if high <= budget => BudgetVerdict::Within,
        () if low > budget => BudgetVerdict::Over,
        () => BudgetVerdict::CannotTell,
    };
    let change = match verdict {
        BudgetVerdict::CannotTell => Metric::degraded(
            value,
            "%",
            format!(
                "{rounds} rounds place it between {low:+.2} and {high:+.2} % and would show a \
                 change of {detectable:.2} %: allow more time with --overhead-secs, on a quiet \
                 machine"
            ),
        ),
        _ => Metric::valid(value, "%"),
    };
    OverheadRow {
        name,
        what,
        change,
        low_percent: Some(low),
        high_percent: Some(high),
        detectable_percent: Some(detectable),
        budget_percent: budget,
        verdict,
        rounds: ratios.len() as u64,
    }
}

fn not_measured(
    name: &'static str,
    what: &'static str,
    budget: f64,
    why: impl Into<Cow<'static, str>>,
) -> OverheadRow {
    OverheadRow {
        name,
        what,
        change: Metric::unavailable("%", why),
        low_percent: None,
        high_percent: None,
        detectable_percent: None,
        budget_percent: budget,
        verdict: BudgetVerdict::NotMeasured,
        rounds: 0,
    }
}

/// When requests were measured: from the first that was due to the last answer.
fn measured_window(trace: &Trace) -> Option<(Picos, Picos)> {
    measured_windows(trace)?.extent()
}

/// The probes' part of a request by counting what was recorded while requests were measured, as if
/// all of it held the request up.
fn counted(trace: &Trace) -> OverheadRow {
    let what = "the records of a request by number, at what each takes in a loop";
    let not_counted = |why| not_measured("counted", what, PROBES_PERCENT, why);
    let latencies: Vec<f64> = trace
        .client
        .iter()
        .filter(|request| request.phase.is_measured() && request.ok)
        .map(|request| (request.end - request.intended).as_micros())
        .collect();
    let Some((window, p50_us)) = measured_window(trace).zip(median(latencies.clone())) else {
        return not_counted("no request was measured");
    };
    let costs = span_costs_us(trace);
    if costs.is_empty() {
        return not_counted("no probe of this server measured what recording costs there");
    }
    let (mut spans, mut took_us) = (0, 0.0);
    for track in &trace.tracks {
        let Some(each_us) = costs.get(&track.source) else { continue };
        let inside = track.slices.start.iter().filter(|&&at| at >= window.0 && at < window.1);
        let inside = inside.count() as u64;
        spans += inside;
        took_us += as_f64(inside) * each_us;
    }
    let requests = as_f64(latencies.len() as u64);
    let (spans, took_us) = (as_f64(spans) / requests, took_us / requests);
    let value = 100.0 * took_us / p50_us;
    OverheadRow {
        change: Metric::degraded(
            value,
            "%",
            format!(
                "{spans:.1} spans of a request take {took_us:.0} us of its p50 of {:.2} ms, counted \
                 and not seen: caches are colder in the server, and not all of it holds the \
                 request up",
                p50_us / 1e3
            ),
        ),
        verdict: if value <= PROBES_PERCENT { BudgetVerdict::Within } else { BudgetVerdict::Over },
        ..not_counted("")
    }
}

/// The share of the measured window in which the scheduler waited for snapshots of its memory.
fn snapshots(trace: &Trace) -> OverheadRow {
    let what = "snapshots of memory, as a share of the measured time";
    let Some((start, end)) = measured_window(trace) else {
        return not_measured("memory", what, MEMORY_PERCENT, "no request was measured");
    };
    let taken: Vec<(Picos, Picos)> =
        trace.tracks.iter().flat_map(|track| snapshots_of(trace, track)).collect();
    if taken.is_empty() {
        let why = "no probe takes snapshots of this server's memory; what its own profiler counts \
                   is part of the other rows";
        return not_measured("memory", what, MEMORY_PERCENT, why);
    }
    let inside = taken.into_iter().filter(|&(at, _)| at >= start && at < end);
    let inside: Vec<Picos> = inside.map(|(_, dur)| dur).collect();
    let value = 100.0 * share(sum(&inside), end - start);
    OverheadRow {
        change: Metric::valid(value, "%"),
        verdict: if value <= MEMORY_PERCENT { BudgetVerdict::Within } else { BudgetVerdict::Over },
        ..not_measured("memory", what, MEMORY_PERCENT, "")
    }
}

/// Start and duration of the snapshots on a track.
fn snapshots_of<'a>(
    trace: &'a Trace,
    track: &'a Track,
) -> impl Iterator<Item = (Picos, Picos)> + 'a {
    let slices = &track.slices;
    let is_snapshot = |row: &usize| {
        let meta = trace.metas.get(slices.meta[*row]);
        meta.is_some_and(|meta| trace.strings.get(meta.name) == SNAPSHOT)
    };
    (0..slices.len()).filter(is_snapshot).map(|row| (slices.start[row], slices.dur[row]))
}

#[cfg(test)]
mod tests {
    use xscope_trace::Trace;
    use xscope_trace::metric::Status;
    use xscope_trace::overhead::{NotRecorded, OverheadRecord, OverheadWindow, Recording};

    use super::{BudgetVerdict, OverheadRow, overhead};

    /// Rounds in which a request takes `off` ms without the profiler and `on` with it.
    fn record(rounds: &[(f64, f64)]) -> OverheadRecord {
        let window = |round, recording, ms: f64| OverheadWindow {
            round,
            recording,
            latencies_ms: vec![ms * 0.9, ms, ms * 7.0],
            differ: 0,
            failed: 0,
        };
        let windows = (0..).zip(rounds).flat_map(|(round, &(off, on))| {
            [window(round, Recording::Probes, off), window(round, Recording::Basic, on)]
        });
        OverheadRecord { windows: windows.collect(), ..OverheadRecord::default() }
    }

    fn basic(record: &OverheadRecord) -> OverheadRow {
        let rows = overhead(record, &Trace::default()).rows;
        rows.into_iter().find(|row| row.name == "basic").unwrap()
    }

    #[test]
    fn a_change_is_judged_by_its_whole_interval() {
        // 4 % in each round, though the machine slows down and one round is disturbed.
        let steady: Vec<(f64, f64)> = (0..10)
            .map(|round| (10.0 + f64::from(round), 1.04 * (10.0 + f64::from(round))))
            .collect();
        let mut disturbed = steady.clone();
        disturbed[3].1 *= 5.0;
        for rounds in [&steady, &disturbed] {
            let row = basic(&record(rounds));
            assert!((row.change.value.unwrap() - 4.0).abs() < 1e-9, "{row:?}");
            assert_eq!((row.verdict, row.change.status), (BudgetVerdict::Within, Status::Valid));
        }
        let row =
            basic(&record(&steady.iter().map(|&(off, on)| (off, on * 1.2)).collect::<Vec<_>>()));
        assert_eq!(row.verdict, BudgetVerdict::Over);
        let noise: Vec<(f64, f64)> =
            (0..10).map(|round| (10.0, if round % 2 == 0 { 9.0 } else { 13.0 })).collect();
        let row = basic(&record(&noise));
        assert_eq!((row.verdict, row.change.status), (BudgetVerdict::CannotTell, Status::Degraded));
        assert!(row.low_percent.unwrap() < 0.0 && row.high_percent.unwrap() > 10.0);
    }

    #[test]
    fn what_was_not_measured_says_why() {
        let mut few = record(&[(10.0, 11.0); 5]);
        let row = basic(&few);
        assert_eq!((row.verdict, row.rounds), (BudgetVerdict::NotMeasured, 5));
        assert!(row.change.reason.unwrap().contains("5 rounds"));
        few.left_out.push(NotRecorded {
            recording: Recording::Basic,
            why: "the server has no profiler".to_owned(),
        });
        assert_eq!(basic(&few).change.reason.unwrap(), "the server has no profiler");
        // A window with a wrong answer measures something else.
        let mut failed = record(&[(10.0, 11.0); 6]);
        failed.windows[0].failed = 1;
        assert_eq!(basic(&failed).rounds, 5);
    }
}
