//! A server that xscope starts: with probes inside, its log in the run, its end noticed.
//!
//! The server writes its log to a file itself and has no pipe to xscope: if xscope is killed, the
//! server goes on as if nothing had happened, until its watchdog ends it if it has one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use xscope_load::{LoadError, Pulse, wait_ready};
use xscope_trace::run::{ProcessId, RunDir};

use crate::command::{ServerCommand, words_of};
use crate::error::CaptureError;
use crate::probes::Installed;
use crate::watchdog::{GRACE, Watchdog};

/// How long somebody may take to answer who is at an address already.
const OCCUPIED: Duration = Duration::from_millis(300);

/// How much of a log's end goes into a message.
const LOG_TAIL: usize = 2000;

/// A server that was started; it is killed, with all its processes, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    group: Option<Pid>,
    log: PathBuf,
    ended: Option<ExitStatus>,
    /// Ends it if this process is killed.
    watchdog: Option<Watchdog>,
}

impl Server {
    /// Starts `command` with probes inside, with its log in `log` and its spans in the run.
    pub(crate) fn probed(
        run: &RunDir,
        command: &ServerCommand,
        log: &Path,
    ) -> Result<Self, CaptureError> {
        let probes = Installed::write(run, &command.tables, command.spans)?;
        let (program, args) = command.words.split_first().ok_or(CaptureError::NoCommand)?;
        let mut process = Command::new(program);
        process.args(args).envs(probes.environment(command.python_path.as_deref()));
        Self::spawn(process, &command.text(), log)
    }

    /// Starts a command of the shell as it is, with its log in `log`.
    pub(crate) fn shell(command: &str, log: &Path) -> Result<Self, CaptureError> {
        let mut process = Command::new("sh");
        process.args(["-c", command]);
        Self::spawn(process, command, log)
    }

    /// Starts a command as it is, with its log in `log`.
    pub(crate) fn words(words: &[OsString], log: &Path) -> Result<Self, CaptureError> {
        let (program, args) = words.split_first().ok_or(CaptureError::NoCommand)?;
        let mut process = Command::new(program);
        process.args(args);
        Self::spawn(process, &words_of(words).join(" "), log)
    }

    fn spawn(mut process: Command, text: &str, log: &Path) -> Result<Self, CaptureError> {
        let log = log.to_owned();
        let io = |source| CaptureError::Io { what: "write", path: log.clone(), source };
        let out = File::create(&log).map_err(io)?;
        let err = out.try_clone().map_err(io)?;
        let child = process
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // A group of its own: Ctrl-C is ours to forward, and all its processes can be ended.
            .process_group(0)
            .spawn()
            .map_err(|source| CaptureError::Spawn { command: text.to_owned(), source })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group, log, ended: None, watchdog: None })
    }

    /// Has it ended if this process is killed, by a watchdog that `command` starts.
    pub(crate) fn ends_with_us(mut self, command: &[OsString]) -> Self {
        self.watchdog = self.group.and_then(|group| Watchdog::of_group(command, group));
        self
    }

    /// Of the first process.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What tells whether one of the processes ends that it has now, which is not for the first one to
    /// notice: a front without its scheduler answers nothing and lives on.
    pub(crate) fn pulse(&self) -> Pulse {
        let processes = self.id().map(ProcessId::of_group).unwrap_or_default();
        Pulse::new(move || {
            let (ended, name) = processes.iter().find(|(process, _)| !process.is_alive())?;
            Some(format!("process {} ({name}) of the server has ended", ended.pid))
        })
    }

    /// Waits for the end of the first process. May be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, CaptureError> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let path = self.log.clone();
        let status = self.child.wait().await;
        let status =
            status.map_err(|source| CaptureError::Io { what: "wait for", path, source })?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Sends a signal to all processes of the server.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails when they are gone, which is all that a signal is for.
            kill_process_group(group, signal).ok();
        }
    }

    /// Ends the server: asks it to, and after a while makes it.
    pub(crate) async fn stop(&mut self) -> Result<ExitStatus, CaptureError> {
        if self.ended.is_none() {
            self.signal(Signal::TERM);
            if tokio::time::timeout(GRACE, self.wait()).await.is_err() {
                self.signal(Signal::KILL);
            }
        }
        let status = self.wait().await;
        // Its children: the first process may have left them behind.
        self.signal(Signal::KILL);
        status
    }

    /// Why a server that ended by itself is an error.
    pub(crate) fn died(&self, status: ExitStatus) -> CaptureError {
        CaptureError::Died { status, log: self.log.clone(), tail: tail(&self.log) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
    }
}

/// That nobody is at the address of a server yet to be started, who would be taken for it.
pub(crate) async fn must_be_free(url: &str) -> Result<(), CaptureError> {
    match wait_ready(url, OCCUPIED).await {
        Ok(_) => Err(CaptureError::Occupied { url: url.to_owned() }),
        Err(LoadError::NotReady { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A port of the loopback interface that nobody listens on at the moment.
pub(crate) fn free_port() -> Result<u16, CaptureError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0));
    let port = listener.and_then(|listener| listener.local_addr()).map(|address| address.port());
    let path = PathBuf::from("127.0.0.1:0");
    port.map_err(|source| CaptureError::Io { what: "find a free port on", path, source })
}

/// The end of a log, from the start of a line.
fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL)..]).into_owned();
    match text.split_once('\n') {
        Some((_, rest)) if bytes.len() > LOG_TAIL => rest.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process};
    use xscope_load::{
        Ask, AskFixed, Backend, Cancel, Load, Plan, Point, Pulse, SendOptions, Stretch, Workload,
    };

    use super::{ProcessId, Server};

    /// What a pulse says, which only a load asks.
    async fn ended(pulse: Pulse) -> String {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ask = Ask::Fixed(AskFixed { path: "/".to_owned(), body: String::new() });
        let workload = Workload { requests: Some(1), ..Workload::new(ask) };
        let mut point = Point::new(Plan::new("p", workload, Backend::Fixed).unwrap());
        let quiet = Duration::from_millis(50);
        let options = SendOptions { pulse: Some(pulse), quiet, ..SendOptions::default() };
        let mut load = Load::new(&url, options, Cancel::new()).unwrap();
        let stretch = Stretch::measured(point.plan(), 0);
        load.run(&stretch, &mut point, |_| ()).await.unwrap().gone.unwrap()
    }

    #[tokio::test]
    async fn a_process_that_ends_behind_the_first_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["sh", "-c", "sleep 600 & sleep 601 & wait"].map(OsString::from);
        let server = Server::words(&words, &folder.path().join("log")).unwrap();
        let all = || ProcessId::of_group(server.id().unwrap());
        while all().iter().filter(|(_, name)| name == "sleep").count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pulse = server.pulse();
        let (sleeper, _) = all().into_iter().find(|(_, name)| name == "sleep").unwrap();
        let pid = Pid::from_raw(sleeper.pid.cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = tokio::time::timeout(Duration::from_mins(1), ended(pulse)).await.unwrap();
        assert!(
            ended.starts_with("process ") && ended.contains("(sleep) of the server"),
            "{ended}"
        );
        assert!(server.id().is_some(), "the first process lives on");
    }
}
