//! Looking at profiles in a browser.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// What to look at: a run directory, profiles as for analyze, or a folder of runs to browse
    #[arg(value_name = "PATH", required_unless_present = "live")]
    pub paths: Vec<PathBuf>,
    /// Watch this server, or the benchmark that writes the run PATH, while it works
    #[arg(long, value_name = "URL")]
    pub live: Option<String>,
    /// The port to listen on, on this machine only; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Only print the address; do not open a browser
    #[arg(long)]
    pub no_open: bool,
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn something_is_looked_at() {
        assert!(!accepts(&["view"]));
        assert!(accepts(&["view", "--live", "http://127.0.0.1:30000"]));
        assert!(accepts(&["view", "runs", "--no-open", "--port", "0"]));
    }
}
