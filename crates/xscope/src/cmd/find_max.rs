//! `--find-max`: the largest rate at which a server keeps its service levels.

use anyhow::Result;
use xscope_capture::{BenchOptions, FindMaxEvent, FindMaxOptions, FoundMax};
use xscope_load::Cancel;
use xscope_trace::results::{ProbeOutcome, ProbeRow};
use xscope_view::found_text;

use crate::cli::LoadArgs;
use crate::cmd::bench::show;
use crate::cmd::{Exit, profile};
use crate::output::{self, Progress};

pub(crate) fn run(bench: BenchOptions, args: &LoadArgs) -> Result<Exit> {
    let search = &args.find_max;
    let options = FindMaxOptions {
        bench,
        slo: search.slo.clone(),
        start_per_sec: search.start_rate,
        precision: search.precision / 100.0,
        probe_secs: search.probe_secs,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = Progress::new(!args.no_progress).watched(args.watch);
    let (ran, interrupted) = runtime.block_on(Box::pin(take(options, progress)))?;
    match args.output.json {
        true => output::json(&ran.found)?,
        false => output::page(&found_text(&ran.found))?,
    }
    output::progress(&format!("the run is {}", ran.run.path().display()));
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if ran.found.iter().all(|found| found.max_per_sec.value().is_some()) => Exit::Fine,
        () => Exit::Target,
    })
}

async fn take(options: FindMaxOptions, mut progress: Progress) -> Result<(FoundMax, bool)> {
    let cancel = Cancel::new();
    let watcher = profile::cancel_on_signal(&cancel);
    let search = xscope_capture::find_max(options, &cancel, |event| match event {
        FindMaxEvent::Created(path) => progress.say(&format!("writing {}", path.display())),
        FindMaxEvent::Probing(point, probe) => {
            let what = if probe.confirms { "confirming" } else { "trying" };
            progress.say(&format!("{point}: {what} {:.2} requests/s", probe.per_sec));
        }
        FindMaxEvent::Probed(row) => {
            progress.end();
            progress.say(&told(row));
        }
        FindMaxEvent::Bench(event) => show(&event, &mut progress),
        _ => {}
    });
    let ran = Box::pin(search).await;
    watcher.abort();
    progress.end();
    Ok((ran?, cancel.is_cancelled()))
}

fn told(row: &ProbeRow) -> String {
    match row.outcome {
        ProbeOutcome::Holds => "holds".to_owned(),
        ProbeOutcome::Fails => format!("fails: {}", row.why),
        ProbeOutcome::Invalid => format!("says nothing: {}", row.why),
    }
}
