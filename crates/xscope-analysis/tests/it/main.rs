//! Tests of the crate from outside: real traces and their published answers.

#[cfg(test)]
mod build;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod compile_log;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod published;
#[cfg(test)]
mod quality;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod window;

use std::path::{Path, PathBuf};

use xscope_trace::Trace;

/// A trace of the folder of real traces, which a clean clone does not have.
#[cfg(test)]
fn real(name: &str) -> Option<Trace> {
    let path = traces()?.join(name);
    Some(xscope_trace::load(&[path]).unwrap())
}

/// The folder of real traces.
#[cfg(test)]
fn traces() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("XSCOPE_TRACES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: traces not found");
    None
}
