//! Targets that were checked.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;

/// Which way a figure gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More of it is better.
    Higher,
    /// Less of it is better.
    Lower,
}

/// One target of `targets.toml`, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(!from))]
#[serde(from = "Spelled")]
pub struct TargetCheck {
    /// The target's name, as in `targets.toml`.
    pub name: String,
    /// The point it was checked on; empty for the run as a whole.
    pub point: String,
    /// The name of the figure it is for.
    pub metric: String,
    /// The figure.
    pub measured: Metric,
    /// Which way it gets better.
    pub better: Better,
    /// The target is met by what is better than this, in the unit of `measured`.
    pub target_limit: f64,
    /// What is worse than this is an alert, in the unit of `measured`.
    pub alert_limit: f64,
    /// What became of it.
    pub outcome: CheckOutcome,
}

/// What became of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// The target is met.
    Met,
    /// Between target and alert.
    Missed,
    /// Worse than the alert's limit.
    Alert,
    /// Nothing was measured, or not validly.
    Unknown,
}

impl TargetCheck {
    /// What is wanted, `< 5 %`.
    pub fn wanted(&self) -> String {
        let sign = if self.better == Better::Higher { '>' } else { '<' };
        format!("{sign} {} {}", self.target_limit, self.measured.unit)
    }

    /// What is an alert, `> 15 %`.
    pub fn alarming(&self) -> String {
        let sign = if self.better == Better::Higher { '<' } else { '>' };
        format!("{sign} {} {}", self.alert_limit, self.measured.unit)
    }
}

/// A check as files have it: those of version 1 have limits as texts, `< 5 %`.
#[derive(Deserialize)]
struct Spelled {
    name: String,
    point: String,
    metric: String,
    #[serde(alias = "value")]
    measured: Metric,
    better: Option<Better>,
    #[serde(alias = "target")]
    target_limit: Limit,
    #[serde(alias = "alert")]
    alert_limit: Limit,
    outcome: CheckOutcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Limit {
    Number(f64),
    Text(String),
}

impl Limit {
    /// The sign and the number of `< 5 %`.
    fn parts(&self) -> (Option<&str>, f64) {
        match self {
            Self::Number(number) => (None, *number),
            Self::Text(text) => {
                let mut words = text.split(' ');
                (words.next(), words.next().and_then(|it| it.parse().ok()).unwrap_or(f64::NAN))
            }
        }
    }
}

impl From<Spelled> for TargetCheck {
    fn from(spelled: Spelled) -> Self {
        let Spelled { name, point, metric, mut measured, better, outcome, .. } = spelled;
        let (sign, target_limit) = spelled.target_limit.parts();
        let unit = match &spelled.target_limit {
            Limit::Text(text) => text.splitn(3, ' ').nth(2),
            Limit::Number(_) => None,
        };
        if let Some(unit) = unit.filter(|_| measured.unit.is_empty()) {
            measured.unit = unit.to_owned().into();
        }
        let better = better.unwrap_or(match sign {
            Some(">") => Better::Higher,
            _ => Better::Lower,
        });
        let alert_limit = spelled.alert_limit.parts().1;
        Self { name, point, metric, measured, better, target_limit, alert_limit, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::{Better, CheckOutcome, TargetCheck};
    use crate::metric::Metric;

    #[test]
    fn checks_of_version_1_read_as_those_of_2() {
        let check = |better, limits: [&str; 2], [target_limit, alert_limit]: [f64; 2]| {
            let expected = TargetCheck {
                name: "batch_8".to_owned(),
                point: "b8_l2".to_owned(),
                metric: "throughput_items_per_sec".to_owned(),
                measured: Metric::valid(90.5, "items/s"),
                better,
                target_limit,
                alert_limit,
                outcome: CheckOutcome::Alert,
            };
            assert_eq!([expected.wanted(), expected.alarming()], limits);
            let first = serde_json::json!({
                "name": "batch_8", "point": "b8_l2", "metric": "throughput_items_per_sec",
                "value": 90.5, "target": limits[0], "alert": limits[1], "outcome": "alert",
            });
            for text in [serde_json::to_string(&expected).unwrap(), first.to_string()] {
                assert_eq!(serde_json::from_str::<TargetCheck>(&text).unwrap(), expected, "{text}");
            }
        };
        check(Better::Higher, ["> 200 items/s", "< 100 items/s"], [200.0, 100.0]);
        check(Better::Lower, ["< 0.5 items/s", "> 5 items/s"], [0.5, 5.0]);
    }
}
