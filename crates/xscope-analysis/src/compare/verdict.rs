//! The verdict on one figure of one point.

use std::borrow::Cow;

use serde::Serialize;
use xscope_trace::Metric;

use crate::compare::evidence::{
    Evidence, Resampling, Spread, bootstrap_paired, bootstrap_unpaired, paired, unpaired,
};
use crate::compare::noise::Noise;
use crate::compare::rules::{Action, Rule};
use xscope_trace::metric::unit_of;
use xscope_trace::results::Better;

use xscope_trace::stats::{as_f64, moments, t_critical};

/// What can be said of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Of memory: less of it.
    Faster,
    /// None larger than [`ComparedRow::no_larger_than_percent`].
    NoDifference,
    /// The interval leaves room for both.
    CannotTell,
    /// Of memory: more of it.
    Slower,
}

/// What a gate makes of it, gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing is worse than its rule allows.
    Pass,
    /// Something is worse, and its rule says to warn.
    Warn,
    /// The measurement could not have shown a difference that the rule forbids.
    Undecided,
    /// Figures that must not be used.
    Invalid,
    /// Something is worse, and its rule says to fail.
    Fail,
}

/// What the samples of a comparison are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SampleUnit {
    /// Starts of the server, or runs where starts are not known; trials of one are averaged.
    Start,
    /// Trials of one start of the server a side.
    Trial,
    /// A single trial a side.
    Single,
}

/// The values of one figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ComparedFigure<'a> {
    pub point: &'a str,
    pub metric: &'a str,
    pub rule: &'a Rule,
    /// Logarithms, by sample.
    pub a: Vec<f64>,
    pub b: Vec<f64>,
    pub sample: SampleUnit,
    /// Starts of the server on both sides.
    pub starts: [usize; 2],
    /// Whether samples of the same place in both lists belong together.
    pub paired: bool,
    /// Standard deviations within the single trials, if they are single.
    pub within: [Option<f64>; 2],
    /// Whether these are told from requests one by one.
    pub has_rows: bool,
    pub noise: Option<Noise>,
}

/// One figure of one point, compared. Percentages are of A; the sign is the figure's own, so that
/// more throughput is positive.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ComparedRow {
    /// The point's name.
    pub point: String,
    /// The name of the figure.
    pub metric: String,
    /// Which way it gets better.
    pub better: Better,
    /// Geometric mean over the samples.
    #[serde(rename = "mean_a")]
    pub a: Metric,
    /// The same of B.
    #[serde(rename = "mean_b")]
    pub b: Metric,
    /// B less A.
    pub change_percent: Metric,
    /// The lower end of the interval that holds the change.
    pub low_percent: f64,
    /// Its upper end.
    pub high_percent: f64,
    /// What can be said.
    pub verdict: Verdict,
    /// The largest difference that the interval leaves room for.
    pub no_larger_than_percent: f64,
    /// The smallest difference for the worse that would be found four times out of five.
    pub detectable_percent: f64,
    /// Probability of such a change, or a larger one, if there were none.
    pub p: f64,
    /// For the number of figures of the comparison.
    pub p_adjusted: f64,
    /// What a sample is.
    pub sample: SampleUnit,
    /// Whether samples of A and B were measured right after each other and are compared in pairs.
    pub paired: bool,
    /// Samples of A.
    pub samples_a: usize,
    /// Samples of B.
    pub samples_b: usize,
    /// Standard deviation between A/A runs, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_percent: Option<f64>,
    /// By how much the figure may get worse.
    pub allowed_percent: f64,
    /// What follows if it gets worse by more.
    pub action: Action,
    /// What a gate makes of it.
    pub gate: Gate,
    /// Samples a side that would show what the rule forbids; where it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_needed: Option<u64>,
}

/// The evidence on a figure, and how sure one may be of it.
pub(crate) struct Judged {
    pub evidence: Evidence,
    /// Of a difference; for advice.
    spread: Spread,
    degraded: Option<Cow<'static, str>>,
}

