//! Other programs that tests use where they are installed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::skip;

/// What the Python has been asked already; to import some modules takes seconds.
static KNOWN: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());

/// A Python of at least 3.10 that can do something: the one that `XSCOPE_PYTHON` names, or `python3`.
#[track_caller]
pub fn python(can: &str) -> Option<String> {
    let named = std::env::var_os("XSCOPE_PYTHON");
    let python = named.map_or("python3".into(), PathBuf::from).to_str().unwrap().to_owned();
    let does = || {
        let check = format!("import sys; assert sys.version_info >= (3, 10); {can}");
        let mut command = Command::new(&python);
        let status = command.args(["-c", &check]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let does = *KNOWN.lock().unwrap().entry(can.to_owned()).or_insert_with(does);
    if does {
        return Some(python);
    }
    let what = format!("{python} is no Python of 3.10 or newer that can do: {can}");
    skip(&what, "XSCOPE_PYTHON names one; .ci/run makes target/ci-venv/bin/python");
    None
}

/// A Chromium, to open pages in.
#[track_caller]
pub fn chromium() -> Option<PathBuf> {
    let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let usual = || places.map(PathBuf::from).into_iter().find(|path| path.exists());
    let found = std::env::var_os("XSCOPE_CHROMIUM").map(PathBuf::from).or_else(usual);
    if found.is_none() {
        skip("there is no Chromium", "XSCOPE_CHROMIUM names one; Debian: apt-get install chromium");
    }
    found
}

/// The folder of servers' packages, of which nothing is installed or run.
#[track_caller]
pub fn server_packages() -> Option<PathBuf> {
    let folder = std::env::var_os("XSCOPE_SERVER_PACKAGES").map(PathBuf::from);
    if folder.is_none() {
        skip("there are no packages of servers", "XSCOPE_SERVER_PACKAGES names their folder");
    }
    folder
}
