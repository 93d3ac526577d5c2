//! `xscope run`: a command with probes inside.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use xscope_capture::{
    ProbeTable, Ran, RunEvent, RunOptions, ServerCommand, SlowEvent, SlowOptions, Spans,
};
use xscope_load::Cancel;
use xscope_trace::Nanos;

use crate::cli::{ProbeArgs, RunArgs};
use crate::cmd::{Exit, capture, profile};
use crate::output;

/// How often the log is looked at for more.
const FOLLOW: Duration = Duration::from_millis(200);

pub(crate) fn run(args: RunArgs) -> Result<Exit> {
    let options = RunOptions {
        output_dir: args.output_dir,
        command: ServerCommand {
            spans: if args.slow_over.is_some() { Spans::Newest } else { Spans::All },
            ..server(args.command, args.probes)?
        },
        slow: args.slow_over.map(|over| SlowOptions {
            over: Nanos(over.0 / 1000),
            url: args.url,
            watchdog: capture::watchdog(),
        }),
        command_line: std::env::args().collect(),
        git_commit: profile::git_commit(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ran = runtime.block_on(take(options, args.quiet))?;
    for warning in ran.probes.warnings() {
        output::progress(&format!("warning: {warning}"));
    }
    let Ran { run, status, interrupted, probes, slow } = ran;
    if let Some(slow) = slow {
        output::progress(&format!(
            "{} of {} requests took longer than {} ms; kept is what went on around them",
            slow.slow, slow.requests, slow.over_ms
        ));
    }
    if let Some(recorded) = &probes.recorded
        && let Some((ms, share)) = recorded.time_ms.value.zip(recorded.share.value)
    {
        output::progress(&format!(
            "recording {} spans took at least {ms:.1} ms of CPU time, {:.3} % of the run's",
            recorded.spans,
            100.0 * share
        ));
    }
    output::progress(&format!(
        "{} spans come from {} processes; see them with: xscope analyze {}",
        probes.tables.into_iter().collect::<Vec<_>>().join(", "),
        probes.processes.len(),
        run.path().display(),
    ));
    if !status.success() && !interrupted {
        output::progress(&format!("the command ended with {status}"));
        return Ok(Exit::Target);
    }
    Ok(Exit::Fine)
}

async fn take(options: RunOptions, quiet: bool) -> Result<Ran> {
    let cancel = Cancel::new();
    let watcher = profile::cancel_on_signal(&cancel);
    let mut follower = None;
    let ran = xscope_capture::run(options, &cancel, |event| match event {
        RunEvent::Started { run, log } => {
            output::progress(&format!("writing {}", run.display()));
            if !quiet {
                follower = Some(tokio::spawn(follow(log.to_owned())));
            }
        }
        RunEvent::Slow(event) => tell(&event),
        _ => {}
    })
    .await;
    if let Some(follower) = follower {
        // Once more than the last look: what the command said at its end.
        tokio::time::sleep(2 * FOLLOW).await;
        follower.abort();
    }
    watcher.abort();
    Ok(ran?)
}

fn tell(event: &SlowEvent) {
    match event {
        SlowEvent::Slow { request, ms } => {
            output::progress(&format!("slow: {request} took {ms:.0} ms"));
        }
        SlowEvent::Armed => output::progress("profiling the device until a request like it comes"),
        SlowEvent::Profiled => output::progress("the device profile of one like it is in the run"),
        SlowEvent::Warning(what) => output::progress(&format!("warning: {what}")),
        _ => {}
    }
}

/// Shows what is written to a log, on stderr.
async fn follow(log: PathBuf) {
    let mut at = 0;
    loop {
        at = output::copy(&more(&log, at).unwrap_or_default(), at);
        tokio::time::sleep(FOLLOW).await;
    }
}

/// What a file has from `at` on.
fn more(log: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A server to start, with the tables that xscope has and those of the user.
pub(crate) fn server(words: Vec<OsString>, args: ProbeArgs) -> Result<ServerCommand> {
    let mut tables = ProbeTable::built_in()?;
    for path in &args.probes {
        let table = ProbeTable::read(path);
        tables.push(table.with_context(|| format!("cannot use {}", path.display()))?);
    }
    Ok(ServerCommand { words, tables, python_path: args.python_path, spans: Spans::All })
}
