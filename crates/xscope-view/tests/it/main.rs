//! The viewer from outside.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod html;
mod server;
mod timeline;

use std::path::PathBuf;

/// A fixture of the trace crate.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../xscope-trace/tests/fixtures").join(name)
}
