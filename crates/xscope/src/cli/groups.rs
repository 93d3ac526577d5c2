//! Groups of options that several commands have: each is defined once, and has its heading.

use std::path::PathBuf;

use clap::{Arg, Args};
use xscope_load::usual::ScoreMatrix;

/// Where a run goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct OutputDirArgs {
    /// Where the run's directory is made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub output_dir: PathBuf,
}

/// What is shown while a run is made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct ProgressArgs {
    /// Do not show progress on stderr
    #[arg(long)]
    pub no_progress: bool,
}

/// What is shown while requests are answered.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct WatchArgs {
    /// Show a page on stderr that follows the requests (latency, rate, stages), on a terminal
    #[arg(long, conflicts_with = "no_progress")]
    pub watch: bool,
    #[command(flatten)]
    pub progress: ProgressArgs,
}

/// A server that is waited for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct ReadyArgs {
    /// How long a server may take to get ready, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub ready_timeout_secs: u64,
}

/// Warm-up.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct WarmupArgs {
    /// Rounds of warm-up at least; it goes on until times are steady and nothing is compiled; 0: none
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub warmup: u32,
}

/// What is drawn.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct SeedArgs {
    /// Where what is drawn begins: equal seeds give equal prompts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Lines with the keys of sglang's benchmarks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct LinesArgs {
    /// Append a line of JSON for each batch, with the keys of sglang's benchmark of the same name
    #[arg(long, value_name = "FILE")]
    pub result_filename: Option<PathBuf>,
    /// What those lines call the run
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub run_name: String,
}

/// Where results are written besides.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ResultsFileArgs {
    /// Write the results to this file, too
    #[arg(long, value_name = "FILE")]
    pub output_json: Option<PathBuf>,
}

/// How a command reports.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print the report as JSON, with the fields that FORMAT.md lists
    #[arg(long)]
    pub json: bool,
}

/// How a command reports that has tables.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct TablesArgs {
    /// Print tables as Markdown, as for a comment on a pull request
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a run should reach.
#[derive(Debug, Args)]
#[command(next_help_heading = "Targets")]
pub(crate) struct LimitsArgs {
    /// A TOML file of other limits for some targets: docs/targets.md
    #[arg(long, value_name = "FILE")]
    pub targets: Option<PathBuf>,
}

/// What it costs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Targets")]
pub(crate) struct CostArgs {
    /// The price of an hour of the server; results say what a million items cost
    #[arg(long, value_name = "PRICE")]
    pub price_per_hour: Option<f64>,
}

/// Where baselines are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Baselines")]
pub(crate) struct BaselinesArgs {
    /// Where baselines and the noise of A/A runs are kept
    #[arg(long, value_name = "DIR", default_value = "baselines")]
    pub baselines: PathBuf,
}

/// Says in an option's help what holds in a command where nothing is said.
pub(crate) fn usually(arg: Arg, value: &str) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {value}]"))
}

/// Says of the options for requests what holds in a command that measures one point.
pub(crate) fn of_one_point(arg: Arg) -> Arg {
    let list = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    match arg.get_id().as_str() {
        "batch_sizes" => usually(arg, &list(ScoreMatrix::POINT.batch_sizes)),
        "label_counts" => usually(arg, &list(ScoreMatrix::POINT.label_counts)),
        "requests" => usually(arg, &ScoreMatrix::POINT.requests.to_string()),
        _ => arg,
    }
}
