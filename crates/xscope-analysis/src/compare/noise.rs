//! How far apart measurements of one and the same thing lie on one machine: A/A runs, remembered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xscope_trace::stats::{as_f64, moments};

use crate::compare::evidence::Spread;
use crate::compare::measured::{Measured, MeasuredPoint};

/// What A/A runs showed of one figure; two of them add up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Noise {
    /// Sum of squared deviations of logarithms from the mean of their own A/A runs.
    pub squares: f64,
    /// Degrees of freedom: runs, less one for each set of runs.
    pub freedom: f64,
}

impl Noise {
    /// Standard deviation between two measurements of the same, of their logarithms: about a
    /// share.
    pub fn deviation(&self) -> f64 {
        if self.freedom > 0.0 { (self.squares / self.freedom).sqrt() } else { 0.0 }
    }

    /// The spread of a difference between the means of so many such measurements a side.
    pub(crate) fn spread(&self, [a, b]: [usize; 2]) -> Option<Spread> {
        let share = 1.0 / as_f64(a as u64) + 1.0 / as_f64(b as u64);
        let standard_error = self.deviation() * share.sqrt();
        (self.freedom > 0.0).then_some(Spread { standard_error, freedom: self.freedom })
    }
}

/// The noise of one machine, by point with its workload, and by figure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct NoiseTable(pub BTreeMap<String, BTreeMap<String, Noise>>);

impl NoiseTable {
    /// What runs of the same code in the same environment say; `None` if there is but one run,
    /// because what its own trials share (a start of the server) is part of the noise.
    pub fn of(runs: &[&Measured]) -> Option<Self> {
        let mut values: BTreeMap<(String, &str), Vec<f64>> = BTreeMap::new();
        for run in runs {
            for point in run.points.iter().filter(|point| point.invalid.is_none()) {
                for (metric, trials) in &point.figures {
                    if !point.spoiled.contains_key(metric) {
                        let logs: Vec<f64> = trials.iter().map(|trial| trial.ln()).collect();
                        let key = (key(point), metric.as_str());
                        values.entry(key).or_default().push(moments(&logs).0);
                    }
                }
            }
        }
        let mut table = Self::default();
        for ((point, metric), logs) in values {
            if let Some(variance) = moments(&logs).1 {
                let freedom = as_f64(logs.len() as u64) - 1.0;
                let noise = Noise { squares: variance * freedom, freedom };
                table.0.entry(point).or_default().insert(metric.to_owned(), noise);
            }
        }
        (!table.0.is_empty()).then_some(table)
    }

    /// Adds what other A/A runs showed.
    pub fn add(&mut self, other: &Self) {
        for (point, metrics) in &other.0 {
            for (metric, noise) in metrics {
                let sum = self.0.entry(point.clone()).or_default().entry(metric.clone());
                let sum = sum.or_default();
                sum.squares += noise.squares;
                sum.freedom += noise.freedom;
            }
        }
    }

    pub(crate) fn of_figure(&self, point: &MeasuredPoint, metric: &str) -> Option<Noise> {
        self.0.get(&key(point))?.get(metric).copied()
    }
}

/// A point and what was sent: points of one name differ between workloads.
fn key(point: &MeasuredPoint) -> String {
    format!("{} {}", point.point, point.workload_hash).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Measured, MeasuredPoint, NoiseTable};

    fn run(p50: &[f64]) -> Measured {
        let point = MeasuredPoint {
            point: "b1_l2".to_owned(),
            figures: BTreeMap::from([("p50_ms".to_owned(), p50.to_vec())]),
            ..MeasuredPoint::default()
        };
        Measured { points: vec![point], ..Measured::default() }
    }

    #[test]
    fn runs_are_the_samples_and_tables_add_up() {
        assert_eq!(NoiseTable::of(&[&run(&[1.0, 2.0])]), None);
        let e = std::f64::consts::E;
        // Logarithms 0 and 1, then 0, 1 and 2: squares 0.5 and 2.
        let mut noise = NoiseTable::of(&[&run(&[1.0]), &run(&[e])]).unwrap();
        let more = NoiseTable::of(&[&run(&[1.0]), &run(&[e]), &run(&[e * e, e * e])]).unwrap();
        noise.add(&more);
        let p50 = noise.of_figure(&run(&[]).points[0], "p50_ms").unwrap();
        assert!((p50.squares - 2.5).abs() < 1e-12 && (p50.freedom - 3.0).abs() < 1e-12);
        let spread = p50.spread([1, 1]).unwrap();
        assert!((spread.standard_error - (2.0 * 2.5 / 3.0_f64).sqrt()).abs() < 1e-12);
    }
}
