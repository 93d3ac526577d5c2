//! The binary as its users run it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic is the report")]

mod ab;
mod analyze;
#[cfg(test)] // tells clippy that its helpers may print why they skip
mod bench;
#[cfg(test)]
mod browser;
mod capture;
mod compare;
mod export;
mod fake_server;
#[cfg(test)] // as run below
mod inside;
mod profile;
mod roads;
#[cfg(test)] // tells clippy that its helpers may print why they skip
mod run;
#[cfg(test)] // as run above
mod search;
#[cfg(test)]
mod terminal;

use std::path::PathBuf;
use std::process::{Command, Output};

/// The binary, in `directory`.
fn xscope(directory: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xscope"));
    command.args(args).current_dir(directory).env_remove("SGLANG_JAX_PROFILER_DIR");
    command
}

/// Runs it to its end and checks the exit code.
fn run(directory: &std::path::Path, args: &[&str], code: i32) -> Output {
    let output = xscope(directory, args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A fixture of the trace crate.
fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../xscope-trace/tests/fixtures");
    path.join(name).to_str().unwrap().to_owned()
}
