//! The directory of a run: its layout, its manifest, its rows.
//!
//! ```text
//! runs/20261124T101500Z-score-qwen3_0.6b-tpu_v6e-1/
//!   run.json        what was run where, how it ended, all files with checksums
//!   results.json    requests.jsonl  report.json
//!   spans/          trace/plugins/profile/<stamp>/   memory/   logs/
//! ```
//!
//! `run.json` exists from the first moment, with status `running`, and is only ever replaced as a
//! whole. A run whose writer died reads as `interrupted`. This module knows nothing of what the
//! files hold.

mod host;
mod jsonl;
mod manifest;
mod servers;
mod stamp;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use host::{HostInfo, ProcessId};
pub use jsonl::{JsonlIssue, JsonlWriter, read_jsonl};
pub use manifest::{FileEntry, RunClock, RunManifest, RunStatus, SCHEMA};
pub use servers::{Exchange, ProfilerState, ServerClock, ServerRecord};
pub use stamp::Utc;

use crate::atomic;
use crate::quality::{Code, Finding};
use crate::time::{Bytes, Nanos};

const MANIFEST: &str = "run.json";
const PAGE: &str = "report.html";

/// How many runs of one name may begin in one second.
const MAX_SAME_NAME: u32 = 1000;

/// The longest part of a run's name, in bytes.
const MAX_PART_BYTES: usize = 48;

/// What can go wrong with a run directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error("cannot create a run directory; choose another with write access: {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot write {}; is the disk full?", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot express a value as JSON for {}", path.display())]
    Encode { path: PathBuf, source: serde_json::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no run directory: it has no readable run.json", path.display())]
    NotARun { path: PathBuf, source: io::Error },
}

/// What a new run's name and manifest say.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// What is done: `score`, `serving`, `offline` ...
    pub kind: String,
    /// Of a hub (`Qwen/Qwen3-0.6B`) or a path; any text is safe.
    pub model: String,
    /// `cpu`, `tpu_v6e-1` ...
    pub hardware: String,
    pub command_line: Vec<String>,
    pub target: String,
    pub workload: Value,
    pub versions: Vec<(String, String)>,
    pub git_commit: Option<String>,
    pub clock: RunClock,
    /// Wall time, since the Unix epoch.
    pub started_wall: Nanos,
}

/// A run on disk.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    pub manifest: RunManifest,
    /// What was wrong with `run.json`; empty for a run of this version.
    pub issues: Vec<String>,
}

/// A file that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileProblem {
    Missing { path: String },
    Changed { path: String },
}

impl From<FileProblem> for Finding {
    fn from(problem: FileProblem) -> Self {
        match problem {
            FileProblem::Missing { path } => {
                let message = format!("the run had a file that is gone: {path}");
                Self::new(Code::RunFileMissing, message)
            }
            FileProblem::Changed { path } => {
                let message = format!("a file is not what it was when the run ended: {path}");
                Self::new(Code::RunFileChanged, message)
            }
        }
    }
}

impl RunDir {
    /// Makes a directory that did not exist, its subdirectories and its `run.json`, in `parent`,
    /// which is made if need be.
    ///
    /// # Errors
    ///
    /// A directory or `run.json` cannot be made.
    pub fn create(parent: &Path, run: NewRun) -> Result<Self, RunError> {
        let error = |path: &Path, source| RunError::Create { path: path.into(), source };
        fs::create_dir_all(parent).map_err(|source| error(parent, source))?;
        let name = run_name(&run);
        let path = create_unique(parent, &name).map_err(|source| error(parent, source))?;
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = RunManifest {
            schema: SCHEMA.to_owned(),
            id,
            status: RunStatus::Running,
            command_line: run.command_line,
            target: run.target,
            workload: run.workload,
            host: HostInfo::read(),
            versions: run.versions.into_iter().collect(),
            git_commit: run.git_commit,
            clock: run.clock,
            started_wall: run.started_wall,
            writer: ProcessId::current(),
            ..RunManifest::default()
        };
        let dir = Self { path, manifest, issues: Vec::new() };
        dir.save()?;
        for path in [dir.spans_dir(), dir.capture_dir(), dir.memory_dir(), dir.logs_dir()] {
            fs::create_dir_all(&path).map_err(|source| error(&path, source))?;
        }
        Ok(dir)
    }

