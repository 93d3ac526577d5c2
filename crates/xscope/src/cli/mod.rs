//! The command line: argument types and nothing else, a module for each family of commands.
//! Nothing below `cmd` sees clap.

mod ab;
mod analyze;
mod bench;
mod capture;
#[cfg(test)]
mod ci;
mod compare;
mod engine;
mod export;
mod find_max;
mod in_process;
mod load;
mod profile;
mod report;
mod score;
mod search;
mod serving;
mod targets;
mod time;
mod view;

use clap::{Args, Parser, Subcommand};

pub(crate) use ab::AbArgs;
pub(crate) use analyze::{AnalyzeArgs, KernelsArgs};
pub(crate) use bench::{BenchArgs, BenchCommand};
pub(crate) use capture::{CaptureArgs, RecordedArgs, WatchOverArgs};
pub(crate) use compare::{
    BaselineArgs, BaselineCommand, BaselineListArgs, BaselineSaveArgs, BaselineShowArgs,
    CompareArgs, JudgeArgs, VerdictOutputArgs,
};
pub(crate) use engine::{EngineArgs, ModelArgs, ServeArgs};
pub(crate) use export::{CutArgs, ExportArgs, TrimArgs};
pub(crate) use find_max::FindMaxArgs;
pub(crate) use in_process::{
    Dataset, InProcessArgs, InProcessOutputArgs, KernelArgs, OfflineArgs, OneBatchArgs,
};
pub(crate) use load::{LoadArgs, RequestArgs};
pub(crate) use profile::{
    OverheadArgs, OverheadLevel, ProbeArgs, ProfileArgs, RunArgs, WorkloadArgs,
};
pub(crate) use report::ReportArgs;
pub(crate) use score::{ScoreArgs, ScoreAskArgs};
pub(crate) use search::{OneBatchServerArgs, SweepArgs};
pub(crate) use serving::ServingArgs;
pub(crate) use targets::TargetArgs;
pub(crate) use view::ViewArgs;

/// Where does the time of a scoring request go, from the socket to the last kernel?
#[derive(Debug, Parser)]
#[command(name = "xscope", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Profile scoring requests at five levels, on the built-in engine or a running server
    Profile(ProfileArgs),
    /// Serve the built-in engine: POST /v1/score, /start_profile, /metrics ...
    Serve(ServeArgs),
    /// Run a Python server with probes inside, and record spans of all its processes
    Run(RunArgs),
    /// Profile servers that run already, one or several at once, while they have work
    Capture(CaptureArgs),
    /// Stop profilers when the process at the other end of standard input is gone
    #[command(hide = true)]
    WatchOver(WatchOverArgs),
    /// Say what is in a profile, what is wrong with it, and where the time goes
    Analyze(AnalyzeArgs),
    /// Say how long each iteration of a kernel or an annotation took
    Kernels(KernelsArgs),
    /// Measure servers under load
    Bench(BenchArgs),
    /// Say what changed between two runs or sets of runs, and whether it is real
    Compare(CompareArgs),
    /// Keep runs to compare with, as files
    Baseline(BaselineArgs),
    /// Write the report on a run, or on the difference of two, as one HTML file
    Report(ReportArgs),
    /// Look at a profile, a folder of runs or a running server in a browser
    View(ViewArgs),
    /// Write a profile for other programs: Perfetto, Chrome, XProf, flame graphs, speedscope
    Export(ExportArgs),
    /// Cut a profile down to the part that matters, so that other programs can open it
    Trim(TrimArgs),
}

/// How a command reports.
#[derive(Debug, Default, Args)]
pub(crate) struct OutputArgs {
    /// Print the report as JSON, with the fields that FORMAT.md lists
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::{Command, CommandFactory as _, Parser as _};

    use super::Cli;

    /// Whether the arguments after `xscope` are accepted.
    pub(crate) fn accepts(args: &[&str]) -> bool {
        Cli::try_parse_from([&["xscope"], args].concat()).is_ok()
    }

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    /// A heading goes on behind the arguments that are flattened under it.
    #[test]
    fn what_a_command_is_about_stands_under_no_other_heading() {
        fn check(command: &Command) {
            for id in ["url", "output_dir", "ready_timeout_secs", "no_progress", "load", "trials"] {
                let args = command.get_arguments().filter(|arg| arg.get_id() == id);
                let headings: Vec<_> = args.filter_map(|arg| arg.get_help_heading()).collect();
                assert!(headings.is_empty(), "{} --{id}: {headings:?}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
