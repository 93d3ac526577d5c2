//! The benchmarks, by family.

use clap::{Args, Subcommand};

use super::{AbArgs, ScoreArgs, ServingArgs};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Say which of two servers on this machine is faster, by measuring them in turns
    Ab(Box<AbArgs>),
    /// Measure a scoring server: latency and items per second over a matrix, with a verdict on each
    /// point; the built-in engine if no server is named
    Score(Box<ScoreArgs>),
    /// Measure a generating server: time to the first token, between tokens, tokens per second
    Serving(Box<ServingArgs>),
}
