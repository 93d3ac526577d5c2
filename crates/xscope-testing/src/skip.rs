//! Tests that cannot run on this machine.

use std::fs;
use std::io::{self, Write as _};
use std::panic::Location;
use std::path::PathBuf;

/// Says that the test that calls this cannot run here, since `what` is missing, and how to get it.
///
/// With `CI` set that is a failure. Elsewhere the test shall end after this: the reason is seen
/// although the test passes, and counted by a file in `target/skips`.
#[track_caller]
pub fn skip(what: &str, remedy: &str) {
    let place = Location::caller();
    let thread = std::thread::current();
    // A test has a thread of its own name, unless tests run one after the other.
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", place.file(), place.line()),
    };
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        panic!("{test} cannot run, and CI is set: {what} ({remedy})");
    }
    let text = format!("skipped {test}: {what} ({remedy})\n");
    // Not by `eprintln!`, which is caught where a test passes.
    io::stderr().write_all(text.as_bytes()).ok();
    if let Some(folder) = folder() {
        let name = test.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        fs::create_dir_all(&folder).ok();
        fs::write(folder.join(name), text).ok();
    }
}

/// `skips` in the folder of builds that the test is from, where cargo keeps what it knows of its
/// compiler: it marks the folder as a cache only if it made it.
fn folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let builds = program.ancestors().find(|path| path.join(".rustc_info.json").is_file())?;
    Some(builds.join("skips"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{folder, skip};
    use crate::{again, is_again};

    #[test]
    fn a_skip_is_seen_and_counted_and_with_ci_a_failure() {
        if is_again() {
            skip("the sea is missing", "go west");
            return;
        }
        let run = |ci: &str| {
            let test = "skip::tests::a_skip_is_seen_and_counted_and_with_ci_a_failure";
            let output = again(test).env("CI", ci).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8(text).unwrap())
        };
        let (passes, text) = run("");
        assert!(passes && text.contains("skipped "), "{text}");
        assert!(text.contains("the sea is missing (go west)"), "{text}");
        let count = |remove: bool| {
            let files = fs::read_dir(folder().unwrap()).unwrap().map(|entry| entry.unwrap().path());
            let is_ours = |path: &std::path::PathBuf| {
                fs::read_to_string(path).is_ok_and(|text| text.contains("the sea is missing"))
            };
            let ours: Vec<_> = files.filter(is_ours).collect();
            if remove {
                ours.iter().for_each(|path| fs::remove_file(path).unwrap());
            }
            ours.len()
        };
        assert_eq!((count(true), count(false)), (1, 0));

        let (passes, text) = run("1");
        assert!(!passes && text.contains("cannot run, and CI is set"), "{text}");
        assert_eq!(count(false), 0);
    }
}
