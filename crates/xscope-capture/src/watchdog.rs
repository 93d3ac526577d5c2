//! A process that outlives this one, and stops the profilers and ends the servers that it left:
//! nothing else runs after `kill -9`.
//!
//! It holds one end of a pipe. The other end closes with this process, however that ends; what came
//! through before says whether all is well.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use xscope_load::Cancel;

use crate::profiler::{self, NotStarted, NotStopped, Order, Stopped};

/// What is written when nothing is left to stop.
const ALL_OFF: &[u8] = b"off";

/// How long a server may take to end by itself when it is asked to.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// A watchdog that is awake until it is dismissed or dropped.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Over the profilers of servers at these addresses.
    pub(crate) fn of_profilers<'a>(
        command: &[OsString],
        urls: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        Self::wake(command, urls)
    }

    /// Over the processes of a server that was started here. The death signal that Linux has is no
    /// way to end them: it comes when the *thread* ends that started them, and only to the first one.
    pub(crate) fn of_group(command: &[OsString], group: Pid) -> Option<Self> {
        let group = group.as_raw_nonzero().to_string();
        Self::wake(command, ["--group", &group].into_iter())
    }

    /// Starts `command` with these arguments behind it; it must call [`watch_over`] with them.
    /// `None` without a command, or where it cannot be started: it is a second line of defence.
    fn wake<'a>(command: &[OsString], words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (program, args) = command.split_first()?;
        let child = Command::new(program)
            .args(args)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C and whatever else ends this process's group must not end it.
            .process_group(0)
            .spawn();
        child.ok().map(Self)
    }

    /// All profilers are off.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // If it is gone already, it has nothing to do either.
            pipe.write_all(ALL_OFF).ok();
        }
        self.0.wait().ok();
    }
}

/// The profiler of one server while it is on. Dropped, or with its process killed, it leaves the
/// stopping to the watchdog.
#[derive(Debug)]
pub(crate) struct Watched {
    url: String,
    watchdog: Option<Watchdog>,
    cancel: Cancel,
}

impl Watched {
    /// Starts the profiler, and a watchdog of this command before.
    ///
    /// # Errors
    /// Why the server does not profile.
    pub(crate) async fn start(
        url: &str,
        order: &Order,
        watchdog: &[OsString],
        cancel: &Cancel,
    ) -> Result<Self, NotStarted> {
        let mut watched = Self {
            url: url.to_owned(),
            watchdog: Watchdog::of_profilers(watchdog, std::iter::once(url)),
            cancel: cancel.clone(),
        };
        let started = profiler::start(url, order, cancel).await;
        // One that gave no answer may be on, and is the watchdog's; another is not ours to stop.
        if let Err(NotStarted::Busy { .. } | NotStarted::Refused(_)) = started {
            watched.dismiss();
        }
        started.map(|()| watched)
    }

    /// Stops it and waits until its files are written.
    ///
    /// # Errors
    /// Why it may still be on; the watchdog then tries once more.
    pub(crate) async fn stop(mut self, limit: Duration) -> Result<Stopped, NotStopped> {
        let stopped = profiler::stop(&self.url, limit, &self.cancel).await?;
        self.dismiss();
        Ok(stopped)
    }

    fn dismiss(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
    }
}

/// The watchdog's own part: waits until its parent is gone, and stops the profilers of `urls` and
/// ends a group of processes if the parent did not say that all is well.
pub async fn watch_over(urls: &[String], group: Option<i32>) {
    let mut said = Vec::new();
    // A pipe that cannot be read is one whose other end is gone.
    std::io::stdin().read_to_end(&mut said).ok();
    if said != ALL_OFF {
        for url in urls {
            // Nobody listens any more; the next capture finds what is still on.
            profiler::stop(url, profiler::STOP_LIMIT, &Cancel::new()).await.ok();
        }
        if let Some(group) = group.and_then(Pid::from_raw) {
            end_group(group).await;
        }
    }
}

/// Asks all processes of a group to end, and after a while makes them.
async fn end_group(group: Pid) {
    // It fails when they are gone, which is all that a signal is for.
    kill_process_group(group, Signal::TERM).ok();
    let gone = async {
        while test_kill_process_group(group).is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(GRACE, gone).await.is_err() {
        kill_process_group(group, Signal::KILL).ok();
    }
}
