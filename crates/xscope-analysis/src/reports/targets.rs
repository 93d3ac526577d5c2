//! What a scoring server should reach, held against a run: the targets and alerts of sglang-jax's
//! RFC on profiling the Score API, any limit of which a `targets.toml` can replace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xscope_trace::Metric;
use xscope_trace::metric::Status;
use xscope_trace::results::{Better, CheckOutcome, Judgement, PointResult, Results, TargetCheck};

use crate::error::{Error, Result};
use crate::reports::profile_report::ProfileReport;
use crate::requests::by_point::PointReport;
use xscope_trace::stage::Stage;

/// The figure that a target is for, and of which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    P50(u64),
    P99(u64),
    ItemsPerSec(u64),
    /// Share of the latency that a stage takes, in percent.
    Stage(Stage),
    PeakHbm,
}

/// One target.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Target {
    name: &'static str,
    of: Of,
    better: Better,
    target: f64,
    alert: f64,
}

/// All targets with their limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets(Vec<Target>);

impl Default for Targets {
    fn default() -> Self {
        let lower =
            |name, of, target, alert| Target { name, of, better: Better::Lower, target, alert };
        let higher = |name, of, target, alert| Target {
            better: Better::Higher,
            ..lower(name, of, target, alert)
        };
        Self(vec![
            lower("single_item_p50", Of::P50(1), 20.0, 50.0),
            lower("single_item_p99", Of::P99(1), 50.0, 150.0),
            higher("batch_8", Of::ItemsPerSec(8), 200.0, 100.0),
            higher("batch_32", Of::ItemsPerSec(32), 500.0, 250.0),
            lower("tokenization_share", Of::Stage(Stage::Tokenize), 5.0, 15.0),
            lower("softmax_share", Of::Stage(Stage::Softmax), 1.0, 5.0),
            // Of a model of 1 B parameters.
            lower("peak_hbm", Of::PeakHbm, 8e3, 12e3),
        ])
    }
}

/// Other limits for one target.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The target is met by what is better.
    #[serde(rename = "target_limit", alias = "target", skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// What is worse is an alert.
    #[serde(rename = "alert_limit", alias = "alert", skip_serializing_if = "Option::is_none")]
    pub alert: Option<f64>,
}

/// A `targets.toml`: limits by the target's name.
pub type Overrides = BTreeMap<String, Limits>;

impl Targets {
    /// The targets with other limits for some.
    ///
    /// # Errors
    ///
    /// A name that is none, or limits that contradict each other.
    pub fn with(overrides: &Overrides) -> Result<Self> {
        let mut targets = Self::default();
        for (name, limits) in overrides {
            let names: Vec<&'static str> = targets.0.iter().map(|target| target.name).collect();
            let known = targets.0.iter_mut().find(|target| target.name == name);
            let Some(target) = known else {
                return Err(Error::UnknownTarget { name: name.clone(), known: names });
            };
            target.target = limits.target.unwrap_or(target.target);
            target.alert = limits.alert.unwrap_or(target.alert);
            let (good, bad) = match target.better {
                Better::Higher => (target.target, target.alert),
                Better::Lower => (target.alert, target.target),
            };
            // Also refuses what is no number.
            if !(good >= bad && bad >= 0.0) {
                let check = target.missing();
                return Err(Error::TargetOrder {
                    name: name.clone(),
                    wanted: check.wanted(),
                    alert: check.alarming(),
                });
            }
        }
        Ok(targets)
    }
}

