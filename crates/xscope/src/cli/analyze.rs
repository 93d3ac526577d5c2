//! Reading profiles.

use std::path::PathBuf;

use clap::Args;
use regex_lite::Regex;
use xscope_analysis::kernels::peaks::{Peaks, of_chip};
use xscope_analysis::reports::grouping::GroupBy;
use xscope_analysis::section::Section;
use xscope_trace::Picos;

use super::groups::{OutputArgs, TablesArgs};
use super::time::{steps, time};

#[derive(Debug, Default, Args)]
pub(crate) struct AnalyzeArgs {
    #[arg(required = true, value_name = "PATH", help = paths())]
    pub paths: Vec<PathBuf>,
    /// Start of the window on the profile's own time axis, for all sections: 1.2s, 350ms, 17us.
    /// What reaches into the window is cut at its edges; requests count if they lie wholly in it
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<Picos>,
    /// End of the window
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Picos>,
    /// Only the time of this step, or of the steps from one to another (3..5), as numbered by
    /// `xscope analyze PATH steps`
    #[arg(long, value_name = "NUMBER", value_parser = steps, conflicts_with_all = ["from", "to"])]
    pub step: Option<(i64, i64)>,
    /// Only operations of devices whose name contains this. This filter and the three below apply
    /// to kernels, categories, layers, collectives and the devices' time lines, not to busy and
    /// idle time, programs, compiles, memory and requests
    #[arg(long, value_name = "PART")]
    pub device: Option<String>,
    /// Only operations of programs whose name contains this
    #[arg(long, value_name = "PART")]
    pub module: Option<String>,
    /// Only operations whose scope contains this
    #[arg(long, value_name = "PART")]
    pub scope: Option<String>,
    /// Only operations whose name contains this
    #[arg(long, value_name = "PART")]
    pub name: Option<String>,
    /// Show kernels taken together by this
    #[arg(long, value_name = "WHAT", value_parser = group_by)]
    pub by: Option<GroupBy>,
    /// Measure the peaks of this machine's CPU first and compare its kernels with them: for profiles
    /// of JAX's CPU backend or the built-in engine that were recorded here
    #[arg(long)]
    pub measure_cpu: bool,
    /// The chip that TPUs and GPUs of the profile are, where it names none (AMD's): its peaks are
    /// those that kernels are compared with. Such as MI300X, "H100 PCIe", "TPU v6e"
    #[arg(long, value_name = "NAME", value_parser = of_chip)]
    pub chip: Option<Peaks>,
    /// A file of rules for components of the model, one `part of a scope = component` a line
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Also write what is known of memory as memory_report_*.json and memory_summary.json, as
    /// sglang-jax's memory profiler does, to this folder
    #[arg(long, value_name = "DIR")]
    pub memory_reports: Option<PathBuf>,
    /// What slices may take in memory, in MB, before those of host threads that no figure of a
    /// device needs are only counted; 0 to do so at once [default: half of the memory]
    #[arg(long, value_name = "MB")]
    pub memory_limit: Option<u64>,
    /// Instead of the report, how long each iteration took of the kernels, programs and annotations
    /// of whose names this regular expression matches a part: xscope analyze PATH kernels --iterations
    /// REGEX
    #[arg(long, value_name = "REGEX", conflicts_with_all = ["markdown", "from", "to", "step", "device", "module", "scope", "name", "by", "measure_cpu", "chip", "rules", "memory_reports"])]
    pub iterations: Option<Regex>,
    #[command(flatten)]
    pub tables: TablesArgs,
}

/// What can be read, and the sections that can be asked for behind it.
fn paths() -> String {
    let mut sections: Vec<&str> = Section::ALL.iter().map(|section| section.name()).collect();
    let last = sections.pop().unwrap_or_default();
    format!(
        "XPlane, Chrome JSON or span files, TensorBoard log directories, run directories; then, to see one \
         section in full: {} or {last}",
        sections.join(", ")
    )
}

/// One of the names that kernels can be grouped by.
fn group_by(text: &str) -> Result<GroupBy, String> {
    let names = GroupBy::ALL.map(|(name, _)| name);
    let found = GroupBy::ALL.iter().find(|(name, _)| *name == text);
    found.map(|&(_, by)| by).ok_or_else(|| format!("one of {} expected", names.join(", ")))
}

/// `xscope kernels`: `xscope analyze PATH kernels --iterations REGEX`.
#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// A regular expression that part of the name of the kernel, program or annotation matches
    #[arg(long, value_name = "REGEX")]
    pub task: Regex,
    /// Profiles, as for analyze; of a trace.json.gz the XPlane file beside it is read
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<KernelsArgs> for AnalyzeArgs {
    fn from(args: KernelsArgs) -> Self {
        let KernelsArgs { task, paths, output } = args;
        let tables = TablesArgs { markdown: false, output };
        Self { paths, iterations: Some(task), tables, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn something_must_be_named() {
        assert!(!accepts(&["analyze"]));
        assert!(accepts(&["analyze", "p", "kernels", "--iterations", "fusion.*"]));
        assert!(!accepts(&["analyze", "p", "--iterations", "("]));
        assert!(!accepts(&["kernels", "p", "--task", "("]));
    }
}