    /// Whether a path is a run directory.
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// Opens a run, whatever state it is in. One that says `running` and whose writer is not
    /// alive on this machine reads as interrupted; nothing is written.
    ///
    /// # Errors
    ///
    /// There is no `run.json`, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let bytes = fs::read(path.join(MANIFEST))
            .map_err(|source| RunError::NotARun { path: path.into(), source })?;
        let (mut manifest, issues) = RunManifest::from_json(&bytes);
        if manifest.id.is_empty() {
            manifest.id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        if manifest.status == RunStatus::Running && !manifest.writer.is_alive() {
            manifest.status = RunStatus::Interrupted;
        }
        Ok(Self { path: path.into(), manifest, issues })
    }

    /// Ends a run: lists all its files with their checksums, which reads them once, and replaces
    /// `run.json`. May be called again when files were added.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or `run.json` not be written; it then still says `running`.
    pub fn finish(&mut self, status: RunStatus, ended_wall: Nanos) -> Result<(), RunError> {
        self.manifest.files = self.list_files()?;
        self.manifest.status = status;
        self.manifest.ended_wall = Some(ended_wall);
        self.save()
    }

    /// Compares the files with the manifest. Files that it does not name are fine.
    ///
    /// # Errors
    ///
    /// A file exists and cannot be read.
    pub fn verify(&self) -> Result<Vec<FileProblem>, RunError> {
        let mut problems = Vec::new();
        for entry in &self.manifest.files {
            let path = entry.path.clone();
            match checksum(&self.path.join(&entry.path)) {
                Ok((bytes, crc32)) if bytes == entry.bytes && crc32 == entry.crc32 => {}
                Ok(_) => problems.push(FileProblem::Changed { path }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    problems.push(FileProblem::Missing { path });
                }
                Err(source) => {
                    return Err(RunError::Read { path: self.path.join(path), source });
                }
            }
        }
        Ok(problems)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `<pid>.xspan` files.
    pub fn spans_dir(&self) -> PathBuf {
        self.path.join("spans")
    }

    /// The newest spans of a server of which only some are kept; absolute, and gone at the end.
    /// Hidden, so that it is no part of what a run holds.
    pub fn ring_dir(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()).join(".ring")
    }

    /// What servers are told to write their profiles to: a TensorBoard log directory, in which
    /// each makes `plugins/profile/<stamp>/<host>.xplane.pb`.
    pub fn capture_dir(&self) -> PathBuf {
        self.path.join("trace")
    }

    /// What one of the run's servers is told to write its profile to.
    pub fn server_trace_dir(&self, server: &ServerRecord) -> PathBuf {
        folder(self.capture_dir(), &server.name)
    }

    /// What one of the run's servers is told to write its spans to, if it can.
    pub fn server_spans_dir(&self, server: &ServerRecord) -> PathBuf {
        folder(self.spans_dir(), &server.name)
    }

    /// Device memory profiles.
    pub fn memory_dir(&self) -> PathBuf {
        self.path.join("memory")
    }

