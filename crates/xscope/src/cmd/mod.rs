//! One module for each command; none uses another. What several need is in `parts`.

mod ab;
mod analyze;
mod baseline;
mod bench_kernel;
mod capture;
mod compare;
mod export;
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
mod view;

use anyhow::Result;

use crate::cli::{BenchCommand, Cli, Command, EngineBench};
use crate::exit::Exit;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Profile(args) => profile::run(args),
        Command::Run(args) => run::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Capture(args) => capture::run(args),
        Command::WatchOver(args) => capture::watch_over(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Kernels(args) => analyze::run(&args.into()),
        Command::Bench(args) => match args.command {
            BenchCommand::Ab(args) => ab::run(*args),
            BenchCommand::Score(args) => score::run(&args),
            BenchCommand::Serving(args) => serving::run(&args),
            BenchCommand::Engine(EngineBench::Kernel(args)) | BenchCommand::Kernel(args) => {
                bench_kernel::run(&args)
            }
            BenchCommand::Engine(EngineBench::Batch(args)) | BenchCommand::OneBatch(args) => {
                one_batch::run(&args)
            }
            BenchCommand::Engine(EngineBench::Offline(args)) | BenchCommand::Offline(args) => {
                offline::run(&args)
            }
            BenchCommand::OneBatchServer(args) => one_batch_server::run(&args),
            BenchCommand::Sweep(args) => sweep::run(*args),
        },
        Command::Compare(args) => compare::run(&args),
        Command::Baseline(args) => baseline::run(args.command),
        Command::Report(args) => report::run(&args),
        Command::View(args) => view::run(args),
        Command::Export(args) => export::run(&args),
        Command::Trim(args) => export::run(&args.into()),
    }
}
