//! What is asked for: of every run, and of one that measures.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use xscope_load::{Matrix, SendOptions, WarmUp};
use xscope_trace::results::BenchConfig;

use crate::command::{ServerCommand, words_of};

/// What every run is told, whatever road it takes.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    pub command_line: Vec<String>,
    /// Of the source tree that the command was given in.
    pub git_commit: Option<String>,
    /// How long a server may take to get ready.
    pub ready: Duration,
    /// A command that calls [`watch_over`](crate::watch_over) with the arguments that are put
    /// behind it; profilers and servers that were started outlive a `kill -9` without one.
    pub watchdog: Vec<OsString>,
}

/// What is sent to a server, how often, and what must be right about it.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    pub matrix: Matrix,
    pub send: SendOptions,
    pub warm_up: WarmUp,
    /// How often each point is measured.
    pub trials: u32,
    /// Figures that have to be valid; those that matter where nobody says, if empty.
    pub asked: Vec<String>,
    /// What else was asked for, as far as the results should repeat it: the kind of benchmark, and
    /// the matrix's name and sizes.
    pub config: BenchConfig,
}

/// Where a server is, or how it is started.
#[derive(Debug, Clone)]
pub enum Target {
    /// One that runs, with its log if it can be followed.
    Running { url: String, log: Option<PathBuf> },
    /// A command; `{port}` in a word becomes a free port of the loopback interface, which is where it
    /// listens if there is no address.
    Command { words: Vec<OsString>, url: Option<String> },
    /// The same as one text for the shell.
    Shell { command: String },
    /// A command with probes inside, and where it listens.
    Probed { command: ServerCommand, url: String },
}

impl Target {
    /// As text, for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Running { url, .. } => url.clone(),
            Self::Command { words, .. } => words_of(words).join(" "),
            Self::Shell { command } => command.clone(),
            Self::Probed { command, .. } => command.text(),
        }
    }

    /// The words of the command, if it is one.
    pub(crate) fn words(&self) -> Option<Vec<String>> {
        match self {
            Self::Running { .. } => None,
            Self::Command { words, .. } => Some(words_of(words)),
            Self::Shell { command } => {
                Some(command.split_whitespace().map(str::to_owned).collect())
            }
            Self::Probed { command, .. } => Some(command.words()),
        }
    }
}
