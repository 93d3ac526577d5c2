//! Benchmarks in process.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use xscope_load::Lengths;
use xscope_model::kernels::KernelShape;

use super::engine::device;
use super::groups::{
    CostArgs, LinesArgs, OutputArgs, OutputDirArgs, ProgressArgs, ResultsFileArgs, SeedArgs,
};
use super::{EngineArgs, ModelArgs};

/// How long a benchmark in process repeats.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct InProcessArgs {
    /// At most so many trials, each of at least 20 ms and one run; it ends earlier, after at least
    /// 6, when the median is known
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(6..=10_000))]
    pub trials: u32,
    /// The median is known when its 95 % interval lies within so many percent of it
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    pub within: f64,
    #[command(flatten)]
    pub report: InProcessOutputArgs,
}

/// Where a benchmark in process reports.
#[derive(Debug, Args)]
pub(crate) struct InProcessOutputArgs {
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub progress: ProgressArgs,
    #[command(flatten)]
    pub file: ResultsFileArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KernelArgs {
    /// Kernels and sizes that are not the usual ones: matmul:m=1/8/64,k=4096 (m, n, k),
    /// attention:q=1,k=1024 (b, h, kv, d, q, k), kv_update:t=16 (b, kv, d, t, c),
    /// moe:e=64,k=8 (t, h, i, e, k); all of them if none is named
    #[arg(value_name = "KERNEL[:SIZE=N/N...,...]", value_parser = KernelShape::parse)]
    pub kernels: Vec<Vec<KernelShape>>,
    /// What computes: cpu, cuda, cuda:1, metal
    #[arg(long, value_parser = device, default_value = "cpu")]
    pub device: xscope_model::Device,
    /// Run the same kernels through JAX, timed from its profile
    #[arg(long)]
    pub jax: bool,
    /// The Python that has JAX
    #[arg(long, value_name = "PATH", requires = "jax", default_value = "python3")]
    pub python: PathBuf,
    /// Number format of the kernels in JAX
    #[arg(long, requires = "jax", value_parser = ["float32", "bfloat16"], default_value = "float32")]
    pub jax_dtype: String,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    #[command(flatten)]
    pub inside: InProcessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneBatchArgs {
    /// Prompts of a batch; several sizes are combined with every length
    #[arg(long, alias = "batch-sizes", value_name = "N", num_args = 1.., value_delimiter = ',', default_value = "1")]
    pub batch_size: Vec<u32>,
    /// Tokens of a prompt
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', default_value = "128")]
    pub input_len: Vec<u32>,
    /// Tokens that are made for each prompt; the first comes with the prefill, which is all that
    /// scoring does
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', default_value = "1")]
    pub output_len: Vec<u32>,
    #[command(flatten)]
    pub seed: SeedArgs,
    #[command(flatten)]
    pub lines: LinesArgs,
    #[command(flatten)]
    pub inside: InProcessArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OfflineArgs {
    /// Where prompts come from
    #[arg(long, value_enum, default_value = "random")]
    pub dataset_name: Dataset,
    /// A ShareGPT file, or JSON lines of {"prompt", "output_tokens"}
    #[arg(long, value_name = "FILE", required_if_eq("dataset_name", "sharegpt"))]
    pub dataset_path: Option<PathBuf>,
    /// Prompts of a pass
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub num_prompts: u32,
    /// Tokens of a prompt: 128, uniform:64-128, lognormal:100,0.5
    #[arg(
        long,
        alias = "random-input-len",
        alias = "gsp-question-len",
        value_name = "LENGTH",
        default_value = "128"
    )]
    pub input_len: Lengths,
    /// Tokens that follow; the first comes with the prefill
    #[arg(
        long,
        alias = "random-output-len",
        alias = "gsp-output-len",
        alias = "sharegpt-output-len",
        value_name = "LENGTH",
        default_value = "1"
    )]
    pub output_len: Lengths,
    /// Of a shared prefix: how many there are
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub gsp_num_groups: u32,
    /// Of a shared prefix: its tokens
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub gsp_system_prompt_len: u32,
    /// Passes over all prompts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: u32,
    /// Append a line of JSON, with the keys of sglang's bench_offline_throughput
    #[arg(long, value_name = "FILE")]
    pub result_filename: Option<PathBuf>,
    #[command(flatten)]
    pub seed: SeedArgs,
    #[command(flatten)]
    pub cost: CostArgs,
    #[command(flatten)]
    pub report: InProcessOutputArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Kinds of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dataset {
    /// Token ids that are drawn
    Random,
    /// The same behind prefixes that several share
    #[value(name = "generated-shared-prefix", alias = "shared-prefix")]
    SharedPrefix,
    /// Questions of a file
    Sharegpt,
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn kernels_are_named_with_their_sizes() {
        assert!(accepts(&["bench", "kernel"]));
        assert!(accepts(&["bench", "kernel", "matmul:m=1/8", "moe", "--jax", "--python", "p"]));
        assert!(!accepts(&["bench", "kernel", "matmul:x=1"]));
        assert!(!accepts(&["bench", "kernel", "--python", "p"]), "what for?");
        assert!(!accepts(&["bench", "kernel", "--trials", "5"]), "too few for an interval");
    }

    #[test]
    fn prompts_are_drawn_or_from_a_file() {
        assert!(accepts(&["bench", "offline", "--input-len", "uniform:8-16"]));
        let shared = ["--dataset-name", "generated-shared-prefix", "--gsp-num-groups", "2"];
        assert!(accepts(&[&["bench", "offline"], &shared[..]].concat()));
        assert!(!accepts(&["bench", "offline", "--dataset-name", "sharegpt"]), "which file?");
    }

    #[test]
    fn batches_are_given_as_sglang_takes_them() {
        let sizes = ["bench", "one-batch", "--batch-size", "1", "4", "--input-len", "16", "32"];
        assert!(accepts(&sizes));
        assert!(accepts(&[&sizes[..], &["--output-len", "8", "--run-name", "r"]].concat()));
        assert!(!accepts(&["bench", "one-batch", "--input-len"]));
        let of_engine = [&["bench", "engine", "batch"], &sizes[2..]].concat();
        assert!(accepts(&of_engine) && accepts(&["bench", "engine", "one-batch"]));
    }
}
