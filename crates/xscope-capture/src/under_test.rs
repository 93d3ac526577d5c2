//! The server that is measured: somebody else's that runs, or one of ours, from its start to its
//! end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use xscope_load::{Pulse, Ready, wait_ready};
use xscope_trace::clock;
use xscope_trace::run::RunDir;

use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::probes::keep_summary;
use crate::request::Target;
use crate::server::{Server, free_port, must_be_free};

/// How long a server that answers no more may take to end by itself.
const DYING: Duration = Duration::from_secs(2);

/// How long nothing is said while a server is waited for.
const SILENT: Duration = Duration::from_secs(1);

/// A server that runs, or will.
#[derive(Debug)]
pub(crate) struct ServerUnderTest {
    target: Target,
    /// Where it is; empty before it was started.
    url: String,
    log: Option<PathBuf>,
    /// If it is ours.
    own: Option<Server>,
    /// Differs between starts, if it is ours.
    started: Option<String>,
    /// What starts the watchdog that ends it if this process is killed.
    watchdog: Vec<OsString>,
}

impl ServerUnderTest {
    pub(crate) fn new(target: Target, watchdog: &[OsString]) -> Self {
        let (url, log) = match &target {
            Target::Running { url, log } => (url.clone(), log.clone()),
            Target::Command { url: Some(url), .. } | Target::Probed { url, .. } => {
                (url.clone(), None)
            }
            Target::Command { url: None, .. } | Target::Shell { .. } => (String::new(), None),
        };
        Self { target, url, log, own: None, started: None, watchdog: watchdog.to_owned() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its log, if it can be followed.
    pub(crate) fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The command that started it, if it is ours.
    pub(crate) fn words(&self) -> Option<Vec<String>> {
        self.target.words()
    }

    /// What this start of it is called, if it is ours.
    pub(crate) fn started(&self) -> Option<&str> {
        self.started.as_deref()
    }

    /// Whether it was started here, and is ended here.
    pub(crate) fn is_ours(&self) -> bool {
        self.own.is_some()
    }

    /// Whether it is there without being started.
    pub(crate) fn is_up(&self) -> bool {
        self.own.is_some() || matches!(self.target, Target::Running { .. })
    }

    /// That nobody is at its address yet, who would be measured in its place.
    pub(crate) async fn must_be_free(&self) -> Result<(), CaptureError> {
        match self.is_up() || self.url.is_empty() {
            true => Ok(()),
            false => must_be_free(&self.url).await,
        }
    }

    /// Starts it if it is not there, with its log here; people know it by this name if it has one.
    pub(crate) fn start(
        &mut self,
        run: &RunDir,
        log: &Path,
        name: &str,
        control: Control<'_>,
    ) -> Result<(), CaptureError> {
        if self.is_up() {
            return Ok(());
        }
        let port = free_port()?;
        let filled = |text: &str| text.replace("{port}", &port.to_string());
        let server = match &self.target {
            Target::Running { .. } => return Ok(()),
            Target::Command { words, .. } => {
                let with_port = |word: &OsString| match word.to_str() {
                    Some(word) => OsString::from(filled(word)),
                    None => word.clone(),
                };
                Server::words(&words.iter().map(with_port).collect::<Vec<_>>(), log)?
            }
            Target::Shell { command } => Server::shell(&filled(command), log)?,
            Target::Probed { command, .. } => Server::probed(run, command, log)?,
        };
        if self.url.is_empty() {
            self.url = format!("http://127.0.0.1:{port}");
        }
        self.log = Some(log.to_owned());
        self.started = Some(format!("{}-{}", server.id().unwrap_or(0), clock::wall().0));
        self.own = Some(server.ends_with_us(&self.watchdog));
        control.tell(Event::Starting { name, log });
        Ok(())
    }

    /// Waits until it is ready; its end is an error.
    pub(crate) async fn ready(
        &mut self,
        limit: Duration,
        control: Control<'_>,
    ) -> Result<Ready, CaptureError> {
        let Self { url, own, .. } = self;
        let died = async {
            match own {
                Some(server) => server.wait().await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            tokio::time::sleep(SILENT).await;
            control.say(format!("waiting for the server at {url}, {} s at most", limit.as_secs()));
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            ready = wait_ready(url, limit) => return Ok(ready?),
            () = told => return Err(CaptureError::Cancelled),
            () = control.cancel.cancelled() => return Err(CaptureError::Cancelled),
            status = died => status?,
        };
        Err(self.died(status).unwrap_or(CaptureError::Cancelled))
    }

    /// Says whether its processes live, if they are ours.
    pub(crate) fn pulse(&self) -> Option<Pulse> {
        self.own.as_ref().map(Server::pulse)
    }

    /// How it ended, if it is ours and has ended by itself by now, or does so in a moment.
    pub(crate) async fn end(&mut self) -> Result<Option<ExitStatus>, CaptureError> {
        match &mut self.own {
            Some(server) => tokio::time::timeout(DYING, server.wait()).await.ok().transpose(),
            None => Ok(None),
        }
    }

    /// The error of a server of ours that ended by itself.
    pub(crate) fn died(&self, status: ExitStatus) -> Option<CaptureError> {
        self.own.as_ref().map(|server| server.died(status))
    }

    /// Ends it if it is ours, and keeps what its probes say, which is complete then.
    pub(crate) async fn stop(
        &mut self,
        run: &mut RunDir,
        control: Control<'_>,
    ) -> Result<(), CaptureError> {
        let stopped = match &mut self.own {
            Some(server) => server.stop().await.map(drop),
            None => Ok(()),
        };
        if matches!(self.target, Target::Probed { .. }) {
            for warning in keep_summary(run, None).warnings() {
                control.warn(warning);
            }
        }
        stopped
    }
}
