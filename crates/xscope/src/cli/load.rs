//! What the benchmarks of servers have in common.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use xscope_load::{Arrivals, Backend};

use super::FindMaxArgs;
use super::groups::{
    CostArgs, LimitsArgs, OutputDirArgs, ReadyArgs, ResultsFileArgs, TablesArgs, WatchArgs,
};

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
    /// Requests of a measured window
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
    /// Write a row for each point here, with comma-separated values
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    #[command(flatten)]
    pub limits: LimitsArgs,
    #[command(flatten)]
    pub cost: CostArgs,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub ready: ReadyArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub file: ResultsFileArgs,
    #[command(flatten)]
    pub tables: TablesArgs,
    #[command(flatten)]
    pub requests: RequestArgs,
    #[command(flatten)]
    pub find_max: FindMaxArgs,
}
