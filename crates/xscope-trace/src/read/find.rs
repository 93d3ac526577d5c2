//! Finds the profiles below a directory.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::read::input::{HEAD, plain_name};
use crate::read::registry::{READERS, Reader, fits, named};
use crate::read::unpack::Packing;

/// How deep a directory is searched for profiles: `run/trace/plugins/profile/<stamp>/<file>` and
/// a few levels above it.
const SEARCH_DEPTH: usize = 8;

/// The profiles below a directory, sorted, without copies: Chrome JSON beside an XPlane file of the
/// same host, which JAX writes from the same data and cuts at a million events, and others of which
/// [`is_copy`] knows.
pub(super) fn find_profiles(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![(directory.to_owned(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let io = |source| Error::Io { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let kind = fs::symlink_metadata(&path).map_err(io)?.file_type();
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if kind.is_dir() && depth < SEARCH_DEPTH && !is_hidden {
                pending.push((path, depth + 1));
            } else if kind.is_file() && is_profile(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    let all = files.clone();
    files.retain(|path| {
        let has_twin = twins(path).any(|twin| all.binary_search(&twin).is_ok());
        !has_twin && !is_copy(path, &all)
    });
    Ok(files)
}

/// The files below a directory that a profiler wrote, whatever is in them: those that hold what devices
/// did if they are whole. None where it cannot be looked.
pub fn device_profiles(directory: &Path) -> Vec<PathBuf> {
    let mut files = find_profiles(directory).unwrap_or_default();
    files.retain(|path| named(path).is_none_or(|reader| reader.format.has_operations()));
    files
}

/// Names of files that are made of the others in their folder: how they begin, and how the names of
/// those end.
const COPIES: [(&str, &[&str]); 2] = [
    // JAX makes it of the session's XPlane file for Perfetto.
    ("perfetto_trace.json", &[".xplane.pb", ".xplane.riegeli", ".trace.json.gz"]),
    // SGLang and others merge the files of all ranks so.
    ("merged-", &[".trace.json", ".trace.json.gz"]),
];

/// Whether a file holds once more what other files of its folder hold.
fn is_copy(path: &Path, all: &[PathBuf]) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = name(path);
    let Some((begin, ends)) = COPIES.iter().find(|(begin, _)| own.starts_with(begin)) else {
        return false;
    };
    all.iter()
        .filter(|other| other.parent() == path.parent())
        .map(|other| name(other))
        .any(|other| !other.starts_with(begin) && ends.iter().any(|end| other.ends_with(end)))
}

/// The XPlane files that may be written of the same host beside this Chrome JSON.
fn twins(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let host = name.and_then(|name| name.strip_suffix(".trace.json.gz"));
    let names = host
        .into_iter()
        .flat_map(|host| [".xplane.pb", ".xplane.riegeli"].map(|suffix| format!("{host}{suffix}")));
    names.map(|name| path.with_file_name(name))
}

/// The XPlane file beside a Chrome JSON file that JAX wrote of the same data and cut at a million
/// events without a mark; else the path itself. Whether it is another.
pub fn whole_profile(path: &Path) -> (PathBuf, bool) {
    match twins(path).find(|twin| twin.is_file()) {
        Some(twin) => (twin, true),
        None => (path.to_owned(), false),
    }
}

/// Whether a file that a search finds is read: by its name, else by how it begins, as PyTorch's
/// are that have any name.
fn is_profile(path: &Path) -> bool {
    match READERS.iter().find(|reader| reader.is_named(path)) {
        Some(Reader { folder: Some(folder), .. }) => {
            path.parent().is_some_and(|parent| parent.ends_with(folder))
        }
        Some(_) => true,
        None => READERS.iter().filter_map(|reader| reader.by_content).any(|(pattern, is_one)| {
            fits(pattern, plain_name(path)) && read_head(path).is_some_and(|head| is_one(&head))
        }),
    }
}

/// The unpacked beginning of a file.
fn read_head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    Some(match Packing::of(&head) {
        Some(packing) => packing.head(&head, HEAD),
        None => head,
    })
}

/// Whether a file is one that may have nothing to say, which is no damage.
pub(super) fn may_be_silent(path: &Path) -> bool {
    READERS.iter().any(|reader| reader.folder.is_some() && reader.is_named(path))
}