    /// What the target printed.
    pub fn logs_dir(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// One row for each request, see [`JsonlWriter`].
    pub fn requests_path(&self) -> PathBuf {
        self.path.join("requests.jsonl")
    }

    pub fn results_path(&self) -> PathBuf {
        self.path.join("results.json")
    }

    /// What windows with more and less recording measured.
    pub fn overhead_path(&self) -> PathBuf {
        self.path.join("overhead.json")
    }

    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// The report as a page; made anew whenever somebody asks, so no part of what was measured.
    pub fn page_path(&self) -> PathBuf {
        self.path.join(PAGE)
    }

    /// Writes a document of the run, such as [`RunDir::report_path`], in one step.
    ///
    /// # Errors
    ///
    /// `document` is no JSON, or the file cannot be written; it is then as it was.
    pub fn write_json(&self, path: &Path, document: &impl Serialize) -> Result<(), RunError> {
        let mut json = serde_json::to_vec_pretty(document)
            .map_err(|source| RunError::Encode { path: path.into(), source })?;
        json.push(b'\n');
        replace_file(path, &json)
    }

    /// Reads such a document; `None` if it is not there or not what it should be.
    pub fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Replaces `run.json` by what the manifest says by now, while the run goes on.
    ///
    /// # Errors
    ///
    /// It cannot be written; it is then as it was.
    pub fn save(&self) -> Result<(), RunError> {
        self.write_json(&self.path.join(MANIFEST), &self.manifest)
    }

    /// All files but `run.json`, the page, hidden ones and links, sorted by path.
    fn list_files(&self) -> Result<Vec<FileEntry>, RunError> {
        let mut files = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let absolute = self.path.join(&directory);
            let error = |source| RunError::Read { path: absolute.clone(), source };
            for entry in fs::read_dir(&absolute).map_err(error)? {
                let entry = entry.map_err(error)?;
                let kind = entry.file_type().map_err(error)?;
                let name = entry.file_name();
                let is_hidden = name.as_encoded_bytes().starts_with(b".");
                let relative = directory.join(name);
                if kind.is_dir() {
                    directories.push(relative);
                } else if kind.is_file() && !is_hidden && !is_written_again(&relative) {
                    files.push(self.file_entry(&relative)?);
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn file_entry(&self, relative: &Path) -> Result<FileEntry, RunError> {
        let path = self.path.join(relative);
        let (bytes, crc32) =
            checksum(&path).map_err(|source| RunError::Read { path: path.clone(), source })?;
        Ok(FileEntry { path: relative.to_string_lossy().into_owned(), bytes, crc32 })
    }
}

fn folder(parent: PathBuf, name: &str) -> PathBuf {
    if name.is_empty() { parent } else { parent.join(name) }
}

/// Writes a file, or what replaces it, in one step.
///
/// # Errors
///
/// The file cannot be written; it is then as it was.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    atomic::replace(path, |file| file.write_all(bytes))
        .map_err(|source| RunError::Write { path: path.into(), source })
}

fn is_written_again(relative: &Path) -> bool {
    [MANIFEST, PAGE].iter().any(|name| relative == Path::new(name))
}

/// Size and CRC-32 of a file.
fn checksum(path: &Path) -> io::Result<(Bytes, String)> {
    let mut file = File::open(path)?;
    let mut crc = flate2::Crc::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            return Ok((Bytes(bytes), format!("{:08x}", crc.sum())));
        }
        crc.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// `<time>-<kind>-<model>-<hardware>`, without what is not known.
fn run_name(run: &NewRun) -> String {
    let stamp = Utc::from_wall(run.started_wall).compact();
    // A hub's owner or a path's directories say little and are long.
    let model = run.model.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let known = [name_part(&run.kind, ""), name_part(model, ""), name_part(&run.hardware, "-")];
    let known = known.into_iter().filter(|part| !part.is_empty());
    std::iter::once(stamp).chain(known).collect::<Vec<_>>().join("-")
}

/// Text of any origin as a part of a file name: `a-z`, `0-9`, `.`, `_` and what `also` adds; the
/// rest becomes `_`. Not hidden, not long.
fn name_part(text: &str, also: &str) -> String {
    let mut part = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let keep = c.is_ascii_alphanumeric() || c == '.' || also.contains(c);
        if keep {
            part.push(c);
        } else if !part.ends_with('_') {
            part.push('_');
        }
        if part.len() == MAX_PART_BYTES {
            break;
        }
    }
    part.trim_matches(['.', '_', '-']).to_owned()
}

fn create_unique(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let numbered = (2..=MAX_SAME_NAME).map(|number| format!("{name}-{number}"));
    for name in std::iter::once(name.to_owned()).chain(numbered) {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| path),
        }
    }
    Err(io::Error::other(format!("{MAX_SAME_NAME} runs named {name} exist")))
}
