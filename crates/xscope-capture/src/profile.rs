//! One profiled run: ready, warm up, profile under load, write everything down.

use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xscope_load::probe::{Ready, wait_ready};
use xscope_load::{
    Cancel, ClosedLoop, LoadError, LoadEvent, LoadOptions, LoadSummary, ScoreWorkload,
};
use xscope_trace::clock;
use xscope_trace::run::{JsonlWriter, NewRun, RunClock, RunDir, RunError, RunStatus};

use crate::error::CaptureError;
use crate::overhead::{self, Before, OverheadOptions};
use crate::profiler;
use crate::run;
use crate::server::{Server, ServerCommand};

/// What to run, and where to write it.
#[derive(Debug, Clone)]
pub struct ProfileOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    /// Starts the server, with probes inside, and ends it; one that runs already if `None`.
    pub server: Option<ServerCommand>,
    pub workload: ScoreWorkload,
    /// What windows with more and less recording are compared after the measurement; none if
    /// `None`.
    pub overhead: Option<OverheadOptions>,
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
    pub summary: LoadSummary,
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
        None => attach(url, options, cancel, &mut on_event).await,
        Some(command) => launch(url, &command, options, cancel, &mut on_event).await,
    }
}

/// Profiles a server that runs already.
async fn attach(
    url: &str,
    options: ProfileOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Result<Profiled, CaptureError> {
    let ready = wait_ready(url, options.ready).await?;
    let workload = fit_to_server(options.workload, &ready);
    let mut load = ClosedLoop::new(url, workload.clone(), LoadOptions::default(), cancel.clone())?;
    let new_run = NewRun {
        kind: "score".to_owned(),
        model: info(&ready, "served_model_name")
            .or_else(|| info(&ready, "model_path"))
            .unwrap_or("unknown")
            .to_owned(),
        hardware: info(&ready, "device").unwrap_or("cpu").to_owned(),
        command_line: options.command_line,
        target: url.to_owned(),
        workload: json!(workload),
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit: options.git_commit,
        clock: RunClock::read(),
        started_wall: clock::wall(),
    };
    let mut run = RunDir::create(&options.output_dir, new_run)?;
    run.manifest.other.insert("server_info".to_owned(), json!(ready.server_info));
    on_event(ProfileEvent::Created(run.path()));
    let overhead = (options.overhead.as_ref(), cancel);
    let result = measure(url, &mut load, &run, overhead, on_event).await;
    let summary = load.summary();
    run.write_json(&run.results_path(), &summary)?;
    end(&mut run, result.is_ok(), cancel)?;
    result.map(|()| Profiled { run, summary })
}

/// Starts a server with probes inside, profiles it, and ends it.
async fn launch(
    url: &str,
    command: &ServerCommand,
    mut options: ProfileOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Result<Profiled, CaptureError> {
    let command_line = mem::take(&mut options.command_line);
    let new_run = run::new_run("score", command, command_line, options.git_commit.take());
    let mut run = RunDir::create(&options.output_dir, new_run)?;
    on_event(ProfileEvent::Created(run.path()));
    let result = match Server::start(&run, command) {
        Err(error) => Err(error),
        Ok(mut server) => {
            on_event(ProfileEvent::Starting(server.log()));
            let measured = measure_own(url, &mut server, &mut run, options, cancel, on_event).await;
            // Its spans are complete when it has ended.
            let stopped = server.stop().await;
            measured.and_then(|summary| stopped.map(|_| summary))
        }
    };
    for warning in run::keep_summary(&mut run).warnings() {
        on_event(ProfileEvent::Warning(warning));
    }
    end(&mut run, result.is_ok(), cancel)?;
    result.map(|summary| Profiled { run, summary })
}

/// Waits until the server that was started is ready, and measures it; its end is an error.
async fn measure_own(
    url: &str,
    server: &mut Server,
    run: &mut RunDir,
    options: ProfileOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(ProfileEvent<'_>),
) -> Result<LoadSummary, CaptureError> {
    let ready = tokio::select! {
        ready = wait_ready(url, options.ready) => ready?,
        status = server.wait() => return Err(server.died(status?)),
        () = cancel.cancelled() => return Err(CaptureError::Cancelled),
    };
    let workload = fit_to_server(options.workload, &ready);
    run.manifest.other.insert("server_info".to_owned(), json!(ready.server_info));
    run.manifest.workload = json!(workload);
    let mut load = ClosedLoop::new(url, workload, LoadOptions::default(), cancel.clone())?;
    let result = tokio::select! {
        result = measure(url, &mut load, run, (options.overhead.as_ref(), cancel), on_event) => result,
        status = server.wait() => Err(server.died(status?)),
    };
    let summary = load.summary();
    run.write_json(&run.results_path(), &summary)?;
    result.map(|()| summary)
}

fn end(run: &mut RunDir, is_ok: bool, cancel: &Cancel) -> Result<(), RunError> {
    let status = match is_ok {
        _ if cancel.is_cancelled() => RunStatus::Interrupted,
        true => RunStatus::Complete,
        false => RunStatus::Failed,
    };
    run.finish(status, clock::wall())
}

/// Warm-up, then every point with the profiler on, then windows with and without it. The profiler
/// is stopped however this ends.
async fn measure(
    url: &str,
    load: &mut ClosedLoop,
    run: &RunDir,
    (overhead, cancel): (Option<&OverheadOptions>, &Cancel),
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
    load.warm_up(|event| record(event, on_event)).await?;
    // The directory must be absolute for the server, whose working directory is its own.
    let directory = std::path::absolute(run.path()).unwrap_or_else(|_| run.path().to_owned());
    let profiling = match profiler::start(url, &directory, false).await {
        Ok(()) => {
            on_event(ProfileEvent::ProfilerStarted);
            true
        }
        Err(why) => {
            on_event(ProfileEvent::Warning(format!("the server's device is not profiled: {why}")));
            false
        }
    };
    let begun = Instant::now();
    let result = measure_points(load, |event| record(event, on_event)).await;
    let measured = begun.elapsed();
    if profiling && let Err(why) = profiler::stop(url).await {
        on_event(ProfileEvent::Warning(format!("the profiler may still be running: {why}")));
    }
    result?;
    row_error.map_or(Ok(()), |error| Err(CaptureError::from(error)))?;
    let Some(options) = overhead.filter(|_| !cancel.is_cancelled()) else { return Ok(()) };
    on_event(ProfileEvent::OverheadStarted);
    let rate = load.summary().points.first().and_then(|point| point.requests_per_sec.value());
    let before = Before { measured, requests_per_sec: rate.unwrap_or(0.0) };
    let workload = load.plan().workload();
    let windows = overhead::alternate(url, run, workload, (options, before), cancel).await?;
    Ok(run.write_json(&run.overhead_path(), &windows)?)
}

async fn measure_points(
    load: &mut ClosedLoop,
    mut on_event: impl FnMut(LoadEvent),
) -> Result<(), LoadError> {
    for index in 0..load.plan().workload().points.len() {
        load.measure(index, &mut on_event).await?;
    }
    Ok(())
}

/// Takes from the server what the user left open: its vocabulary and its model's name.
pub(crate) fn fit_to_server(mut workload: ScoreWorkload, ready: &Ready) -> ScoreWorkload {
    if workload.vocab_size == 0 {
        let stated = ready.server_info.as_ref().and_then(|info| info.get("vocab_size")?.as_u64());
        let stated = stated.and_then(|size| u32::try_from(size).ok());
        workload.vocab_size = stated.unwrap_or(SAFE_VOCAB);
    }
    if workload.model.is_empty() {
        workload.model = info(ready, "served_model_name")
            .or_else(|| info(ready, "model_path"))
            .unwrap_or("model")
            .to_owned();
    }
    workload
}

/// A vocabulary that every model in use has at least.
const SAFE_VOCAB: u32 = 4096;

fn info<'a>(ready: &'a Ready, field: &str) -> Option<&'a str> {
    ready.server_info.as_ref()?.get(field).and_then(Value::as_str)
}
