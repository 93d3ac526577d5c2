//! `xscope analyze` and usage errors.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::{fixture, run, stderr, stdout, xscope};

#[test]
fn each_format_gives_a_report() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto/excerpt.json.gz", "run"] {
        let path = fixture(name);
        let text = stdout(&run(directory.path(), &["analyze", &path], 0));
        assert!(text.contains("more: xscope analyze PATH layers|kernels|"), "{name}:\n{text}");
        assert!(text.lines().count() <= 10, "{name}:\n{text}");
        let kernels = stdout(&run(directory.path(), &["analyze", &path, "kernels"], 0));
        assert!(kernels.contains("Kernels by self time"), "{name}:\n{kernels}");
        let json = stdout(&run(directory.path(), &["analyze", &path, "--json"], 0));
        let report: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["schema"], "xscope/analyze/1");
        let kernels = report["kernels"].as_array().unwrap();
        let own: Vec<f64> = kernels.iter().map(|k| k["self_us"].as_f64().unwrap()).collect();
        assert!(own.is_sorted_by(|a, b| a >= b), "{name}: kernels are ordered by self time");
        let categories = report["categories"].as_array().unwrap();
        let shares: f64 = categories.iter().map(|c| c["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{name}: shares add up to {shares}");
    }
}

#[test]
fn a_window_cuts_every_section() {
    let directory = tempfile::tempdir().unwrap();
    let window = |args: &[&str]| -> Value {
        let path = fixture("jax_cpu");
        let args = [&["analyze", path.as_str(), "--json"], args].concat();
        serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap()
    };
    let whole = window(&[]);
    let half = format!("{}us", whole["window_us"].as_f64().unwrap() / 2.0);
    let (first, rest) = (window(&["--to", &half]), window(&["--from", &half]));
    let busy = |report: &Value| {
        let rows = report["devices"].as_array().unwrap().iter();
        rows.map(|row| row["busy_us"].as_f64().unwrap()).sum::<f64>()
    };
    assert!((busy(&first) + busy(&rest) - busy(&whole)).abs() < 1e-3);
    let output = run(directory.path(), &["analyze", "x", "--from", "2s", "--to", "1s"], 2);
    assert!(stderr(&output).contains("ends before it begins"));
}

#[test]
fn requests_of_a_run_are_a_section() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    let text = stdout(&run(directory.path(), &["analyze", &path, "requests"], 0));
    for title in ["Stages", "Typical request", "What the slowest 1 % have in common", "Batches"] {
        assert!(text.contains(title), "{title}:\n{text}");
    }
    let markdown = stdout(&run(directory.path(), &["analyze", &path, "requests", "--markdown"], 0));
    assert!(markdown.contains("### Stages"), "{markdown}");
    let json = stdout(&run(directory.path(), &["analyze", &path, "requests", "--json"], 0));
    let report: Value = serde_json::from_str(&json).unwrap();
    let shares = report["stages"].as_array().unwrap().iter();
    let sum: f64 = shares.map(|row| row["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{json}");
    let text = stdout(&run(directory.path(), &["analyze", &fixture("jax_cpu"), "requests"], 0));
    assert!(text.contains("nothing in this profile"), "{text}");
}

#[test]
fn what_is_no_profile_is_refused_with_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("empty.xplane.pb", b"");
    write("text.txt", b"hello");
    write("cut.xplane.pb", &[0x0a, 0xff, 0xff, 0x03, 0x12]);
    fs::create_dir(directory.path().join("folder")).unwrap();
    for (name, expected) in [
        ("missing", "missing"),
        ("empty.xplane.pb", "is empty (0 bytes)"),
        ("text.txt", "no profile that xscope knows"),
        ("cut.xplane.pb", "byte"),
        ("folder", "no profile in it"),
    ] {
        let output = run(directory.path(), &["analyze", name], 2);
        assert!(stderr(&output).contains(expected), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{name}");
    }
    run(directory.path(), &["analyze"], 2);
    run(directory.path(), &["no-such-command"], 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = xscope(directory.path(), &["analyze", &fixture("jax_cpu"), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
