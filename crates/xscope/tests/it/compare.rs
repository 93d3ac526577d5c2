//! `xscope compare` and `xscope baseline` on files of results.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::profile::{json_file, only_run_in};
use crate::{run, stderr, stdout};

/// A file of results with three trials of one point.
fn results(directory: &Path, name: &str, p95: [f64; 3], change: impl FnOnce(&mut Value)) {
    let trial = |p95: f64| json!({"p95_ms": p95, "throughput_items_per_sec": 4000.0 / p95});
    let mut results = json!({
        "schema": "xscope/results/1",
        "config": {"bench": "score", "workload_hash": "sha256:1"},
        "results": [{"point": "b4_l2", "requests": 60, "ok": 60, "trials": p95.map(trial),
                     "verdict": {"status": "valid", "causes": []}}],
        "metadata": {"commit": name, "timestamp": "2026-11-24T10:15:00Z",
                     "server_start": name, "host": {"cores": 2},
                     "server_command": ["serve", "--page-size", "1"]},
    });
    change(&mut results);
    fs::write(directory.join(name), results.to_string()).unwrap();
}

const SAME: [f64; 3] = [10.0, 10.1, 9.9];
const SLOWER: [f64; 3] = [13.1, 13.0, 13.2];

#[test]
fn a_regression_is_exit_code_1_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    results(path, "a.json", SAME, |_| {});
    results(path, "b.json", SLOWER, |results| {
        results["metadata"]["server_command"] = json!(["serve", "--page-size", "64"]);
    });
    let args = ["compare", "a.json", "b.json", "--junit", "j.xml", "--slack", "s.json"];
    let text = stdout(&run(path, &args, 1));
    for part in ["FAIL", "slower: FAIL, +15 % allowed", "page_size", "changed together"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(fs::read_to_string(path.join("j.xml")).unwrap().contains("failures=\"2\""));
    let slack: Value = serde_json::from_slice(&fs::read(path.join("s.json")).unwrap()).unwrap();
    assert!(slack["text"].as_str().unwrap().contains("FAIL"));
    let markdown = stdout(&run(path, &["compare", "a.json", "b.json", "--markdown"], 1));
    assert!(markdown.starts_with("## xscope compare\n"), "{markdown}");
    let json = stdout(&run(path, &["compare", "a.json", "b.json", "--json"], 1));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["schema"], &report["gate"]), (&json!("xscope/compare/2"), &json!("fail")));
    assert_eq!(report["rows"][0]["verdict"], "slower");
    run(path, &["compare", "a.json", "b.json", "--fail-on", "never"], 0);
    run(path, &["compare", "b.json", "a.json"], 0);
}

#[test]
fn rules_of_the_team_replace_the_built_in_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    results(path, "a.json", SAME, |_| {});
    results(path, "b.json", SLOWER, |_| {});
    let lenient = "[[rule]]\nmetric = \"p95_ms\"\nbetter = \"lower\"\nworse_by = 0.5\n\
                   [[rule]]\nmetric = \"per_sec\"\nbetter = \"higher\"\nworse_by = 0.5\n";
    fs::write(path.join("rules.toml"), lenient).unwrap();
    run(path, &["compare", "a.json", "b.json", "--rules", "rules.toml"], 0);
    fs::write(path.join("rules.toml"), "confidence = 2.0").unwrap();
    let output = run(path, &["compare", "a.json", "b.json", "--rules", "rules.toml"], 2);
    assert!(stderr(&output).contains("below 1"), "{}", stderr(&output));
}

