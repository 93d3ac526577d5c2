//! A server at many settings, and batches at once.

use std::path::PathBuf;

use clap::Args;
use xscope_capture::Slo;

use super::groups::{
    LinesArgs, OutputArgs, OutputDirArgs, ProgressArgs, ReadyArgs, SeedArgs, WarmupArgs,
    of_one_point,
};
use super::{RequestArgs, ScoreAskArgs};

#[derive(Debug, Args)]
#[command(mut_arg("warmup", |arg| arg.default_value("3")))]
pub(crate) struct OneBatchServerArgs {
    /// Where the server runs
    #[arg(long, visible_alias = "base-url", value_name = "URL")]
    pub url: String,
    /// Its log, in which compilations are seen
    #[arg(long, value_name = "FILE")]
    pub server_log: Option<PathBuf>,
    /// Prompts that are sent at once; several sizes are combined with every length
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Vec<u32>,
    /// Tokens of a prompt
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    pub input_len: Vec<u32>,
    /// Tokens that are generated for each
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', default_value = "16", value_parser = clap::value_parser!(u32).range(1..))]
    pub output_len: Vec<u32>,
    /// How often each batch is sent
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: u32,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub ready: ReadyArgs,
    #[command(flatten)]
    pub progress: ProgressArgs,
    #[command(flatten)]
    pub warmup: WarmupArgs,
    #[command(flatten)]
    pub seed: SeedArgs,
    #[command(flatten)]
    pub lines: LinesArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(mut_args(of_one_point))]
pub(crate) struct SweepArgs {
    /// A TOML file: `command = "serve --port {port} --rows {rows}"` and `values.rows = [8, 16]`
    #[arg(value_name = "GRID")]
    pub grid: PathBuf,
    /// Go on with this earlier run of the same sweep
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// The figure that settings are ranked by, over all points by geometric mean
    #[arg(
        long,
        value_name = "FIGURE",
        value_parser = ["throughput_items_per_sec", "requests_per_sec", "mean_ms", "p50_ms", "p95_ms", "p99_ms"],
        default_value = "throughput_items_per_sec"
    )]
    pub rank: String,
    /// How many of the best are measured again from a fresh start
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub confirm: usize,
    /// How often each point is measured on a start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: u32,
    /// Begin no setting after so many seconds; --resume goes on
    #[arg(long, value_name = "SECS", default_value_t = 86_400)]
    pub budget_secs: u64,
    /// Try settings, too, that are larger than one that ran out of memory
    #[arg(long)]
    pub try_all: bool,
    /// Service levels that a setting must keep: p99=500ms, mean=20ms
    #[arg(long, value_name = "FIGURE=LIMIT,...", value_delimiter = ',')]
    pub slo: Vec<Slo>,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub ready: ReadyArgs,
    #[command(flatten)]
    pub progress: ProgressArgs,
    #[command(flatten)]
    pub output: OutputArgs,
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
    fn service_levels_are_checked_at_once() {
        let url = ["bench", "score", "--find-max", "--url", "http://h:1"];
        assert!(accepts(&[&url[..], &["--slo", "p99=500ms,mean=0.1s"]].concat()));
        assert!(!accepts(&[&url[..], &["--slo", "p99=500"]].concat()));
        assert!(!accepts(&[&url[..], &["--slo", "p99=1s", "--start-rate", "0"]].concat()));
        assert!(!accepts(&url), "what must hold?");
        assert!(!accepts(&["bench", "score", "--url", "http://h:1", "--slo", "p99=1s"]));
        let batch = ["bench", "one-batch-server", "--base-url", "http://h:1"];
        assert!(accepts(&[&batch[..], &["--batch-size", "1", "8"]].concat()));
        assert!(!accepts(&[&batch[..], &["--batch-size", "0"]].concat()));
        assert!(accepts(&["bench", "sweep", "grid.toml", "--rank", "p99_ms"]));
        assert!(!accepts(&["bench", "sweep", "grid.toml", "--rank", "p99"]));
        let sweep = ["bench", "sweep", "grid.toml"];
        assert!(accepts(
            &[&sweep[..], &["--workload", "w.toml", "--arrivals", "closed:8"]].concat()
        ));
        assert!(accepts(&[&sweep[..], &["--batch-sizes", "8,32", "--slo", "p99=500ms"]].concat()));
    }
}
