//! Whether B differs from A, by how much, how sure that is, and why it may be.
//!
//! The unit of a comparison is the trial, or the start of the server where there are several,
//! never the request: two runs of the same code differ "significantly" by any test on requests.
//! Each figure of each point gets a verdict (slower, faster, no difference larger than d, cannot
//! tell) with the smallest difference that could have been found; discoveries are corrected for
//! the number of figures. What was measured under a different workload is not compared at all, and
//! neither is what the benchmark called invalid.
//!
//! `docs/compare.md` says it for users.

pub mod baseline;
mod blocks;
pub mod environment;
pub(crate) mod evidence;
pub mod looks;
pub mod measured;
pub mod noise;
pub mod place;
pub mod rules;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{as_f64, moments};

use crate::compare::environment::{Difference, differences};
use crate::compare::evidence::{Resampling, adjust_for_many};
use crate::compare::measured::{Measured, MeasuredPoint};
use crate::compare::noise::NoiseTable;
use crate::compare::place::{Places, places};
use crate::compare::rules::Rules;
use crate::compare::verdict::{
    ComparedFigure, ComparedRow, Gate, Judged, SampleUnit, Verdict, judge, row,
};
use crate::error::{Error, Result};

/// Version of [`CompareReport`] as JSON.
pub const SCHEMA: &str = "xscope/compare/2";

/// What changed between A and B.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CompareReport {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// The gravest of the rows, invalid if anything was.
    pub gate: Gate,
    /// What was compared with: the reference.
    pub a: SideRow,
    /// What was compared.
    pub b: SideRow,
    /// Of the intervals.
    pub confidence: f64,
    /// Share of the differences found, over the whole comparison, that may be false.
    pub false_discovery_rate: f64,
    /// The points as wholes.
    pub points: Vec<PointRow>,
    /// By point, then by figure.
    pub rows: Vec<ComparedRow>,
    /// What was measured and not compared.
    pub left_out: Vec<LeftOut>,
    /// What else differs, the likeliest cause first.
    #[serde(rename = "differences")]
    pub why: Vec<Difference>,
    /// Where the traces of the sides differ; absent unless both have some.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub places: Option<Places>,
    /// What is wrong or worth knowing about the traces of the sides.
    pub findings: Vec<Finding>,
}

impl CompareReport {
    /// How many rows have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

/// A point as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PointRow {
    /// The point's name.
    pub point: String,
    /// Slower if any figure is, else faster if any is, else no difference if that is known of all.
    pub verdict: Verdict,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SideRow {
    /// Files and runs.
    #[serde(rename = "paths")]
    pub runs: Vec<String>,
    /// The first one's.
    pub commit: String,
    /// The kind of machine; empty if unknown.
    pub machine: String,
}

/// Figures that were not compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// The point's name.
    pub point: String,
    /// Absent: all of the point's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// `a` or `b`.
    pub side: &'static str,
    /// The file or the run.
    pub run: String,
    /// The reason, as a sentence.
    pub why: String,
    /// Whether a gate must not pass because of it.
    #[serde(rename = "blocks_gate")]
    pub invalid: bool,
}

/// All runs of a side.
const ALL: &str = "all";

impl LeftOut {
    /// Whether B has nothing to compare with what A measured: a gate that was not asked is not passed.
    pub fn is_lacking(&self) -> bool {
        self.side == "b" && self.run == ALL
    }
}

/// What a user can choose.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub rules: Rules,
    /// Samples of the same place in time on both sides belong together: they were measured in
    /// turns.
    pub paired: bool,
    /// What A/A runs of this workload on this machine showed.
    pub noise: NoiseTable,
}

