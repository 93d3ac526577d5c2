//! The benchmarks, by family.

use clap::{Args, Subcommand};

use super::{
    AbArgs, KernelArgs, OfflineArgs, OneBatchArgs, OneBatchServerArgs, ScoreArgs, ServingArgs,
    SweepArgs,
};

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
    /// Time single kernels on the built-in engine's device, and through a user's JAX beside it
    Kernel(Box<KernelArgs>),
    /// Time one batch through the model, in process: prefill and each further token
    OneBatch(Box<OneBatchArgs>),
    /// Say how many prompts the model gets through, in process, when all are there at once
    Offline(Box<OfflineArgs>),
    /// Time batches of prompts that are sent to a generating server at once
    OneBatchServer(Box<OneBatchServerArgs>),
    /// Measure a server at many settings, and confirm the best of them
    Sweep(Box<SweepArgs>),
}
