//! Baselines as files that a repository can hold.
//!
//! ```text
//! baselines/<name>/<time>-<commit>.json    a baseline
//! baselines/noise-<machine>.json           what A/A runs on a kind of machine showed
//! ```

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use xscope_trace::atomic;

use super::measured::bytes;
use crate::compare::baseline::{self, Baseline, NOISE_SCHEMA, StoredNoise};
use crate::compare::environment::Environment;
use crate::compare::measured::Measured;
use crate::compare::noise::NoiseTable;
use crate::error::{Error, Result};

/// A folder of baselines.
#[derive(Debug, Clone, Copy)]
pub struct Baselines<'a>(pub &'a Path);

impl Baselines<'_> {
    /// The folder of a name, which must stay a name.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn folder(self, name: &str) -> Result<PathBuf> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(Error::BaselineName { name: name.to_owned() });
        }
        Ok(self.0.join(name))
    }

    /// Writes a baseline beside those of its name; where it is.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn save(self, baseline: &Baseline) -> Result<PathBuf> {
        let folder = self.folder(&baseline.name)?;
        fs::create_dir_all(&folder)
            .map_err(|source| Error::Write { path: folder.clone(), source })?;
        let path = unused(&folder, baseline);
        write(&path, baseline)?;
        Ok(path)
    }

    /// The names, sorted.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn names(self) -> Result<Vec<String>> {
        let read = || fs::read_dir(self.0)?.collect::<std::io::Result<Vec<_>>>();
        let failed = |source| Error::Read { path: self.0.to_owned(), source };
        let entries = read().map_err(failed)?;
        let folders = entries.iter().filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> =
            folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// All of a name, in the order of time.
    ///
    /// # Errors
    ///
    /// There is no such name, or a file is no baseline.
    pub fn of(self, name: &str) -> Result<Vec<Baseline>> {
        let folder = self.folder(name)?;
        if !folder.is_dir() {
            return Err(self.missing(name));
        }
        let failed = |source| Error::Read { path: folder.clone(), source };
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let baseline = Baseline::from_json(&bytes(&path)?);
                all.push(baseline.ok_or(Error::NotABaseline { path })?);
            }
        }
        all.sort_by(|a, b| a.saved.cmp(&b.saved));
        Ok(all)
    }

    /// The last one of a name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn last(self, name: &str) -> Result<Baseline> {
        self.of(name)?.pop().ok_or_else(|| self.missing(name))
    }

    /// The one of a name that `with` is to be compared with.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn chosen(self, name: &str, with: &Measured) -> Result<Baseline> {
        baseline::choose(self.of(name)?, with).ok_or_else(|| self.missing(name))
    }

    /// What A/A runs on this kind of machine showed; empty if there were none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn noise(self, environment: &Environment) -> Result<StoredNoise> {
        let path = self.noise_path(environment);
        match path.is_file() {
            false => Ok(StoredNoise::default()),
            true => serde_json::from_slice(&bytes(&path)?)
                .map_err(|source| Error::DamagedNoise { path, source }),
        }
    }

    /// Adds to it; where it is.
    ///
    /// # Errors
    ///
    /// It cannot be read or written.
    pub fn add_noise(self, environment: &Environment, more: &NoiseTable) -> Result<PathBuf> {
        let mut stored = self.noise(environment)?;
        NOISE_SCHEMA.clone_into(&mut stored.schema);
        stored.machine = environment.machine();
        stored.noise.add(more);
        let path = self.noise_path(environment);
        write(&path, &stored)?;
        Ok(path)
    }

    fn noise_path(self, environment: &Environment) -> PathBuf {
        self.0.join(format!("noise-{}.json", environment.machine_id()))
    }

    fn missing(self, name: &str) -> Error {
        Error::NoBaseline { name: name.to_owned(), folder: self.0.to_owned() }
    }
}

/// A path that no other baseline has: several may be saved in a second.
fn unused(folder: &Path, baseline: &Baseline) -> PathBuf {
    let name = baseline.file_stem();
    let numbered = (2..).map(|number| format!("{name}-{number}.json"));
    let mut paths = std::iter::once(format!("{name}.json")).chain(numbered);
    paths.find_map(|name| Some(folder.join(name)).filter(|path| !path.exists())).unwrap_or_default()
}

fn write(path: &Path, document: &impl serde::Serialize) -> Result<()> {
    let mut json = serde_json::to_vec(document)?;
    json.push(b'\n');
    atomic::replace(path, |file| file.write_all(&json))
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}
