//! What a run should reach.

use std::path::PathBuf;

use clap::Args;

/// Targets and cost.
#[derive(Debug, Args)]
#[command(next_help_heading = "Targets")]
pub(crate) struct TargetArgs {
    /// A TOML file of other limits for some targets: docs/targets.md
    #[arg(long, value_name = "FILE")]
    pub targets: Option<PathBuf>,
    /// When the exit code is 1: alert (a figure is beyond the alert of its target), missed (or
    /// misses its target), or never
    #[arg(long, value_name = "WHEN", value_parser = ["alert", "missed", "never"], default_value = "never")]
    pub fail_on: String,
}
