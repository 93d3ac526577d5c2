//! `xscope run`: somebody's command with probes inside, as a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::{Value, json};
use xscope_load::Cancel;
use xscope_trace::clock;
use xscope_trace::run::{NewRun, RunClock, RunDir, RunStatus};

use crate::error::CaptureError;
use crate::probes::{ProbeSummary, RecordedSummary};
use crate::profiler::absolute;
use crate::server::{Server, ServerCommand};
use crate::slow::{SlowEvent, SlowOptions, SlowSummary, Watch};

/// What to start, and where to write it.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    pub command: ServerCommand,
    /// Keep the spans of slow requests only; [`ServerCommand::spans`] must then be the newest.
    pub slow: Option<SlowOptions>,
    pub command_line: Vec<String>,
    pub git_commit: Option<String>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub run: RunDir,
    pub status: ExitStatus,
    /// Whether it ended because the user asked for it.
    pub interrupted: bool,
    pub probes: ProbeSummary,
    pub slow: Option<SlowSummary>,
}

/// What happens on the way, for whoever shows it.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// The command runs; its run's directory and its log.
    Started {
        run: &'a Path,
        log: &'a Path,
    },
    Slow(SlowEvent),
}

/// Runs the command to its end, or until `cancel` is thrown.
///
/// # Errors
/// The command cannot be started, or the run not be written.
pub async fn run(
    options: RunOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(RunEvent<'_>),
) -> Result<Ran, CaptureError> {
    let new = new_run("run", &options.command, options.command_line, options.git_commit);
    let mut run = RunDir::create(&options.output_dir, new)?;
    let mut server = Server::start(&run, &options.command).inspect_err(|_| {
        // The first error is the one to tell.
        drop(run.finish(RunStatus::Failed, clock::wall()));
    })?;
    on_event(RunEvent::Started { run: run.path(), log: server.log() });
    let mut on_slow = |event| on_event(RunEvent::Slow(event));
    let root = absolute(run.path());
    let mut watch = options.slow.map(|slow| Watch::new(slow, &root, &run.ring_dir()));
    let mut interrupted = false;
    let status = tokio::select! {
        status = server.wait() => status?,
        () = cancel.cancelled() => {
            interrupted = true;
            server.signal(Signal::INT);
            server.stop().await?
        }
        () = follow(watch.as_mut(), &mut on_slow) => unreachable!("it never ends by itself"),
    };
    server.stop().await?;
    let slow = watch.map(|watch| watch.finish(!status.success() && !interrupted, &mut on_slow));
    let thrown_away = slow.as_ref().map(|slow| slow.spans_thrown_away);
    let probes = keep_summary(&mut run, thrown_away);
    if let Some(slow) = &slow {
        run.manifest.other.insert("slow".to_owned(), json!(slow));
        // Nothing in it is needed any more, and what cannot be removed harms nothing.
        fs::remove_dir_all(run.ring_dir()).ok();
    }
    let how = match status.success() {
        _ if interrupted => RunStatus::Complete,
        true => RunStatus::Complete,
        false => RunStatus::Failed,
    };
    run.finish(how, clock::wall())?;
    Ok(Ran { run, status, interrupted, probes, slow })
}

async fn follow(watch: Option<&mut Watch>, on_event: &mut impl FnMut(SlowEvent)) {
    match watch {
        Some(watch) => watch.follow(on_event).await,
        None => std::future::pending().await,
    }
}

/// What a run of `command` says of itself before anything is known of its server.
pub(crate) fn new_run(
    kind: &str,
    command: &ServerCommand,
    command_line: Vec<String>,
    git_commit: Option<String>,
) -> NewRun {
    NewRun {
        kind: kind.to_owned(),
        model: command.model(),
        hardware: String::new(),
        command_line,
        target: command.text(),
        workload: Value::Null,
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit,
        clock: RunClock::read(),
        started_wall: clock::wall(),
    }
}

/// Puts into the run's manifest how the probes of a server did that has ended; spans that a ring has
/// thrown away are given if there is one.
pub(crate) fn keep_summary(run: &mut RunDir, thrown_away: Option<u64>) -> ProbeSummary {
    let mut summary = ProbeSummary::read(&run.spans_dir());
    let folder = if thrown_away.is_some() { run.ring_dir() } else { run.spans_dir() };
    let wall = clock::wall() - run.manifest.started_wall;
    summary.recorded = Some(RecordedSummary::read(&folder, thrown_away.unwrap_or(0), wall));
    run.manifest.other.insert("probes".to_owned(), json!(summary));
    summary
}
