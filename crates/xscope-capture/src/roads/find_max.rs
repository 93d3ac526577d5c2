//! The largest rate at which a server keeps its service levels.
//!
//! Every rate is tried in a benchmark of its own, with an open loop, whose validity decides what
//! may be concluded from it: a compilation in the window says nothing of the rate, a client that
//! could not send more says that the search is over, and answers that are late or wrong are no
//! capacity. What holds for a short time may do so by luck, so the result is measured once more,
//! for longer; only then it counts.

use std::cell::Cell;

use serde_json::json;
use xscope_load::{Arrivals, LoadEvent, Matrix, WarmUp, Workload};
use xscope_trace::Metric;
use xscope_trace::results::{
    CauseKind, Ended, FindMax, Found, PointResult, RateOutcome, RateRow, Results,
};
use xscope_trace::run::RunDir;
use xscope_trace::stats::as_f64;

use crate::begin::{begin, finish};
use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::request::{LoadRequest, RunRequest};
use crate::results::{About, MeasuredRun, of_server};
use crate::roads::bench::{BenchRequest, ProfiledServers, bench_on};
use crate::search::{Rate, Search};
use crate::slo::Slo;
use crate::under_test::ServerUnderTest;

/// A rate in whose window a program was compiled is tried again so often.
const REPEATS: u32 = 3;

/// How much longer the confirming run is.
const CONFIRM: u64 = 3;

/// What is searched.
#[derive(Debug, Clone)]
pub struct FindMaxRequest {
    /// A benchmark of each point; its arrivals and its length do not matter.
    pub bench: BenchRequest,
    pub slo: Vec<Slo>,
    /// Requests per second to begin with.
    pub start_per_sec: f64,
    /// The bracket is narrow enough when its ends differ by this share.
    pub precision: f64,
    /// How long a rate is tried, if the service levels do not need more requests.
    pub rate_secs: f64,
}

/// A search that has ended.
#[derive(Debug)]
pub struct FoundMax {
    pub run: RunDir,
    pub found: FindMax,
}

/// Searches for each point, one after the other.
///
/// The run's directory gets `rates/` with a run for each rate, `results.json` with all of them as
/// points, and `find_max.json`.
///
/// # Errors
///
/// Those of [`bench()`](crate::bench()).
pub async fn find_max(
    request: FindMaxRequest,
    control: Control<'_>,
) -> Result<FoundMax, CaptureError> {
    let BenchRequest { run: how, target, load, .. } = &request.bench;
    // Started once for all rates.
    let mut server = ServerUnderTest::new(target.clone(), &how.watchdog);
    let was_up = server.is_up();
    let about = About::of_load(&load.config.bench, &load.matrix);
    let begun = Box::pin(begin(how, about, &mut server, control, |_| Ok(()))).await?;
    let mut run = begun.run;
    let mut hunt = Hunt {
        results: of_server(how, load, &server, &begun.ready),
        run: &run,
        found: Vec::new(),
        request: &request,
        control,
    };
    let outcome = Box::pin(hunt.all(&mut server)).await;
    let Hunt { mut results, found, .. } = hunt;
    let found = FindMax::from(found);
    if !was_up {
        server.stop(&mut run, control).await?;
    }
    if outcome.is_ok() && !control.is_cancelled() {
        results.ended = Ended::Complete;
    }
    run.write_json(&run.results_path(), &results)?;
    run.write_json(&run.path().join("find_max.json"), &found)?;
    finish(&mut run, outcome.is_ok(), control)?;
    outcome?;
    Ok(FoundMax { run, found })
}

struct Hunt<'h> {
    request: &'h FindMaxRequest,
    run: &'h RunDir,
    results: Results,
    found: Vec<Found>,
    control: Control<'h>,
}

/// What follows from a rate that was tried.
enum Outcome {
    Holds,
    Fails(String),
    /// Nothing; it may be repeated.
    Disturbed(String),
    /// Nothing, and neither would others.
    Over(String),
}

impl Outcome {
    /// As it stands in the list of rates, with the reason.
    fn told(&self) -> (RateOutcome, String) {
        match self {
            Self::Holds => (RateOutcome::Holds, String::new()),
            Self::Fails(why) => (RateOutcome::Fails, why.clone()),
            Self::Disturbed(why) | Self::Over(why) => (RateOutcome::Invalid, why.clone()),
        }
    }
}

