//! The largest rate at which a server keeps its service levels.
//!
//! Every probe is a benchmark of its own, with an open loop at one rate, whose verdict decides what
//! may be concluded from it: a compilation in the window says nothing of the rate, a client that
//! could not send more says that the search is over, and answers that are late or wrong are no
//! capacity. What holds in a short probe may do so by luck, so the result is measured once more,
//! for longer; only then it counts.

use std::path::{Path, PathBuf};

use serde_json::json;
use xscope_load::{Arrivals, Cancel, LoadEvent, Matrix, WarmUp, Workload};
use xscope_trace::clock;
use xscope_trace::results::{
    self, CauseKind, Ended, Figure, Found, PointResult, ProbeOutcome, ProbeRow, Results,
};
use xscope_trace::run::{RunDir, RunStatus};

use crate::bench::{
    BenchEvent, BenchOptions, BenchTarget, Benched, ProfiledServers, bench, new_run, start,
};
use crate::error::CaptureError;
use crate::search::{Probe, Search};
use crate::slo::Slo;

/// A probe in whose window a program was compiled is repeated so often.
const REPEATS: u32 = 3;

/// How much longer the confirming run is.
const CONFIRM: u64 = 3;

/// What is searched.
#[derive(Debug, Clone)]
pub struct FindMaxOptions {
    /// A benchmark of each point; its arrivals and its length do not matter.
    pub bench: BenchOptions,
    pub slo: Vec<Slo>,
    /// Requests per second to begin with.
    pub start_per_sec: f64,
    /// The bracket is narrow enough when its ends differ by this share.
    pub precision: f64,
    /// How long a probe is, if the service levels do not need more requests.
    pub probe_secs: f64,
}