/// Compares B with A.
///
/// # Errors
///
/// The workloads differ, or there is nothing to compare.
pub fn compare(a: &[Measured], b: &[Measured], options: &Options) -> Result<CompareReport> {
    let points = common_points(a, b)?;
    check_workloads(a, b, &points)?;
    let mut left_out = BTreeSet::from_iter(not_common(a, b, &points));
    let mut figures = Vec::new();
    for point in &points {
        let sides = [usable(a, point, "a", &mut left_out), usable(b, point, "b", &mut left_out)];
        left_out.extend(one_sided(point, &sides, &options.rules));
        figures_of(point, &sides, options, &mut figures);
    }
    let rows = rows(&figures, &options.rules);
    let left_out: Vec<LeftOut> = left_out.into_iter().collect();
    let any_invalid = left_out.iter().any(|left| left.invalid);
    let lacking = left_out.iter().any(LeftOut::is_lacking).then_some(Gate::Undecided);
    // No figure was asked, and none has answered.
    let asked = rows.iter().map(|row| row.gate);
    let gravest = asked.chain(lacking).max().unwrap_or(Gate::Undecided);
    Ok(CompareReport {
        schema: SCHEMA,
        gate: if any_invalid { gravest.max(Gate::Invalid) } else { gravest },
        a: side_row(a),
        b: side_row(b),
        confidence: options.rules.confidence,
        false_discovery_rate: options.rules.false_discovery_rate,
        findings: findings(a, b, &rows, options),
        points: point_rows(&points, &rows),
        rows,
        left_out,
        places: places(footprints(a), footprints(b)),
        why: differences(&environments(a), &environments(b)),
    })
}

fn footprints(side: &[Measured]) -> impl Iterator<Item = &place::Footprint> {
    side.iter().filter_map(|run| run.footprint.as_ref())
}

fn environments(side: &[Measured]) -> Vec<&environment::Environment> {
    side.iter().map(|run| &run.environment).collect()
}

fn common_points(a: &[Measured], b: &[Measured]) -> Result<Vec<String>> {
    let names = |side: &[Measured]| -> Vec<String> {
        let mut seen = BTreeSet::new();
        let points = side.iter().flat_map(|run| &run.points);
        // In the order of the first run: a matrix reads as it was asked for.
        points.map(|point| point.point.clone()).filter(|name| seen.insert(name.clone())).collect()
    };
    let (in_a, in_b) = (names(a), names(b));
    let failed = |side: &[Measured]| side.iter().any(|run| run.invalid.is_some());
    let common: Vec<String> = match (in_a.is_empty(), in_b.is_empty()) {
        (false, false) => in_b.iter().filter(|name| in_a.contains(name)).cloned().collect(),
        // A run that failed before its first point is a result, not an error.
        (true, false) if failed(a) => in_b.clone(),
        (false, true) if failed(b) => in_a.clone(),
        // Traces alone say where, and not whether.
        _ if [a, b].iter().all(|side| footprints(side).next().is_some()) => return Ok(Vec::new()),
        (is_a, _) => {
            let (side, runs) = if is_a { ("A", a) } else { ("B", b) };
            let labels: Vec<&str> = runs.iter().map(|run| run.label.as_str()).collect();
            return Err(Error::NoFigures { side, labels: labels.join(", ") });
        }
    };
    match common.is_empty() {
        true => Err(Error::NothingInCommon { a: in_a.join(", "), b: in_b.join(", ") }),
        false => Ok(common),
    }
}

/// Points that only one side has.
fn not_common(a: &[Measured], b: &[Measured], common: &[String]) -> Vec<LeftOut> {
    let only = |side: &[Measured], lacking| -> Vec<LeftOut> {
        let points = side.iter().flat_map(|run| &run.points);
        let single = points.filter(|point| !common.contains(&point.point));
        let left_out = single.map(|point| LeftOut {
            point: point.point.clone(),
            metric: None,
            side: lacking,
            run: ALL.to_owned(),
            why: "only the other side has it".to_owned(),
            invalid: false,
        });
        left_out.collect()
    };
    [only(a, "b"), only(b, "a")].concat()
}

