//! From paths to a [`Trace`]: finds the files, tells their formats by content, reads each.

mod captures;
pub mod chrome;
mod clocks;
mod devices;
mod find;
pub(crate) mod input;
mod memory_report;
mod options;
mod pprof;
mod ranks;
mod registry;
mod requests;
mod riegeli;
mod server_log;
mod unpack;
mod xplane;
mod xspan;

use std::path::{Path, PathBuf};

pub use clocks::move_source;
pub use find::{device_profiles, whole_profile};
pub use options::{ReadOptions, half_of_memory};

use crate::bytes::FileBytes;
use crate::error::{Error, Result};
use crate::model::{Dropped, Trace};
use crate::quality::{Code, Finding};
use crate::read::clocks::{align, place_own, place_servers};
use crate::read::devices::{label_devices, sort_devices};
use crate::read::find::{find_profiles, may_be_silent};
use crate::read::input::Input;
use crate::read::ranks::find_ranks;
use crate::run::{RunDir, RunStatus};

/// Reads everything that `paths` name (files, TensorBoard log directories, run directories,
/// folders of such) into one trace, and keeps all of it.
///
/// # Errors
/// If a named file, or every file of a named directory, cannot be read. A directory with a
/// broken file beside good ones is read, with a finding for the broken one.
pub fn read_paths(paths: &[PathBuf]) -> Result<Trace> {
    read_paths_with(paths, ReadOptions::default())
}

/// [`read_paths`], keeping what `options` say.
///
/// # Errors
/// As [`read_paths`].
pub fn read_paths_with(paths: &[PathBuf], options: ReadOptions) -> Result<Trace> {
    let mut trace = Trace::default();
    for path in paths {
        match path.is_dir() {
            true => read_directory(path, options, &mut trace)?,
            false => registry::read(Input::open(path)?, options, &mut trace)?,
        }
    }
    report_dropped(options, &mut trace);
    Ok(finish(trace))
}

/// Reads the bytes of one file, which need not lie on a disk (standard input, a test, a fuzzer).
///
/// `name` stands in messages and for the host where a file does not name one. The format is told
/// by the bytes alone, but for the client's rows, whose name must end in `requests.jsonl`.
///
/// # Errors
/// If nothing can be read of them; lesser damage is a finding.
pub fn read_bytes(name: &str, bytes: Vec<u8>) -> Result<Trace> {
    let mut trace = Trace::default();
    let input = Input::of(Path::new(name), FileBytes::Owned(bytes));
    registry::read(input, ReadOptions::default(), &mut trace)?;
    Ok(finish(trace))
}

/// What can only be done when all files are read.
fn finish(mut trace: Trace) -> Trace {
    align(&mut trace);
    captures::join(&mut trace);
    find_ranks(&mut trace);
    sort_devices(&mut trace);
    label_devices(&mut trace);
    trace
}

fn read_directory(directory: &Path, options: ReadOptions, trace: &mut Trace) -> Result<()> {
    let files = find_profiles(directory)?;
    if files.is_empty() {
        return Err(Error::NothingFound {
            path: directory.to_owned(),
            what: format!(
                "no profile in it or below it (looked for {}); was the capture stopped before it \
                 could write?",
                registry::searched()
            ),
        });
    }
    let run = RunDir::open(directory).ok();
    trace.findings.extend(run.as_ref().and_then(unfinished_run));
    let mut first_error = None;
    let before = trace.sources.len();
    for file in files {
        let read = Input::open(&file).and_then(|input| registry::read(input, options, trace));
        let Err(error) = read else { continue };
        if may_be_silent(&file) {
            continue;
        }
        let message = format!("{error} (the other files were read)");
        trace.findings.push(Finding::new(Code::SourceUnreadable, message));
        first_error.get_or_insert(error);
    }
    if let Some(run) = &run {
        let (_, sources) = trace.sources.split_at_mut(before);
        place_own(run, sources);
        place_servers(run, sources, &mut trace.strings);
    }
    match first_error {
        Some(error) if trace.sources.len() == before => Err(error),
        // Of a run it is said how it ended.
        None if trace.sources.len() == before && run.is_none() => Err(Error::NothingFound {
            path: directory.to_owned(),
            what: "its files hold nothing: was a run ended before its first request was answered?"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Says what a memory limit cost.
fn report_dropped(options: ReadOptions, trace: &mut Trace) {
    let dropped: u64 = trace.dropped.iter().map(Dropped::count).sum();
    let (Some(limit), 1..) = (options.memory_limit, dropped) else { return };
    let message = format!(
        "slices of host threads were counted but not kept, because all would take more than the \
         limit of {} MB; device figures are whole, what the host did is not: raise --memory-limit \
         to see all",
        limit.0 / 1_000_000
    );
    trace.findings.push(Finding::new(Code::LoadDropped, message).times(dropped));
}

/// Whether a run was to send requests, and has no row of one.
fn has_no_answer(run: &RunDir) -> bool {
    std::fs::metadata(run.requests_path()).is_ok_and(|file| file.len() == 0)
}

/// What a run says of how it ended, unless all is well.
fn unfinished_run(run: &RunDir) -> Option<Finding> {
    let (code, what) = match run.manifest.status {
        RunStatus::Complete => return None,
        RunStatus::Running => (Code::RunRunning, "the run is still going on"),
        RunStatus::Interrupted if has_no_answer(run) => {
            (Code::RunInterrupted, "the run was interrupted before its first request was answered")
        }
        RunStatus::Interrupted => (
            Code::RunInterrupted,
            "the run was interrupted; it holds what was \
             recorded until then",
        ),
        RunStatus::Failed => (
            Code::RunFailed,
            "the run failed: its server went away or could not be \
             loaded; it holds what was recorded until then",
        ),
    };
    Some(Finding::new(code, what))
}
