//! What a team cares about: which figures are compared, which way is worse, how much is too much.

use serde::{Deserialize, Serialize};
use xscope_trace::results::Better;

use crate::error::{Error, Result};

/// What follows when a figure is worse by more than its rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The change is shown.
    #[default]
    None,
    /// The gate warns.
    Warn,
    /// The gate fails.
    Fail,
}

/// The rule for the figures whose names end with `metric`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `p95_ms` holds for `ttft.p95_ms` as well; of several the longest counts.
    pub metric: String,
    /// Which way it gets better.
    pub better: Better,
    /// Share by which the figure may get worse; also what counts as no difference.
    pub worse_by: f64,
    /// What follows.
    #[serde(default)]
    pub action: Action,
    /// Standard deviation between trials that is assumed where there is one trial a side and no
    /// A/A run was stored, as a share.
    #[serde(default = "default_noise")]
    pub assumed_noise: f64,
}

/// The public logs of sglang-jax's users show 0.6 to 2 % between trials of one start of a server;
/// starts differ more.
fn default_noise() -> f64 {
    0.03
}

/// All rules of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Of the intervals.
    pub confidence: f64,
    /// Share of the differences found, over the whole matrix, that may be false.
    pub false_discovery_rate: f64,
    /// By figure.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

impl Default for Rules {
    /// The RFC's thresholds. 99 % and 1 %, not 95 % and 5 %: a gate that runs every night must
    /// not cry wolf every third week.
    fn default() -> Self {
        use Action::{Fail, None, Warn};
        use Better::{Higher, Lower};
        let rule = |metric: &str, better, worse_by, action, assumed_noise| Rule {
            metric: metric.to_owned(),
            better,
            worse_by,
            action,
            assumed_noise,
        };
        Self {
            confidence: 0.99,
            false_discovery_rate: 0.01,
            rules: vec![
                rule("per_sec", Higher, 0.10, Fail, 0.03),
                rule("mean_ms", Lower, 0.05, None, 0.03),
                rule("p50_ms", Lower, 0.05, None, 0.03),
                rule("p95_ms", Lower, 0.15, Fail, 0.05),
                rule("p99_ms", Lower, 0.20, Warn, 0.10),
                rule("_mb", Lower, 0.10, Fail, 0.02),
            ],
        }
    }
}

impl Rules {
    /// The rule for a figure; figures without one are not compared.
    pub fn of(&self, metric: &str) -> Option<&Rule> {
        let fitting = self.rules.iter().filter(|rule| metric.ends_with(&rule.metric));
        fitting.max_by_key(|rule| rule.metric.len())
    }

    /// These rules with those of `other` in the place of equally named ones.
    #[must_use]
    pub fn overridden_by(mut self, other: Self) -> Self {
        self.confidence = other.confidence;
        self.false_discovery_rate = other.false_discovery_rate;
        self.rules.retain(|rule| other.rules.iter().all(|new| new.metric != rule.metric));
        self.rules.extend(other.rules);
        self
    }

    /// Looks whether they make sense.
    ///
    /// # Errors
    /// A share that is none; the error says which.
    pub fn check(&self) -> Result<()> {
        let share = |what: &str, value: f64, below: f64| match value > 0.0 && value < below {
            true => Ok(()),
            false => Err(Error::Share { what: what.to_owned(), value, below }),
        };
        share("confidence", self.confidence, 1.0)?;
        share("false_discovery_rate", self.false_discovery_rate, 1.0)?;
        for rule in &self.rules {
            share(&format!("worse_by of {:?}", rule.metric), rule.worse_by, 100.0)?;
            share(&format!("assumed_noise of {:?}", rule.metric), rule.assumed_noise, 10.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Rule, Rules};
    use xscope_trace::results::Better;

    #[test]
    fn the_longest_name_counts_and_files_override() {
        let rules = Rules::default();
        assert_eq!(rules.of("throughput_items_per_sec").unwrap().action, Action::Fail);
        assert_eq!(rules.of("ttft.p99_ms").unwrap().action, Action::Warn);
        assert_eq!(rules.of("peak_hbm_mb").unwrap().better, Better::Lower);
        assert!(rules.of("max_ms").is_none() && rules.check().is_ok());

        let mine = Rule {
            metric: "ttft.p99_ms".to_owned(),
            better: Better::Lower,
            worse_by: 0.5,
            action: Action::Fail,
            assumed_noise: 0.1,
        };
        let file = Rules { confidence: 0.95, rules: vec![mine], ..Rules::default() };
        let rules = rules.overridden_by(file);
        assert_eq!(rules.of("ttft.p99_ms").unwrap().action, Action::Fail);
        assert_eq!(rules.of("p99_ms").unwrap().action, Action::Warn);
        assert!((rules.confidence - 0.95).abs() < 1e-12);
        assert!(Rules { confidence: 1.0, ..Rules::default() }.check().is_err());
        assert!(Rules { false_discovery_rate: f64::NAN, ..Rules::default() }.check().is_err());
    }
}
