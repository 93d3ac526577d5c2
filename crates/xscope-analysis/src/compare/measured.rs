//! What was measured, reduced to what a comparison needs: figures by trial.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xscope_trace::results::{Durations, Judgement, PointResult, Results, Trial};
use xscope_trace::run::{RunManifest, RunStatus, Utc};
use xscope_trace::stats::as_f64;
use xscope_trace::{Nanos, Phase, Trace};

use crate::compare::blocks::{Request, spread_of, spread_within};
use crate::compare::environment::{Environment, fingerprint};
use crate::compare::place::Footprint;
use crate::reports::analyze_report::AnalyzeReport;

/// One file of results, or one run: what one start of a server did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Measured {
    /// Where it came from, for people.
    pub label: String,
    /// RFC 3339 in UTC; empty if unknown.
    pub started: String,
    /// Differs between starts of a server; empty if unknown.
    pub server_start: String,
    /// Where and how it was measured.
    pub environment: Environment,
    /// Why it must not be used, but for points that were judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
    /// What was sent, as its writer describes it; what names it is with each point.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub workload: Value,
    /// What was measured.
    pub points: Vec<MeasuredPoint>,
    /// Where its traces say that the time went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
}

/// One point of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MeasuredPoint {
    /// The point's name.
    pub point: String,
    /// Names the content of the requests; empty if unknown.
    pub workload_hash: String,
    /// Why its figures must not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
    /// Whether the benchmark itself called it valid, so that the end of its run is no reason
    /// against it.
    #[serde(skip)]
    pub is_judged: bool,
    /// Why single figures must not be used.
    pub spoiled: BTreeMap<String, String>,
    /// Values by trial in order of time; one value where only the whole point has one.
    pub figures: BTreeMap<String, Vec<f64>>,
    /// Standard deviation of the figure's logarithm between stretches of a single trial: the least
    /// that can be said of its noise.
    pub within: BTreeMap<String, f64>,
    /// Whether that is told from its requests one by one, and not from its percentiles.
    pub has_rows: bool,
}

impl Measured {
    /// Of a file of results, the users' own included.
    pub fn of_results(label: &str, results: &Results) -> Self {
        let mut measured = Self {
            label: label.to_owned(),
            started: results.metadata.timestamp.clone(),
            server_start: results.metadata.server_start.clone().unwrap_or_default(),
            environment: Environment::of_results(results),
            invalid: None,
            footprint: None,
            workload: results.config.workload.clone(),
            points: results
                .results
                .iter()
                .map(|point| measured_point(point, &results.config.workload_hash))
                .collect(),
        };
        measured.name_workload(&results.config.workload);
        measured
    }

