//! One module for each command.

mod analyze;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};

/// What a command's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine,
    /// Wrong usage or input.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Usage => Self::from(2),
        }
    }
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Analyze(args) => analyze::run(&args),
    }
}

/// The exit code of a failure.
pub(crate) fn exit_of(_error: &anyhow::Error) -> Exit {
    Exit::Usage
}
