//! What was measured once, kept to be compared with, and the noise of A/A runs.

use serde::{Deserialize, Serialize};

use crate::compare::environment::{Difference, differences};
use crate::compare::measured::Measured;
use crate::compare::noise::NoiseTable;
use crate::compare::place::Footprint;
use crate::error::{Error, Result};

/// Version of [`Baseline`] as JSON.
pub const SCHEMA: &str = "xscope/baseline/2";
/// Version of [`StoredNoise`] as JSON.
pub const NOISE_SCHEMA: &str = "xscope/noise/1";

/// Runs of one commit, as saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Baseline {
    /// The kind and the version of this document.
    pub schema: String,
    /// The name that it was saved under.
    pub name: String,
    /// RFC 3339 in UTC.
    pub saved: String,
    /// Names what must be equal for runs to be compared; baselines of different series are not in one line.
    pub series: String,
    /// The runs, in the order in which they were given.
    pub runs: Vec<Measured>,
}

impl Baseline {
    /// Keeps runs of one commit in one environment.
    ///
    /// # Errors
    ///
    /// A run is invalid, or they are not of one commit and environment.
    pub fn of(name: &str, saved: String, mut runs: Vec<Measured>) -> Result<Self> {
        let first = runs.first().ok_or(Error::NoRuns)?;
        for run in &runs {
            let invalid = run.points.iter().find_map(|point| point.invalid.clone());
            let nothing = || run.points.is_empty().then(|| "it has no points".to_owned());
            if let Some(why) = run.invalid.clone().or(invalid).or_else(nothing) {
                return Err(Error::InvalidBaseline { label: run.label.clone(), why });
            }
            let other = differences(&[&first.environment], &[&run.environment]);
            let breaks = |difference: &Difference| difference.breaks_series(true);
            if let Some(difference) = other.into_iter().find(breaks) {
                let Difference { what, a, b, .. } = difference;
                return Err(Error::MixedBaseline { what, a, b });
            }
        }
        let series = first.environment.series();
        // One for all: they only ever add up.
        let footprints: Vec<Footprint> =
            runs.iter_mut().filter_map(|run| run.footprint.take()).collect();
        runs[0].footprint = Footprint::sum(footprints.iter()).map(Footprint::compact);
        Ok(Self { schema: SCHEMA.to_owned(), name: name.to_owned(), saved, series, runs })
    }

    /// Reads a baseline; `None` if it is something else.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let baseline: Self = serde_json::from_slice(bytes).ok()?;
        baseline.schema.starts_with("xscope/baseline/").then_some(baseline)
    }

    pub fn commit(&self) -> &str {
        self.runs.first().map(|run| run.environment.commit()).unwrap_or_default()
    }

    /// The noise that its runs show, if they are several.
    pub fn noise(&self) -> Option<NoiseTable> {
        NoiseTable::of(&self.runs.iter().collect::<Vec<_>>())
    }

    /// The name of its file, in the order of time.
    pub fn file_stem(&self) -> String {
        let time: String = self.saved.chars().filter(char::is_ascii_alphanumeric).collect();
        let commit: String =
            self.commit().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        match commit.is_empty() {
            true => time,
            false => format!("{time}-{commit}"),
        }
    }
}

/// The noise of a kind of machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StoredNoise {
    /// The kind and the version of this document.
    pub schema: String,
    /// The kind of machine.
    pub machine: String,
    /// By point with its workload, then by figure.
    pub noise: NoiseTable,
}

/// The version of [`BaselineList`] as JSON.
pub const LIST_SCHEMA: &str = "xscope/baselines/2";

/// What `xscope baseline list --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BaselineList {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// By name, then by time.
    pub baselines: Vec<ListedBaseline>,
    /// The noise of the machines that they were measured on.
    pub noises: Vec<StoredNoise>,
}

/// One baseline in the list of a name's.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListedBaseline {
    /// The name that it was saved under.
    pub name: String,
    /// When it was saved, RFC 3339 in UTC.
    pub saved: String,
    /// The commit that was measured; empty if unknown.
    pub commit: String,
    /// The kind of machine that it was measured on.
    pub machine: String,
    /// Baselines of different series are not in one line.
    pub series: String,
    /// How many runs it has.
    #[serde(rename = "run_count")]
    pub runs: usize,
    /// How many points it has.
    #[serde(rename = "point_count")]
    pub points: usize,
    /// What broke the series: what differs from the baseline of the name before it.
    pub breaks: Vec<Difference>,
}