    /// Adds what the manifest of the run says: of a run that failed only those points are valid that
    /// the benchmark judged.
    pub fn add_manifest(&mut self, manifest: &RunManifest) {
        self.environment.add_manifest(manifest);
        if self.started.is_empty() && manifest.started_wall > Nanos::ZERO {
            self.started = Utc::from_wall(manifest.started_wall).to_string();
        }
        self.name_workload(&manifest.workload);
        let why = match manifest.status {
            RunStatus::Complete => return,
            RunStatus::Failed => "the run failed: its target went away or never answered",
            RunStatus::Interrupted => "the run was interrupted",
            RunStatus::Running => "the run has not ended",
        };
        self.invalid = Some(why.to_owned());
        for point in self.points.iter_mut().filter(|point| !point.is_judged) {
            point.invalid.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Names the workload of points that do not name it themselves by all that makes its requests.
    fn name_workload(&mut self, workload: &Value) {
        if self.workload.is_null() {
            self.workload = workload.clone();
        }
        let workload = workload_name(workload);
        for point in &mut self.points {
            if point.workload_hash.is_empty() {
                point.workload_hash.clone_from(&workload);
            }
        }
    }

    /// Adds what the traces of the run say: where the time went, and how much memory it took.
    pub fn add_trace(&mut self, trace: &Trace, report: &AnalyzeReport) {
        self.footprint = Footprint::of(trace, report);
        let allocated = report.allocators.iter().map(|row| as_f64(row.peak_bytes.0) / 1e6);
        let peak = report.memory.peak_hbm_mb.value;
        let peak = peak.or_else(|| allocated.reduce(f64::max));
        let is_known = self.points.iter().any(|point| point.figures.contains_key("peak_hbm_mb"));
        if let Some(first) = self.points.first().filter(|_| !is_known)
            && let Some(peak) = peak.filter(|peak| *peak > 0.0)
        {
            self.points.push(MeasuredPoint {
                point: WHOLE.to_owned(),
                workload_hash: first.workload_hash.clone(),
                invalid: first.invalid.clone(),
                figures: BTreeMap::from([("peak_hbm_mb".to_owned(), vec![peak])]),
                ..MeasuredPoint::default()
            });
        }
    }

    /// Adds the raw rows of the run, for points with a single trial.
    pub fn add_rows(&mut self, rows: &[RequestLine]) {
        for point in &mut self.points {
            let single = point.figures.values().all(|values| values.len() == 1);
            let own: Vec<Request> = rows
                .iter()
                .filter(|row| {
                    row.phase == Phase::Measure && row.ok && row.point_name() == point.point
                })
                .map(RequestLine::request)
                .collect();
            if single && !own.is_empty() {
                point.within = spread_within(own);
                point.has_rows = true;
            }
        }
    }
}

/// The point that holds what was measured over all points.
const WHOLE: &str = "all points";

/// A line of `requests.jsonl`, as far as a comparison needs it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct RequestLine {
    phase: Phase,
    ok: bool,
    point: Option<String>,
    batch_size: u32,
    label_count: u32,
    intended_ns: i64,
    end_ns: i64,
}

impl RequestLine {
    fn point_name(&self) -> String {
        match &self.point {
            Some(point) => point.clone(),
            None => format!("b{}_l{}", self.batch_size, self.label_count),
        }
    }

    fn request(&self) -> Request {
        Request { intended: Nanos(self.intended_ns), end: Nanos(self.end_ns) }
    }
}

/// Reads `results.json` of this and earlier versions: those had their points under `points`.
pub fn results_from_json(bytes: &[u8]) -> Result<Results, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    if let Some(fields) = value.as_object_mut()
        && !fields.contains_key("results")
        && let Some(points) = fields.remove("points")
    {
        fields.insert("results".to_owned(), points);
        fields.remove("schema");
    }
    serde_json::from_value(value)
}

/// A name of the content of a workload that has no hash of its own.
fn workload_name(workload: &Value) -> String {
    let Some(fields) = workload.as_object() else { return String::new() };
    let lengths = ["points", "requests", "warmup_rounds", "model"];
    let content = fields.iter().filter(|(key, _)| !lengths.contains(&key.as_str()));
    let lines: Vec<String> = content.map(|(key, value)| format!("{key}={value}")).collect();
    format!("fields:{}", fingerprint(&lines.join("\n")))
}

fn measured_point(point: &PointResult, workload_hash: &str) -> MeasuredPoint {
    let hash = if point.workload_hash.is_empty() { workload_hash } else { &point.workload_hash };
    let causes = || point.validity.causes.iter();
    let invalid = match point.validity.status {
        Judgement::Invalid => {
            let details: Vec<&str> = causes().map(|cause| cause.detail.as_str()).collect();
            Some(details.join("; "))
        }
        Judgement::Unknown if point.failed > 0 => {
            Some(format!("{} of {} requests failed", point.failed, point.requests))
        }
        _ => None,
    };
    let spoiled = causes()
        .flat_map(|cause| cause.spoils.iter().map(|figure| (figure.clone(), cause.detail.clone())));
    MeasuredPoint {
        point: name(point),
        workload_hash: hash.to_owned(),
        invalid,
        is_judged: point.validity.status == Judgement::Valid,
        spoiled: spoiled.collect(),
        figures: figures(point),
        within: if point.trials.len() > 1 { BTreeMap::new() } else { spread_of(&point.latency) },
        has_rows: false,
    }
}

