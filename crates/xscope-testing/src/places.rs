//! Where fixtures, real traces and cases are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::skip;

/// The models of `xscope-model`'s fixtures.
pub const MODELS: [&str; 3] = ["llama", "llama_tied_scaled_bias", "qwen3"];

/// The root of the checkout that the tests are run in. It may have been moved, with what was built,
/// since the tests were compiled.
pub fn repository() -> PathBuf {
    let now = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = now.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package.ancestors().find(|path| path.join("rust-toolchain.toml").is_file());
    root.unwrap().to_owned()
}

/// A fixture of the trace crate, which all others use, too.
pub fn fixture(name: &str) -> PathBuf {
    fixture_of("xscope-trace", name)
}

pub fn fixture_of(crate_name: &str, name: &str) -> PathBuf {
    repository().join("crates").join(crate_name).join("tests/fixtures").join(name)
}

/// The folder of real traces, which a clean clone does not have.
#[track_caller]
pub fn traces() -> Option<PathBuf> {
    beside("XSCOPE_TRACES", "traces")
}

/// One of the real traces.
#[track_caller]
pub fn trace(name: &str) -> Option<PathBuf> {
    Some(traces()?.join(name))
}

/// The folder of inputs with known answers, which a clean clone does not have.
#[track_caller]
pub fn cases() -> Option<PathBuf> {
    beside("XSCOPE_CASES", "cases")
}

#[track_caller]
fn beside(variable: &str, name: &str) -> Option<PathBuf> {
    let usual = || repository().join("../shared").join(name);
    let folder = std::env::var_os(variable).map_or_else(usual, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let what = format!("{} is not there", folder.display());
    skip(&what, &format!("{variable} names the folder of {name}"));
    None
}

/// The files below a folder at any depth, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut pending, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => pending.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}
