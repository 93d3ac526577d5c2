//! `xscope bench sweep`: a server at many settings.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result};
use xscope_capture::{
    BenchEvent, BenchOptions, BenchTarget, ProfiledServers, SweepEvent, SweepOptions, Swept,
};
use xscope_load::{Cancel, WarmUp};
use xscope_trace::results::{BenchConfig, Grid};
use xscope_view::sweep_text;

use crate::cli::SweepArgs;
use crate::cmd::bench::{load_options, show};
use crate::cmd::score::{POINT, planned};
use crate::cmd::{Exit, capture, profile};
use crate::output::{self, Progress};

pub(crate) fn run(args: SweepArgs) -> Result<Exit> {
    let text = std::fs::read_to_string(&args.grid)
        .with_context(|| format!("cannot read {}", args.grid.display()))?;
    let grid: Grid = toml::from_str(&text)
        .with_context(|| format!("{} is no grid: see docs/bench_search.md", args.grid.display()))?;
    let (json, slo) = (args.output.json, args.slo);
    let progress = Progress::new(!args.no_progress);
    let words: Vec<OsString> = vec![grid.command.clone().into()];
    let planned = planned(&args.ask, &args.requests, POINT, false)?;
    let bench = BenchOptions {
        output_dir: args.output_dir,
        target: BenchTarget::Command { words, url: None },
        warm_up: WarmUp::at_least(args.warmup),
        trials: args.trials,
        asked: Vec::new(),
        ready: Duration::from_secs(args.ready_timeout_secs),
        profile: ProfiledServers::None,
        watchdog: capture::watchdog(),
        load: load_options(&args.requests),
        config: BenchConfig { command_line: std::env::args().collect(), ..planned.config("sweep") },
        git_commit: profile::git_commit(),
        matrix: planned.matrix(&args.requests),
    };
    let options = SweepOptions {
        bench,
        grid,
        resume: args.resume,
        rank: args.rank,
        slo,
        confirm: args.confirm,
        budget: Duration::from_secs(args.budget_secs),
        try_all: args.try_all,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ran, interrupted) = runtime.block_on(Box::pin(take(options, progress)))?;
    match json {
        true => output::json(&ran.sweep)?,
        false => output::page(&sweep_text(&ran.sweep))?,
    }
    let run = ran.run.path().display();
    if !ran.sweep.complete {
        output::progress(&format!("not all is measured; go on with --resume {run}"));
    }
    output::progress(&format!("the run is {run}"));
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if ran.sweep.complete && ran.sweep.winner.is_none() => Exit::Target,
        () => Exit::Fine,
    })
}

async fn take(options: SweepOptions, mut progress: Progress) -> Result<(Swept, bool)> {
    let cancel = Cancel::new();
    let watcher = profile::cancel_on_signal(&cancel);
    let sweep = xscope_capture::sweep(options, &cancel, |event| match event {
        SweepEvent::Created(path, done) => {
            progress.say(&format!("writing {}", path.display()));
            if done > 0 {
                progress.say(&format!("{done} settings are measured already"));
            }
        }
        SweepEvent::Cell(cell, confirms) => {
            let what = if confirms { "confirming" } else { "measuring" };
            progress.say(&format!("{what} {}", cell.name));
        }
        SweepEvent::Done(row) => {
            progress.end();
            if let Some(reason) = &row.reason {
                progress.say(&format!("{}: {reason}", row.name));
            }
        }
        // Runs of settings lie in that of the sweep.
        SweepEvent::Bench(BenchEvent::Created(_)) => {}
        SweepEvent::Bench(event) => show(&event, &mut progress),
        _ => {}
    });
    let ran = Box::pin(sweep).await;
    watcher.abort();
    progress.end();
    Ok((ran?, cancel.is_cancelled()))
}