fn name(point: &PointResult) -> String {
    let shape = &point.shape;
    let parts = [
        ("b", shape.batch_size),
        ("l", shape.label_count),
        ("in", shape.input_len),
        ("out", shape.output_len),
    ];
    let parts = parts.iter().filter_map(|(name, value)| Some(format!("{name}{}", (*value)?)));
    match point.point.is_empty() {
        true => parts.collect::<Vec<_>>().join("_"),
        false => point.point.clone(),
    }
}

fn figures(point: &PointResult) -> BTreeMap<String, Vec<f64>> {
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, value: Option<f64>| {
        // Logarithms are compared: what is not above zero was not measured.
        if let Some(value) = value.filter(|value| *value > 0.0 && value.is_finite()) {
            figures.entry(name.to_owned()).or_default().push(value);
        }
    };
    let whole = Trial {
        latency: point.latency.clone(),
        throughput_items_per_sec: point.throughput_items_per_sec.clone(),
        requests_per_sec: point.requests_per_sec.clone(),
        output_tokens_per_sec: Some(point.output_tokens_per_sec.clone()),
        stream: point.stream.clone(),
        ..Trial::default()
    };
    let whole = std::slice::from_ref(&whole);
    let trials = if point.trials.is_empty() { whole } else { &point.trials };
    for trial in trials {
        durations(&mut add, "", &trial.latency);
        match trial.throughput_items_per_sec.value {
            // The same times the items of a request.
            Some(rate) => add("throughput_items_per_sec", Some(rate)),
            None => add("requests_per_sec", trial.requests_per_sec.value),
        }
    }
    // Trials of earlier versions do not say it.
    let says = |trial: &Trial| trial.output_tokens_per_sec.is_some() || trial.stream.ttft.is_some();
    for trial in if trials.iter().any(says) { trials } else { whole } {
        for (prefix, part) in [("ttft.", &trial.stream.ttft), ("itl.", &trial.stream.itl)] {
            if let Some(part) = part {
                durations(&mut add, prefix, part);
            }
        }
        let rate = trial.output_tokens_per_sec.as_ref();
        add("output_tokens_per_sec", rate.and_then(|it| it.value));
    }
    add("goodput_per_sec", point.goodput_per_sec.as_ref().and_then(|figure| figure.value));
    add("peak_hbm_mb", point.peak_hbm_mb.value);
    figures
}

