//! A process that outlives this one and stops the profilers that it left on: nothing else runs
//! after `kill -9`.
//!
//! It holds one end of a pipe. The other end closes with this process, however that ends; what came
//! through before says whether all is well.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use crate::profiler;

/// What is written when nothing is left to stop.
const ALL_OFF: &[u8] = b"off";

/// A watchdog that is awake until it is dismissed or dropped.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Starts `command` with the addresses of servers behind it; it must call [`watch_over`].
    /// `None` without a command, or where it cannot be started: it is a second line of defence.
    pub(crate) fn wake<'a>(
        command: &[OsString],
        urls: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let (program, args) = command.split_first()?;
        let child = Command::new(program)
            .args(args)
            .args(urls)
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

/// The watchdog's own part: waits until its parent is gone, and stops the profilers of `urls` if
/// the parent did not say that they are off.
pub async fn watch_over(urls: &[String]) {
    let mut said = Vec::new();
    // A pipe that cannot be read is one whose other end is gone.
    std::io::stdin().read_to_end(&mut said).ok();
    if said != ALL_OFF {
        for url in urls {
            // Nobody listens any more; the next capture finds what is still on.
            profiler::stop(url).await.ok();
        }
    }
}