#[test]
fn what_must_not_be_compared_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    results(path, "a.json", SAME, |_| {});
    results(path, "other.json", SAME, |results| {
        results["config"]["workload_hash"] = json!("sha256:2");
    });
    let output = run(path, &["compare", "a.json", "other.json"], 2);
    assert!(stderr(&output).contains("different workloads"), "{}", stderr(&output));

    results(path, "dead.json", SLOWER, |results| {
        results["results"][0]["verdict"] = json!({"status": "invalid", "causes": [
            {"cause": "server_died", "detail": "TypeError: Cannot concatenate"}]});
    });
    let text = stdout(&run(path, &["compare", "a.json", "dead.json"], 1));
    assert!(text.starts_with("INVALID") && text.contains("TypeError"), "{text}");
    assert!(!text.contains("slower"), "{text}");

    fs::write(path.join("text.json"), "no json").unwrap();
    for (args, expected) in [
        (vec!["compare", "a.json", "text.json"], "no file of results"),
        (vec!["compare", "a.json", "missing.json"], "missing.json"),
        (vec!["compare", "a.json"], "expected two paths"),
        (vec!["compare", "--baseline", "main", "a.json"], "xscope baseline save main"),
    ] {
        let output = run(path, &args, 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_larger_peak_of_memory_fails_and_the_setting_that_makes_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (name, peak_mb, tokens) in [("a.json", 6.2, 1024), ("b.json", 10.4, 3072)] {
        results(path, name, SAME, |results| {
            results["results"][0]["peak_hbm_mb"] = json!(peak_mb);
            results["metadata"]["server_info"] = json!({ "max_total_tokens": tokens });
        });
    }
    let text = stdout(&run(path, &["compare", "a.json", "b.json"], 1));
    for part in ["peak_hbm_mb", "more memory: FAIL, +10 % allowed", "max_total_tokens"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn baselines_are_kept_in_series_with_their_noise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let commit = |commit: &'static str| {
        move |results: &mut Value| results["metadata"]["commit"] = json!(commit)
    };
    fs::create_dir(path.join("aa")).unwrap();
    for (index, factor) in [1.0, 1.02, 0.99, 1.01].into_iter().enumerate() {
        let p95 = SAME.map(|value| value * factor);
        results(path, &format!("aa/{index}.json"), p95, commit("c1"));
    }
    results(path, "b.json", SLOWER, commit("c2"));
    let saved = stderr(&run(path, &["baseline", "save", "main", "aa"], 0));
    assert!(saved.contains("saved baselines/main/") && saved.contains("-c1.json"), "{saved}");

    let json = stdout(&run(path, &["compare", "--baseline", "main", "b.json", "--json"], 1));
    let report: Value = serde_json::from_str(&json).unwrap();
    let row = &report["rows"][0];
    assert_eq!((&row["samples_a"], &row["verdict"]), (&json!(12), &json!("slower")));
    let noise = row["noise_percent"].as_f64().unwrap();
    assert!((1.0..1.6).contains(&noise), "{noise}");

    results(path, "new.json", SAME, |results| results["metadata"]["jax_version"] = json!("9"));
    run(path, &["baseline", "save", "main", "new.json"], 0);
    let output = run(path, &["compare", "--baseline", "main", "b.json"], 1);
    assert!(!stderr(&output).contains("warning"), "the older one is of this environment");
    let list = stdout(&run(path, &["baseline", "list"], 0));
    assert!(list.contains("-- jax: ") && list.contains("A/A deviation"), "{list}");
    let shown = stdout(&run(path, &["baseline", "show", "main", "--json"], 0));
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["schema"], "xscope/baseline/2");

    let mixed = run(path, &["baseline", "save", "mixed", "aa", "b.json"], 2);
    assert!(stderr(&mixed).contains("commit"), "{}", stderr(&mixed));
    let name = run(path, &["baseline", "save", "../x", "b.json"], 2);
    assert!(stderr(&name).contains("no name of a baseline"), "{}", stderr(&name));
}

