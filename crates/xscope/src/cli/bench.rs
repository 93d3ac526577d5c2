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
    /// Measure a scoring server: latency and items per second over a matrix, with a verdict on each
    /// point; the built-in engine if no server is named
    Score(Box<ScoreArgs>),
    /// Measure a generating server: time to the first token, between tokens, tokens per second
    Serving(Box<ServingArgs>),
    /// Time batches of prompts that are sent to a generating server at once
    OneBatchServer(Box<OneBatchServerArgs>),
    /// Say which of two servers on this machine is faster, by measuring them in turns
    Ab(Box<AbArgs>),
    /// Measure a server at many settings, and confirm the best of them
    Sweep(Box<SweepArgs>),
    /// Measure the built-in engine without a server around it
    #[command(subcommand)]
    Engine(EngineBench),
    /// xscope bench engine kernel
    #[command(hide = true)]
    Kernel(Box<KernelArgs>),
    /// xscope bench engine batch
    #[command(hide = true)]
    OneBatch(Box<OneBatchArgs>),
    /// xscope bench engine offline
    #[command(hide = true)]
    Offline(Box<OfflineArgs>),
}

/// What is measured in process.
#[derive(Debug, Subcommand)]
pub(crate) enum EngineBench {
    /// Time single kernels on the built-in engine's device, and through a user's JAX beside it
    Kernel(Box<KernelArgs>),
    /// Time one batch through the model: prefill and each further token
    #[command(alias = "one-batch")]
    Batch(Box<OneBatchArgs>),
    /// Say how many prompts the model gets through when all are there at once
    Offline(Box<OfflineArgs>),
}