/// A search that has ended.
#[derive(Debug)]
pub struct FoundMax {
    pub run: RunDir,
    pub found: Vec<Found>,
}

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum FindMaxEvent<'a> {
    Created(&'a Path),
    Probing(&'a str, Probe),
    Bench(BenchEvent<'a>),
    Probed(&'a ProbeRow),
}

/// Searches for each point, one after the other.
///
/// The run's directory gets `probes/` with a run for each probe, `results.json` with all of them as
/// points, and `find_max.json`.
///
/// # Errors
///
/// Those of [`bench()`](crate::bench()).
pub async fn find_max(
    options: FindMaxOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(FindMaxEvent<'_>),
) -> Result<FoundMax, CaptureError> {
    let mut options = options;
    let mut run = RunDir::create(&options.bench.output_dir, new_run(&options.bench).await)?;
    on_event(FindMaxEvent::Created(run.path()));
    // Started once for all probes.
    let told = &mut |event: BenchEvent<'_>| on_event(FindMaxEvent::Bench(event));
    let mut server = match start(&options.bench.target, &run, told).await {
        Ok((_, None)) => None,
        Ok((url, Some(server))) => {
            let log = Some(server.log().to_owned());
            options.bench.target = BenchTarget::Running { url, log };
            Some(server)
        }
        Err(error) => {
            run.finish(RunStatus::Failed, clock::wall())?;
            return Err(error);
        }
    };
    let mut hunt = Hunt {
        folder: run.path().to_owned(),
        results: Results {
            schema: results::SCHEMA.to_owned(),
            ended: Ended::Early,
            ..Results::default()
        },
        found: Vec::new(),
        options,
        cancel,
    };
    let outcome = hunt.all(&mut on_event).await;
    if let Some(server) = &mut server {
        server.stop().await?;
    }
    let is_whole = outcome.is_ok() && !cancel.is_cancelled();
    if is_whole {
        hunt.results.ended = Ended::Complete;
    }
    run.write_json(&run.results_path(), &hunt.results)?;
    run.write_json(&run.path().join("find_max.json"), &hunt.found)?;
    let status = match &outcome {
        _ if cancel.is_cancelled() => RunStatus::Interrupted,
        Ok(()) => RunStatus::Complete,
        Err(_) => RunStatus::Failed,
    };
    run.finish(status, clock::wall())?;
    outcome?;
    Ok(FoundMax { run, found: hunt.found })
}

struct Hunt<'c> {
    options: FindMaxOptions,
    folder: PathBuf,
    results: Results,
    found: Vec<Found>,
    cancel: &'c Cancel,
}

/// What a probe says.
enum Outcome {
    Holds,
    Fails(String),
    /// Nothing; it may be repeated.
    Disturbed(String),
    /// Nothing, and neither would others.
    Over(String),
}

impl Hunt<'_> {
    async fn all(
        &mut self,
        on_event: &mut impl FnMut(FindMaxEvent<'_>),
    ) -> Result<(), CaptureError> {
        for (name, workload) in self.options.bench.matrix.points.clone() {
            let found = self.point(&name, &workload, on_event).await?;
            self.found.push(found);
        }
        Ok(())
    }

    async fn point(
        &mut self,
        name: &str,
        workload: &Workload,
        on_event: &mut impl FnMut(FindMaxEvent<'_>),
    ) -> Result<Found, CaptureError> {
        let mut search = Search::new(self.options.start_per_sec, self.options.precision);
        let (mut probes, mut best, mut disturbed) = (Vec::new(), None, 0);
        let mut ended = None;
        while let Some(probe) = search.next().filter(|_| !self.cancel.is_cancelled()) {
            on_event(FindMaxEvent::Probing(name, probe));
            let number = self.results.results.len();
            let (outcome, run) = self.probe(name, workload, (probe, number), on_event).await?;
            let (word, why) = match &outcome {
                Outcome::Holds => (ProbeOutcome::Holds, String::new()),
                Outcome::Fails(why) => (ProbeOutcome::Fails, why.clone()),
                Outcome::Disturbed(why) | Outcome::Over(why) => {
                    (ProbeOutcome::Invalid, why.clone())
                }
            };
            let Probe { per_sec, confirms } = probe;
            let row = ProbeRow { per_sec, confirms, outcome: word, why, run };
            on_event(FindMaxEvent::Probed(&row));
            probes.push(row);
            match outcome {
                Outcome::Holds => {
                    search.tell(probe, true);
                    best = self.results.results.last().cloned();
                }
                Outcome::Fails(_) => search.tell(probe, false),
                Outcome::Disturbed(_) if disturbed < REPEATS => disturbed += 1,
                Outcome::Disturbed(why) | Outcome::Over(why) => {
                    ended = Some(why);
                    break;
                }
            }
        }
        let ended = match ended {
            Some(why) => why,
            None if self.cancel.is_cancelled() => "stopped by the user".to_owned(),
            None if search.holds().is_none() => "no rate held".to_owned(),
            None => "the bracket is narrow enough".to_owned(),
        };
        let held = best.filter(|_| search.holds().is_some());
        Ok(self.summed_up(name, &search, (held, ended), probes))
    }

    fn summed_up(
        &self,
        name: &str,
        search: &Search,
        (held, ended): (Option<PointResult>, String),
        probes: Vec<ProbeRow>,
    ) -> Found {
        let figure = |value: Option<f64>, unit: &'static str| match value {
            None => Figure::unavailable(unit, ended.clone()),
            Some(value) if search.is_confirmed() => Figure::Value(value),
            Some(value) => Figure::Value(value).degraded(unit, "not confirmed by a longer run"),
        };
        let per_sec = search.holds();
        let items = held.and_then(|point| {
            let (items, all) = (point.throughput_items_per_sec, point.requests_per_sec);
            Some(per_sec? * items.value()? / all.value()?)
        });
        Found {
            point: name.to_owned(),
            slo: self.options.slo.iter().map(ToString::to_string).collect(),
            max_per_sec: figure(per_sec, "1/s"),
            max_items_per_sec: figure(items, "items/s"),
            fails_per_sec: search.fails(),
            ended,
            probes,
        }
    }

    /// Measures one rate; what follows from it, and where its run is.
    async fn probe(
        &mut self,
        name: &str,
        workload: &Workload,
        (probe, number): (Probe, usize),
        on_event: &mut impl FnMut(FindMaxEvent<'_>),
    ) -> Result<(Outcome, String), CaptureError> {
        let Probe { per_sec, confirms } = probe;
        let needed = self.options.slo.iter().map(Slo::requests).max().unwrap_or(0);
        let requests = needed.max(count(per_sec * self.options.probe_secs));
        let requests = if confirms { CONFIRM * requests } else { requests };
        let arrivals = Arrivals::Poisson { per_sec };
        let workload = Workload {
            requests: Some(u32::try_from(requests).unwrap_or(u32::MAX)),
            secs: None,
            // Another draw of the same rate each time.
            seed: workload.seed.wrapping_add(number as u64),
            arrivals: arrivals.clone(),
            ..workload.clone()
        };
        let matrix = Matrix {
            points: vec![(format!("{name}@{arrivals}"), workload)],
            ..self.options.bench.matrix.clone()
        };
        let asked = self.options.slo.iter().map(Slo::field).collect();
        let full = self.options.bench.warm_up;
        let options = BenchOptions {
            output_dir: self.folder.join("probes"),
            matrix,
            asked,
            trials: 1,
            profile: ProfiledServers::None,
            // The first one has warmed the server up.
            warm_up: if number == 0 { full } else { WarmUp { at_least: 1, ..full } },
            ..self.options.bench.clone()
        };
        let (slo, mut within) = (self.options.slo.clone(), 0_u64);
        let probed = bench(options, self.cancel, |event| {
            if let BenchEvent::Load(LoadEvent::Row(row)) = &event
                && slo.iter().all(|slo| slo.includes(row))
            {
                within += 1;
            }
            on_event(FindMaxEvent::Bench(event));
        });
        let benched = Box::pin(probed).await?;
        let Benched { run, results, died, .. } = benched;
        let folder = run.path().strip_prefix(&self.folder).unwrap_or(run.path());
        let folder = folder.display().to_string();
        if self.results.results.is_empty() {
            (self.results.config, self.results.metadata) = (results.config, results.metadata);
            self.results.config.workload = json!(self.options.bench.matrix.workload);
        }
        let Some(mut point) = results.results.into_iter().next() else {
            return Ok((Outcome::Over("nothing was measured".to_owned()), folder));
        };
        point.goodput_per_sec = Some(goodput(&point, within));
        let outcome = match died {
            Some(died) => Outcome::Over(died),
            None => judge(&point, &self.options.slo),
        };
        self.results.results.push(point);
        Ok((outcome, folder))
    }
}

/// Requests within all limits, per second.
fn goodput(point: &PointResult, within: u64) -> Figure {
    let rate = point.requests_per_sec.value().filter(|_| point.ok > 0);
    match rate {
        Some(rate) => Figure::Value(
            rate * xscope_trace::stats::as_f64(within) / xscope_trace::stats::as_f64(point.ok),
        ),
        None => Figure::unavailable("1/s", "no right answers"),
    }
}

fn judge(point: &PointResult, slo: &[Slo]) -> Outcome {
    // What ends the search counts before what only fails: the gravest causes come first.
    for cause in &point.verdict.causes {
        let detail = cause.detail.clone();
        match cause.cause {
            CauseKind::ServerDied | CauseKind::Interrupted | CauseKind::WrongAnswers => {
                return Outcome::Over(detail);
            }
            CauseKind::ClientLimited | CauseKind::CompileInWindow | CauseKind::NotWarm => {
                return Outcome::Disturbed(detail);
            }
            CauseKind::FailedRequests | CauseKind::Overloaded => return Outcome::Fails(detail),
            _ => {}
        }
    }
    for slo in slo {
        let value = slo.figure(point).and_then(Figure::value);
        match (slo.holds(point), value) {
            (Some(true), _) => {}
            (Some(false), Some(value)) => return Outcome::Fails(format!("{slo} is {value:.1} ms")),
            _ => return Outcome::Over(format!("{slo} cannot be told of these answers")),
        }
    }
    Outcome::Holds
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of requests, clamped"
)]
fn count(requests: f64) -> u64 {
    requests.clamp(0.0, 1e7) as u64
}

#[cfg(test)]
mod tests {
    use xscope_trace::results::{Cause, Durations, Verdict};

    use super::*;

    #[test]
    fn what_follows_from_a_probe_is_what_its_verdict_allows() {
        let slo: Vec<Slo> = vec!["p99=100ms".parse().unwrap()];
        let check = |causes: &[CauseKind], p99: f64, expected: &str| {
            let causes = causes.iter().map(|&cause| Cause {
                cause,
                detail: String::new(),
                spoils: Vec::new(),
            });
            let point = PointResult {
                latency: Durations { p99_ms: Figure::Value(p99), ..Durations::default() },
                verdict: Verdict::on(causes.collect(), &["p99_ms"]),
                ..PointResult::default()
            };
            let word = match judge(&point, &slo) {
                Outcome::Holds => "holds",
                Outcome::Fails(_) => "fails",
                Outcome::Disturbed(_) => "again",
                Outcome::Over(_) => "over",
            };
            assert_eq!(word, expected, "{point:?}");
        };
        check(&[], 99.0, "holds");
        check(&[], 101.0, "fails");
        check(&[CauseKind::OfferedLimited], 99.0, "holds");
        check(&[CauseKind::Overloaded], 99.0, "fails");
        check(&[CauseKind::CompileInWindow], 5000.0, "again");
        check(&[CauseKind::ClientLimited, CauseKind::Overloaded], 5000.0, "again");
        check(&[CauseKind::WrongAnswers], 1.0, "over");
    }
}
