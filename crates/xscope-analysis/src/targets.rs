//! What a scoring server should reach: the targets of sglang-jax's RFC on profiling the Score API,
//! held against a run.

use serde::Serialize;
use xscope_trace::Metric;

use crate::profile::ProfileReport;

/// How a figure stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Met,
    /// Neither met nor at the threshold of an alert.
    Missed,
    Alert,
    /// The run does not measure it.
    Unknown,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetRow {
    pub name: &'static str,
    pub figure: Metric,
    /// To be below it, or above if `higher_is_better`.
    pub target: f64,
    /// Beyond it, somebody should look.
    pub alert: f64,
    pub higher_is_better: bool,
    pub outcome: Outcome,
}

/// The targets, and whether a run meets them.
pub fn targets(report: &ProfileReport) -> Vec<TargetRow> {
    let latency = &report.latency;
    let items = |count: u64, figure: &Metric| match report.typical.num_items == count {
        true => figure.clone(),
        false => Metric::unavailable(
            &figure.unit,
            format!("measure it with --batch-sizes {count}: it is for requests of that many items"),
        ),
    };
    let stage = |name: &str| {
        let stage = report.stages.iter().find(|stage| stage.name == name);
        let percent = stage.map(|stage| 100.0 * stage.share);
        Metric::known(percent, "%", "no request has this stage")
    };
    vec![
        lower("Single item latency, p50", items(1, &latency.p50_ms), 20.0, 50.0),
        lower("Single item latency, p99", items(1, &latency.p99_ms), 50.0, 150.0),
        higher("Throughput in batches of 8", items(8, &latency.items_per_sec), 200.0, 100.0),
        higher("Throughput in batches of 32", items(32, &latency.items_per_sec), 500.0, 250.0),
        lower("Tokenization, of the latency", stage("tokenize"), 5.0, 15.0),
        lower("Softmax, of the latency", stage("softmax"), 1.0, 5.0),
        lower("Peak HBM, of a model of 1 B", report.typical.peak_hbm_mb.clone(), 8e3, 12e3),
    ]
}

fn lower(name: &'static str, figure: Metric, target: f64, alert: f64) -> TargetRow {
    let outcome = outcome(figure.value, |value| value < target, |value| value > alert);
    TargetRow { name, figure, target, alert, higher_is_better: false, outcome }
}

fn higher(name: &'static str, figure: Metric, target: f64, alert: f64) -> TargetRow {
    let outcome = outcome(figure.value, |value| value > target, |value| value < alert);
    TargetRow { name, figure, target, alert, higher_is_better: true, outcome }
}

fn outcome(value: Option<f64>, met: impl Fn(f64) -> bool, bad: impl Fn(f64) -> bool) -> Outcome {
    match value {
        None => Outcome::Unknown,
        Some(value) if met(value) => Outcome::Met,
        Some(value) if bad(value) => Outcome::Alert,
        Some(_) => Outcome::Missed,
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::{Metric, Trace};

    use super::{Outcome, higher, lower, targets};
    use crate::{RunFacts, profile};

    #[test]
    fn a_figure_meets_misses_or_alerts() {
        let of = |value: f64| Metric::valid(value, "ms");
        for (row, expected) in [
            (lower("", of(19.0), 20.0, 50.0), Outcome::Met),
            (lower("", of(20.0), 20.0, 50.0), Outcome::Missed),
            (lower("", of(51.0), 20.0, 50.0), Outcome::Alert),
            (higher("", of(201.0), 200.0, 100.0), Outcome::Met),
            (higher("", of(150.0), 200.0, 100.0), Outcome::Missed),
            (higher("", of(99.0), 200.0, 100.0), Outcome::Alert),
        ] {
            assert_eq!(row.outcome, expected, "{row:?}");
        }
    }

    #[test]
    fn what_was_not_measured_is_unknown_and_says_how_to_measure_it() {
        let rows = targets(&profile(&Trace::default(), &RunFacts::default()));
        assert!(rows.iter().all(|row| row.outcome == Outcome::Unknown));
        assert!(rows[0].figure.reason.as_ref().unwrap().contains("--batch-sizes 1"));
    }
}
