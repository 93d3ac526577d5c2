//! `--find-max`: the largest rate at which a server keeps its service levels.

use anyhow::Result;
use xscope_capture::{BenchRequest, Control, FindMaxRequest};
use xscope_view::found_text;

use crate::cli::LoadArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::job::{self, Done};

pub(crate) fn run(bench: BenchRequest, args: &LoadArgs) -> Result<Exit> {
    let search = &args.find_max;
    let request = FindMaxRequest {
        bench,
        slo: search.slo.clone(),
        start_per_sec: search.start_rate,
        precision: search.precision / 100.0,
        rate_secs: search.rate_secs,
    };
    let progress = job::watched(&args.watch);
    let search = async |control: Control<'_>| xscope_capture::find_max(request, control).await;
    let Done { made: ran, interrupted } = job::run(progress, search)?;
    match args.tables.output.json {
        true => output::json(&ran.found)?,
        false => output::page(&found_text(&ran.found.points))?,
    }
    output::progress(&format!("the run is {}", ran.run.path().display()));
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if ran.found.points.iter().all(|found| found.max_per_sec.value.is_some()) => Exit::Fine,
        () => Exit::Target,
    })
}
