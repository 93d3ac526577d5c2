//! Getting a run: what is started, what is sent, what is recorded.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use xscope_trace::Picos;

use super::{EngineArgs, OutputArgs, TargetArgs};

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Profile the server at this address instead of the built-in engine
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "load_format", "overrides"])]
    pub url: Option<String>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub overhead: OverheadArgs,
    /// Where the run's directory is made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub output_dir: PathBuf,
    /// How long the server may take to get ready, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    pub ready_timeout_secs: u64,
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// Start this server, with probes inside, and end it afterwards; --url says where it listens
    #[arg(last = true, value_name = "CMD", requires = "url")]
    pub server: Vec<OsString>,
    /// Show a page on stderr that follows the requests: latency, rate, stages; on a terminal only
    #[arg(long, conflicts_with = "no_progress")]
    pub watch: bool,
    /// Do not show progress on stderr
    #[arg(long)]
    pub no_progress: bool,
    #[command(flatten)]
    pub targets: TargetArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Where the run's directory is made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub output_dir: PathBuf,
    /// Leave the command's output to the log in the run's directory
    #[arg(long)]
    pub quiet: bool,
    /// Keep only the spans of requests that take longer, and of what went on around them
    #[arg(long, value_name = "TIME", value_parser = super::time::time)]
    pub slow_over: Option<Picos>,
    /// Where the command listens: its profiler is run for the next request like a slow one
    #[arg(long, value_name = "URL", requires = "slow_over")]
    pub url: Option<String>,
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What to record in a Python server.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A table of probes besides those that xscope has for sglang-jax, SGLang and vLLM
    #[arg(long, value_name = "FILE")]
    pub probes: Vec<PathBuf>,
    /// What the server finds on PYTHONPATH besides the probes
    #[arg(long, value_name = "PATH", env = "PYTHONPATH", hide = true)]
    pub python_path: Option<String>,
}

/// Windows with more and less recording, in turns, after the measurement.
#[derive(Debug, Args)]
#[command(next_help_heading = "Overhead report")]
pub(crate) struct OverheadArgs {
    /// How long such windows may take; 0 leaves the report out [default: half as long as the
    /// measurement, at most 10]
    #[arg(long, value_name = "SECS")]
    pub overhead_secs: Option<u64>,
    /// What is switched in them
    #[arg(long, value_name = "LEVEL,...", value_delimiter = ',', default_value = "probes,basic")]
    pub overhead_levels: Vec<OverheadLevel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverheadLevel {
    /// The probes in a server that xscope started
    Probes,
    /// The server's profiler, as in the measurement
    Basic,
    /// The server's profiler with its Python tracer
    Full,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct WorkloadArgs {
    /// Items of a request; several sizes, separated by commas, are measured one after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "4")]
    pub batch_sizes: Vec<u32>,
    /// Labels scored for each item; several counts are combined with every batch size
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "2")]
    pub label_counts: Vec<u32>,
    /// The label token ids themselves, instead of drawn ones
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub label_token_ids: Option<Vec<u32>>,
    /// Measured requests of each combination
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub requests: u32,
    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub concurrency: u32,
    /// Rounds of warm-up with the same shapes
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub warmup: u32,
    /// Tokens of a query
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub query_tokens: u32,
    /// Tokens of an item
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub item_tokens: u32,
    /// Send token ids instead of text, so that the server does not tokenize
    #[arg(long)]
    pub token_ids: bool,
    /// Put the item before the query
    #[arg(long)]
    pub item_first: bool,
    /// Ask for probabilities under the full vocabulary instead of a softmax over the labels
    #[arg(long)]
    pub no_softmax: bool,
    /// Size of the model's vocabulary, if the server does not say it
    #[arg(long, value_name = "N")]
    pub vocab_size: Option<u32>,
    /// The model's name in the requests, if the server does not say it
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn profile_takes_lists_and_either_a_server_or_a_model() {
        assert!(accepts(&["profile"]));
        assert!(accepts(&["profile", "--batch-sizes", "1,4,16", "--label-counts", "2,4"]));
        assert!(!accepts(&["profile", "--url", "http://127.0.0.1:1", "--model", "m"]));
        assert!(accepts(&["profile", "--url", "http://h:1", "--", "python", "-m", "s"]));
        assert!(!accepts(&["profile", "--", "python", "-m", "s"]), "where does it listen?");
        assert!(!accepts(&["run"]));
        assert!(!accepts(&["profile", "--device", "tpu"]));
    }
}
