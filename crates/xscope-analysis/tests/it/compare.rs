//! Verdicts on a model server in simulated time: right in at least 95 of 100 seeded trials each.
//!
//! The model has what makes real comparisons hard: requests vary, trials differ by more than their
//! requests explain, starts of the server differ, and the machine drifts under both sides.

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use rayon::prelude::*;
use serde_json::json;
use xscope_analysis::compare::baseline::Baseline;
use xscope_analysis::compare::looks::{is_decided, looks, share_error};
use xscope_analysis::compare::measured::{Measured, results_from_json};
use xscope_analysis::compare::noise::NoiseTable;
use xscope_analysis::compare::rules::{Rule, Rules};
use xscope_analysis::compare::verdict::{Gate, Verdict};
use xscope_analysis::compare::{CompareReport, Options, compare};
use xscope_trace::Metric;
use xscope_trace::Nanos;
use xscope_trace::quality::Code;
use xscope_trace::results::Better;
use xscope_trace::results::{BenchConfig, Durations, Metadata, PointResult, Results, Trial};
use xscope_trace::stats::Random;

/// Requests of a trial.
const REQUESTS: u32 = 400;
const ITEMS: f64 = 4.0;

/// What is wrong with a server.
#[derive(Clone, Copy, Default)]
struct Fault {
    /// Share by which every request is slower.
    slower: f64,
    /// Share of requests that take three times as long.
    stalls: f64,
    /// A single request of this trial waits for this long, as for a compilation.
    stall_once: Option<(usize, f64)>,
    /// From this request of this trial on, none gets an answer.
    dies: Option<(usize, u32)>,
}

