//! Programs of this project as processes of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells a test that it is run by itself.
const AGAIN: &str = "XSCOPE_TEST_AGAIN";

/// The program that was built with a test. It may have been moved since, together with the test.
pub fn binary(built: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let name = Path::new(built).file_name().unwrap();
    let beside = test.ancestors().nth(2).map(|builds| builds.join(name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| built.into())
}

/// A test of this binary, by its whole name, in a process of its own, in which `is_again` holds: for
/// what must be killed, or run under a limit.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads", "1"]).env(AGAIN, test);
    command
}

/// Whether this process is one of `again`.
pub fn is_again() -> bool {
    std::env::var_os(AGAIN).is_some()
}
