//! A benchmark: ready, warm, measured in trials, judged, written down.
//!
//! Every point is warmed up before the first is measured; then each trial measures all points, so
//! that trials of different points with one number lie beside each other in time. Profiles are taken
//! apart from what is measured, because a profiler slows the server. `results.json` is written anew
//! after each point, so that what was measured survives whatever comes.

use serde_json::json;
use xscope_load::{Point, Stretch, TrialSamples};
use xscope_trace::results::Results;
use xscope_trace::run::RunDir;

use crate::begin::{Begun, begin, finish};
use crate::control::Control;
use crate::error::CaptureError;
use crate::measure::{Death, Measurement};
use crate::pool::{CaptureServer, names};
use crate::profiler::{Order, ProfilerOptions, absolute, stop_limit};
use crate::request::{LoadRequest, RunRequest, Target};
use crate::results::{self, About, MeasuredRun};
use crate::under_test::ServerUnderTest;
use crate::watchdog::Watched;

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    pub run: RunRequest,
    pub target: Target,
    pub load: LoadRequest,
    pub profile: ProfiledServers,
}

/// Which servers are profiled for each point, apart from what is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfiledServers {
    None,
    /// The one that is loaded.
    Loaded,
    /// Workers behind it, by their addresses.
    Workers(Vec<String>),
}

/// Measures every point of the matrix.
///
/// A server that goes away, or a user who ends it, is no error: the results say so, and hold what
/// was measured before.
///
/// # Errors
///
/// The server does not get ready, a point cannot be made, nothing at all was measured, or the run
/// cannot be written.
pub async fn bench(
    request: BenchRequest,
    control: Control<'_>,
) -> Result<MeasuredRun, CaptureError> {
    let mut server = ServerUnderTest::new(request.target.clone(), &request.run.watchdog);
    Box::pin(bench_on(&request, &mut server, control)).await
}

/// The same on this server, which is ended if it was started for this.
pub(crate) async fn bench_on(
    request: &BenchRequest,
    server: &mut ServerUnderTest,
    control: Control<'_>,
) -> Result<MeasuredRun, CaptureError> {
    let was_up = server.is_up();
    let mut request = request.clone();
    let about = About::of_load(&request.load.config.bench, &request.load.matrix);
    let matrix = &mut request.load.matrix;
    let begun = begin(&request.run, about, server, control, |ready| {
        Ok(matrix.fit(ready.server_info.as_ref())?)
    });
    let mut begun = begun.await?;
    begun.run.manifest.workload = json!(request.load.matrix.workload);
    let measured = Box::pin(measure(&request, &mut begun, server, control)).await;
    let mut run = begun.run;
    if !was_up {
        server.stop(&mut run, control).await?;
    }
    finish(&mut run, matches!(&measured, Ok(outcome) if outcome.died.is_none()), control)?;
    let Outcome { results, profiled, died } = measured?;
    Ok(MeasuredRun { run, results, profiled, died })
}

struct Outcome {
    results: Results,
    profiled: Vec<(String, TrialSamples)>,
    died: Option<String>,
}

/// Everything while the server is up.
async fn measure(
    request: &BenchRequest,
    begun: &mut Begun<Vec<Point>>,
    server: &mut ServerUnderTest,
    control: Control<'_>,
) -> Result<Outcome, CaptureError> {
    let Begun { run, ready, prepared: points } = begun;
    let LoadRequest { send, asked, .. } = &request.load;
    let points = std::mem::take(points);
    let measurement = Measurement::new(server, points, &run.requests_path(), send, control)?;
    let mut bench = Bench {
        results: results::of_server(&request.run, &request.load, server, ready),
        measurement: measurement.asked(asked),
        profiled: Vec::new(),
        run,
        request,
        control,
    };
    let outcome = bench.all(server.url()).await;
    let Bench { mut measurement, mut results, profiled, run, .. } = bench;
    let death = measurement.death(server).await?;
    measurement.write(run, &mut results)?;
    outcome?;
    measurement.rows_are_whole()?;
    match death {
        Some(Death { error, .. }) if results.results.is_empty() => Err(error),
        death => Ok(Outcome { results, profiled, died: death.map(|death| death.reason) }),
    }
}

struct Bench<'b> {
    measurement: Measurement<'b>,
    results: Results,
    profiled: Vec<(String, TrialSamples)>,
    run: &'b RunDir,
    request: &'b BenchRequest,
    control: Control<'b>,
}

impl Bench<'_> {
    async fn all(&mut self, url: &str) -> Result<(), CaptureError> {
        for index in self.measurement.points() {
            self.measurement.warm_up(index, self.request.load.warm_up).await?;
            self.measurement.check(index).await?;
        }
        for trial in 0..self.request.load.trials {
            for index in self.measurement.points() {
                if self.measurement.is_over() {
                    return Ok(());
                }
                self.measurement.trial(index, trial).await?;
                self.measurement.check(index).await?;
                self.measurement.write(self.run, &mut self.results)?;
            }
        }
        let server = |url: &str| CaptureServer { role: "", url: url.to_owned() };
        let servers: Vec<CaptureServer> = match &self.request.profile {
            ProfiledServers::None => return Ok(()),
            ProfiledServers::Loaded => vec![server(url)],
            ProfiledServers::Workers(urls) => urls.iter().map(|url| server(url)).collect(),
        };
        for index in self.measurement.points() {
            if self.measurement.is_over() {
                return Ok(());
            }
            self.profile(index, &servers).await?;
        }
        Ok(())
    }

    /// Takes a profile of a point on these servers, under the same load.
    async fn profile(
        &mut self,
        index: usize,
        servers: &[CaptureServer],
    ) -> Result<(), CaptureError> {
        let plan = self.measurement.plan(index);
        let (name, stretch) = (plan.name().to_owned(), Stretch::profiled(plan));
        let folder = format!("trace/{name}");
        let started = self.start_profilers(&name, &folder, servers).await;
        if started.is_empty() {
            return Ok(());
        }
        let result = self.measurement.stretch(index, &stretch).await;
        for profiler in started {
            match profiler.stop(stop_limit(self.measurement.has_died())).await {
                Ok(_) => self.measurement.traced(index, folder.clone()),
                Err(why) => {
                    self.control.warn(format!("the profiler may still be running: {why}"));
                }
            }
        }
        self.profiled.push((name, result?));
        Ok(())
    }

    /// Those profilers that could be started.
    async fn start_profilers(
        &self,
        name: &str,
        folder: &str,
        servers: &[CaptureServer],
    ) -> Vec<Watched> {
        // A server's working directory is its own.
        let run = absolute(self.run.path());
        let mut started = Vec::new();
        for (CaptureServer { url, .. }, own) in servers.iter().zip(names(servers)) {
            // Servers name their files after host and second: several of one host need a folder each.
            let below = |folder: &str| match own.as_str() {
                "" => run.join(folder),
                own => run.join(folder).join(own),
            };
            let (trace, spans) = (below(folder), below("spans"));
            let trace = trace.to_string_lossy();
            let order = Order::new(&trace, Some(&spans), &ProfilerOptions::default());
            match Watched::start(url, &order, &self.request.run.watchdog, self.control.cancel).await
            {
                Ok(profiler) => started.push(profiler),
                Err(why) => {
                    self.control.warn(format!("{name} is not profiled on {url}: {why}"));
                }
            }
        }
        started
    }
}