fn durations(add: &mut impl FnMut(&str, Option<f64>), prefix: &str, of: &Durations) {
    for (name, figure) in [
        ("mean_ms", &of.mean_ms),
        ("p50_ms", &of.p50_ms),
        ("p95_ms", &of.p95_ms),
        ("p99_ms", &of.p99_ms),
    ] {
        add(&format!("{prefix}{name}"), figure.value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xscope_trace::Trace;
    use xscope_trace::model::{MemoryReport, SourceId};
    use xscope_trace::run::{RunManifest, RunStatus};

    use crate::reports::analyze::analyze;

    use super::{Measured, MeasuredPoint, results_from_json};

    fn measured(json: &serde_json::Value) -> Measured {
        Measured::of_results("x", &results_from_json(json.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn trials_are_the_samples_and_causes_are_kept() {
        let trial = |p50: f64| json!({"p50_ms": p50, "throughput_items_per_sec": 10.0 / p50});
        let measured = measured(&json!({
            "config": {"workload_hash": "sha256:1"},
            "results": [
                {"point": "b1_l2", "p50_ms": 2.5, "peak_hbm_mb": 100,
                 "trials": [trial(2.0), trial(3.0)],
                 "verdict": {"status": "valid", "causes": [{"cause": "too_few_samples",
                    "detail": "9 samples", "spoils": ["p99_ms"]}]}},
                {"batch_size": 4, "label_count": 2, "requests": 9, "failed": 2},
                {"point": "b8_l2", "verdict": {"status": "invalid", "causes": [
                    {"cause": "server_died", "detail": "TypeError"}]}},
            ],
        }));
        let [first, second, third] = &measured.points[..] else { panic!() };
        assert_eq!(first.figures["p50_ms"], [2.0, 3.0]);
        assert_eq!(first.figures["peak_hbm_mb"], [100.0]);
        assert_eq!(first.spoiled["p99_ms"], "9 samples");
        assert_eq!((first.workload_hash.as_str(), &first.invalid), ("sha256:1", &None));
        assert_eq!(second.point, "b4_l2");
        assert_eq!(second.invalid.as_deref(), Some("2 of 9 requests failed"));
        assert_eq!(third.invalid.as_deref(), Some("TypeError"));
    }

    #[test]
    fn streams_are_compared_by_trial_or_else_as_a_whole() {
        let trial = |ttft: f64| {
            json!({"p50_ms": 5.0, "requests_per_sec": 2.0, "output_tokens_per_sec": 10.0 * ttft,
                   "ttft": {"p50_ms": ttft}, "itl": {"mean_ms": 0.5}})
        };
        let figures = |trials: &[serde_json::Value]| {
            let point = json!({"point": "gen", "trials": trials, "output_tokens_per_sec": 90.0,
                               "ttft": {"p50_ms": 9.0}});
            measured(&json!({"results": [point]})).points.remove(0).figures
        };
        let by_trial = figures(&[trial(1.0), trial(2.0)]);
        assert_eq!(by_trial["ttft.p50_ms"], [1.0, 2.0]);
        assert_eq!(by_trial["itl.mean_ms"], [0.5, 0.5]);
        assert_eq!(by_trial["output_tokens_per_sec"], [10.0, 20.0]);
        let earlier = figures(&[json!({"p50_ms": 5.0}), json!({"p50_ms": 6.0})]);
        assert_eq!(earlier["ttft.p50_ms"], [9.0]);
        assert_eq!((&earlier["output_tokens_per_sec"], earlier["p50_ms"].len()), (&vec![90.0], 2));
    }

    #[test]
    fn memory_is_that_of_the_results_or_else_of_the_reports() {
        let of_reports = |peak: f64| {
            let mut trace = Trace::default();
            let report_type = trace.strings.intern("device");
            trace.memory_reports.push(MemoryReport {
                source: SourceId(0),
                report_type,
                stage: report_type,
                layer: None,
                total_memory_mb: 1.0,
                peak_memory_mb: Some(peak),
                at: None,
                tensors: Vec::new(),
            });
            let report = analyze(&trace);
            (trace, report)
        };
        let (trace, report) = of_reports(2.0);
        let point = json!({"points": [{"batch_size": 2, "p50_ms": 4.0}]});
        let mut run = measured(&point);
        run.add_trace(&trace, &report);
        assert_eq!(run.points[1].figures["peak_hbm_mb"], [2.0 * 1.048576]);
        let point = json!({"points": [{"batch_size": 2, "p50_ms": 4.0, "peak_hbm_mb":
            {"value": 3.0, "unit": "MB", "status": "degraded", "reason": "of snapshots"}}]});
        let mut run = measured(&point);
        run.add_trace(&trace, &report);
        assert_eq!((run.points.len(), &run.points[0].figures["peak_hbm_mb"]), (1, &vec![3.0]));
    }

    #[test]
    fn earlier_runs_and_runs_that_failed() {
        let mut measured = measured(&json!({
            "schema": 1, "ended": "complete",
            "points": [{"batch_size": 2, "label_count": 2, "p50_ms": 4.0, "mean_ms": 4.5}],
        }));
        assert_eq!(measured.points[0].figures["mean_ms"], [4.5]);
        let complete = RunManifest { status: RunStatus::Complete, ..RunManifest::default() };
        measured.add_manifest(&complete);
        assert_eq!(measured.points[0].invalid, None);
        measured.points.push(MeasuredPoint { is_judged: true, ..MeasuredPoint::default() });
        measured.add_manifest(&RunManifest { status: RunStatus::Failed, ..complete });
        assert!(measured.points[0].invalid.is_some() && measured.points[1].invalid.is_none());
    }
}
