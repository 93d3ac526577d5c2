//! Getting a run: what is started, what is sent, what is recorded.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use xscope_trace::Picos;

use super::groups::{OutputArgs, OutputDirArgs, ReadyArgs, WarmupArgs, WatchArgs, of_one_point};
use super::{EngineArgs, RequestArgs, ScoreAskArgs, TargetArgs};

#[derive(Debug, Args)]
#[command(mut_arg("ready_timeout_secs", |arg| arg.default_value("60")))]
pub(crate) struct ProfileArgs {
    /// Profile the server at this address instead of the built-in engine
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "load_format", "overrides"])]
    pub url: Option<String>,
    /// Start this server, with probes inside, and end it afterwards; --url says where it listens
    #[arg(last = true, value_name = "CMD", requires = "url")]
    pub server: Vec<OsString>,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub ready: ReadyArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub probes: ProbeArgs,
    #[command(flatten)]
    pub targets: TargetArgs,
    #[command(flatten)]
    pub overhead: OverheadArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Leave the command's output to the log in the run's directory
    #[arg(long)]
    pub quiet: bool,
    /// Keep only the spans of requests that take longer, and of what went on around them
    #[arg(long, value_name = "TIME", value_parser = super::time::time)]
    pub slow_over: Option<Picos>,
    /// Where the command listens: its profiler is run for the next request like a slow one
    #[arg(long, value_name = "URL", requires = "slow_over")]
    pub url: Option<String>,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub probes: ProbeArgs,
}

/// What to record in a Python server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Probes")]
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

/// Scoring requests, or those of a workload, for a command that measures one point.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests", mut_args(of_one_point))]
pub(crate) struct WorkloadArgs {
    /// Requests in flight at once: --arrivals closed:N
    #[arg(long, value_name = "N", conflicts_with = "arrivals")]
    pub concurrency: Option<u32>,
    #[command(flatten)]
    pub warmup: WarmupArgs,
    #[command(flatten)]
    pub ask: ScoreAskArgs,
    #[command(flatten)]
    pub requests: RequestArgs,
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
        assert!(accepts(&["profile", "--url", "http://h:1", "--workload", "w.toml"]));
        assert!(!accepts(&["profile", "--concurrency", "4", "--arrivals", "closed:4"]));
        assert!(!accepts(&["profile", "--", "python", "-m", "s"]), "where does it listen?");
        assert!(!accepts(&["run"]));
        assert!(!accepts(&["profile", "--device", "tpu"]));
    }
}