#[test]
fn runs_of_the_engine_are_compared_down_to_the_kernel() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let profile = |folder: &str, query: &str| {
        let small = ["profile", "--item-tokens", "1", "--warmup", "1", "--batch-sizes", "2"];
        let more = ["--requests", "12", "--query-tokens", query, "--output-dir", folder];
        run(path, &[small.as_slice(), &more].concat(), 0);
        // On a busy machine a point is invalid, which another test is about.
        let file = only_run_in(&path.join(folder)).join("results.json");
        let mut results = json_file(&file);
        results["results"][0]["validity"] = json!({"status": "valid", "causes": []});
        fs::write(file, results.to_string()).unwrap();
    };
    for folder in ["a", "b"] {
        profile(folder, "2");
    }
    profile("other", "3");
    let [a, b] = ["a", "b"].map(|folder| only_run_in(&path.join(folder)));
    let [a, b] = [a, b].map(|run| run.to_str().unwrap().to_owned());
    run(path, &["compare", &a, &b, "--html", "page.html", "--fail-on", "never"], 0);
    run(path, &["report", &a, &b, "-o", "same.html"], 0);
    let page = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert!(page("page.html") == page("same.html"), "two spellings, two pages");
    let json = stdout(&run(path, &["compare", "a", "b", "--json", "--fail-on", "never"], 0));
    let report: Value = serde_json::from_str(&json).unwrap();
    let row = &report["rows"][0];
    assert_eq!(
        (&row["sample"], &row["change_percent"]["status"]),
        (&json!("single"), &json!("degraded"))
    );
    let places = &report["where"];
    assert_eq!(places["per"], "request");
    let change = |row: &Value| row["change_us"].as_f64().unwrap();
    let sum: f64 = places["kernels"].as_array().unwrap().iter().map(change).sum();
    let device = |side: &str| places[side].as_f64().unwrap();
    assert!((sum - (device("device_us_b") - device("device_us_a"))).abs() < 1e-6, "{sum}");
    let has = |list: &str, field: &str, name: &str| {
        places[list].as_array().unwrap().iter().any(|row| row[field] == name)
    };
    assert!(has("stages", "stage", "forward") && has("kernels", "opcode", "matmul"));
    assert!(has("scopes", "scope", "layer_0/mlp"), "{places}");
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["metric"] == "peak_hbm_mb"), "{rows:?}");

    let refused = run(path, &["compare", "a", "other"], 2);
    for part in ["different workloads", "query_tokens: 2 in A, 3 in B"] {
        assert!(stderr(&refused).contains(part), "{part}: {}", stderr(&refused));
    }
}

#[test]
fn profiles_alone_say_where_and_not_whether() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let [a, b] = ["a.json", "b.json"].map(|name| {
        let wide = if name == "b.json" { 900 } else { 500 };
        let slice = |name: &str, at: u32, dur: u32, tid: u32| {
            json!({"ph": "X", "pid": 1, "tid": tid, "ts": at, "dur": dur, "name": name})
        };
        let events = json!([
            {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "/device:TPU:0"}},
            {"ph": "M", "pid": 1, "tid": 3, "name": "thread_name", "args": {"name": "XLA Ops"}},
            slice("fusion.1", 0, wide, 3),
            slice("copy.7", 1000, 100, 3),
        ]);
        let trace = json!({"displayTimeUnit": "ns", "traceEvents": events});
        fs::write(path.join(name), trace.to_string()).unwrap();
        name
    });
    let text = stdout(&run(path, &["compare", a, b], 0));
    assert!(text.starts_with("UNDECIDED") && text.contains("+400.00 us"), "{text}");
    fs::create_dir(path.join("empty")).unwrap();
    let nothing = run(path, &["compare", a, "empty"], 2);
    assert!(stderr(&nothing).contains("empty"), "{}", stderr(&nothing));
}

#[test]
fn runs_that_failed_are_invalid_even_if_all_did() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    results(path, "a.json", SAME, |_| {});
    for name in ["failed/1", "failed/2"] {
        fs::create_dir_all(path.join(name)).unwrap();
        let manifest = json!({"schema": "xscope/run/2", "id": name, "status": "failed"});
        fs::write(path.join(name).join("run.json"), manifest.to_string()).unwrap();
    }
    let text = stdout(&run(path, &["compare", "a.json", "failed"], 1));
    assert!(text.starts_with("INVALID") && text.contains("the run failed"), "{text}");
}