/// The most cautious answer of the methods that apply: Student's t, the bootstrap, and the noise
/// of A/A runs; without any that says something, what the rule assumes of it.
pub(crate) fn judge(figure: &ComparedFigure<'_>, alpha: f64, how: Resampling) -> Judged {
    let ComparedFigure { a, b, .. } = figure;
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let (estimate, few) = if figure.paired { paired(&differences) } else { unpaired(a, b) };
    let own = few.filter(|_| samples_missing(figure) == 0);
    // Pairs share their minute; how much minutes differ is no noise of theirs. A/A runs are starts:
    // more trials of one start do not make it smaller.
    let noise = figure.noise.filter(|_| !figure.paired);
    let known = noise.and_then(|noise| between_starts(figure, noise));
    let (spread, degraded) = match (own, known) {
        (Some(own), _) => (own, few_runs(figure).or_else(|| one_start(figure))),
        (None, Some(known)) => {
            let seen = few.map_or(0.0, |few| few.standard_error).max(floor(figure));
            (wider(known, seen), few_runs(figure))
        }
        (None, None) => {
            let assumed = assumed(figure, [a.len(), b.len()]).hypot(floor(figure));
            let spread = Spread { standard_error: assumed, freedom: KNOWN_FREEDOM };
            let seen = few.map_or(0.0, |few| few.standard_error);
            (wider(spread, seen), Some(why_assumed(figure)))
        }
    };
    let mut evidence = Evidence::of(estimate, spread, alpha);
    if own.is_some() {
        let how = how.worth(evidence.p);
        evidence = evidence.with(match figure.paired {
            true => bootstrap_paired(&differences, alpha, how),
            false => bootstrap_unpaired(a, b, alpha, how),
        });
        if let Some(mut known) = known {
            // Starts on both sides say themselves how much starts differ; that the difference is
            // larger than what A/A runs showed is asked besides.
            if figure.sample == SampleUnit::Start {
                known.freedom = KNOWN_FREEDOM;
            }
            evidence = evidence.with(Evidence::of(estimate, known, alpha));
        }
    }
    Judged { evidence, spread, degraded }
}

/// Of a deviation that is taken at its word.
const KNOWN_FREEDOM: f64 = 1000.0;

/// With fewer degrees of freedom a deviation says next to nothing: at 99 % two samples are taken 64
/// times, five six times.
const FEWEST_FREEDOM: f64 = 3.0;

/// How many more samples give that.
fn samples_missing(figure: &ComparedFigure<'_>) -> usize {
    match figure.paired {
        true => 4_usize.saturating_sub(figure.a.len()),
        false => 5_usize.saturating_sub(figure.a.len() + figure.b.len()),
    }
}

/// The standard error of a difference of so many samples by what the rule assumes.
fn assumed(figure: &ComparedFigure<'_>, [a, b]: [usize; 2]) -> f64 {
    let share = |samples: usize| 1.0 / as_f64(samples.max(1) as u64);
    figure.rule.assumed_noise * (share(a) + share(b)).sqrt()
}

/// How much starts differ by A/A runs; if these are few, by what the rule assumes or more.
fn between_starts(figure: &ComparedFigure<'_>, noise: Noise) -> Option<Spread> {
    let known = noise.spread(figure.starts)?;
    if noise.freedom >= FEWEST_FREEDOM {
        return Some(known);
    }
    let least = assumed(figure, figure.starts);
    Some(wider(Spread { freedom: KNOWN_FREEDOM, ..known }, least))
}

