//! The benchmarks, by family.

use clap::{Args, Subcommand};

use super::AbArgs;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Say which of two servers on this machine is faster, by measuring them in turns
    Ab(AbArgs),
}
