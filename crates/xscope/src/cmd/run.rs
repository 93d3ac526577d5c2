//! `xscope run`: a command with probes inside.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use xscope_capture::{CommandRequest, Control, Event, Ran, ServerCommand, SlowOptions, Spans};
use xscope_trace::Nanos;

use crate::cli::RunArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::asked::server_command;
use crate::parts::job;

/// How often the log is looked at for more.
const FOLLOW: Duration = Duration::from_millis(200);

pub(crate) fn run(args: RunArgs) -> Result<Exit> {
    let request = CommandRequest {
        // Nobody waits for it.
        run: job::run_request(&args.run.output_dir, 0),
        command: ServerCommand {
            spans: if args.slow_over.is_some() { Spans::Newest } else { Spans::All },
            ..server_command(args.command, args.probes)?
        },
        slow: args.slow_over.map(|over| SlowOptions { over: Nanos(over.0 / 1000), url: args.url }),
    };
    let ran = take(request, args.quiet)?;
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

fn take(request: CommandRequest, quiet: bool) -> Result<Ran> {
    let follower = std::cell::Cell::new(None);
    let show = |event: Event<'_>| match event {
        Event::Created(run) => output::progress(&format!("writing {}", run.display())),
        Event::Starting { log, .. } if !quiet => {
            follower.set(Some(tokio::spawn(follow(log.to_owned()))));
        }
        Event::Said(what) => output::progress(&what),
        Event::Warning(what) => output::progress(&format!("warning: {what}")),
        _ => {}
    };
    let done = job::run_told(show, async |control: Control<'_>| {
        let ran = xscope_capture::run(request, control).await;
        if let Some(follower) = follower.take() {
            // Once more than the last look: what the command said at its end.
            tokio::time::sleep(2 * FOLLOW).await;
            follower.abort();
        }
        ran
    });
    Ok(done?.made)
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
