//! One profiled run: ready, warm up, profile under load, write everything down.

use std::ffi::OsString;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xscope_load::probe::{Ready, wait_ready};
use xscope_load::{
    Cancel, Evidence, Load, LoadEvent, Matrix, Point, SendOptions, Stretch, TrialSamples,
    point_result,
};
use xscope_trace::clock;
use xscope_trace::results::{BenchConfig, Ended, Results, SCHEMA, WarmupReport};
use xscope_trace::run::{
    JsonlWriter, NewRun, ProfilerState, RunClock, RunDir, RunError, RunStatus, ServerRecord,
};

use crate::error::CaptureError;
use crate::overhead::{self, Before, OverheadOptions};
use crate::profiler::{ProfilerOptions, absolute, stop_limit};
use crate::run;
use crate::server::{Server, ServerCommand, must_be_free};
use crate::session::{self, Session};

/// What to run, and where to write it.
#[derive(Debug, Clone)]
pub struct ProfileOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    /// Starts the server, with probes inside, and ends it; one that runs already if `None`.
    pub server: Option<ServerCommand>,
    pub matrix: Matrix,
    pub load: SendOptions,
    /// Rounds of warm-up of each point.
    pub warmup_rounds: u32,
    /// What windows with more and less recording are compared after the measurement; none if
    /// `None`.
    pub overhead: Option<OverheadOptions>,
    /// A command that calls [`watch_over`](crate::watch_over) with the arguments that are put
    /// behind it; a profiler outlives a `kill -9` without one.
    pub watchdog: Vec<OsString>,
    /// How long the server may take to get ready.
    pub ready: Duration,
    pub command_line: Vec<String>,
    pub git_commit: Option<String>,
}

