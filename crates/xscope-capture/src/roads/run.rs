//! `xscope run`: somebody's command with probes inside, as a run.

use std::fs;
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::json;
use xscope_trace::clock;
use xscope_trace::run::{RunDir, RunStatus};

use crate::begin::create;
use crate::command::ServerCommand;
use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::probes::{ProbeSummary, keep_summary};
use crate::profiler::absolute;
use crate::request::RunRequest;
use crate::results::About;
use crate::server::Server;
use crate::slow::{SlowOptions, SlowSummary, Watch};

/// What to start.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    pub run: RunRequest,
    pub command: ServerCommand,
    /// Keep the spans of slow requests only; [`ServerCommand::spans`] must then be the newest.
    pub slow: Option<SlowOptions>,
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

/// Runs the command to its end, or until it is cancelled.
///
/// # Errors
/// The command cannot be started, or the run not be written.
pub async fn run(request: CommandRequest, control: Control<'_>) -> Result<Ran, CaptureError> {
    let CommandRequest { run: how, command, slow } = request;
    let about = About {
        kind: "run".to_owned(),
        model: command.subject(),
        target: command.text(),
        ..About::default()
    };
    let mut run = create(&how, about, control)?;
    let log = run.logs_dir().join("server.log");
    let mut server = Server::probed(&run, &command, &log).inspect_err(|_| {
        // The first error is the one to tell.
        drop(run.finish(RunStatus::Failed, clock::wall()));
    })?;
    control.tell(Event::Starting { name: "", log: &log });
    let root = absolute(run.path());
    let ring = run.ring_dir();
    let mut watch = slow.map(|slow| Watch::new(slow, how.watchdog, &root, &ring));
    let mut interrupted = false;
    let status = tokio::select! {
        status = server.wait() => status?,
        () = control.cancel.cancelled() => {
            interrupted = true;
            server.signal(Signal::INT);
            server.stop().await?
        }
        () = follow(watch.as_mut(), control) => unreachable!("it never ends by itself"),
    };
    server.stop().await?;
    let slow = watch.map(|watch| watch.finish(!status.success() && !interrupted, control));
    let probes = keep_summary(&mut run, slow.as_ref().map(|slow| slow.spans_thrown_away));
    if let Some(slow) = &slow {
        run.manifest.other.insert("slow".to_owned(), json!(slow));
        // Nothing in it is needed any more, and what cannot be removed harms nothing.
        fs::remove_dir_all(ring).ok();
    }
    let how = match status.success() || interrupted {
        true => RunStatus::Complete,
        false => RunStatus::Failed,
    };
    run.finish(how, clock::wall())?;
    Ok(Ran { run, status, interrupted, probes, slow })
}

async fn follow(watch: Option<&mut Watch>, control: Control<'_>) {
    match watch {
        Some(watch) => watch.follow(control).await,
        None => std::future::pending().await,
    }
}
