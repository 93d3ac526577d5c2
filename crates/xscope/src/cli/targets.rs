//! What a run should reach.

use clap::Args;

use super::groups::LimitsArgs;

/// Targets and cost.
#[derive(Debug, Args)]
#[command(next_help_heading = "Targets")]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub limits: LimitsArgs,
    /// When the exit code is 1: alert (a figure is beyond the alert of its target), missed (or
    /// misses its target), or never
    #[arg(long, value_name = "WHEN", value_parser = ["alert", "missed", "never"], default_value = "never")]
    pub fail_on: String,
}
