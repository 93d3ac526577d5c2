//! xscope: a profiler for LLM scoring and serving on JAX/XLA.
//!
//! The binary holds arguments, exit codes and progress; what it does lives in the crates below.

mod cli;
mod cmd;
mod exit;
mod output;
mod parts;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cmd::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            exit::Exit::of(&error).into()
        }
    }
}
