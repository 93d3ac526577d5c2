//! Benchmarks in process: `xscope bench kernel` and `one-batch`, and targets.

use std::fs;
use std::path::Path;

use serde_json::Value;
use xscope_testing::python;

use crate::profile::{json_file, only_run};
use crate::{run, stderr, stdout};

const SMALL: [&str; 5] = [
    "matmul:m=3/4,n=32,k=48",
    "attention:b=2,h=4,kv=2,d=8,q=5,k=9",
    "kv_update:b=2,kv=3,d=4,t=2,c=7",
    "moe:t=6,h=16,i=8,e=4",
    "--trials=6",
];

fn kernels(directory: &Path, more: &[&str]) -> Value {
    let args = [&["bench", "kernel"], SMALL.as_slice(), &["--json"], more].concat();
    serde_json::from_str(&stdout(&run(directory, &args, 0))).unwrap()
}

#[test]
fn kernels_are_timed_and_their_answers_checked() {
    let directory = tempfile::tempdir().unwrap();
    let results = kernels(directory.path(), &["--csv", "k.csv", "--output-json", "k.json"]);
    assert_eq!(results["schema"], "xscope/results/2");
    assert_eq!(
        (&results["config"]["bench"], &results["ended"]),
        (&"kernel".into(), &"complete".into())
    );
    let peaks = &results["metadata"]["measured_peaks"];
    assert!(
        ["flops_per_sec", "bytes_per_sec"]
            .into_iter()
            .all(|name| peaks[name]["value"].as_f64() > Some(0.0))
    );
    let points = results["results"].as_array().unwrap();
    let names: Vec<&str> = points.iter().map(|point| point["point"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "matmul_m3_n32_k48",
            "matmul_m4_n32_k48",
            "attention_b2_h4_kv2_d8_q5_k9",
            "kv_update_b2_kv3_d4_t2_c7",
            "moe_t6_h16_i8_e4_k2",
        ]
    );
    for point in points {
        let kernel = &point["kernel"];
        assert_eq!(point["validity"]["status"], "valid", "{point}");
        assert!(kernel["answer_error"].as_f64().unwrap() < 1e-4);
        assert!(point["trials"].as_array().unwrap().len() >= 6);
        let [low, high] = [0, 1].map(|end| point["p50_interval_ms"][end].as_f64().unwrap());
        assert!(low <= high && low > 0.0);
        let (rate, ms) =
            (kernel["bytes_per_sec"]["value"].as_f64(), point["p50_ms"]["value"].as_f64());
        let expected = kernel["bytes_accessed"]["value"].as_f64().unwrap() / (ms.unwrap() / 1e3);
        assert!((rate.unwrap() / expected - 1.0).abs() < 1e-9);
    }
    assert_eq!(points[0]["kernel"]["flops"]["value"], f64::from(2 * 3 * 32 * 48));
    assert_eq!(fs::read_to_string(directory.path().join("k.csv")).unwrap().lines().count(), 6);
    let run_dir = only_run(directory.path());
    assert_eq!(json_file(&run_dir.join("run.json"))["status"], "complete");
    assert_eq!(json_file(&run_dir.join("results.json")), results);
    assert_eq!(json_file(&directory.path().join("k.json")), results);
}

#[test]
fn jax_runs_the_same_kernels_and_is_shown_beside() {
    let Some(python) = python("import jax") else { return };
    let directory = tempfile::tempdir().unwrap();
    let args = [&["bench", "kernel"], SMALL.as_slice(), &["--jax", "--python", &python]].concat();
    let text = stdout(&run(directory.path(), &args, 0));
    assert!(text.contains("JAX takes") && text.contains("JAX, host waits"), "{text}");
    let results = json_file(&only_run(directory.path()).join("results.json"));
    let points = results["results"].as_array().unwrap();
    let of_jax: Vec<&Value> =
        points.iter().filter(|point| point["kernel"]["by"] == "jax").collect();
    assert_eq!(of_jax.len(), 5, "{text}");
    for point in of_jax {
        assert_eq!(point["validity"]["status"], "valid", "{point}");
        assert_eq!(point["n"], 80);
        // The device's own time is part of what the host waits for.
        let host = point["kernel"]["host_ms"]["value"].as_f64().unwrap();
        assert!(
            point["min_ms"]["value"].as_f64() > Some(0.0)
                && point["p50_ms"]["value"].as_f64() < Some(host)
        );
    }
    assert!(results["metadata"]["jax_version"].is_string());
}