impl Target {
    fn unit(&self) -> &'static str {
        match self.of {
            Of::P50(_) | Of::P99(_) => "ms",
            Of::ItemsPerSec(_) => "items/s",
            Of::Stage(_) => "%",
            Of::PeakHbm => "MB",
        }
    }

    fn metric(&self) -> String {
        match self.of {
            Of::P50(_) => "p50_ms".to_owned(),
            Of::P99(_) => "p99_ms".to_owned(),
            Of::ItemsPerSec(_) => "throughput_items_per_sec".to_owned(),
            Of::Stage(stage) => format!("{stage}_percent"),
            Of::PeakHbm => "peak_hbm_mb".to_owned(),
        }
    }

    fn items(&self) -> Option<u64> {
        match self.of {
            Of::P50(items) | Of::P99(items) | Of::ItemsPerSec(items) => Some(items),
            Of::Stage(_) | Of::PeakHbm => None,
        }
    }

    fn outcome(&self, value: Option<f64>) -> CheckOutcome {
        // So that less is better in both cases.
        let sign = if self.better == Better::Higher { -1.0 } else { 1.0 };
        match value {
            None => CheckOutcome::Unknown,
            Some(value) if sign * value < sign * self.target => CheckOutcome::Met,
            Some(value) if sign * value > sign * self.alert => CheckOutcome::Alert,
            Some(_) => CheckOutcome::Missed,
        }
    }

    fn check(&self, point: &str, measured: Metric) -> TargetCheck {
        // What was not measured validly is not judged.
        let valid = measured.value.filter(|_| measured.status == Status::Valid);
        TargetCheck {
            name: self.name.to_owned(),
            point: point.to_owned(),
            metric: self.metric(),
            outcome: self.outcome(valid),
            measured,
            better: self.better,
            target_limit: self.target,
            alert_limit: self.alert,
        }
    }

    fn missing(&self) -> TargetCheck {
        let reason = match self.items() {
            Some(items) => format!("measure requests of {items} items: --batch-sizes {items}"),
            None => "no request says it".to_owned(),
        };
        self.check("", Metric::unavailable(self.unit(), reason))
    }
}

/// The targets held against every point of a profiled run that they are for.
pub(crate) fn check_profile(report: &ProfileReport, targets: &Targets) -> Vec<TargetCheck> {
    let mut checks = Vec::new();
    for target in &targets.0 {
        let before = checks.len();
        if target.of == Of::PeakHbm && report.requests.measured > 0 {
            // Of the device, which all points share.
            checks.push(target.check("", report.typical.peak_hbm_mb.clone()));
        }
        checks.extend(
            report.by_point.iter().filter_map(|point| {
                Some(target.check(&point.point, profiled_figure(target, point)?))
            }),
        );
        if checks.len() == before {
            checks.push(target.missing());
        }
    }
    checks
}

/// The figure of a point of a profiled run, if the target is for it.
fn profiled_figure(target: &Target, point: &PointReport) -> Option<Metric> {
    if target.items().is_some_and(|items| point.items != Some(items)) {
        return None;
    }
    match target.of {
        Of::P50(_) => Some(point.latency.p50_ms.clone()),
        Of::P99(_) => Some(point.latency.p99_ms.clone()),
        Of::ItemsPerSec(_) => Some(point.latency.items_per_sec.clone()),
        Of::PeakHbm => None,
        Of::Stage(name) => {
            let stage = point.stages.iter().find(|stage| stage.name == name)?;
            Some(Metric::valid(100.0 * stage.share, "%"))
        }
    }
}

/// The targets held against every point of a benchmark that they are for.
pub fn check_results(results: &Results, targets: &Targets) -> Vec<TargetCheck> {
    let mut checks = Vec::new();
    for target in &targets.0 {
        let before = checks.len();
        checks.extend(results.results.iter().filter_map(|point| {
            let value = point_figure(target, point)?;
            let value = match point.validity.status {
                Judgement::Invalid => Metric::unavailable(target.unit(), "the point is invalid"),
                _ => value,
            };
            Some(target.check(&point.point, value))
        }));
        if checks.len() == before {
            checks.push(target.missing());
        }
    }
    checks
}

/// The figure of a point, if the target is for it.
fn point_figure(target: &Target, point: &PointResult) -> Option<Metric> {
    if target.items().is_some_and(|items| point.shape.batch_size.map(u64::from) != Some(items)) {
        return None;
    }
    match target.of {
        Of::P50(_) => Some(point.latency.p50_ms.clone()),
        Of::P99(_) => Some(point.latency.p99_ms.clone()),
        Of::ItemsPerSec(_) => Some(point.throughput_items_per_sec.clone()),
        Of::PeakHbm => point.peak_hbm_mb.value.map(|_| point.peak_hbm_mb.clone()),
        Of::Stage(name) => {
            let (stage, whole) =
                (point.server_ms.get(name.name())?, point.from_sent.mean_ms.value?);
            (whole > 0.0).then(|| Metric::valid(100.0 * stage / whole, "%"))
        }
    }
}