/// Baselines as a list, those of one name in the order of time.
pub fn list(mut baselines: Vec<Baseline>) -> Vec<ListedBaseline> {
    baselines.sort_by(|a, b| (&a.name, &a.saved).cmp(&(&b.name, &b.saved)));
    let mut before: Option<&Baseline> = None;
    let mut listed = Vec::new();
    for baseline in &baselines {
        let Some(first) = baseline.runs.first() else { continue };
        let breaks = before.filter(|before| before.name == baseline.name).map(|before| {
            let environments = before.runs.first().map(|run| &run.environment);
            let differences = differences(environments.as_slice(), &[&first.environment]);
            differences.into_iter().filter(|other| other.breaks_series(false)).collect()
        });
        listed.push(ListedBaseline {
            name: baseline.name.clone(),
            saved: baseline.saved.clone(),
            commit: baseline.commit().to_owned(),
            machine: first.environment.machine(),
            series: baseline.series.clone(),
            runs: baseline.runs.len(),
            points: first.points.len(),
            breaks: breaks.unwrap_or_default(),
        });
        before = Some(baseline);
    }
    listed
}

/// The baseline to compare `with`: the last one of its series; else, so that it can be said what
/// broke the series, the last one of all.
pub fn choose(mut baselines: Vec<Baseline>, with: &Measured) -> Option<Baseline> {
    baselines.sort_by(|a, b| a.saved.cmp(&b.saved));
    let series = with.environment.series();
    let place = baselines.iter().rposition(|baseline| baseline.series == series);
    let place = place.or_else(|| baselines.len().checked_sub(1))?;
    Some(baselines.swap_remove(place))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Baseline, choose, list};
    use crate::compare::measured::{Measured, results_from_json};
    use crate::error::Error;

    fn run(commit: &str, jax: &str, p50: f64) -> Measured {
        let results = json!({
            "config": {"workload_hash": "sha256:1"},
            "results": [{"point": "b1_l2", "p50_ms": p50}],
            "metadata": {"commit": commit, "jax_version": jax, "host": {"hostname": commit}},
        });
        let results = results_from_json(results.to_string().as_bytes()).unwrap();
        Measured::of_results(commit, &results)
    }

    fn baseline(time: &str, runs: Vec<Measured>) -> Baseline {
        Baseline::of("main", time.to_owned(), runs).unwrap()
    }

    #[test]
    fn a_series_breaks_at_a_change_of_environment_and_says_why() {
        let old = baseline("2026-01-01T00:00:00Z", vec![run("c1", "0.8", 1.0)]);
        let same = baseline("2026-01-02T00:00:00Z", vec![run("c2", "0.8", 1.0)]);
        let new = baseline("2026-01-03T00:00:00Z", vec![run("c3", "0.9", 1.0)]);
        let listed = list(vec![new.clone(), old.clone(), same.clone()]);
        let breaks: Vec<usize> = listed.iter().map(|row| row.breaks.len()).collect();
        assert_eq!(breaks, [0, 0, 1]);
        assert_eq!(listed[2].breaks[0].what, "jax");
        assert_eq!((old.series == same.series, old.series == new.series), (true, false));

        let all = || vec![old.clone(), same.clone(), new.clone()];
        assert_eq!(choose(all(), &run("c4", "0.8", 1.0)), Some(same.clone()));
        assert_eq!(choose(all(), &run("c4", "0.7", 1.0)), Some(new.clone()));
        assert_eq!(choose(Vec::new(), &run("c4", "0.7", 1.0)), None);
        assert_eq!(same.file_stem(), "20260102T000000Z-c2");
    }

    #[test]
    fn runs_of_one_commit_show_noise_and_others_are_refused() {
        let several = baseline("t", vec![run("c1", "0.8", 1.0), run("c1", "0.8", 1.1)]);
        assert!(several.noise().unwrap().of_figure(&several.runs[0].points[0], "p50_ms").is_some());
        assert_eq!(baseline("t", vec![run("c1", "0.8", 1.0)]).noise(), None);
        let json = serde_json::to_vec(&several).unwrap();
        assert_eq!(Baseline::from_json(&json), Some(several));
        assert_eq!(Baseline::from_json(b"{}"), None);

        let mixed =
            Baseline::of("n", String::new(), vec![run("c1", "8", 1.0), run("c2", "8", 1.0)]);
        assert!(matches!(mixed, Err(Error::MixedBaseline { what, .. }) if what == "commit"));
        let mut dead = run("c1", "8", 1.0);
        dead.points[0].invalid = Some("died".to_owned());
        let dead = Baseline::of("n", String::new(), vec![dead]);
        assert!(matches!(dead, Err(Error::InvalidBaseline { .. })));
    }
}