/// The fields of a description by their paths: `score.query_tokens`.
fn add_fields(path: &str, value: &Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                let dot = if path.is_empty() { "" } else { "." };
                add_fields(&format!("{path}{dot}{name}"), value, fields);
            }
        }
        value => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

/// The first fields in which the descriptions of the workloads differ.
fn workload_difference(a: &[Measured], b: &[Measured]) -> String {
    let fields = |side: &[Measured]| {
        let mut fields = BTreeMap::new();
        if let Some(run) = side.iter().find(|run| run.workload.is_object()) {
            add_fields("", &run.workload, &mut fields);
        }
        fields
    };
    let (a, b) = (fields(a), fields(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value = |side: &BTreeMap<String, Value>, name: &str| {
        side.get(name).map_or_else(|| "not set".to_owned(), Value::to_string)
    };
    let differing = names.into_iter().filter(|&name| a.get(name) != b.get(name));
    let texts: Vec<String> = differing
        .take(4)
        .map(|name| format!("{name}: {} in A, {} in B", value(&a, name), value(&b, name)))
        .collect();
    match texts.is_empty() {
        true => "they do not say in what they differ".to_owned(),
        false => texts.join("; "),
    }
}

fn check_workloads(runs_a: &[Measured], runs_b: &[Measured], points: &[String]) -> Result<()> {
    for point in points {
        let hashes = |side: &'_ [Measured]| -> Vec<String> {
            let points = side.iter().flat_map(|run| &run.points);
            let hashes = points.filter(|own| &own.point == point && !own.workload_hash.is_empty());
            hashes.map(|own| own.workload_hash.clone()).collect()
        };
        let (of_a, of_b) = (hashes(runs_a), hashes(runs_b));
        // Only names of one kind tell: a run of `profile` has no hash.
        let kind = |hash: &str| hash.split_once(':').map(|(kind, _)| kind.to_owned());
        let clash = of_a
            .iter()
            .flat_map(|a| of_b.iter().map(move |b| (a, b)))
            .find(|(a, b)| a != b && kind(a) == kind(b));
        if let Some((a, b)) = clash {
            return Err(Error::DifferentWorkloads {
                point: point.clone(),
                a: a.clone(),
                b: b.clone(),
                what: workload_difference(runs_a, runs_b),
            });
        }
    }
    Ok(())
}

/// The runs of a side in which a point is valid; says which are not, and which of its figures.
fn usable<'a>(
    runs: &'a [Measured],
    point: &str,
    side: &'static str,
    left_out: &mut BTreeSet<LeftOut>,
) -> Vec<(&'a Measured, &'a MeasuredPoint)> {
    let mut usable = Vec::new();
    for run in runs {
        let mut leave = |metric: Option<&String>, why: &str, invalid| {
            left_out.insert(LeftOut {
                point: point.to_owned(),
                metric: metric.cloned(),
                side,
                run: run.label.clone(),
                why: why.to_owned(),
                invalid,
            });
        };
        let Some(own) = run.points.iter().find(|own| own.point == point) else {
            let why = run.invalid.as_deref().unwrap_or("not measured");
            leave(None, why, run.invalid.is_some());
            continue;
        };
        if let Some(why) = &own.invalid {
            leave(None, why, true);
            continue;
        }
        if run.points.iter().filter(|own| own.point == point).count() > 1 {
            leave(None, "it is there more than once; the first was compared", false);
        }
        for (metric, why) in &own.spoiled {
            leave(Some(metric), why, false);
        }
        usable.push((run, own));
    }
    usable
}

/// The valid runs of one side and their point.
type Usable<'a> = Vec<(&'a Measured, &'a MeasuredPoint)>;

fn metrics<'a>(side: &Usable<'a>) -> BTreeSet<&'a str> {
    side.iter().flat_map(|(_, own)| own.figures.keys()).map(String::as_str).collect()
}