/// What happens on the way, for whoever shows progress.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProfileEvent<'a> {
    /// The run's directory is there.
    Created(&'a Path),
    /// The server that was to be started is starting, with its log here.
    Starting(&'a Path),
    Load(LoadEvent),
    ProfilerStarted,
    /// All points are measured; windows with more and less recording follow.
    OverheadStarted,
    /// Something is missing from the run, and why.
    Warning(String),
}

/// A run that was taken.
#[derive(Debug)]
pub struct Profiled {
    pub run: RunDir,
    pub results: Results,
}

/// Profiles the server at `url`.
///
/// A cancelled run is no error: it is marked interrupted and holds what was done.
///
/// # Errors
/// The server does not get ready or goes away, or the run cannot be written.
pub async fn profile(
    url: &str,
    options: ProfileOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(ProfileEvent<'_>),
) -> Result<Profiled, CaptureError> {
    match options.server.clone() {
        None => Box::pin(attach(url, options, cancel, &mut on_event)).await,
        Some(command) => Box::pin(launch(url, &command, options, cancel, &mut on_event)).await,
    }
}

/// Profiles a server that runs already.
async fn attach(
    url: &str,
    mut options: ProfileOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Result<Profiled, CaptureError> {
    let ready = wait_ready(url, options.ready).await?;
    let mut loaded = Loaded::new(url, &mut options, &ready, cancel)?;
    let new_run = NewRun {
        kind: "score".to_owned(),
        model: model_of(&ready).to_owned(),
        hardware: info(&ready, "device").unwrap_or("cpu").to_owned(),
        command_line: options.command_line,
        target: url.to_owned(),
        workload: json!(options.matrix.workload),
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit: options.git_commit,
        clock: RunClock::read(),
        started_wall: clock::wall(),
    };
    let mut run = RunDir::create(&options.output_dir, new_run)?;
    run.manifest.other.insert("server_info".to_owned(), json!(ready.server_info));
    on_event(ProfileEvent::Created(run.path()));
    let result = Box::pin(loaded.measure(
        &mut run,
        (options.overhead.as_ref(), &options.watchdog),
        on_event,
    ))
    .await;
    let results = loaded.results(url, &options.matrix, result.is_ok());
    run.write_json(&run.results_path(), &results)?;
    end(&mut run, result.is_ok(), cancel)?;
    result.map(|()| Profiled { run, results })
}

/// Starts a server with probes inside, profiles it, and ends it.
async fn launch(
    url: &str,
    command: &ServerCommand,
    mut options: ProfileOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Result<Profiled, CaptureError> {
    must_be_free(url).await?;
    let command_line = mem::take(&mut options.command_line);
    let new_run = run::new_run("score", command, command_line, options.git_commit.take());
    let mut run = RunDir::create(&options.output_dir, new_run)?;
    on_event(ProfileEvent::Created(run.path()));
    let result = match Server::start(&run, command) {
        Err(error) => Err(error),
        Ok(mut server) => {
            on_event(ProfileEvent::Starting(server.log()));
            let own = Box::pin(measure_own(url, &mut server, &mut run, options, cancel, on_event));
            let measured = own.await;
            // Its spans are complete when it has ended.
            let stopped = server.stop().await;
            measured.and_then(|results| stopped.map(|_| results))
        }
    };
    for warning in run::keep_summary(&mut run, None).warnings() {
        on_event(ProfileEvent::Warning(warning));
    }
    end(&mut run, result.is_ok(), cancel)?;
    result.map(|results| Profiled { run, results })
}

/// Waits until the server that was started is ready, and measures it; its end is an error.
async fn measure_own(
    url: &str,
    server: &mut Server,
    run: &mut RunDir,
    mut options: ProfileOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Result<Results, CaptureError> {
    let ready = tokio::select! {
        ready = wait_ready(url, options.ready) => ready?,
        status = server.wait() => return Err(server.died(status?)),
        () = cancel.cancelled() => return Err(CaptureError::Cancelled),
    };
    options.load.pulse = Some(server.pulse());
    let mut loaded = Loaded::new(url, &mut options, &ready, cancel)?;
    run.manifest.other.insert("server_info".to_owned(), json!(ready.server_info));
    run.manifest.workload = json!(options.matrix.workload);
    let more = (options.overhead.as_ref(), options.watchdog.as_slice());
    let result = tokio::select! {
        result = loaded.measure(run, more, on_event) => result,
        status = server.wait() => Err(server.died(status?)),
    };
    let results = loaded.results(url, &options.matrix, result.is_ok());
    run.write_json(&run.results_path(), &results)?;
    result.map(|()| results)
}

fn end(run: &mut RunDir, is_ok: bool, cancel: &Cancel) -> Result<(), RunError> {
    let status = match is_ok {
        _ if cancel.is_cancelled() => RunStatus::Interrupted,
        true => RunStatus::Complete,
        false => RunStatus::Failed,
    };
    run.finish(status, clock::wall())
}

/// Starts the server's profiler; without one the run has the client's side only.
async fn start_profiler(
    url: &str,
    run: &mut RunDir,
    watchdog: &[OsString],
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Option<Session> {
    let mut server = ServerRecord { url: url.to_owned(), ..ServerRecord::default() };
    server.load = "xscope's own load".to_owned();
    let output_dir = absolute(&run.server_trace_dir(&server));
    server.output_dir = output_dir.to_string_lossy().into_owned();
    run.manifest.servers = vec![server];
    let mut say = |text| on_event(ProfileEvent::Warning(text));
    match session::start(run, &ProfilerOptions::default(), watchdog, &mut say).await {
        Ok(session) => {
            on_event(ProfileEvent::ProfilerStarted);
            Some(session)
        }
        Err(why) => {
            say(format!("the server's device is not profiled: {why}"));
            None
        }
    }
}

/// Says where a profile is that did not come to this machine.
fn warn_of_distance(run: &RunDir, on_event: &mut impl FnMut(ProfileEvent<'_>)) {
    let away = |server: &&ServerRecord| server.profiler == ProfilerState::Elsewhere;
    for server in run.manifest.servers.iter().filter(away) {
        on_event(ProfileEvent::Warning(format!(
            "no profile is in {}: the server writes on another machine's disk; copy its files \
             there (`xscope capture --collect {}` shows how)",
            server.output_dir,
            run.path().display()
        )));
    }
}

/// The points, and what was measured of them.
struct Loaded {
    url: String,
    load: Load,
    options: SendOptions,
    points: Vec<(Point, Vec<TrialSamples>)>,
    warmup_rounds: u32,
    warmups: Vec<WarmupReport>,
    cancel: Cancel,
}

impl Loaded {
    fn new(
        url: &str,
        options: &mut ProfileOptions,
        ready: &Ready,
        cancel: &Cancel,
    ) -> Result<Self, CaptureError> {
        let points = options.matrix.fit(ready.server_info.as_ref())?;
        Ok(Self {
            url: url.to_owned(),
            load: Load::new(url, options.load.clone(), cancel.clone())?,
            options: options.load.clone(),
            points: points.into_iter().map(|point| (point, Vec::new())).collect(),
            warmup_rounds: options.warmup_rounds,
            warmups: Vec::new(),
            cancel: cancel.clone(),
        })
    }

    /// Warm-up, then every point with the profiler on, then windows with and without it. The
    /// profiler is stopped however this ends.
    async fn measure(
        &mut self,
        run: &mut RunDir,
        (overhead, watchdog): (Option<&OverheadOptions>, &[OsString]),
        on_event: &mut impl FnMut(ProfileEvent<'_>),
    ) -> Result<(), CaptureError> {
        let mut rows = JsonlWriter::open(&run.requests_path())?;
        let mut row_error: Option<RunError> = None;
        let mut record = |event: LoadEvent, on_event: &mut dyn FnMut(ProfileEvent<'_>)| {
            if let LoadEvent::Row(row) = &event
                && let Err(error) = rows.write(row)
            {
                row_error.get_or_insert(error);
            }
            on_event(ProfileEvent::Load(event));
        };
        self.warm_up(|event| record(event, on_event)).await?;
        let session = start_profiler(&self.url, run, watchdog, on_event).await;
        let begun = Instant::now();
        let result = self.measure_points(|event| record(event, on_event)).await;
        let measured = begun.elapsed();
        if let Some(mut session) = session {
            for warning in session.stop(run, stop_limit(result.is_err())).await? {
                on_event(ProfileEvent::Warning(warning));
            }
            warn_of_distance(run, on_event);
        }
        result?;
        row_error.map_or(Ok(()), |error| Err(CaptureError::from(error)))?;
        let Some(options) = overhead.filter(|_| !self.cancel.is_cancelled()) else { return Ok(()) };
        on_event(ProfileEvent::OverheadStarted);
        let (point, windows) = &self.points[0];
        let first = point_result(point.plan(), windows, &Evidence::default());
        let rate = first.requests_per_sec.value().unwrap_or(0.0);
        let how = (options, Before { measured, requests_per_sec: rate }, watchdog);
        let load = Load::new(&self.url, self.options.clone(), self.cancel.clone())?;
        let windows = overhead::alternate(&self.url, load, run, point.plan(), how, &self.cancel);
        Ok(run.write_json(&run.overhead_path(), &Box::pin(windows).await?)?)
    }

    async fn warm_up(&mut self, mut on_event: impl FnMut(LoadEvent)) -> Result<(), CaptureError> {
        if self.warmup_rounds == 0 {
            return Ok(());
        }
        for (point, _) in &mut self.points {
            let stretch = Stretch::warm_up(point.plan(), self.warmup_rounds);
            let window = self.load.run(&stretch, point, &mut on_event).await?;
            let (requests, right) = (window.samples.len() as u64, window.latencies().len() as u64);
            self.warmups.push(WarmupReport {
                requests,
                failed: requests - right,
                warm: true,
                evidence: vec!["as many rounds as were asked for; not looked at".to_owned()],
            });
            if let Some(reason) = window.gone {
                return Err(self.load.server_gone(reason).into());
            }
        }
        Ok(())
    }

    async fn measure_points(
        &mut self,
        mut on_event: impl FnMut(LoadEvent),
    ) -> Result<(), CaptureError> {
        for (point, windows) in &mut self.points {
            let stretch = Stretch::measured(point.plan(), 0);
            let window = self.load.run(&stretch, point, &mut on_event).await?;
            let gone = window.gone.clone();
            windows.push(window);
            if let Some(reason) = gone {
                return Err(self.load.server_gone(reason).into());
            }
        }
        Ok(())
    }

    fn results(&self, url: &str, matrix: &Matrix, is_ok: bool) -> Results {
        let measured = |windows: &[TrialSamples]| windows.iter().any(|w| !w.samples.is_empty());
        let interrupted = self.cancel.is_cancelled();
        let points = self.points.iter().enumerate().filter(|(_, (_, windows))| measured(windows));
        let results = points.map(|(index, (point, windows))| {
            let warmup = self.warmups.get(index).cloned().unwrap_or_default();
            let evidence = Evidence { warmup, interrupted, ..Evidence::default() };
            point_result(point.plan(), windows, &evidence)
        });
        Results {
            schema: SCHEMA.to_owned(),
            ended: if is_ok && !interrupted { Ended::Complete } else { Ended::Early },
            results: results.collect(),
            config: BenchConfig {
                bench: "profile".to_owned(),
                num_runs: matrix.workload.requests.unwrap_or(0),
                warmup_runs: self.warmup_rounds,
                model: matrix.workload.model.clone(),
                backend: matrix.backend.to_string(),
                url: url.to_owned(),
                workload: json!(matrix.workload),
                trials: 1,
                seed: matrix.workload.seed,
                ..BenchConfig::default()
            },
            ..Results::default()
        }
    }
}

/// What a server calls its model; empty if it does not say.
pub(crate) fn model_of(ready: &Ready) -> &str {
    info(ready, "served_model_name").or_else(|| info(ready, "model_path")).unwrap_or_default()
}

pub(crate) fn info<'a>(ready: &'a Ready, field: &str) -> Option<&'a str> {
    ready.server_info.as_ref()?.get(field).and_then(Value::as_str)
}
