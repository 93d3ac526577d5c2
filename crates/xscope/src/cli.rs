//! The command line: argument types and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where does the time of a scoring request go, from the socket to the last kernel?
#[derive(Debug, Parser)]
#[command(name = "xscope", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is in a profile, what is wrong with it, and where the time goes
    Analyze(AnalyzeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    /// XPlane, Chrome JSON or span files, TensorBoard log directories, run directories
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a command reports.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print the report as JSON, with the fields that FORMAT.md lists
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::Cli;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn analyze_needs_a_path() {
        assert!(Cli::try_parse_from(["xscope", "analyze"]).is_err());
        assert!(Cli::try_parse_from(["xscope", "analyze", "a", "b", "--json"]).is_ok());
    }
}
