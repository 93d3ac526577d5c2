//! What a terminal gets and a pipe does not.

use std::path::Path;
use std::process::Command;

use xscope_testing::skip;

use crate::{binary, fixture, run, stdout, xscope};

/// What a command writes to a terminal, stdout and stderr; `None` where there is no `script` to make
/// one.
fn on_terminal(directory: &Path, args: &[&str], no_color: &str) -> Option<String> {
    let command = [&[&*binary()], args].concat().join(" ");
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(directory)
        .env("TERM", "xterm")
        // Shells have words of their own on languages that the machine does not have.
        .env("SHELL", "/bin/sh")
        .env("LC_ALL", "C")
        .env("NO_COLOR", no_color)
        .env_remove("SGLANG_JAX_PROFILER_DIR")
        .output();
    let Ok(output) = output else {
        skip("there is no script(1) to make a terminal", "Debian: apt-get install bsdutils");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    for args in [&["analyze", &path, "devices"], &["analyze", &path, "layers"]] {
        let piped = stdout(&run(directory.path(), args, 0));
        assert!(!piped.contains('\x1b'), "{piped}");
        let Some(shown) = on_terminal(directory.path(), args, "") else { return };
        assert!(shown.contains("\x1b[1m") && shown.contains("\x1b[36m"), "{shown}");
        let plain = on_terminal(directory.path(), args, "1").unwrap();
        assert_eq!(plain.replace('\r', ""), piped);
    }
    let args = ["analyze", &path, "layers", "--markdown"];
    let markdown = on_terminal(directory.path(), &args, "").unwrap();
    assert!(!markdown.contains('\x1b'), "{markdown}");
}

#[test]
fn the_flame_of_layers_fits_a_hundred_columns() {
    let directory = tempfile::tempdir().unwrap();
    let text = stdout(&run(directory.path(), &["analyze", &fixture("run"), "layers"], 0));
    let flame = text.split("Flame of layers").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows: Vec<&str> = flame.lines().skip(1).collect();
    assert!(rows.len() >= 3, "{flame}");
    assert!(rows.iter().all(|row| row.chars().count() <= 100), "{flame}");
    assert!(flame.contains("▏layer_3"), "{flame}");
}

#[test]
fn a_watched_profile_is_a_page_on_a_terminal_and_plain_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let args =
        ["profile", "--watch", "--query-tokens", "2", "--item-tokens", "1", "--requests", "30"];
    let output = xscope(directory.path(), &args).output().unwrap();
    let plain = String::from_utf8(output.stderr).unwrap();
    assert!(plain.contains("measure of b4_l2: 30 requests"), "{plain}");
    assert!(!plain.contains('\x1b'), "{plain}");
    let Some(shown) = on_terminal(directory.path(), &args, "1") else { return };
    for part in ["30 of 30", "Latency ms of the latest 30", "requests/s", "100.0 %"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
}
