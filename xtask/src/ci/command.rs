//! Programs that steps start.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A program with its arguments, and what it is run for.
#[derive(Debug)]
pub(super) struct Run(Command);

pub(super) fn program(name: impl AsRef<OsStr>) -> Run {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    Run(command)
}

pub(super) fn cargo(args: &[&str]) -> Run {
    program(env!("CARGO")).args(args)
}

impl Run {
    pub(super) fn args(mut self, args: &[impl AsRef<OsStr>]) -> Self {
        self.0.args(args);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(super) fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    fn text(&self) -> String {
        let args = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        args.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end; it must succeed.
    pub(super) fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("cannot start {}", self.text()))?;
        match status.success() {
            true => Ok(()),
            false => bail!("{}: {status}", self.text()),
        }
    }

    /// The same; what it writes to its standard output.
    pub(super) fn output(mut self) -> Result<String> {
        self.0.stderr(Stdio::inherit());
        let output = self.0.output().with_context(|| format!("cannot start {}", self.text()))?;
        if !output.status.success() {
            bail!("{}: {}", self.text(), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether it can be started and succeeds; nothing of it is shown.
    pub(super) fn works(mut self) -> bool {
        let status = self.0.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}
