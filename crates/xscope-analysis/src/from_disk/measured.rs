//! Finding and reading what was measured: runs, files of results, baselines, folders of these.

use std::fs;
use std::path::{Path, PathBuf};

use xscope_trace::read::read_paths_with;
use xscope_trace::results::Results;
use xscope_trace::run::{RunDir, read_jsonl};

use super::read_options;
use crate::compare::baseline::Baseline;
use crate::compare::measured::{Measured, RequestLine, results_from_json};
use crate::error::{Error, Result, chain};
use crate::reports::analyze::analyze;

/// Files of results are small, rows of half a million requests fit; what is larger is left alone.
const MAX_RESULTS_BYTES: u64 = 256 << 20;

/// Whether to look into the traces of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traces {
    Read,
    Skip,
}

/// Reads all of `paths`, folders in the order of their names. `warn` is told what of a run could
/// not be read and is left out.
///
/// # Errors
///
/// A path holds nothing that was measured, or cannot be read.
pub fn find(paths: &[PathBuf], traces: Traces, warn: &dyn Fn(&str)) -> Result<Vec<Measured>> {
    let mut finder = Finder { traces, warn, found: Vec::new() };
    for path in paths {
        let before = finder.found.len();
        finder.read(path)?;
        let says_nothing = |one: &Measured| one.points.is_empty() && one.invalid.is_none();
        if finder.found[before..].iter().all(says_nothing) && !RunDir::is_at(path) {
            finder.found.truncate(before);
            finder.found.push(read_trace(path)?);
        }
    }
    Ok(finder.found)
}

struct Finder<'a> {
    traces: Traces,
    warn: &'a dyn Fn(&str),
    found: Vec<Measured>,
}

impl Finder<'_> {
    fn read(&mut self, path: &Path) -> Result<()> {
        if !path.is_dir() {
            return self.read_file(path);
        }
        if RunDir::is_at(path) {
            let measured = self.read_run(path)?;
            self.found.push(measured);
            return Ok(());
        }
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let entries = fs::read_dir(path).map_err(failed)?;
        let entries = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut entries: Vec<PathBuf> = entries.collect::<std::io::Result<_>>().map_err(failed)?;
        entries.sort();
        for entry in entries {
            let is_json = entry.extension().is_some_and(|extension| extension == "json");
            if RunDir::is_at(&entry) || (is_json && entry.is_file()) {
                self.read(&entry)?;
            }
        }
        Ok(())
    }

    fn read_run(&self, path: &Path) -> Result<Measured> {
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
                Err(error) => (self.warn)(&format!("compared without rows: {}", chain(&error))),
            }
        }
        if self.traces == Traces::Read {
            match read_paths_with(&[path.to_owned()], read_options()) {
                Ok(trace) => measured.add_trace(&trace, &analyze(&trace)),
                Err(error) => {
                    (self.warn)(&format!("compared without its traces: {}", chain(&error)));
                }
            }
        }
        Ok(measured)
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        if path.extension().is_none_or(|extension| extension != "json") {
            return Ok(());
        }
        match Baseline::from_json(&bytes(path)?) {
            Some(baseline) => self.found.extend(baseline.runs),
            None => {
                self.found.push(Measured::of_results(&path.display().to_string(), &parse(path)?));
            }
        }
        Ok(())
    }
}

/// A profile without results: it says where the time went.
fn read_trace(path: &Path) -> Result<Measured> {
    let mut measured = Measured { label: path.display().to_string(), ..Measured::default() };
    let trace = read_paths_with(&[path.to_owned()], read_options())
        .map_err(|source| Error::NothingMeasured { path: path.to_owned(), source })?;
    measured.add_trace(&trace, &analyze(&trace));
    match measured.footprint {
        Some(_) => Ok(measured),
        None => Err(Error::NoWork { path: path.to_owned() }),
    }
}

fn parse(path: &Path) -> Result<Results> {
    results_from_json(&bytes(path)?)
        .map_err(|source| Error::NoResults { path: path.to_owned(), source })
}

/// What a file of results, of rows or of a baseline holds.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let read = || -> std::io::Result<Vec<u8>> {
        if fs::metadata(path)?.len() > MAX_RESULTS_BYTES {
            return Err(std::io::Error::other("larger than 256 MiB"));
        }
        fs::read(path)
    };
    read().map_err(|source| Error::Read { path: path.to_owned(), source })
}
