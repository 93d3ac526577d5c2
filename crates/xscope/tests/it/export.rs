//! `xscope export` and `xscope trim`, as their users run them.

use std::fs;

use serde_json::Value;

use crate::{fixture, run, stderr, stdout};

#[test]
fn several_formats_are_written_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tpu = fixture("tpu_v6e/excerpt.xplane.pb");
    let files = ["a.pftrace", "a.trace.json.gz", "a.xplane.pb", "a.folded", "a.speedscope.json"];
    let options = ["--perfetto", "--chrome", "--xplane", "--folded", "--speedscope"];
    let args: Vec<&str> = ["export", &tpu]
        .into_iter()
        .chain(options.into_iter().zip(files).flat_map(|(option, file)| [option, file]))
        .collect();
    let output = run(directory.path(), &args, 0);
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("a.pftrace: "), "{}", stderr(&output));
    for file in files {
        assert!(fs::metadata(at(file)).unwrap().len() > 1000, "{file}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), files.len(), "no other files");
    let report = |file: &str| {
        let json = stdout(&run(directory.path(), &["analyze", file, "--json"], 0));
        let report: Value = serde_json::from_str(&json).unwrap();
        (report["events"].as_u64(), report["devices"][0]["busy_us"].as_f64())
    };
    assert_eq!(report("a.xplane.pb"), report(&tpu));
    assert_eq!(report("a.trace.json.gz"), report(&tpu));
}

#[test]
fn standard_output_takes_one_format() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("kineto/excerpt.json.gz");
    let folded = stdout(&run(directory.path(), &["export", &path, "--folded", "-"], 0));
    assert!(folded.lines().all(|line| line.rsplit_once(' ').is_some()) && !folded.is_empty());
    for (args, expected) in [
        (&["--folded", "-", "--chrome", "-"][..], "only one format"),
        (&["--xplane", "-"][..], "needs a file"),
        (&[][..], "--perfetto"),
        (&["--perfetto", "missing/a.pftrace"][..], "missing/a.pftrace"),
    ] {
        let output = run(directory.path(), &[&["export", &path], args].concat(), 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn trim_keeps_the_window_in_any_format() {
    let directory = tempfile::tempdir().unwrap();
    let tpu = fixture("tpu_v6e/excerpt.xplane.pb");
    let events = |file: &str| {
        let json = stdout(&run(directory.path(), &["analyze", file, "--json"], 0));
        serde_json::from_str::<Value>(&json).unwrap()["events"].as_u64().unwrap()
    };
    let all = events(&tpu);
    let window = ["--around", "fusion", "--drop", "python,idle-polls"];
    for file in ["a.xplane.pb", "a.trace.json.gz"] {
        run(directory.path(), &[&["trim", &tpu, "-o", file], &window[..]].concat(), 0);
        assert!((1..all).contains(&events(file)), "{file}");
    }
    assert_eq!(events("a.xplane.pb"), events("a.trace.json.gz"));
    for (args, expected) in [
        (&["-o", "a.txt", "--from", "1s"][..], "does not say the format"),
        (&["-o", "a.pftrace", "--around", "no such slice"][..], "no slice is called"),
        (&["-o", "a.pftrace", "--from", "2s", "--to", "1s"][..], "ends before it begins"),
        (&["-o", "a.pftrace", "--from", "2"][..], "its unit"),
    ] {
        let output = run(directory.path(), &[&["trim", &tpu], args].concat(), 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_memory_profile_says_what_allocated() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("pprof/device_memory.prof");
    let text = stdout(&run(directory.path(), &["analyze", &path], 0));
    assert!(text.contains("Allocations: ") && text.contains("tp_llama.py:"), "{text}");
    let text = stdout(&run(directory.path(), &["analyze", &fixture("memory_report")], 0));
    assert!(text.contains("Memory as sglang-jax reports it"), "{text}");
}
