//! The files that are read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lzma_rust2::XzReader;

/// What a folder is searched for.
const LARGE_BYTES: u64 = 10_000_000;

/// One file, in a folder as TensorBoard lays it out, alone.
#[derive(Debug)]
pub(crate) struct Input {
    pub name: String,
    pub bytes: u64,
    /// The log directory that holds nothing else.
    pub logs: PathBuf,
    pub file: PathBuf,
}

/// All files that `paths` name, each linked or unpacked into a log directory of its own.
pub(crate) fn find(paths: &[PathBuf], folder: &Path) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => search(path, &mut files)?,
            false => files.push(path.clone()),
        }
    }
    ensure!(!files.is_empty(), "no file to read: name XPlane files or a folder of large ones");
    files.iter().enumerate().map(|(index, file)| prepare(index, file, folder)).collect()
}

fn search(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path.to_string_lossy();
        let is_profile = name.ends_with(".xplane.pb") || name.ends_with(".xplane.pb.xz");
        if path.is_dir() && !path.is_symlink() {
            search(&path, files)?;
        } else if is_profile && fs::metadata(&path)?.len() >= LARGE_BYTES {
            files.push(path);
        }
    }
    Ok(())
}

fn prepare(index: usize, file: &Path, folder: &Path) -> Result<Input> {
    let logs = folder.join(format!("logs{index}"));
    let session = logs.join("plugins/profile/run");
    fs::create_dir_all(&session)?;
    let own = session.join("host.xplane.pb");
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut to = File::create(&own)?;
    let mut from = io::BufReader::with_capacity(1 << 20, opened);
    // A copy even of what is not packed: rivals leave caches beside what they read.
    let bytes = match file.extension().is_some_and(|extension| extension == "xz") {
        true => io::copy(&mut XzReader::new(from, true), &mut to),
        false => io::copy(&mut from, &mut to),
    };
    let bytes = bytes.with_context(|| format!("cannot unpack {}", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Input { name, bytes, logs, file: own })
}
