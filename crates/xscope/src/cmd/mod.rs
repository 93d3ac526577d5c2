//! One module for each command.

mod ab;
mod analyze;
mod asked;
mod baseline;
mod bench;
mod bench_kernel;
mod capture;
mod compare;
mod engine;
mod export;
mod find_max;
mod in_process;
mod job;
mod judged;
mod kernels;
mod measured;
mod offline;
mod one_batch;
mod one_batch_server;
mod profile;
mod report;
mod run;
mod score;
mod serve;
mod serving;
mod sweep;
mod targets;
mod trim;
mod view;

use std::process::ExitCode;

use anyhow::Result;
use xscope_capture::CaptureError;
use xscope_load::LoadError;

use crate::cli::{BenchCommand, Cli, Command};

/// What a command's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine,
    /// What the caller asked to fail on.
    Finding,
    /// Wrong usage or input.
    Usage,
    /// The target failed.
    Target,
    /// Stopped by Ctrl-C: 128 + SIGINT, as shells expect.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Finding => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Target => Self::from(3),
            Exit::Interrupted => Self::from(130),
        }
    }
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Profile(args) => profile::run(args),
        Command::Run(args) => run::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Capture(args) => capture::run(args),
        Command::WatchOver(args) => capture::watch_over(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Bench(args) => match args.command {
            BenchCommand::Ab(args) => ab::run(*args),
            BenchCommand::Score(args) => score::run(&args),
            BenchCommand::Serving(args) => serving::run(&args),
            BenchCommand::Kernel(args) => bench_kernel::run(&args),
            BenchCommand::OneBatch(args) => one_batch::run(&args),
            BenchCommand::Offline(args) => offline::run(&args),
            BenchCommand::OneBatchServer(args) => one_batch_server::run(&args),
            BenchCommand::Sweep(args) => sweep::run(*args),
        },
        Command::Compare(args) => compare::run(&args),
        Command::Baseline(args) => baseline::run(args.command),
        Command::Report(args) => report::run(&args),
        Command::View(args) => view::run(args),
        Command::Export(args) => export::run(&args),
        Command::Trim(args) => trim::run(&args),
    }
}

/// The exit code of a failure.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<CaptureError>() {
        Some(CaptureError::Load(
            LoadError::Url { .. } | LoadError::Https { .. } | LoadError::Workload { .. },
        )) => Exit::Usage,
        Some(
            CaptureError::Load(_)
            | CaptureError::Died { .. }
            | CaptureError::Occupied { .. }
            | CaptureError::Profiler { .. }
            | CaptureError::NoLoad { .. },
        ) => Exit::Target,
        Some(CaptureError::Cancelled) => Exit::Interrupted,
        _ => Exit::Usage,
    }
}
