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
mod groups;
#[cfg(test)]
mod help;
mod in_process;
mod load;
#[cfg(test)]
mod pages;
mod profile;
mod report;
mod score;
mod search;
mod serving;
#[cfg(test)]
mod shell;
mod targets;
mod time;
mod view;

use clap::{Parser, Subcommand};

pub(crate) use ab::AbArgs;
pub(crate) use analyze::{AnalyzeArgs, KernelsArgs};
pub(crate) use bench::{BenchArgs, BenchCommand, EngineBench};
pub(crate) use capture::{CaptureArgs, RecordedArgs, WatchOverArgs};
pub(crate) use compare::{
    BaselineArgs, BaselineCommand, BaselineListArgs, BaselineSaveArgs, BaselineShowArgs,
    CompareArgs, JudgeArgs, VerdictOutputArgs,
};
pub(crate) use engine::{EngineArgs, ModelArgs, ServeArgs};
pub(crate) use export::{CutArgs, ExportArgs, TrimArgs};
pub(crate) use find_max::FindMaxArgs;
pub(crate) use groups::{ProgressArgs, WatchArgs};
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

/// In the order of work: a run is made, looked at, compared, and given to others.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Profile scoring requests at five levels, on the built-in engine or a running server
    Profile(ProfileArgs),
    /// Measure servers under load, or the built-in engine in process
    Bench(BenchArgs),
    /// Profile servers that run already, one or several at once, while they have work
    Capture(CaptureArgs),
    /// Run a Python server with probes inside, and record spans of all its processes
    Run(RunArgs),
    /// Serve the built-in engine: POST /v1/score, /start_profile, /metrics ...
    Serve(ServeArgs),
    /// Say what is in a profile, what is wrong with it, and where the time goes
    Analyze(AnalyzeArgs),
    /// Look at a profile, a folder of runs or a running server in a browser
    View(ViewArgs),
    /// Write the report on a run, or on the difference of two, as one HTML file
    Report(ReportArgs),
    /// Say what changed between two runs or sets of runs, and whether it is real
    Compare(CompareArgs),
    /// Keep runs to compare with, as files
    Baseline(BaselineArgs),
    /// Write a profile, or a part of it, for other programs: Perfetto, Chrome, XProf, flame graphs,
    /// speedscope
    Export(ExportArgs),
    /// Say how long each iteration took: xscope analyze PATH kernels --iterations REGEX
    #[command(hide = true)]
    Kernels(KernelsArgs),
    /// Write a part of one profile to one file: xscope export PATH --xplane FILE --from TIME ...
    #[command(hide = true)]
    Trim(TrimArgs),
    /// Stop what would outlive the process at the other end of standard input, when that is gone
    #[command(hide = true)]
    WatchOver(WatchOverArgs),
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
    fn what_a_command_is_about_stands_under_no_heading_of_another_group() {
        fn check(command: &Command) {
            for id in ["url", "output_dir", "ready_timeout_secs", "no_progress", "load", "trials"] {
                let args = command.get_arguments().filter(|arg| arg.get_id() == id);
                let heading = args.filter_map(|arg| arg.get_help_heading()).next();
                assert!(matches!(heading, None | Some("Run")), "{} --{id}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
