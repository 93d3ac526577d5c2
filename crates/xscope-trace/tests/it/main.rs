//! Tests of the crate from outside.

// `cfg(test)` tells clippy that helpers in here may unwrap, too.
#[cfg(test)]
mod chrome;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod fuzz_corpus;
#[cfg(test)]
mod gotchas;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod notes;
#[cfg(test)]
mod pprof;
#[cfg(test)]
mod quality;
#[cfg(test)]
mod run;
#[cfg(test)]
mod server_log;
#[cfg(test)]
mod span;
#[cfg(test)]
mod write;
#[cfg(test)]
mod xplane_write;

use std::path::{Path, PathBuf};

/// The folder of real traces, which a clean clone does not have.
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