#[test]
fn a_python_without_jax_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let args = [&["bench", "kernel"], SMALL.as_slice(), &["--jax", "--python", "false"]].concat();
    let output = run(directory.path(), &args, 2);
    assert!(stderr(&output).contains("false must have jax"), "{}", stderr(&output));
    let args = [&["bench", "kernel"], SMALL.as_slice(), &["--jax", "--python", "no-python"]];
    let output = run(directory.path(), &args.concat(), 2);
    assert!(stderr(&output).contains("cannot start no-python (--python)"), "{}", stderr(&output));
}

#[test]
fn a_batch_is_timed_by_prefill_and_steps() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["bench", "one-batch", "--batch-size", "1", "2", "--input-len", "5", "--output-len"];
    let more = ["1", "4", "--trials", "6", "--result-filename", "lines.jsonl", "--run-name", "r"];
    let text = stdout(&run(directory.path(), &[&args[..], &more].concat(), 0));
    for part in ["Prefill. latency:", "Decode.  median latency:", "Total. latency:"] {
        assert!(text.contains(part), "{text}");
    }
    let lines = fs::read_to_string(directory.path().join("lines.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    let last = &lines[3];
    assert_eq!(
        (&last["run_name"], &last["batch_size"], &last["output_len"]),
        (&"r".into(), &2.into(), &4.into())
    );
    for key in [
        "prefill_latency",
        "prefill_throughput",
        "median_decode_latency",
        "median_decode_throughput",
        "total_latency",
        "overall_throughput",
    ] {
        assert!(last[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(lines[0].get("median_decode_latency").is_none(), "scoring decodes nothing");
    let results = json_file(&only_run(directory.path()).join("results.json"));
    let point = &results["results"][3];
    assert_eq!(
        (&point["point"], &point["validity"]["status"]),
        (&"b2_in5_out4".into(), &"valid".into())
    );
    assert_eq!(point["itl"]["n"], 3 * point["n"].as_u64().unwrap());
}

#[test]
fn a_batch_that_does_not_fit_is_refused_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    for (sizes, expected) in [
        (["--input-len", "100000", "--output-len", "1"], "100000 tokens in and 1 out"),
        (["--input-len", "4", "--output-len", "0"], "at least 1"),
    ] {
        let output = run(directory.path(), &[&["bench", "one-batch"], &sizes[..]].concat(), 2);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    assert!(!directory.path().join("runs").exists());
}

#[test]
fn targets_are_checked_and_fail_only_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let strict = "[single_item_p50]\ntarget = 1e-6\nalert = 1e-5\n";
    fs::write(directory.path().join("targets.toml"), strict).unwrap();
    let small = ["--query-tokens", "2", "--item-tokens", "1", "--warmup", "1", "--requests", "4"];
    let args =
        [&["profile", "--batch-sizes", "1", "--targets", "targets.toml"], &small[..]].concat();
    let text = stdout(&run(directory.path(), &[&args[..], &["--fail-on", "alert"]].concat(), 1));
    assert!(text.contains("single_item_p50") && text.contains("ALERT"), "{text}");
    let run_dir = only_run(directory.path());
    let report = json_file(&run_dir.join("report.json"));
    let check = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap().clone()
    };
    assert_eq!(check("single_item_p50")["outcome"], "alert");
    assert_eq!(check("batch_32")["outcome"], "unknown");
    // The run remembers its limits.
    assert_eq!(
        json_file(&run_dir.join("run.json"))["targets"]["single_item_p50"]["target_limit"],
        1e-6
    );
    let page = fs::read_to_string(run_dir.join("report.html")).unwrap();
    assert!(page.contains("&lt; 0.000001 ms"), "the page has the limits of the run");

    fs::write(directory.path().join("targets.toml"), "[single_item]\ntarget = 1\n").unwrap();
    let output = run(directory.path(), &args, 2);
    assert!(stderr(&output).contains("there are single_item_p50"), "{}", stderr(&output));
}
