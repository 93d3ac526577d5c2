//! From files to reports and measurements: the only room of this crate that reads files.

pub mod baselines;
pub mod measured;
pub mod memory_reports;

use std::path::{Path, PathBuf};

use xscope_trace::Trace;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::read::{ReadOptions, half_of_memory, read_paths_with};
use xscope_trace::run::RunDir;

use crate::clocks::measure;
use crate::error::{Result, chain};
use crate::reports::analyze::needs_host_slice;
use crate::reports::profile::{RunFacts, profile};
use crate::reports::profile_report::ProfileReport;

/// What reports need of a profile, in half of this machine's memory.
pub fn read_options() -> ReadOptions {
    ReadOptions { memory_limit: half_of_memory(), needed: needs_host_slice }
}

/// Reads what reports need of profiles.
///
/// # Errors
///
/// As [`read_paths_with`].
pub fn read(paths: &[PathBuf]) -> Result<Trace> {
    read_with(paths, read_options())
}

/// Reads profiles, keeping what `options` say, and puts files on one clock by what their devices did
/// together.
///
/// # Errors
///
/// As [`read_paths_with`].
pub fn read_with(paths: &[PathBuf], options: ReadOptions) -> Result<Trace> {
    let mut trace = read_paths_with(paths, options)?;
    measure(&mut trace);
    Ok(trace)
}

/// [`read`], but of a run nothing may be left that can be read: what else is known of it is still
/// worth a look.
///
/// # Errors
///
/// As [`read`], if none of the paths is a run.
pub fn read_what_is_left(paths: &[PathBuf]) -> Result<Trace> {
    match read(paths) {
        Err(error) if paths.iter().any(|path| RunDir::is_at(path)) => {
            let message = format!("nothing of the run can be read: {}", chain(&error));
            let finding = Finding::new(Code::RunUnreadable, message);
            Ok(Trace { findings: vec![finding], ..Trace::default() })
        }
        read => read,
    }
}

/// What is wrong with the files of those paths that are runs.
pub fn flaws_of_runs(paths: &[PathBuf]) -> Vec<Finding> {
    let runs = paths.iter().filter(|path| RunDir::is_at(path));
    let issues = runs.filter_map(|path| RunDir::open(path).ok()?.verify().ok());
    issues.flatten().map(Finding::from).collect()
}

/// Reports on a run in whatever state it is in, or on any other profile, which is no run.
///
/// # Errors
///
/// There is no run and no profile.
pub fn profile_of(path: &Path) -> Result<(ProfileReport, Option<RunDir>)> {
    let mut trace = read_what_is_left(&[path.to_owned()])?;
    if !RunDir::is_at(path) {
        let run_dir = path.display().to_string();
        let facts = RunFacts { run_dir, complete: true, ..RunFacts::default() };
        return Ok((profile(&trace, &facts), None));
    }
    let run = RunDir::open(path)?;
    trace.findings.extend(run.verify()?.into_iter().map(Finding::from));
    let facts = RunFacts::of(&run, run.read_json(&run.overhead_path()));
    Ok((profile(&trace, &facts), Some(run)))
}
