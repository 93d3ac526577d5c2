//! What the benchmarks of servers have in common.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use xscope_load::{Arrivals, Backend};

use super::{FindMaxArgs, OutputArgs};

/// Figures that can be asked for.
const FIGURES: [&str; 9] = [
    "mean_ms",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "max_ms",
    "throughput_items_per_sec",
    "requests_per_sec",
    "input_tokens_per_sec",
    "output_tokens_per_sec",
];

/// What is sent, to whatever server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestArgs {
    /// A workload in TOML (docs/bench.md); options given besides replace what it says
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// How requests are spelled: sglang, vllm-generative, vllm-score, vllm-rerank, tei-rerank,
    /// sglang-generate, openai-completions, openai-chat [default: as the workload is usually asked]
    #[arg(long, value_name = "NAME")]
    pub backend: Option<Backend>,
    /// How requests arrive: closed:4, constant:20/s, poisson:20/s, gamma:20/s,0.5, ramp:1-50/s,60s,
    /// stages:10/s*30s+20/s*30s, replay:FILE [default: closed:1]
    #[arg(long, value_name = "ARRIVALS")]
    pub arrivals: Option<Arrivals>,
    /// Requests of a measured window [default: of a matrix its own, else 200; generation 100]
    #[arg(long, visible_aliases = ["num-prompts", "num-runs"], value_name = "N")]
    pub requests: Option<u32>,
    /// How long requests are sent in a measured window, in seconds
    #[arg(long, value_name = "SECS")]
    pub secs: Option<f64>,
    /// Different requests before they repeat, so that every answer is checked for drift
    #[arg(long, value_name = "N")]
    pub distinct: Option<u32>,
    /// Where what is drawn begins: equal seeds give equal requests
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The model's name in the requests, if the server does not say it
    #[arg(long, visible_alias = "served-model-name", value_name = "NAME")]
    pub model_name: Option<String>,
    /// Ids in the model's vocabulary; prompts are made below it
    #[arg(long, value_name = "N")]
    pub vocab_size: Option<u32>,
    /// How far a score may be from that of an equal request before
    #[arg(long, value_name = "DIFFERENCE", default_value_t = 0.01)]
    pub drift: f64,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Measure the server at this address
    #[arg(long, visible_alias = "base-url", value_name = "URL")]
    pub url: Option<String>,
    /// Start this server and end it afterwards; {port} in it becomes a free port, or --url says
    /// where it listens
    #[arg(last = true, value_name = "CMD")]
    pub server: Vec<OsString>,
    /// The log of a server that runs already, in which compilations are seen
    #[arg(long, value_name = "FILE", requires = "url")]
    pub server_log: Option<PathBuf>,
    /// How long the server may take to get ready, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub ready_timeout_secs: u64,
    /// Rounds of warm-up at least; it goes on until times are steady and nothing is compiled; 0: none
    #[arg(long, visible_alias = "warmup-requests", value_name = "N")]
    pub warmup: Option<u32>,
    /// How often each point is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub trials: u32,
    /// Figures without which a point is invalid [default: median, mean, and in a closed loop rates]
    #[arg(long, value_name = "FIGURE,...", value_delimiter = ',', value_parser = FIGURES)]
    pub require: Vec<String>,
    /// When the exit code is 1: invalid (a figure that was asked for means something else), alert
    /// (or one is beyond the alert of its target), missed (or misses its target), or never
    #[arg(long, value_name = "WHEN", value_parser = ["invalid", "alert", "missed", "never"], default_value = "invalid")]
    pub fail_on: String,
    /// A TOML file of other limits for some targets: docs/targets.md
    #[arg(long, value_name = "FILE")]
    pub targets: Option<PathBuf>,
    /// The price of an hour of the server; results say what a million items cost
    #[arg(long, value_name = "PRICE")]
    pub price_per_hour: Option<f64>,
    /// Where the run's directory is made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub output_dir: PathBuf,
    /// Write the results here, too
    #[arg(long, value_name = "FILE")]
    pub output_json: Option<PathBuf>,
    /// Write a row for each point here, with comma-separated values
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Show a page on stderr that follows the requests, on a terminal
    #[arg(long, conflicts_with = "no_progress")]
    pub watch: bool,
    /// Do not show progress on stderr
    #[arg(long)]
    pub no_progress: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub requests: RequestArgs,
    #[command(flatten)]
    pub find_max: FindMaxArgs,
}
