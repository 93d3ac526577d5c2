//! `xscope profile`: the main job. Gets a run, reads it back from disk as anybody would, and
//! reports.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use xscope_analysis::{RunFacts, from_disk};
use xscope_capture::{Control, MeasuredRun, OverheadOptions, ProfileRequest, Target};
use xscope_engine::{Engine, EngineHandle};
use xscope_trace::overhead::Recording;
use xscope_trace::run::replace_file;
use xscope_view::html::{Side, report_html};

use crate::cli::{OverheadArgs, OverheadLevel, ProfileArgs, TargetArgs};
use crate::exit::Exit;
use crate::output;
use crate::parts::asked::{load_request, server_command};
use crate::parts::job::{self, Done};
use crate::parts::{engine, targets};

pub(crate) fn run(args: ProfileArgs) -> Result<Exit> {
    let overrides = targets::overrides(args.targets.limits.targets.as_deref())?;
    let mut progress = job::watched(&args.watch);
    let run = job::run_request(&args.run.output_dir, args.ready.ready_timeout_secs);
    let overhead = overhead(&args.overhead);
    let mut load = load_request(args.workload, "profile")?;
    let mut engine = None;
    let target = match args.url {
        Some(url) if args.server.is_empty() => Target::Running { url, log: None },
        Some(url) => Target::Probed { command: server_command(args.server, args.probes)?, url },
        None => {
            progress.say("starting the built-in engine");
            let mut config = engine::config(args.engine);
            config.port = 0;
            config.profile_root = std::path::absolute(&args.run.output_dir)?;
            let started = Engine::start(config).context("cannot start the built-in engine")?;
            Target::Running { url: engine.insert(started).url(), log: None }
        }
    };
    load.send.serves_itself = engine.is_some();
    let request = ProfileRequest { run, target, load, overhead };
    let Done { made: mut profiled, .. } = job::run(progress, async |control: Control<'_>| {
        let profiled = xscope_capture::profile(request, control).await;
        if let Some(engine) = engine {
            EngineHandle::shutdown(engine).await;
        }
        profiled
    })?;
    profiled.run.manifest.other.insert("targets".to_owned(), json!(overrides));
    report(&mut profiled, &args.targets, args.output.json)
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

/// Analyses the run's directory, prints the report and writes `report.json` and `report.html` into it.
fn report(profiled: &mut MeasuredRun, targets: &TargetArgs, json: bool) -> Result<Exit> {
    let run = &profiled.run;
    let trace = from_disk::read(&[run.path().to_owned()])?;
    let facts = RunFacts::of(run, run.read_json(&run.overhead_path()));
    let report = xscope_analysis::profile(&trace, &facts);
    run.write_json(&run.report_path(), &report)?;
    // The peak of memory, which the trace knows, and what became of the targets, beside what the
    // load generator measured.
    for point in &mut profiled.results.results {
        point.peak_hbm_mb = report.typical.peak_hbm_mb.clone();
    }
    profiled.results.checks.clone_from(&report.checks);
    profiled.keep()?;
    match json {
        true => output::json(&report)?,
        false => output::page(&xscope_view::profile_text(&report))?,
    }
    let (complete, measured) = (report.complete, report.requests.measured);
    let page = report_html(Side::of_run(report, &profiled.run));
    replace_file(&profiled.run.page_path(), page.as_bytes())?;
    let exit = match (complete, measured) {
        (false, _) => Exit::Interrupted,
        // Every answer was missing or wrong: figures of such a run mean nothing.
        (true, 0) => Exit::Target,
        (true, _) => Exit::Fine,
    };
    Ok(targets::exit(exit, &profiled.results.checks, targets))
}