/// What a million items cost at each valid point, in the currency of `price_per_hour`.
pub fn add_cost(results: &mut Results, price_per_hour: f64) {
    for point in &mut results.results {
        let rate = point.throughput_items_per_sec.value.filter(|&rate| rate > 0.0);
        let spoiled = point.validity.spoils("throughput_items_per_sec");
        let cost = rate.map(|rate| price_per_hour / 3600.0 / rate * 1e6);
        point.cost_per_million_items = Some(match cost {
            Some(cost) if !spoiled => Metric::valid(cost, "1"),
            Some(cost) => Metric::degraded(cost, "1", "the throughput is not valid"),
            None => Metric::unavailable("1", "no items per second were measured"),
        });
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::Metric;
    use xscope_trace::Trace;
    use xscope_trace::results::{
        Cause, CauseKind, CheckOutcome, Durations, PointResult, PointShape, Results, Validity,
    };

    use super::{Limits, Overrides, Targets, add_cost, check_results};
    use crate::{RunFacts, profile};

    fn point(items: u32, p50_ms: f64, rate: f64) -> PointResult {
        PointResult {
            point: format!("b{items}_l2"),
            shape: PointShape { batch_size: Some(items), ..PointShape::default() },
            latency: Durations { p50_ms: Metric::valid(p50_ms, "ms"), ..Durations::default() },
            throughput_items_per_sec: Metric::valid(rate, "items/s"),
            ..PointResult::default()
        }
    }

    fn outcomes(results: &Results, targets: &Targets, name: &str) -> Vec<CheckOutcome> {
        let checks = check_results(results, targets);
        checks.iter().filter(|check| check.name == name).map(|check| check.outcome).collect()
    }

    #[test]
    fn each_point_meets_misses_or_alerts() {
        let points = [19.0, 20.0, 51.0].map(|ms| point(1, ms, 0.0));
        let mut results = Results { results: points.into(), ..Results::default() };
        results.results.push(point(8, 1.0, 201.0));
        results.results.push(point(8, 1.0, 99.0));
        let targets = Targets::default();
        let found = outcomes(&results, &targets, "single_item_p50");
        assert_eq!(found, [CheckOutcome::Met, CheckOutcome::Missed, CheckOutcome::Alert]);
        let found = outcomes(&results, &targets, "batch_8");
        assert_eq!(found, [CheckOutcome::Met, CheckOutcome::Alert]);
        let missing = check_results(&results, &targets);
        let missing = missing.iter().find(|check| check.name == "batch_32").unwrap();
        assert_eq!(missing.outcome, CheckOutcome::Unknown);
        assert!(format!("{:?}", missing.measured).contains("--batch-sizes 32"));

        let cause =
            Cause { cause: CauseKind::ServerDied, detail: String::new(), spoils: Vec::new() };
        results.results[0].validity = Validity::on(vec![cause], &["p50_ms"]);
        let found = outcomes(&results, &targets, "single_item_p50");
        assert_eq!(found[0], CheckOutcome::Unknown, "what is invalid meets nothing");
    }

    #[test]
    fn limits_are_replaced_by_name_and_must_make_sense() {
        let with = |name: &str, target, alert| {
            let limits = Limits { target, alert };
            Targets::with(&Overrides::from([(name.to_owned(), limits)]))
        };
        let results = Results { results: vec![point(1, 30.0, 0.0)], ..Results::default() };
        let relaxed = with("single_item_p50", Some(35.0), None).unwrap();
        assert_eq!(outcomes(&results, &relaxed, "single_item_p50"), [CheckOutcome::Met]);
        for (name, target, alert, expected) in [
            ("single_item", None, None, "there are single_item_p50,"),
            ("single_item_p50", Some(60.0), None, "alert must be worse"),
            ("batch_8", None, Some(300.0), "wanted > 200 items/s, alert < 300 items/s"),
            ("batch_8", Some(f64::NAN), None, "alert must be worse"),
        ] {
            let error = with(name, target, alert).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_was_not_measured_is_unknown_and_says_how_to_measure_it() {
        let checks = profile(&Trace::default(), &RunFacts::default()).checks;
        assert!(checks.iter().all(|check| check.outcome == CheckOutcome::Unknown));
        assert!(format!("{:?}", checks[0].measured).contains("--batch-sizes 1"));
    }

    #[test]
    fn a_million_items_cost_what_the_time_costs() {
        let mut results = Results { results: vec![point(1, 1.0, 500.0)], ..Results::default() };
        results.results.push(PointResult::default());
        add_cost(&mut results, 1.8);
        let costs = results.results.iter().map(|point| point.cost_per_million_items.as_ref());
        let costs: Vec<_> = costs.map(|cost| cost.unwrap().value).collect();
        assert_eq!(costs, [Some(1.0), None]);
    }
}