impl Hunt<'_> {
    async fn all(&mut self, server: &mut ServerUnderTest) -> Result<(), CaptureError> {
        for (name, workload) in &self.request.bench.load.matrix.points {
            let found = self.point(name, workload, server).await?;
            self.found.push(found);
        }
        Ok(())
    }

    async fn point(
        &mut self,
        name: &str,
        workload: &Workload,
        server: &mut ServerUnderTest,
    ) -> Result<Found, CaptureError> {
        let mut search = Search::new(self.request.start_per_sec, self.request.precision);
        let (mut rates, mut best, mut disturbed) = (Vec::new(), None, 0);
        let mut ended = None;
        while let Some(rate) = search.next().filter(|_| !self.control.is_cancelled()) {
            let Rate { per_sec, confirms } = rate;
            let what = if confirms { "confirming" } else { "trying" };
            self.control.say(format!("{name}: {what} {per_sec:.2} requests/s"));
            let (outcome, run) = self.attempt(name, workload, rate, server).await?;
            let (word, why) = outcome.told();
            self.control.say(match word {
                RateOutcome::Holds => "holds".to_owned(),
                RateOutcome::Fails => format!("fails: {why}"),
                RateOutcome::Invalid => format!("says nothing: {why}"),
            });
            rates.push(RateRow { per_sec, confirms, outcome: word, why, run });
            match outcome {
                Outcome::Holds => {
                    search.tell(rate, true);
                    best = self.results.results.last().cloned();
                }
                Outcome::Fails(_) => search.tell(rate, false),
                Outcome::Disturbed(_) if disturbed < REPEATS => disturbed += 1,
                Outcome::Disturbed(why) | Outcome::Over(why) => {
                    ended = Some(why);
                    break;
                }
            }
        }
        let ended = match ended {
            Some(why) => why,
            None if self.control.is_cancelled() => "stopped by the user".to_owned(),
            None if search.holds().is_none() => "no rate held".to_owned(),
            None => "the bracket is narrow enough".to_owned(),
        };
        let held = best.filter(|_| search.holds().is_some());
        Ok(self.found(name, &search, held.as_ref(), ended, rates))
    }

    /// What a search comes to.
    fn found(
        &self,
        name: &str,
        search: &Search,
        held: Option<&PointResult>,
        ended: String,
        rates: Vec<RateRow>,
    ) -> Found {
        let figure = |value: Option<f64>, unit: &'static str| match value {
            None => Metric::unavailable(unit, ended.clone()),
            Some(value) if search.is_confirmed() => Metric::valid(value, unit),
            Some(value) => Metric::degraded(value, unit, "not confirmed by a longer run"),
        };
        let per_sec = search.holds();
        let items = held.and_then(|point| {
            let (items, all) = (&point.throughput_items_per_sec, &point.requests_per_sec);
            Some(per_sec? * items.value? / all.value?)
        });
        Found {
            point: name.to_owned(),
            slo: self.request.slo.iter().map(ToString::to_string).collect(),
            max_per_sec: figure(per_sec, "1/s"),
            max_items_per_sec: figure(items, "items/s"),
            fails_per_sec: search.fails(),
            ended,
            rates,
        }
    }

    /// Measures one rate; what follows from it, and where its run is.
    async fn attempt(
        &mut self,
        name: &str,
        workload: &Workload,
        rate: Rate,
        server: &mut ServerUnderTest,
    ) -> Result<(Outcome, String), CaptureError> {
        let request = self.bench_of(name, workload, rate);
        let within = Cell::new(0_u64);
        let on_event = |event: Event<'_>| {
            if let Event::Load(LoadEvent::Row(row)) = &event
                && self.request.slo.iter().all(|slo| slo.includes(row))
            {
                within.set(within.get() + 1);
            }
            self.control.tell_of_part(event);
        };
        let control = Control { cancel: self.control.cancel, on_event: &on_event };
        let benched = Box::pin(bench_on(&request, server, control)).await?;
        let MeasuredRun { run, results, died, .. } = benched;
        let folder = run.path().strip_prefix(self.run.path()).unwrap_or(run.path());
        let folder = folder.display().to_string();
        if self.results.results.is_empty() {
            (self.results.config, self.results.metadata) = (results.config, results.metadata);
            self.results.config.workload = json!(self.request.bench.load.matrix.workload);
        }
        let Some(mut point) = results.results.into_iter().next() else {
            return Ok((Outcome::Over("nothing was measured".to_owned()), folder));
        };
        point.goodput_per_sec = Some(goodput(&point, within.get()));
        let outcome = match died {
            Some(died) => Outcome::Over(died),
            None => judge(&point, &self.request.slo),
        };
        self.results.results.push(point);
        Ok((outcome, folder))
    }

    /// The benchmark of one rate.
    fn bench_of(&self, name: &str, workload: &Workload, rate: Rate) -> BenchRequest {
        let FindMaxRequest { bench, slo, rate_secs, .. } = self.request;
        let Rate { per_sec, confirms } = rate;
        let number = self.results.results.len();
        let needed = slo.iter().map(Slo::requests).max().unwrap_or(0);
        let requests = needed.max(count(per_sec * rate_secs));
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
        let full = bench.load.warm_up;
        BenchRequest {
            run: RunRequest { output_dir: self.run.path().join("rates"), ..bench.run.clone() },
            load: LoadRequest {
                matrix: Matrix {
                    points: vec![(format!("{name}@{arrivals}"), workload)],
                    ..bench.load.matrix.clone()
                },
                asked: slo.iter().map(Slo::field).collect(),
                trials: 1,
                // The first one has warmed the server up.
                warm_up: if number == 0 { full } else { WarmUp { at_least: 1, ..full } },
                ..bench.load.clone()
            },
            profile: ProfiledServers::None,
            ..bench.clone()
        }
    }
}

/// Requests within all limits, per second.
fn goodput(point: &PointResult, within: u64) -> Metric {
    let rate = point.requests_per_sec.value.filter(|_| point.ok > 0);
    match rate {
        Some(rate) => Metric::valid(rate * as_f64(within) / as_f64(point.ok), "1/s"),
        None => Metric::unavailable("1/s", "no right answers"),
    }
}

fn judge(point: &PointResult, slo: &[Slo]) -> Outcome {
    // What ends the search counts before what only fails: the gravest causes come first.
    for cause in &point.validity.causes {
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
        let value = slo.figure(point).and_then(|it| it.value);
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
    use xscope_trace::results::{Cause, Durations, Validity};

    use super::*;

    #[test]
    fn what_follows_from_a_rate_is_what_its_validity_allows() {
        let slo: Vec<Slo> = vec!["p99=100ms".parse().unwrap()];
        let check = |causes: &[CauseKind], p99: f64, expected: &str| {
            let causes = causes.iter().map(|&cause| Cause {
                cause,
                detail: String::new(),
                spoils: Vec::new(),
            });
            let point = PointResult {
                latency: Durations { p99_ms: Metric::valid(p99, "ms"), ..Durations::default() },
                validity: Validity::on(causes.collect(), &["p99_ms"]),
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
