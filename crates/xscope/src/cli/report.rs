//! Reports as files.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A run directory, or any profile as for analyze; two of them to see what differs
    #[arg(required = true, num_args = 1..=2, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Where the page is written [default: report.html in the run directory; of two runs,
    /// difference.html here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