/// Figures that one side has and the other has not, though it has the point.
fn one_sided(point: &str, [a, b]: &[Usable<'_>; 2], rules: &Rules) -> Vec<LeftOut> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let (in_a, in_b) = (metrics(a), metrics(b));
    let single = in_a.symmetric_difference(&in_b).filter(|metric| rules.of(metric).is_some());
    let left_out = single.map(|&metric| LeftOut {
        point: point.to_owned(),
        metric: Some(metric.to_owned()),
        side: if in_a.contains(metric) { "b" } else { "a" },
        run: ALL.to_owned(),
        why: "only the other side has it".to_owned(),
        invalid: false,
    });
    left_out.collect()
}

fn figures_of<'a>(
    point: &'a str,
    [a, b]: &[Usable<'a>; 2],
    options: &'a Options,
    figures: &mut Vec<ComparedFigure<'a>>,
) {
    let common: Vec<&str> = metrics(a).intersection(&metrics(b)).copied().collect();
    for rule in &options.rules.rules {
        for &metric in &common {
            if options.rules.of(metric) != Some(rule) {
                continue;
            }
            let (starts_a, starts_b) = (by_start(a, metric), by_start(b, metric));
            if starts_a.is_empty() || starts_b.is_empty() {
                continue;
            }
            let (sample, a_logs, b_logs) = samples(&starts_a, &starts_b);
            figures.push(ComparedFigure {
                point,
                metric,
                rule,
                sample,
                starts: [starts_a.len(), starts_b.len()],
                paired: options.paired && a_logs.len() == b_logs.len() && a_logs.len() > 1,
                within: [within(a, metric), within(b, metric)],
                has_rows: [a, b].iter().all(|side| side.iter().all(|(_, own)| own.has_rows)),
                noise: b.first().and_then(|(_, own)| options.noise.of_figure(own, metric)),
                a: a_logs,
                b: b_logs,
            });
        }
    }
}

/// Logarithms of a figure's trials, by start of the server; where that is not known, by run.
fn by_start(side: &Usable<'_>, metric: &str) -> Vec<Vec<f64>> {
    let mut starts: Vec<(&str, Vec<f64>)> = Vec::new();
    for (run, own) in side {
        let Some(values) = own.figures.get(metric).filter(|_| !own.spoiled.contains_key(metric))
        else {
            continue;
        };
        // A file may have been written by anybody.
        let usable = values.iter().filter(|value| **value > 0.0 && value.is_finite());
        let logs: Vec<f64> = usable.map(|value| value.ln()).collect();
        if logs.is_empty() {
            continue;
        }
        let start = run.server_start.as_str();
        match starts.iter_mut().find(|(known, _)| !start.is_empty() && *known == start) {
            Some((_, trials)) => trials.extend(logs),
            None => starts.push((start, logs)),
        }
    }
    starts.into_iter().map(|(_, trials)| trials).collect()
}

/// The samples of both sides: starts if each side has several, else trials.
fn samples(a: &[Vec<f64>], b: &[Vec<f64>]) -> (SampleUnit, Vec<f64>, Vec<f64>) {
    if a.len() > 1 && b.len() > 1 {
        let means = |side: &[Vec<f64>]| side.iter().map(|trials| moments(trials).0).collect();
        return (SampleUnit::Start, means(a), means(b));
    }
    let (a, b) = (a.concat(), b.concat());
    let sample = if a.len() + b.len() > 2 { SampleUnit::Trial } else { SampleUnit::Single };
    (sample, a, b)
}

/// The spread within a single trial.
fn within(side: &Usable<'_>, metric: &str) -> Option<f64> {
    match side[..] {
        [(_, own)] => own.within.get(metric).copied(),
        _ => None,
    }
}

/// Judges all figures together, because what counts as a discovery depends on how many there are.
fn rows(figures: &[ComparedFigure<'_>], rules: &Rules) -> Vec<ComparedRow> {
    let how = resampling(figures.len(), rules.false_discovery_rate);
    let alpha = 1.0 - rules.confidence;
    let judged: Vec<Judged> = figures.iter().map(|figure| judge(figure, alpha, how)).collect();
    let probabilities: Vec<f64> = judged.iter().map(|judged| judged.evidence.p).collect();
    let adjusted = adjust_for_many(&probabilities);
    figures
        .iter()
        .zip(&judged)
        .zip(adjusted)
        .map(|((figure, judged), adjusted)| {
            row(figure, judged, adjusted, rules.false_discovery_rate)
        })
        .collect()
}

fn point_rows(points: &[String], rows: &[ComparedRow]) -> Vec<PointRow> {
    use Verdict::{CannotTell, Faster, Slower};
    let verdict = |point: &str| {
        let of_point = || rows.iter().filter(|row| row.point == point);
        let has = |verdict: &Verdict| of_point().any(|row| row.verdict == *verdict);
        of_point().next()?;
        Some([Slower, Faster, CannotTell].into_iter().find(has).unwrap_or(Verdict::NoDifference))
    };
    points
        .iter()
        .filter_map(|point| Some(PointRow { point: point.clone(), verdict: verdict(point)? }))
        .collect()
}

/// As many resamples as the smallest probability that can matter asks for.
fn resampling(figures: usize, rate: f64) -> Resampling {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let count = (10.0 * as_f64(figures as u64) / rate).clamp(2000.0, 20_000.0) as usize;
    Resampling { seed: 1, count, rate }
}

fn side_row(runs: &[Measured]) -> SideRow {
    let first = runs.first();
    let commit = first.map(|run| run.environment.commit().to_owned());
    SideRow {
        runs: runs.iter().map(|run| run.label.clone()).collect(),
        commit: commit.unwrap_or_default(),
        machine: first.map(|run| run.environment.machine()).unwrap_or_default(),
    }
}

fn findings(
    a: &[Measured],
    b: &[Measured],
    rows: &[ComparedRow],
    options: &Options,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |code: Code, message: String| {
        findings.push(Finding::new(code, message));
    };
    let times = |side: &[Measured]| -> Vec<String> {
        side.iter().map(|run| run.started.clone()).filter(|time| !time.is_empty()).collect()
    };
    let (times_a, times_b) = (times(a), times(b));
    let in_order =
        times_a.iter().max() < times_b.iter().min() || times_b.iter().max() < times_a.iter().min();
    if !options.paired && times_a.len() > 1 && times_b.len() > 1 && in_order {
        warn(
            Code::CompareOrder,
            "all runs of one side came before all of the other: what drifted meanwhile (clocks, \
             heat, neighbours) looks like a difference; take turns, as xscope bench ab does"
                .to_owned(),
        );
    }
    let is_of_a = |run: &&Measured| {
        let figures = || run.points.iter().map(|point| &point.figures);
        let is_same =
            |of_a: &Measured| of_a.points.iter().map(|point| &point.figures).eq(figures());
        !run.points.is_empty() && a.iter().any(is_same)
    };
    if let Some(run) = b.iter().find(is_of_a) {
        warn(
            Code::CompareSameRun,
            format!(
                "{} of B is also one of the runs of A: a run is compared with itself, and no \
                 difference is no finding",
                run.label
            ),
        );
    }
    if options.paired && rows.iter().any(|row| !row.paired) {
        warn(
            Code::CompareUnpaired,
            "some figures have different numbers of samples on the sides and were compared \
             without pairs"
                .to_owned(),
        );
    }
    let kinds: BTreeSet<&str> = a
        .iter()
        .chain(b)
        .flat_map(|run| &run.points)
        .map(|point| point.workload_hash.split(':').next().unwrap_or_default())
        .collect();
    if kinds.contains("") || kinds.len() > 1 {
        warn(
            Code::CompareWorkload,
            "not all files name their workload in one way: that both sides were sent the same \
             requests cannot be checked"
                .to_owned(),
        );
    }
    findings
}