/// Why A/A runs are not taken at their word.
fn few_runs(figure: &ComparedFigure<'_>) -> Option<Cow<'static, str>> {
    let noise = figure.noise.filter(|noise| !figure.paired && noise.freedom < FEWEST_FREEDOM)?;
    Some(
        format!(
            "so few A/A runs say too little of how much runs differ, so the interval assumes it: \
             save {:.0} more",
            (FEWEST_FREEDOM - noise.freedom).ceil()
        )
        .into(),
    )
}

const SINGLE: &str = "one trial a side and no stored A/A noise: the interval assumes how much \
                      trials differ";
const SINGLE_WITHOUT_ROWS: &str = "one trial a side, no stored A/A noise and no requests.jsonl: \
                                   the interval assumes how much trials differ, and is wider for \
                                   what the percentiles leave open; compare the run directories";

/// Why the interval is of what the rule assumes.
fn why_assumed(figure: &ComparedFigure<'_>) -> Cow<'static, str> {
    let (a, b) = (figure.a.len(), figure.b.len());
    match (figure.sample, figure.has_rows) {
        (SampleUnit::Single, true) => SINGLE.into(),
        (SampleUnit::Single, false) => SINGLE_WITHOUT_ROWS.into(),
        _ => format!(
            "{a} and {b} samples say too little of how much they differ, so the interval assumes \
             it: save {} more",
            samples_missing(figure)
        )
        .into(),
    }
}

const ONE_START: &str = "one start of the server a side: how much starts differ is not in the \
                         interval";

fn one_start(figure: &ComparedFigure<'_>) -> Option<Cow<'static, str>> {
    (figure.sample == SampleUnit::Trial && figure.noise.is_none()).then_some(ONE_START.into())
}

/// What the single trials themselves say of a difference.
fn floor(figure: &ComparedFigure<'_>) -> f64 {
    figure.within[0].unwrap_or(0.0).hypot(figure.within[1].unwrap_or(0.0))
}

fn wider(spread: Spread, least: f64) -> Spread {
    Spread { standard_error: spread.standard_error.max(least), ..spread }
}

/// The row of a figure; `p_adjusted` at most `rate` is a difference.
pub(crate) fn row(
    figure: &ComparedFigure<'_>,
    judged: &Judged,
    p_adjusted: f64,
    rate: f64,
) -> ComparedRow {
    let rule = figure.rule;
    let evidence = &judged.evidence;
    let no_larger_than = percent(evidence.low).abs().max(percent(evidence.high).abs());
    let allowed_percent = 100.0 * rule.worse_by;
    let verdict = if p_adjusted <= rate {
        match (evidence.estimate > 0.0, rule.better) {
            (true, Better::Lower) | (false, Better::Higher) => Verdict::Slower,
            _ => Verdict::Faster,
        }
    } else if no_larger_than <= allowed_percent {
        Verdict::NoDifference
    } else {
        Verdict::CannotTell
    };
    let gate = gate(verdict, rule, evidence);
    let value = |logs: &[f64]| Metric::valid(moments(logs).0.exp(), unit_of(figure.metric));
    let change = percent(evidence.estimate);
    ComparedRow {
        point: figure.point.to_owned(),
        metric: figure.metric.to_owned(),
        better: rule.better,
        a: value(&figure.a),
        b: value(&figure.b),
        change_percent: match &judged.degraded {
            Some(why) => Metric::degraded(change, "%", why.clone()),
            None => Metric::valid(change, "%"),
        },
        low_percent: percent(evidence.low),
        high_percent: percent(evidence.high),
        verdict,
        no_larger_than_percent: no_larger_than,
        detectable_percent: 100.0 * worse_share(evidence.detectable, rule.better),
        p: evidence.p,
        p_adjusted,
        sample: figure.sample,
        paired: figure.paired,
        samples_a: figure.a.len(),
        samples_b: figure.b.len(),
        noise_percent: figure.noise.map(|noise| percent(noise.deviation())),
        allowed_percent,
        action: rule.action,
        gate,
        samples_needed: (verdict == Verdict::CannotTell)
            .then(|| samples_needed(figure, judged.spread, rate)),
    }
}

fn gate(verdict: Verdict, rule: &Rule, evidence: &Evidence) -> Gate {
    // How much worse: positive, whichever way is worse.
    let (estimate, worst) = match rule.better {
        Better::Lower => (evidence.estimate, evidence.high),
        Better::Higher => (-evidence.estimate, -evidence.low),
    };
    let is_too_much = |difference| worse_share(difference, rule.better) > rule.worse_by;
    match (verdict, rule.action) {
        (Verdict::Slower, Action::Fail) if is_too_much(estimate) => Gate::Fail,
        (Verdict::Slower, Action::Warn) if is_too_much(estimate) => Gate::Warn,
        (Verdict::CannotTell, Action::Fail | Action::Warn) if is_too_much(worst) => Gate::Undecided,
        _ => Gate::Pass,
    }
}

/// How many samples a side would find what the rule forbids four times out of five.
fn samples_needed(figure: &ComparedFigure<'_>, spread: Spread, alpha: f64) -> u64 {
    let forbidden = match figure.rule.better {
        Better::Lower => figure.rule.worse_by.ln_1p(),
        Better::Higher => -(-figure.rule.worse_by.min(0.99)).ln_1p(),
    };
    let (n_a, n_b) = (as_f64(figure.a.len() as u64), as_f64(figure.b.len() as u64));
    // With n samples a side the standard error is sqrt(per_sample / n).
    let per_sample = match figure.paired {
        true => spread.standard_error.powi(2) * n_a,
        false => spread.standard_error.powi(2) * 2.0 / (1.0 / n_a + 1.0 / n_b),
    };
    let suffice = |n: u64| {
        let freedom = as_f64(if figure.paired { n - 1 } else { 2 * n - 2 });
        let reach = t_critical(alpha, freedom) + t_critical(0.4, freedom);
        reach * (per_sample / as_f64(n)).sqrt() <= forbidden
    };
    // Those that there are were not enough.
    let (mut low, mut high) = (figure.a.len().max(figure.b.len()) as u64 + 1, MANY);
    while low < high {
        let middle = low.midpoint(high);
        if suffice(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// More samples than anybody takes.
const MANY: u64 = 1000;

/// A difference of logarithms as a change in percent.
fn percent(difference: f64) -> f64 {
    100.0 * difference.exp_m1()
}

/// A difference for the worse as a share of A: latency 10 % up, throughput 10 % down.
fn worse_share(difference: f64, better: Better) -> f64 {
    match better {
        Better::Lower => difference.exp_m1(),
        Better::Higher => -(-difference).exp_m1(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ComparedFigure, ComparedRow, Gate, Judged, Noise, SampleUnit, Verdict, judge, row,
    };
    use crate::compare::evidence::Resampling;
    use crate::compare::rules::Rules;

    const HOW: Resampling = Resampling { seed: 1, count: 4000, rate: 0.01 };

    fn figure<'a>(rules: &'a Rules, metric: &'a str, a: &[f64], b: &[f64]) -> ComparedFigure<'a> {
        let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect();
        ComparedFigure {
            point: "p",
            metric,
            rule: rules.of(metric).unwrap(),
            a: logs(a),
            b: logs(b),
            sample: if a.len() > 1 { SampleUnit::Start } else { SampleUnit::Single },
            starts: [a.len(), b.len()],
            paired: false,
            within: [None; 2],
            has_rows: true,
            noise: None,
        }
    }

    fn decide(figure: &ComparedFigure<'_>) -> ComparedRow {
        let judged: Judged = judge(figure, 0.01, HOW);
        row(figure, &judged, judged.evidence.p, 0.01)
    }

    #[test]
    fn each_verdict() {
        let rules = Rules::default();
        let check = |metric, a: &[f64], b: &[f64], verdict, gate| {
            let row = decide(&figure(&rules, metric, a, b));
            assert_eq!((row.verdict, row.gate), (verdict, gate), "{row:?}");
        };
        let base = [100.0, 101.0, 99.0, 100.5];
        let times = |factor: f64| base.map(|value| value * factor);
        check("p95_ms", &base, &times(1.3), Verdict::Slower, Gate::Fail);
        check("p95_ms", &base, &times(1.1), Verdict::Slower, Gate::Pass);
        check("p99_ms", &base, &times(1.3), Verdict::Slower, Gate::Warn);
        check("p95_ms", &base, &times(0.7), Verdict::Faster, Gate::Pass);
        check("throughput_items_per_sec", &base, &times(0.8), Verdict::Slower, Gate::Fail);
        check("throughput_items_per_sec", &base, &times(1.3), Verdict::Faster, Gate::Pass);
        check("p95_ms", &base, &times(1.001), Verdict::NoDifference, Gate::Pass);
        let wild = [60.0, 140.0, 90.0, 110.0];
        check("p95_ms", &wild, &times(1.2), Verdict::CannotTell, Gate::Undecided);
        check("p50_ms", &wild, &times(1.2), Verdict::CannotTell, Gate::Pass);
    }

    /// The gate of the users' team passed -2.6 % with three trials a side: they could not have
    /// told.
    #[test]
    fn three_trials_a_side_cannot_show_two_percent() {
        let rules = Rules::default();
        let row = decide(&figure(&rules, "p50_ms", &[32.21, 31.60, 31.82], &[32.46, 33.10, 32.64]));
        assert_eq!(row.verdict, Verdict::CannotTell);
        assert!(row.detectable_percent > 2.7, "{}", row.detectable_percent);
        assert!(row.samples_needed.unwrap() > 3, "{:?}", row.samples_needed);
    }

    #[test]
    fn a_single_trial_says_little_and_says_so() {
        let rules = Rules::default();
        let mut single = figure(&rules, "p50_ms", &[100.0], &[108.0]);
        let row = decide(&single);
        assert_eq!(row.verdict, Verdict::CannotTell);
        assert!(row.change_percent.reason.unwrap().contains("one trial a side"));
        // 3 % assumed: twice that over the root of two, at 99 %.
        assert_eq!(decide(&figure(&rules, "p50_ms", &[100.0], &[115.0])).verdict, Verdict::Slower);

        single.within = [Some(0.2), Some(0.2)];
        assert!(decide(&single).detectable_percent > 100.0, "the trial itself is noisier");

        single.within = [None; 2];
        single.noise = Some(Noise { squares: 0.0009, freedom: 9.0 });
        let row = decide(&single);
        assert_eq!((row.verdict, row.change_percent.reason), (Verdict::Slower, None));
        assert!((row.noise_percent.unwrap() - 1.005).abs() < 0.01);
    }

    #[test]
    fn few_runs_fall_back_on_what_is_assumed() {
        let rules = Rules::default();
        for b in [&[104.0][..], &[104.0, 103.0]] {
            let mut figure = figure(&rules, "p50_ms", &[100.0, 103.0], b);
            for noise in [None, Some(Noise { squares: 0.0005, freedom: 1.0 })] {
                figure.noise = noise;
                let row = decide(&figure);
                assert_eq!(row.verdict, Verdict::CannotTell);
                assert!(row.high_percent < 15.0, "{row:?}");
                let more = if noise.is_some() || b.len() == 1 { 2 } else { 1 };
                let reason = row.change_percent.reason.unwrap();
                assert!(reason.contains(&format!("save {more} more")), "{reason}");
            }
        }
        let apart = figure(&rules, "p50_ms", &[100.0, 200.0], &[150.0]);
        assert!(
            decide(&apart).high_percent > 100.0,
            "what was seen to differ more is not assumed less"
        );
    }

    #[test]
    fn a_difference_smaller_than_the_noise_is_none() {
        let rules = Rules::default();
        let a = [100.0, 100.1, 99.9, 100.0];
        let mut figure = figure(&rules, "p50_ms", &a, &a.map(|value| value * 1.03));
        assert_eq!(decide(&figure).verdict, Verdict::Slower);
        figure.noise = Some(Noise { squares: 0.0036, freedom: 9.0 });
        assert_ne!(decide(&figure).verdict, Verdict::Slower, "A/A runs differ by 2 %");
        figure.noise = Some(Noise { squares: 0.0002, freedom: 9.0 });
        assert_eq!(decide(&figure).verdict, Verdict::Slower);
        figure.starts = [1, 1];
        figure.sample = SampleUnit::Trial;
        figure.noise = Some(Noise { squares: 0.0009, freedom: 9.0 });
        assert_ne!(decide(&figure).verdict, Verdict::Slower, "trials of one start share it");
    }

    #[test]
    fn pairs_cancel_drift() {
        let rules = Rules::default();
        let a = [100.0, 110.0, 125.0, 140.0, 150.0];
        let b = [103.2, 113.1, 128.9, 144.0, 154.6];
        let mut figure = figure(&rules, "p50_ms", &a, &b);
        assert_eq!(decide(&figure).verdict, Verdict::CannotTell);
        figure.paired = true;
        assert_eq!(decide(&figure).verdict, Verdict::Slower);
    }
}
