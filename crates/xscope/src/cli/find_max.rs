//! The largest rate that keeps service levels.

use clap::Args;
use xscope_capture::Slo;

/// The search for the largest rate that keeps service levels.
#[derive(Debug, Args)]
#[command(next_help_heading = "Largest rate")]
pub(crate) struct FindMaxArgs {
    /// Find the largest rate at which every --slo holds, for each point; all that was measured is in
    /// the run's directory
    #[arg(long, requires = "slo", conflicts_with_all = ["arrivals", "output_json", "csv", "targets",
        "price_per_hour"])]
    pub find_max: bool,
    /// Service levels: p99=500ms, mean=20ms, ttft.p95=0.2s
    #[arg(long, value_name = "FIGURE=LIMIT,...", value_delimiter = ',', requires = "find_max")]
    pub slo: Vec<Slo>,
    /// Requests per second to begin with
    #[arg(long, value_name = "RATE", default_value_t = 4.0, value_parser = above_zero)]
    pub start_rate: f64,
    /// The search ends when a rate that holds and one that fails differ by so many percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = above_zero)]
    pub precision: f64,
    /// How long each rate is tried at least, in seconds
    #[arg(long, alias = "probe-secs", value_name = "SECS", default_value_t = 20.0, value_parser = above_zero)]
    pub rate_secs: f64,
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}
