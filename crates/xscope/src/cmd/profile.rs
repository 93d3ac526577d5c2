//! `xscope profile`: the main job. Gets a run, reads it back from disk as anybody would, and
//! reports.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use xscope_analysis::RunFacts;
use xscope_capture::{OverheadOptions, ProfileEvent, ProfileOptions, Profiled};
use xscope_engine::{Engine, EngineHandle};
use xscope_load::{Arrivals, Cancel, LoadEvent, Matrix, Phase};
use xscope_trace::overhead::Recording;
use xscope_trace::results::TargetCheck;
use xscope_trace::run::{RunDir, replace_file};
use xscope_trace::{Metric, clock};
use xscope_view::html::{Side, report_html};

use crate::cli::{OverheadArgs, OverheadLevel, ProfileArgs, TargetArgs, WorkloadArgs};
use crate::cmd::bench::load_options;
use crate::cmd::run::server;
use crate::cmd::score::{Named, POINT, planned};
use crate::cmd::{Exit, capture, engine, targets};
use crate::output::{self, Progress};

pub(crate) fn run(args: ProfileArgs) -> Result<Exit> {
    let overrides = targets::overrides(args.targets.targets.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("xscope-load")
        .enable_all()
        .build()?;
    let options = ProfileOptions {
        output_dir: args.output_dir.clone(),
        server: match args.server.is_empty() {
            true => None,
            false => Some(server(args.server, args.probes)?),
        },
        warmup_rounds: args.workload.warmup,
        load: load_options(&args.workload.requests),
        matrix: matrix(args.workload)?,
        overhead: overhead(&args.overhead),
        watchdog: capture::watchdog(),
        ready: Duration::from_secs(args.ready_timeout_secs),
        command_line: std::env::args().collect(),
        git_commit: git_commit(),
    };
    let progress = Progress::new(!args.no_progress).watched(args.watch);
    let engine = match &args.url {
        Some(_) => None,
        None => {
            progress.say("starting the built-in engine");
            let mut config = engine::config(args.engine);
            config.port = 0;
            config.profile_root = std::path::absolute(&args.output_dir)?;
            Some(Engine::start(config).context("cannot start the built-in engine")?)
        }
    };
    let url = args.url.or_else(|| engine.as_ref().map(EngineHandle::url)).unwrap_or_default();
    let result = runtime.block_on(take(&url, options, progress));
    if let Some(engine) = engine {
        runtime.block_on(engine.shutdown());
    }
    let Profiled { mut run, .. } = result?;
    run.manifest.other.insert("targets".to_owned(), json!(overrides));
    report(&mut run, &args.targets, args.output.json)
}

/// Takes the run; the first Ctrl-C ends it early, the second ends the program.
async fn take(url: &str, options: ProfileOptions, mut progress: Progress) -> Result<Profiled> {
    let cancel = Cancel::new();
    let watcher = cancel_on_signal(&cancel);
    let result = xscope_capture::profile(url, options, &cancel, |event| match event {
        ProfileEvent::Created(path) => progress.say(&format!("writing {}", path.display())),
        ProfileEvent::Starting(log) => {
            progress.say(&format!("starting the server; its log is {}", log.display()));
        }
        ProfileEvent::ProfilerStarted => progress.say("profiler on"),
        ProfileEvent::OverheadStarted => {
            progress.say("overhead: the same requests with more and less recording, in turns");
        }
        ProfileEvent::Warning(what) => progress.warn(&what),
        ProfileEvent::Load(LoadEvent::PhaseStarted { phase, point, requests }) => {
            progress.begin(&phase_name(phase, &point), requests);
        }
        ProfileEvent::Load(LoadEvent::Row(row)) => progress.step(&row),
        _ => {}
    })
    .await;
    watcher.abort();
    progress.end();
    Ok(result?)
}

fn overhead(args: &OverheadArgs) -> Option<OverheadOptions> {
    let recordings = args.overhead_levels.iter().map(|level| match level {
        OverheadLevel::Probes => Recording::Nothing,
        OverheadLevel::Basic => Recording::Basic,
        OverheadLevel::Full => Recording::Full,
    });
    let (recordings, limit) = (recordings.collect(), args.overhead_secs.map(Duration::from_secs));
    (limit != Some(Duration::ZERO)).then_some(OverheadOptions { recordings, limit })
}

/// What a phase of the load sends, for progress.
pub(crate) fn phase_name(phase: Phase, point: &str) -> String {
    format!("{} of {point}", format!("{phase:?}").to_lowercase())
}

/// Throws the switch at the first Ctrl-C or SIGTERM, and ends the program at the second.
pub(crate) fn cancel_on_signal(cancel: &Cancel) -> tokio::task::JoinHandle<()> {
    let on_signal = cancel.clone();
    let terminate = signal(SignalKind::terminate());
    tokio::spawn(async move {
        let Ok(mut terminate) = terminate else { return };
        loop {
            tokio::select! {
                result = tokio::signal::ctrl_c() => if result.is_err() { return },
                _ = terminate.recv() => {}
            }
            if on_signal.is_cancelled() {
                output::abort();
            }
            output::progress("\ninterrupted: stopping and writing the run (again to abort)");
            on_signal.cancel();
        }
    })
}

/// Analyses the run's directory, prints the report and writes `report.json` and `report.html` into it.
fn report(run: &mut RunDir, targets: &TargetArgs, json: bool) -> Result<Exit> {
    let status = run.manifest.status;
    let trace = xscope_trace::load(&[run.path().to_owned()])?;
    let report = xscope_analysis::profile(&trace, &RunFacts::of(run));
    run.write_json(&run.report_path(), &report)?;
    add_to_results(run, &report.typical.peak_hbm_mb, &report.checks)?;
    run.finish(status, run.manifest.ended_wall.unwrap_or_else(clock::wall))?;
    match json {
        true => output::json(&report)?,
        false => output::page(&xscope_view::profile_text(&report))?,
    }
    let (complete, measured) = (report.complete, report.requests.measured);
    let checks = report.checks.clone();
    let page = report_html(Side::of_run(report, run));
    replace_file(&run.page_path(), page.as_bytes())?;
    let exit = match (complete, measured) {
        (false, _) => Exit::Interrupted,
        // Every answer was missing or wrong: figures of such a run mean nothing.
        (true, 0) => Exit::Target,
        (true, _) => Exit::Fine,
    };
    Ok(targets::exit(exit, &checks, targets))
}

/// Puts the peak of memory, which the trace knows, and what became of the targets beside what the
/// load generator measured.
fn add_to_results(run: &RunDir, peak: &Metric, checks: &[TargetCheck]) -> Result<()> {
    let path = run.results_path();
    let Some(mut results) = run.read_json::<Value>(&path) else { return Ok(()) };
    for point in results["results"].as_array_mut().into_iter().flatten() {
        point["peak_hbm_mb"] = serde_json::to_value(peak)?;
    }
    results["checks"] = serde_json::to_value(checks)?;
    Ok(run.write_json(&path, &results)?)
}

/// What is sent where nothing is said.
const USUAL: Named = Named { at_once: 2, item_tokens: 4, ..POINT };

/// The matrix of scoring requests, or the workload, that was asked for.
pub(crate) fn matrix(mut args: WorkloadArgs) -> Result<Matrix> {
    if let Some(at_once) = args.concurrency {
        args.requests.arrivals = Some(Arrivals::Closed(at_once));
    }
    Ok(planned(&args.ask, &args.requests, USUAL, false)?.matrix(&args.requests))
}

/// The commit of the source tree that the command runs in, if it is one.
pub(crate) fn git_commit() -> Option<String> {
    let output =
        Command::new("git").args(["rev-parse", "HEAD"]).current_dir(Path::new(".")).output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