/// A machine with a server on it, one request at a time.
struct Model {
    random: Random,
    /// What both sides share: clocks, heat, neighbours.
    drift: f64,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed.wrapping_mul(7919) + 17), drift: 0.0 }
    }

    /// How one start of a server differs from the next.
    fn start(&mut self) -> f64 {
        0.003 * self.random.normal()
    }

    /// One trial of a server that takes 20 ms for a request.
    fn trial(&mut self, fault: Fault, start: f64, number: usize) -> Trial {
        self.drift += 0.01 * self.random.normal();
        let of_trial = self.drift + start + 0.006 * self.random.normal();
        let mut latencies = Vec::new();
        let mut clock = 0.0;
        for request in 0..REQUESTS {
            if fault.dies.is_some_and(|(trial, last)| (number, request) >= (trial, last)) {
                break;
            }
            let mut millis = 20.0 * (of_trial + 0.1 * self.random.normal()).exp();
            millis *= 1.0 + fault.slower;
            if self.random.unit() < fault.stalls {
                millis *= 3.0;
            }
            if let Some((trial, stall)) = fault.stall_once
                && trial == number
                && request == REQUESTS / 2
            {
                millis += stall;
            }
            clock += millis;
            latencies.push(nanos(millis));
        }
        let answered = u32::try_from(latencies.len()).unwrap();
        let rate = f64::from(answered) / clock * 1000.0;
        Trial {
            trial: u32::try_from(number).unwrap(),
            latency: Durations::of(latencies),
            throughput_items_per_sec: Metric::valid(rate * ITEMS, "items/s"),
            requests_per_sec: Metric::valid(rate, "1/s"),
            failed: u64::from(REQUESTS - answered),
            ..Trial::default()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of a model")]
fn nanos(millis: f64) -> Nanos {
    Nanos((millis * 1e6) as i64)
}

/// A file of results with these trials of one start.
fn results(label: &str, trials: Vec<Trial>) -> Measured {
    let failed = trials.iter().map(|trial| trial.failed).sum();
    let point = PointResult { point: "b4_l2".to_owned(), failed, trials, ..PointResult::default() };
    let results = Results {
        config: BenchConfig { workload_hash: "sha256:1".to_owned(), ..BenchConfig::default() },
        results: vec![point],
        metadata: Metadata { server_start: Some(label.to_owned()), ..Metadata::default() },
        ..Results::default()
    };
    Measured::of_results(label, &results)
}

/// Both sides, measured in turns (A B B A), each trial on a start of its own.
fn sides(seed: u64, pairs: usize, fault: Fault) -> [Vec<Measured>; 2] {
    let mut model = Model::new(seed);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for number in 0..pairs {
        for is_b in [number % 2 == 1, number % 2 == 0] {
            let start = model.start();
            let own = if is_b { fault } else { Fault::default() };
            let trial = model.trial(own, start, number);
            let label = format!("{is_b}-{number}");
            if is_b { &mut b } else { &mut a }.push(results(&label, vec![trial]));
        }
    }
    [a, b]
}

fn in_turns() -> Options {
    Options { paired: true, ..Options::default() }
}

/// How many of 100 seeded comparisons are as expected.
fn right(fault: Fault, pairs: usize, expected: impl Fn(&CompareReport) -> bool + Sync) -> usize {
    let outcomes = (0..100_u64).into_par_iter().map(|seed| {
        let [a, b] = sides(seed, pairs, fault);
        expected(&compare(&a, &b, &in_turns()).unwrap())
    });
    outcomes.filter(|&right| right).count()
}

fn verdict(report: &CompareReport, metric: &str) -> Verdict {
    report.rows.iter().find(|row| row.metric == metric).unwrap().verdict
}

fn is_alarm(report: &CompareReport) -> bool {
    report.gate > Gate::Undecided
        || report.rows.iter().any(|row| matches!(row.verdict, Verdict::Slower | Verdict::Faster))
}

fn slower(share: f64) -> Fault {
    Fault { slower: share, ..Fault::default() }
}

#[test]
fn a_server_that_is_slower_by_2_5_or_10_percent_is_called_slower() {
    for share in [0.02, 0.05, 0.10] {
        let right = right(slower(share), 20, |report| {
            verdict(report, "p50_ms") == Verdict::Slower
                && verdict(report, "throughput_items_per_sec") == Verdict::Slower
                && report.gate == Gate::Pass
        });
        println!("slower by {share}: {right} of 100");
        assert!(right >= 95, "slower by {share}: {right} of 100");
    }
    let right = right(slower(0.3), 6, |report| report.gate == Gate::Fail);
    assert!(right >= 95, "slower by 0.3: {right} of 100 fail the gate");
}

#[test]
fn the_same_server_is_called_the_same() {
    let said = right(Fault::default(), 16, |report| {
        ["p50_ms", "throughput_items_per_sec", "p95_ms"]
            .iter()
            .all(|metric| verdict(report, metric) == Verdict::NoDifference)
    });
    assert!(said >= 95, "{said} of 100");
    for pairs in [2, 3, 5, 16] {
        let quiet = right(Fault::default(), pairs, |report| !is_alarm(report));
        println!("{} false alarms of 100 with {pairs} pairs", 100 - quiet);
        assert!(quiet >= 95, "{} false alarms of 100 with {pairs} pairs", 100 - quiet);
    }
}

#[test]
fn runs_without_pairs_raise_no_alarm_either() {
    for runs in [1, 3, 8] {
        let quiet = (0..100_u64).into_par_iter().filter(|&seed| {
            let [a, b] = sides(seed, runs, Fault::default());
            !is_alarm(&compare(&a, &b, &Options::default()).unwrap())
        });
        let quiet = quiet.count();
        println!("{} false alarms of 100 with {runs} runs", 100 - quiet);
        assert!(quiet >= 95, "{} false alarms of 100 with {runs} runs", 100 - quiet);
    }
}

/// The nightly gate: one run a side, on a machine whose A/A runs are stored.
#[test]
fn one_run_a_side_is_judged_by_stored_noise() {
    let judge = |seed: u64, share: f64| {
        let mut runs = Vec::new();
        for number in 0..10 {
            // Nights are far apart: each has a drift of its own.
            let mut model = Model::new(1000 * seed + number);
            let own = if number == 9 { slower(share) } else { Fault::default() };
            let start = model.start();
            runs.push(results(&number.to_string(), vec![model.trial(own, start, 0)]));
        }
        let noise = NoiseTable::of(&runs[..8].iter().collect::<Vec<_>>()).unwrap();
        let options = Options { noise, ..Options::default() };
        compare(&runs[8..9], &runs[9..], &options).unwrap()
    };
    let count = |share: f64, expected: fn(&CompareReport) -> bool| {
        (0..100_u64).into_par_iter().filter(|&seed| expected(&judge(seed, share))).count()
    };
    let quiet = count(0.0, |report| !is_alarm(report));
    println!("{} false alarms of 100 by stored noise", 100 - quiet);
    assert!(quiet >= 95, "{} false alarms of 100", 100 - quiet);
    let failed = count(0.25, |report| report.gate == Gate::Fail);
    assert!(failed >= 95, "slower by 25 %: {failed} of 100 fail the gate");
    let blamed = count(0.05, |report| report.gate == Gate::Fail);
    assert!(blamed <= 5, "slower by 5 %: {blamed} of 100 fail a gate that allows 10 %");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A against B is B against A, seen from the other side.
    #[test]
    fn sides_can_be_swapped(seed in 0..1000_u64, share in -0.3..0.3_f64, pairs in 2..6_usize) {
        let [a, b] = sides(seed, pairs, slower(share));
        let there = compare(&a, &b, &in_turns()).unwrap();
        let back = compare(&b, &a, &in_turns()).unwrap();
        for (there, back) in there.rows.iter().zip(&back.rows) {
            let mirrored = match back.verdict {
                Verdict::Slower => Verdict::Faster,
                Verdict::Faster => Verdict::Slower,
                same => same,
            };
            let near = (there.p - back.p).abs() < 0.002;
            prop_assert!(near, "{} {} {}", there.metric, there.p, back.p);
            // Percentages of A and of B differ, and a rule is about percentages.
            if there.verdict == Verdict::Slower && there.p < 0.001 {
                prop_assert_eq!(there.verdict, mirrored);
            }
        }
    }

    /// What is compared with itself does not differ.
    #[test]
    fn the_same_files_do_not_differ(seed in 0..1000_u64, runs in 1..5_usize) {
        let [a, _] = sides(seed, runs, Fault::default());
        let report = compare(&a, &a, &Options::default()).unwrap();
        prop_assert!(!is_alarm(&report));
        prop_assert!(report.why.is_empty());
        prop_assert!(report.rows.iter().all(|row| row.change_percent.value == Some(0.0)));
    }

    /// Damaged files give an answer or an error.
    #[test]
    fn damaged_files_are_survived(damage in vec((any::<usize>(), any::<u8>()), 1..6)) {
        let trial = |p95: f64| json!({"p95_ms": p95, "throughput_items_per_sec": 40.5});
        let point = json!({"point": "b4_l2", "batch_size": 4, "requests": 60, "failed": 0,
            "workload_hash": "sha256:1", "peak_hbm_mb": 1e3, "trials": [trial(9.5), trial(10.5)],
            "verdict": {"status": "valid", "causes": [
                {"cause": "too_few_samples", "detail": "9 samples", "spoils": ["p99_ms"]}]}});
        let good = json!({"schema": "xscope/results/1", "results": [point], "config": {"seed": 1},
            "metadata": {"server_command": ["s", "--tp", "1"], "server_info": {"a": [1]}}});
        let mut bytes = good.to_string().into_bytes();
        let whole = results_from_json(&bytes).unwrap();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        drop(Baseline::from_json(&bytes));
        if let Ok(results) = results_from_json(&bytes) {
            let [a, b] = [&whole, &results].map(|results| [Measured::of_results("x", results)]);
            for report in [compare(&a, &b, &in_turns()), compare(&b, &b, &Options::default())] {
                drop(report.map(|report| serde_json::to_string(&report).unwrap()));
            }
        }
    }

    /// Files may have been written by anybody.
    #[test]
    fn any_figures_give_an_answer(values in vec(vec(any::<f64>(), 0..4), 2..6)) {
        let side = |values: &[Vec<f64>]| -> Vec<Measured> {
            let of = |values: &Vec<f64>| {
                let mut measured = results("x", vec![Trial::default()]);
                measured.points[0].figures.insert("p95_ms".to_owned(), values.clone());
                measured
            };
            values.iter().map(of).collect()
        };
        let (a, b) = values.split_at(1);
        let report = compare(&side(a), &side(b), &Options::default()).unwrap();
        prop_assert!(report.rows.iter().all(|row| (0.0..=1.0).contains(&row.p_adjusted)));
        prop_assert!(serde_json::to_string(&report).is_ok());
    }
}

#[test]
fn stalls_are_seen_in_the_tail_and_only_there() {
    let fault = Fault { stalls: 0.03, ..Fault::default() };
    let seen = right(fault, 16, |report| {
        verdict(report, "p99_ms") == Verdict::Slower && verdict(report, "p50_ms") != Verdict::Slower
    });
    assert!(seen >= 95, "{seen} of 100");
    // One compilation in one trial is no property of the server.
    let fault = Fault { stall_once: Some((3, 12_000.0)), ..Fault::default() };
    let quiet = right(fault, 16, |report| !is_alarm(report));
    assert!(quiet >= 95, "{quiet} of 100");
}

#[test]
fn a_server_that_dies_is_invalid_and_not_slow() {
    for first in [0, 2] {
        let fault = Fault { dies: Some((first, 30)), ..Fault::default() };
        let right = right(fault, 4, |report| {
            let dead = report.left_out.iter().filter(|left| left.invalid && left.side == "b");
            report.gate == Gate::Invalid
                && dead.count() == 4 - first
                && report.count(Verdict::Slower) == 0
        });
        assert!(right >= 95, "dead from trial {first} on: {right} of 100");
    }
}

/// Looking again and again, and stopping at the first answer.
fn stopped(seed: u64, fault: Fault, most: usize) -> (CompareReport, usize) {
    let tight = |metric: &str, better| Rule {
        metric: metric.to_owned(),
        better,
        worse_by: 0.015,
        action: xscope_analysis::compare::rules::Action::Fail,
        assumed_noise: 0.03,
    };
    let own = vec![tight("p50_ms", Better::Lower), tight("items_per_sec", Better::Higher)];
    let rules = Rules { rules: own, ..Rules::default() };
    let options = Options { rules: Rules::default().overridden_by(rules), ..in_turns() };
    let asked = ["p50_ms".to_owned(), "throughput_items_per_sec".to_owned()];
    let [a, b] = sides(seed, most, fault);
    let looks = looks(most);
    let each = share_error(&options, looks.len());
    let mut last = None;
    for &pairs in &looks {
        let report = compare(&a[..pairs], &b[..pairs], &each).unwrap();
        let is_over = is_decided(&report, &asked);
        last = Some((report, pairs));
        if is_over {
            break;
        }
    }
    last.unwrap()
}

/// The large differences need few pairs, so that their first looks must be able to find them.
#[test]
fn looking_again_and_again_keeps_the_error_rate() {
    for (share, expected) in [
        (0.0, Verdict::NoDifference),
        (0.02, Verdict::Slower),
        (0.05, Verdict::Slower),
        (0.10, Verdict::Slower),
    ] {
        let outcomes: Vec<(CompareReport, usize)> =
            (0..100_u64).into_par_iter().map(|seed| stopped(seed, slower(share), 48)).collect();
        let right =
            outcomes.iter().filter(|(report, _)| verdict(report, "p50_ms") == expected).count();
        let pairs: usize = outcomes.iter().map(|(_, pairs)| pairs).sum();
        println!("slower by {share}: {right} of 100 right, after {} pairs of 48", pairs / 100);
        assert!(right >= 95, "slower by {share}: {right} of 100");
        if expected == Verdict::NoDifference {
            let alarms = outcomes.iter().filter(|(report, _)| is_alarm(report)).count();
            assert!(alarms <= 5, "{alarms} false alarms of 100");
        }
        assert!(share < 0.05 || pairs / 100 < 16, "large differences take few pairs: {pairs}");
    }
}

#[test]
fn files_are_no_surer_than_the_runs_that_they_are_of() {
    let Some(folder) = xscope_testing::cases().map(|cases| cases.join("real_server")) else {
        return;
    };
    let side = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        vec![Measured::of_results(name, &results_from_json(&bytes).unwrap())]
    };
    let (a, b) = (side("same_a.json"), side("same_b.json"));
    let report = compare(&a, &b, &Options::default()).unwrap();
    for row in report.rows.iter().filter(|row| !row.metric.ends_with("_mb")) {
        assert_eq!(row.verdict, Verdict::CannotTell, "{row:?}");
        let reason = row.change_percent.reason.as_deref().unwrap();
        assert!(reason.contains("no requests.jsonl"), "{reason}");
    }
    let wholes: Vec<_> = report.points.iter().map(|point| point.verdict).collect();
    assert_eq!(wholes, [Verdict::CannotTell; 2], "one figure that is the same is not the point");
    let is_remarked = |report: &CompareReport| {
        report.findings.iter().any(|finding| finding.code == Code::CompareSameRun)
    };
    assert!(!is_remarked(&report));
    let again = compare(&[a.clone(), b].concat(), &a, &Options::default()).unwrap();
    assert!(is_remarked(&again), "{:?}", again.findings);
}

#[test]
fn what_one_side_lacks_or_has_twice_is_told_and_passes_no_gate() {
    let Some(folder) = xscope_testing::cases().map(|cases| cases.join("compare")) else { return };
    let side = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        vec![Measured::of_results(name, &results_from_json(&bytes).unwrap())]
    };
    let of = |b: &str| compare(&side("a.json"), &side(b), &Options::default()).unwrap();
    let lacking = |report: &CompareReport| -> Vec<(String, Option<String>)> {
        let lacking = report.left_out.iter().filter(|left| left.is_lacking());
        lacking.map(|left| (left.point.clone(), left.metric.clone())).collect()
    };
    let fast = of("b_missing_fast.json");
    assert_eq!(lacking(&fast), [("b4_l2".to_owned(), None)]);
    assert_eq!(fast.gate, Gate::Undecided, "what is there is twice as fast");
    let null = of("b_null.json");
    assert!(lacking(&null).iter().any(|(_, metric)| metric.as_deref() == Some("p50_ms")));
    assert!(null.gate >= Gate::Undecided);
    let twice = of("b_dup.json");
    let said = twice.left_out.iter().find(|left| left.point == "b1_l2").unwrap();
    assert!(said.why.contains("more than once"), "{said:?}");
}
