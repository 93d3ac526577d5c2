//! The binary as its users run it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic is the report")]

mod ab;
mod analyze;
mod bench;
mod browser;
mod capture;
mod compare;
mod contract;
mod export;
mod fake_server;
mod inside;
mod profile;
mod roads;
mod run;
mod search;
mod terminal;
mod texts;

use std::process::{Command, Output};

/// The path of the binary.
fn binary() -> String {
    let path = xscope_testing::binary(env!("CARGO_BIN_EXE_xscope"));
    path.to_str().unwrap().to_owned()
}

/// The binary, in `directory`.
fn xscope(directory: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).current_dir(directory).env_remove("SGLANG_JAX_PROFILER_DIR");
    command
}

/// Runs it to its end and checks the exit code, and all JSON against the contract.
fn run(directory: &std::path::Path, args: &[&str], code: i32) -> Output {
    let output = xscope(directory, args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    contract::check_printed(args, &output.stdout);
    ["runs", "baselines"].iter().for_each(|it| contract::check_files(&directory.join(it)));
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
    xscope_testing::fixture(name).to_str().unwrap().to_owned()
}
