//! `xscope bench sweep`: a server at many settings.

use std::time::Duration;

use anyhow::{Context as _, Result};
use xscope_capture::{Control, LoadRequest, SweepRequest};
use xscope_load::{ScoreMatrix, WarmUp};
use xscope_trace::results::Grid;
use xscope_view::sweep_text;

use crate::cli::SweepArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::asked::{Planned, send_options};
use crate::parts::job::{self, Done};

pub(crate) fn run(args: SweepArgs) -> Result<Exit> {
    let text = std::fs::read_to_string(&args.grid)
        .with_context(|| format!("cannot read {}", args.grid.display()))?;
    let grid: Grid = toml::from_str(&text)
        .with_context(|| format!("{} is no grid: see docs/bench_search.md", args.grid.display()))?;
    let planned = Planned::of(&args.ask, &args.requests, ScoreMatrix::POINT, false)?;
    let request = SweepRequest {
        run: job::run_request(&args.run.output_dir, args.ready.ready_timeout_secs),
        load: LoadRequest {
            config: planned.config("sweep"),
            matrix: planned.matrix(&args.requests),
            send: send_options(&args.requests),
            warm_up: WarmUp::at_least(args.warmup.warmup),
            trials: args.trials,
            asked: Vec::new(),
        },
        grid,
        resume: args.resume,
        rank: args.rank,
        slo: args.slo,
        confirm: args.confirm,
        budget: Duration::from_secs(args.budget_secs),
        try_all: args.try_all,
    };
    let sweep = async |control: Control<'_>| xscope_capture::sweep(request, control).await;
    let Done { made: ran, interrupted } = job::run(job::progress(&args.progress), sweep)?;
    match args.output.json {
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
