//! `xscope run`: somebody's command with probes inside, as a run.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::{Value, json};
use xscope_load::Cancel;
use xscope_trace::clock;
use xscope_trace::run::{NewRun, RunClock, RunDir, RunStatus};

use crate::error::CaptureError;
use crate::probes::ProbeSummary;
use crate::server::{Server, ServerCommand};

/// What to start, and where to write it.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    pub command: ServerCommand,
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
}

/// Runs the command to its end, or until `cancel` is thrown; `on_start` gets the run's directory
/// and the log.
///
/// # Errors
/// The command cannot be started, or the run not be written.
pub async fn run(
    options: RunOptions,
    cancel: &Cancel,
    on_start: impl FnOnce(&Path, &Path),
) -> Result<Ran, CaptureError> {
    let new = new_run("run", &options.command, options.command_line, options.git_commit);
    let mut run = RunDir::create(&options.output_dir, new)?;
    let mut server = Server::start(&run, &options.command).inspect_err(|_| {
        // The first error is the one to tell.
        drop(run.finish(RunStatus::Failed, clock::wall()));
    })?;
    on_start(run.path(), server.log());
    let mut interrupted = false;
    let status = tokio::select! {
        status = server.wait() => status?,
        () = cancel.cancelled() => {
            interrupted = true;
            server.signal(Signal::INT);
            server.stop().await?
        }
    };
    server.stop().await?;
    let probes = keep_summary(&mut run);
    let how = match status.success() {
        _ if interrupted => RunStatus::Complete,
        true => RunStatus::Complete,
        false => RunStatus::Failed,
    };
    run.finish(how, clock::wall())?;
    Ok(Ran { run, status, interrupted, probes })
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
        hardware: "local".to_owned(),
        command_line,
        target: command.text(),
        workload: Value::Null,
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit,
        clock: RunClock::read(),
        started_wall: clock::wall(),
    }
}

/// Puts into the run's manifest how the probes did.
pub(crate) fn keep_summary(run: &mut RunDir) -> ProbeSummary {
    let summary = ProbeSummary::read(&run.spans_dir());
    run.manifest.other.insert("probes".to_owned(), json!(summary));
    summary
}
