//! What a command needs while its run is made: a runtime, Ctrl-C, progress, and what every run is
//! told.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use xscope_capture::{CaptureError, Control, Event, RunRequest};
use xscope_load::{Cancel, LoadEvent};
use xscope_trace::Phase;

use crate::cli::{ProgressArgs, WatchArgs};
use crate::output::{self, Progress};

/// What came of a job.
pub(crate) struct Done<T> {
    pub made: T,
    /// Whether the user ended it.
    pub interrupted: bool,
}

/// What every run is told.
pub(crate) fn run_request(output_dir: &Path, ready_secs: u64) -> RunRequest {
    RunRequest {
        output_dir: output_dir.to_owned(),
        command_line: std::env::args().collect(),
        git_commit: git_commit(),
        ready: Duration::from_secs(ready_secs),
        watchdog: watchdog(),
    }
}

/// Shows how it goes on, if that is wanted.
pub(crate) fn progress(args: &ProgressArgs) -> Progress {
    Progress::new(!args.no_progress)
}

/// The same, as a page where that is wanted.
pub(crate) fn watched(args: &WatchArgs) -> Progress {
    progress(&args.progress).watched(args.watch)
}

/// Does a job and shows how it goes on.
pub(crate) fn run<T>(
    mut progress: Progress,
    job: impl AsyncFnOnce(Control<'_>) -> Result<T, CaptureError>,
) -> Result<Done<T>> {
    let done = run_told(|event| show(&event, &mut progress), job);
    progress.end();
    done
}

/// Does a job that tells what happens; the first Ctrl-C ends it early, the second ends the program.
pub(crate) fn run_told<T>(
    on_event: impl FnMut(Event<'_>),
    job: impl AsyncFnOnce(Control<'_>) -> Result<T, CaptureError>,
) -> Result<Done<T>> {
    let on_event = RefCell::new(on_event);
    let on_event = |event: Event<'_>| (on_event.borrow_mut())(event);
    runtime("xscope-load")?.block_on(async {
        let cancel = Cancel::new();
        let watcher = cancel_on_signal(&cancel);
        let made = Box::pin(job(Control { cancel: &cancel, on_event: &on_event })).await;
        watcher.abort();
        Ok(Done { made: made?, interrupted: cancel.is_cancelled() })
    })
}

/// A runtime whose threads have this name.
pub(crate) fn runtime(name: &str) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build()
}

/// Returns at Ctrl-C or SIGTERM.
pub(crate) async fn signalled() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

/// Throws the switch at the first signal, and ends the program at the second.
fn cancel_on_signal(cancel: &Cancel) -> JoinHandle<()> {
    let on_signal = cancel.clone();
    // Here, not in the task, which may begin when the first signal has come.
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    tokio::spawn(async move {
        let [Ok(mut interrupt), Ok(mut terminate)] = signals else { return };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if on_signal.is_cancelled() {
                output::abort();
            }
            output::progress("\ninterrupted: stopping and writing the run (again to abort)");
            on_signal.cancel();
        }
    })
}

/// Shows what happens; single requests that check an answer are not worth it.
fn show(event: &Event<'_>, progress: &mut Progress) {
    match event {
        Event::Created(path) => progress.say(&format!("writing {}", path.display())),
        Event::Starting { name, log } => {
            let who = if name.is_empty() { "the server" } else { name };
            progress.say(&format!("starting {who}; its log is {}", log.display()));
        }
        Event::Block { pair, name, requests } => {
            progress.begin(&format!("pair {pair}, {name}"), *requests);
        }
        Event::Said(what) => progress.say(what),
        Event::Warning(what) => progress.warn(what),
        Event::Load(LoadEvent::PhaseStarted { phase, point, requests })
            if *phase != Phase::Check =>
        {
            progress.begin_again(&phase_name(*phase, point), *requests);
        }
        Event::Load(LoadEvent::Row(row)) if row.phase != Phase::Check => progress.step(row),
        _ => {}
    }
}

fn phase_name(phase: Phase, point: &str) -> String {
    format!("{} of {point}", phase.name())
}

/// The commit of the source tree that the command runs in, if it is one.
fn git_commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The command line of the watchdog, to put addresses behind: see `xscope_capture::watch_over`.
fn watchdog() -> Vec<OsString> {
    let program: Option<PathBuf> = std::env::current_exe().ok();
    program.map_or_else(Vec::new, |program| vec![program.into(), "watch-over".into()])
}
