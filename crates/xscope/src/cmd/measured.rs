//! Finding and reading what was measured: runs, files of results, baselines, folders of these.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xscope_analysis::analyze;
use xscope_analysis::compare::baseline::Baseline;
use xscope_analysis::compare::measured::{Measured, RequestLine, results_from_json};
use xscope_analysis::reports::analyze::needs_host_slice;
use xscope_trace::read::{ReadOptions, half_of_memory, read_paths_with};
use xscope_trace::run::{RunDir, read_jsonl};

use crate::output;

/// Files of results are small, rows of half a million requests fit; what is larger is left alone.
const MAX_RESULTS_BYTES: u64 = 256 << 20;

/// Whether to look into the traces of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traces {
    Read,
    Skip,
}

/// Reads all of `paths`, folders in the order of their names.
pub(crate) fn find(paths: &[PathBuf], traces: Traces) -> Result<Vec<Measured>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        read(path, traces, &mut found)?;
        let says_nothing = |one: &Measured| one.points.is_empty() && one.invalid.is_none();
        if found[before..].iter().all(says_nothing) && !path.join("run.json").is_file() {
            found.truncate(before);
            found.push(read_trace(path)?);
        }
    }
    Ok(found)
}

fn read(path: &Path, traces: Traces, found: &mut Vec<Measured>) -> Result<()> {
    if !path.is_dir() {
        return read_file(path, found);
    }
    if path.join("run.json").is_file() {
        let mut measured = read_run(path)?;
        if traces == Traces::Read {
            add_trace(&mut measured, path);
        }
        found.push(measured);
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        let is_run = entry.join("run.json").is_file();
        let is_json = entry.extension().is_some_and(|extension| extension == "json");
        if is_run || (is_json && entry.is_file()) {
            read(&entry, traces, found)?;
        }
    }
    Ok(())
}

fn read_run(path: &Path) -> Result<Measured> {
    let run = RunDir::open(path)?;
    let results = run.results_path();
    let label = path.display().to_string();
    let mut measured = match results.is_file() {
        true => Measured::of_results(&label, &parse(&results)?),
        false => Measured { label, ..Measured::default() },
    };
    measured.add_manifest(&run.manifest);
    if run.requests_path().is_file() {
        match bytes(&run.requests_path()) {
            Ok(bytes) => measured.add_rows(&read_jsonl::<RequestLine>(&bytes).0),
            Err(error) => output::progress(&format!("warning: compared without rows: {error:#}")),
        }
    }
    Ok(measured)
}

/// A profile without results: it says where the time went.
fn read_trace(path: &Path) -> Result<Measured> {
    let mut measured = Measured { label: path.display().to_string(), ..Measured::default() };
    let trace = read_paths_with(&[path.to_owned()], load_options()).with_context(|| {
        format!(
            "nothing to compare in {}: expected a run directory (with run.json), a file of \
             results, a profile, or a folder of these",
            path.display()
        )
    })?;
    measured.add_trace(&trace, &analyze(&trace));
    if measured.footprint.is_none() {
        bail!("nothing to compare in {}: it has neither device work nor requests", path.display());
    }
    Ok(measured)
}

/// Adds where the time of a run went, if it has traces that can be read.
fn add_trace(measured: &mut Measured, run: &Path) {
    match read_paths_with(&[run.to_owned()], load_options()) {
        Ok(trace) => measured.add_trace(&trace, &analyze(&trace)),
        Err(error) => {
            let error = anyhow::Error::from(error);
            output::progress(&format!("warning: compared without its traces: {error:#}"));
        }
    }
}

fn load_options() -> ReadOptions {
    ReadOptions { memory_limit: half_of_memory(), needed: needs_host_slice }
}

fn read_file(path: &Path, found: &mut Vec<Measured>) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(());
    }
    if let Some(baseline) = Baseline::from_json(&bytes(path)?) {
        found.extend(baseline.runs);
        return Ok(());
    }
    found.push(Measured::of_results(&path.display().to_string(), &parse(path)?));
    Ok(())
}

fn parse(path: &Path) -> Result<xscope_trace::results::Results> {
    results_from_json(&bytes(path)?)
        .with_context(|| format!("{} is no file of results of a benchmark", path.display()))
}

pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let read = || -> std::io::Result<Vec<u8>> {
        if fs::metadata(path)?.len() > MAX_RESULTS_BYTES {
            return Err(std::io::Error::other("larger than 256 MiB"));
        }
        fs::read(path)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}
