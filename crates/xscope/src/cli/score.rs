//! The score benchmark.

use clap::Args;
use xscope_load::Lengths;

use super::groups::usually;
use super::{EngineArgs, LoadArgs};

/// What is asked to be scored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct ScoreAskArgs {
    /// Items of a request, for each point
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub batch_sizes: Vec<u32>,
    /// Labels scored for each item, for each point
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub label_counts: Vec<u32>,
    /// The label token ids themselves, instead of drawn ones
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub label_token_ids: Option<Vec<u32>>,
    /// Tokens of a query: 12, uniform:10-30, normal:20,5, lognormal:20,0.5, zipf:1.2,100
    /// [default: 12]
    #[arg(long, value_name = "LENGTHS")]
    pub query_tokens: Option<Lengths>,
    /// Tokens of an item [default: 8]
    #[arg(long, value_name = "LENGTHS")]
    pub item_tokens: Option<Lengths>,
    /// Send token ids instead of text, so that the server does not tokenize
    #[arg(long)]
    pub token_ids: bool,
    /// Put the item before the query
    #[arg(long)]
    pub item_first: bool,
    /// Ask for probabilities under the full vocabulary instead of a softmax over the labels
    #[arg(long)]
    pub no_softmax: bool,
}

#[derive(Debug, Args)]
#[command(
    mut_arg("batch_sizes", |arg| usually(arg, "the matrix's")),
    mut_arg("label_counts", |arg| usually(arg, "the matrix's")),
    mut_arg("requests", |arg| usually(arg, "the matrix's")),
    mut_arg("warmup", |arg| usually(arg, "2; of standard 5, of full 10")),
)]
pub(crate) struct ScoreArgs {
    /// The matrix: smoke (batches 1 4 16, labels 2 4, 5 requests), standard (1 to 32, 2 4 8, 20)
    /// or full (1 to 64, 2 4 8 16, 50) [default: smoke, unless --workload or sizes are given]
    #[arg(long, value_parser = ["smoke", "standard", "full"])]
    pub profile: Option<String>,
    /// Instead of the matrix: batches of 50, 100 and 200 items, then 4, 8 and 16 requests at once
    /// for 30 s
    #[arg(long, conflicts_with_all = ["profile", "batch_sizes", "label_counts"])]
    pub stress: bool,
    /// Take a profile of each point, apart from what is measured
    #[arg(long)]
    pub enable_trace: bool,
    /// The same, and say the peak of device memory of each point
    #[arg(long)]
    pub enable_memory: bool,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub ask: ScoreAskArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn the_users_own_options_are_taken() {
        let score = |args: &[&str]| accepts(&[&["bench", "score"], args].concat());
        assert!(score(&["--profile", "full", "--enable-memory", "--output-json", "r.json"]));
        assert!(score(&["--profile", "standard", "--enable-trace", "--base-url", "http://h:1"]));
        assert!(score(&["--stress", "--secs", "5"]));
        assert!(score(&["--arrivals", "poisson:20/s", "--query-tokens", "normal:20,5"]));
        assert!(score(&["--", "serve", "--port", "{port}"]));
        assert!(!score(&["--profile", "huge"]));
        assert!(!score(&["--stress", "--profile", "full"]));
        assert!(!score(&["--arrivals", "sometimes"]));
        assert!(!score(&["--require", "p50"]));
        assert!(!score(&["--server-log", "x"]));
    }
}
