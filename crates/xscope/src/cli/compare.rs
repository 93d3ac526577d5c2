//! What changed, and is it real.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use xscope_analysis::compare::verdict::Gate;

use super::groups::{BaselinesArgs, OutputArgs, TablesArgs};

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A and B: run directories, files of results, files that `baseline save` wrote, or folders of
    /// these. With --baseline all of them are B
    #[arg(value_name = "PATH", required_unless_present = "a")]
    pub paths: Vec<PathBuf>,
    /// One of several runs of side A
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "b", conflicts_with = "paths")]
    pub a: Vec<PathBuf>,
    /// One of several runs of side B
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "a", conflicts_with = "paths")]
    pub b: Vec<PathBuf>,
    /// Side A is what was last saved under this name in the environment of B
    #[arg(long, value_name = "NAME", conflicts_with_all = ["a", "b"])]
    pub baseline: Option<String>,
    /// The runs of both sides were taken in turns: the first of A belongs to the first of B
    #[arg(long)]
    pub paired: bool,
    /// Do not look into the traces of runs for where the time went
    #[arg(long)]
    pub no_traces: bool,
    /// Also write A and B beside each other as one HTML page
    #[arg(long, value_name = "FILE", conflicts_with_all = ["a", "b", "baseline"])]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub folder: BaselinesArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: VerdictOutputArgs,
}

/// What counts as a difference.
#[derive(Debug, Args)]
#[command(next_help_heading = "Judgement")]
pub(crate) struct JudgeArgs {
    /// A TOML file of rules that replace the built-in ones: docs/compare.md
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Exit with 1 if it is as bad as this: warn, undecided, invalid, fail, or never
    #[arg(long, value_name = "WHEN", value_parser = fail_on, default_value = "invalid")]
    pub fail_on: FailOn,
}

/// The mildest outcome that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailOn(pub Option<Gate>);

/// How a verdict is reported.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct VerdictOutputArgs {
    #[command(flatten)]
    pub tables: TablesArgs,
    /// Write a report that CI systems show as tests
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the payload of a Slack webhook
    #[arg(long, value_name = "FILE")]
    pub slack: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    #[command(subcommand)]
    pub command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Keep runs as a baseline; several runs of the same code also show how noisy they are
    Save(BaselineSaveArgs),
    /// List baselines in their series, and the noise that A/A runs showed
    List(BaselineListArgs),
    /// Print one baseline
    Show(BaselineShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BaselineSaveArgs {
    /// The baseline's name: a branch, a release
    pub name: String,
    /// Run directories, files of results, or folders of these
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub folder: BaselinesArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BaselineListArgs {
    /// Only baselines of this name
    pub name: Option<String>,
    #[command(flatten)]
    pub folder: BaselinesArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BaselineShowArgs {
    /// The baseline's name; the one that was saved last is shown
    pub name: String,
    #[command(flatten)]
    pub folder: BaselinesArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

fn fail_on(text: &str) -> Result<FailOn, String> {
    match text {
        "warn" => Ok(FailOn(Some(Gate::Warn))),
        "undecided" => Ok(FailOn(Some(Gate::Undecided))),
        "invalid" => Ok(FailOn(Some(Gate::Invalid))),
        "fail" => Ok(FailOn(Some(Gate::Fail))),
        "never" => Ok(FailOn(None)),
        _ => Err("expected warn, undecided, invalid, fail or never".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn sides_are_named_once() {
        assert!(!accepts(&["compare"]));
        assert!(accepts(&["compare", "a", "b", "--junit", "j.xml", "--fail-on", "undecided"]));
        assert!(accepts(&["compare", "--a", "a1", "a2", "--b", "b1", "--paired"]));
        assert!(!accepts(&["compare", "--a", "a1"]));
        assert!(!accepts(&["compare", "a", "b", "--a", "c", "--b", "d"]));
        assert!(accepts(&["compare", "--baseline", "main", "b"]));
        assert!(!accepts(&["compare", "a", "b", "--fail-on", "often"]));
        assert!(!accepts(&["compare", "a", "b", "--json", "--markdown"]));
    }

    #[test]
    fn baselines_are_saved_listed_and_shown() {
        assert!(accepts(&["baseline", "save", "main", "run1", "run2", "--baselines", "b"]));
        assert!(!accepts(&["baseline", "save", "main"]));
        assert!(accepts(&["baseline", "list", "--json"]));
        assert!(accepts(&["baseline", "show", "main"]));
    }
}
