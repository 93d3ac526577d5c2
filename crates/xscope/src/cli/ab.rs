//! Two servers in turns.

use clap::{ArgGroup, Args};

use super::groups::{OutputDirArgs, ReadyArgs, WatchArgs};
use super::{JudgeArgs, VerdictOutputArgs, WorkloadArgs};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("side_a").args(["a", "a_url"]).required(true)))]
#[command(group(ArgGroup::new("side_b").args(["b", "b_url"]).required(true)))]
pub(crate) struct AbArgs {
    /// The command of the shell that starts A; {port} in it becomes a free port
    #[arg(long, value_name = "CMD", value_parser = has_port)]
    pub a: Option<String>,
    /// Where A runs already
    #[arg(long, value_name = "URL")]
    pub a_url: Option<String>,
    /// The command of the shell that starts B
    #[arg(long, value_name = "CMD", value_parser = has_port)]
    pub b: Option<String>,
    /// Where B runs already
    #[arg(long, value_name = "URL")]
    pub b_url: Option<String>,
    /// The figures that must have an answer before it is over [default: p50_ms and items per second;
    /// of requests that generate p50_ms, ttft.p50_ms where they stream, and tokens per second]
    #[arg(
        long,
        value_name = "FIGURE,...",
        value_delimiter = ',',
        value_parser = [
            "mean_ms", "p50_ms", "p95_ms", "p99_ms",
            "ttft.mean_ms", "ttft.p50_ms", "ttft.p95_ms", "ttft.p99_ms",
            "itl.mean_ms", "itl.p50_ms", "itl.p95_ms", "itl.p99_ms",
            "throughput_items_per_sec", "requests_per_sec", "output_tokens_per_sec",
        ],
    )]
    pub decide: Vec<String>,
    /// Differences of those figures below this do not matter, in percent [default: what the rules
    /// allow]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub within: Option<f64>,
    /// At most so many blocks of each side; --requests is the length of a block
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=4096))]
    pub max_pairs: u32,
    /// Begin no pair that would end after so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 1800)]
    pub budget_secs: u64,
    /// Start both servers anew after so many pairs, so that how much starts differ is part of the
    /// answer
    #[arg(long, value_name = "PAIRS", conflicts_with_all = ["a_url", "b_url"], value_parser = clap::value_parser!(u32).range(1..))]
    pub restart_every: Option<u32>,
    /// Start each server for its own block, so that only one is up at a time: for accelerators that
    /// only one process can have
    #[arg(long, conflicts_with_all = ["a_url", "b_url", "restart_every"])]
    pub one_at_a_time: bool,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub ready: ReadyArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: VerdictOutputArgs,
}

fn has_port(text: &str) -> Result<String, String> {
    match text.contains("{port}") {
        true => Ok(text.to_owned()),
        false => Err("say where the port goes, as in: serve --port {port}".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(percent),
        _ => Err("expected percent, above 0 and below 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn each_side_is_a_command_or_an_address() {
        let serve = "xscope serve --port {port}";
        assert!(accepts(&["bench", "ab", "--a", serve, "--b", serve, "--within", "2%"]));
        assert!(accepts(&["bench", "ab", "--a-url", "http://h:1", "--b-url", "http://h:2"]));
        assert!(accepts(&[
            "bench",
            "ab",
            "--a",
            serve,
            "--b-url",
            "http://h:2",
            "--requests",
            "9"
        ]));
        assert!(!accepts(&["bench", "ab", "--a", serve]));
        assert!(!accepts(&["bench", "ab", "--a", "xscope serve", "--b", serve]));
        assert!(!accepts(&["bench", "ab", "--a", serve, "--a-url", "http://h:1", "--b", serve]));
        assert!(!accepts(&["bench", "ab", "--a", serve, "--b", serve, "--max-pairs", "1"]));
        assert!(!accepts(&["bench", "ab", "--a", serve, "--b", serve, "--within", "0"]));
        assert!(accepts(&["bench", "ab", "--a", serve, "--b", serve, "--one-at-a-time"]));
        assert!(!accepts(&["bench", "ab", "--a", serve, "--b", serve, "--decide", "p50"]));
        let urls = ["bench", "ab", "--a-url", "http://h:1", "--b-url", "http://h:2"];
        assert!(!accepts(&[&urls[..], &["--one-at-a-time"]].concat()));
        assert!(!accepts(&[&urls[..], &["--restart-every", "1"]].concat()));
    }
}
