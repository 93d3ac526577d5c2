//! Warm-up: the requests of a point, in rounds, until none meets a compilation and times are
//! steady.

use xscope_trace::Nanos;
use xscope_trace::results::WarmupReport;

use crate::error::LoadError;
use crate::evidence::CompileSign;
use crate::point::Point;
use crate::record::TrialSamples;
use crate::run::{Load, LoadEvent};
use crate::stretch::Stretch;

/// So many rounds in a row have to be alike.
const STEADY_ROUNDS: usize = 3;
/// The medians of rounds that are alike differ by this share of the least one at most ...
const SPREAD: f64 = 0.25;
/// ... or by this.
const SPREAD_MS: f64 = 1.0;

/// How much warm-up there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmUp {
    /// Rounds of as many requests as are in flight at once.
    pub at_least: u32,
    /// Then it is given up, which makes the point invalid.
    pub at_most: u32,
}

impl WarmUp {
    pub const NONE: Self = Self { at_least: 0, at_most: 0 };

    /// At least so many rounds; ten times as many, and 50 more, before it is given up. None at all if
    /// 0.
    pub fn at_least(rounds: u32) -> Self {
        match rounds {
            0 => Self::NONE,
            _ => Self { at_least: rounds, at_most: rounds.saturating_mul(10).saturating_add(50) },
        }
    }
}

/// What is known of compilations while a load runs.
pub trait CompileSigns {
    /// Where they are seen: `log`; empty: nowhere.
    fn seen_by(&self) -> &str;
    /// Those that were seen since the last call.
    fn take(&mut self) -> Vec<CompileSign>;
}

/// Nowhere.
impl CompileSigns for () {
    fn seen_by(&self) -> &str {
        ""
    }

    fn take(&mut self) -> Vec<CompileSign> {
        Vec::new()
    }
}

/// A point that was warmed up.
#[derive(Debug, Clone)]
pub struct Warmed {
    pub report: WarmupReport,
    /// Why the server is gone, if it is.
    pub gone: Option<String>,
}

/// Warms a point up.
///
/// # Errors
///
/// Nothing could be sent at all.
pub async fn warm_up(
    load: &mut Load,
    point: &mut Point,
    rules: WarmUp,
    signs: &mut impl CompileSigns,
    mut on_event: impl FnMut(LoadEvent),
) -> Result<Warmed, LoadError> {
    let mut rounds = Rounds::default();
    let (mut requests, mut right) = (0, 0);
    let mut gone = None;
    signs.take();
    while rounds.count() < rules.at_most as usize {
        let stretch = Stretch::warm_up(point.plan(), 1);
        let round = load.run(&stretch, point, &mut on_event).await?;
        requests += round.samples.len() as u64;
        right += round.latencies().len() as u64;
        rounds.add(&round, !signs.take().is_empty());
        gone.clone_from(&round.gone);
        if gone.is_some() || round.samples.is_empty() {
            break;
        }
        if rounds.count() >= rules.at_least as usize && rounds.are_steady() {
            break;
        }
    }
    let report = WarmupReport {
        requests,
        failed: requests - right,
        warm: (requests > 0)
            .then(|| rounds.count() >= rules.at_least as usize && rounds.are_steady()),
        evidence: rounds.evidence(signs.seen_by()),
    };
    Ok(Warmed { report, gone })
}

/// What the rounds so far were like. Pure.
#[derive(Debug, Default)]
struct Rounds {
    /// Milliseconds; `None` if no answer was right.
    medians: Vec<Option<f64>>,
    compiled: Vec<bool>,
    has_header: bool,
}

impl Rounds {
    fn count(&self) -> usize {
        self.medians.len()
    }

    fn add(&mut self, round: &TrialSamples, compiled: bool) {
        let mut latencies = round.latencies();
        latencies.sort_unstable();
        self.medians
            .push(latencies.get(latencies.len() / 2).map(|median: &Nanos| median.as_millis()));
        let flags = || round.samples.iter().filter_map(|sample| sample.compiled);
        self.has_header |= flags().next().is_some();
        self.compiled.push(compiled || flags().any(|compiled| compiled));
    }

    fn are_steady(&self) -> bool {
        let from = self.count().saturating_sub(STEADY_ROUNDS);
        let latest: Option<Vec<f64>> = self.medians[from..].iter().copied().collect();
        let Some(latest) = latest.filter(|latest| latest.len() == STEADY_ROUNDS) else {
            return false;
        };
        let least = latest.iter().copied().fold(f64::INFINITY, f64::min);
        let most = latest.iter().copied().fold(0.0, f64::max);
        most - least <= (SPREAD * least).max(SPREAD_MS) && !self.compiled[from..].contains(&true)
    }

    /// How it is known, a sentence for each sign.
    fn evidence(&self, seen_by: &str) -> Vec<String> {
        if self.count() == 0 {
            return vec!["there was no warm-up".to_owned()];
        }
        let from = self.count().saturating_sub(STEADY_ROUNDS);
        let latest = self.medians[from..].iter().map(|median| match median {
            Some(ms) => format!("{ms:.2}"),
            None => "none".to_owned(),
        });
        let latest = latest.collect::<Vec<_>>().join(", ");
        let mut evidence = vec![format!("median latencies of the last rounds in ms: {latest}")];
        let compiled = |rounds: &[bool]| rounds.iter().filter(|&&compiled| compiled).count();
        let (before, after) = (compiled(&self.compiled[..from]), compiled(&self.compiled[from..]));
        let signs = [(!seen_by.is_empty(), seen_by), (self.has_header, "header")];
        for (_, sign) in signs.iter().filter(|(is_there, _)| *is_there) {
            evidence.push(format!(
                "{sign}: rounds with compilations: {before} before, {after} of the last {}",
                self.count() - from
            ));
        }
        if evidence.len() == 1 {
            evidence.push("nothing here shows compilations: only times were looked at".to_owned());
        }
        evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sample;

    fn rounds(medians: &[i64], compiled: &[usize]) -> Rounds {
        let mut rounds = Rounds::default();
        for (index, ms) in medians.iter().enumerate() {
            let end = Nanos(ms * 1_000_000);
            let samples = vec![Sample { end, ..Sample::default() }];
            rounds.add(
                &TrialSamples { samples, ..TrialSamples::default() },
                compiled.contains(&index),
            );
        }
        rounds
    }

    #[test]
    fn warm_is_three_rounds_alike_without_a_compilation() {
        let check = |medians: &[i64], compiled: &[usize], expected: bool| {
            assert_eq!(rounds(medians, compiled).are_steady(), expected, "{medians:?}");
        };
        check(&[10, 10], &[], false);
        check(&[10, 10, 10], &[], true);
        check(&[9000, 10, 11, 12], &[], true);
        check(&[10, 11, 14], &[], false);
        check(&[1, 2, 1], &[], true);
        check(&[10, 10, 10, 10], &[1], false);
        check(&[9000, 10, 10, 10], &[0], true);
    }

    #[test]
    fn evidence_names_its_signs() {
        let evidence = rounds(&[9000, 10, 10, 10], &[0]).evidence("log");
        assert_eq!(
            evidence,
            [
                "median latencies of the last rounds in ms: 10.00, 10.00, 10.00",
                "log: rounds with compilations: 1 before, 0 of the last 3"
            ]
        );
        assert!(rounds(&[1], &[]).evidence("")[1].contains("only times"));
    }
}
