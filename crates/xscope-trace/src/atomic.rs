//! Replacing a file in one step.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Writes a file beside `path` and renames it over `path`, so that whoever looks finds the old
/// bytes or the new ones and never a part. If `write` fails, `path` stays as it was.
///
/// Holds against the death of the process. It does not wait for the disk, so a machine that loses
/// power may keep the old file.
///
/// # Errors
///
/// What `write` says, or the file cannot be made or renamed.
pub fn replace<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temp = path.with_file_name(name);
    let result = File::create(&temp)
        .and_then(|mut file| write(&mut file))
        .and_then(|value| fs::rename(&temp, path).map(|()| value));
    if result.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(&temp));
    }
    result
}
