//! `xscope profile` and `xscope serve`, over real HTTP on the built-in engine.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{run, stderr, stdout, xscope};

/// Small requests, so that a debug build answers in milliseconds.
const SMALL: [&str; 8] =
    ["--query-tokens", "2", "--item-tokens", "1", "--warmup", "1", "--batch-sizes", "2"];

fn profile_args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["profile"], SMALL.as_slice(), more].concat()
}

/// The one run directory in `runs`.
pub(crate) fn only_run(directory: &Path) -> PathBuf {
    only_run_in(&directory.join("runs"))
}

pub(crate) fn only_run_in(runs: &Path) -> PathBuf {
    let mut entries = fs::read_dir(runs).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "more than one run");
    path
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Waits until a command has made its run; the folder around it exists a moment earlier.
pub(crate) fn wait_for_run(directory: &Path) -> PathBuf {
    let runs = directory.join("runs");
    let is_there = || fs::read_dir(&runs).is_ok_and(|mut entries| entries.next().is_some());
    wait_for("the run", is_there);
    only_run(directory)
}

/// The measured requests in `requests.jsonl` so far.
pub(crate) fn rows(run: &Path) -> usize {
    let rows = fs::read_to_string(run.join("requests.jsonl")).unwrap_or_default();
    rows.lines().filter(|row| row.contains("\"measure\"")).count()
}

/// Waits until a condition holds; fails when it does not within a minute.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// A profile that goes on until it is stopped, with at least `enough` rows written.
pub(crate) fn start_endless(directory: &Path, enough: usize) -> (Child, PathBuf) {
    let args = profile_args(&["--requests", "100000"]);
    let child =
        xscope(directory, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let run_dir = wait_for_run(directory);
    wait_for("the load", || rows(&run_dir) > enough);
    (child, run_dir)
}

#[test]
fn one_command_shows_five_levels_and_leaves_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &profile_args(&["--requests", "8"]), 0);
    let text = stdout(&output);
    for level in [
        "Requests: 8 measured",
        "Stages",
        "forward",
        "layer_0",
        "qkv_proj",
        "Kernels",
        "matmul",
        "Memory by owner",
        "weights",
        "kv",
    ] {
        assert!(text.contains(level), "{level} is missing:\n{text}");
    }
    assert!(!text.contains("warning"), "{text}");
    assert!(stderr(&output).contains("measure of b2_l2: 8 requests"));
    let run = only_run(directory.path());
    let manifest = json_file(&run.join("run.json"));
    assert_eq!(manifest["schema"], "xscope/run/2");
    assert_eq!(manifest["status"], "complete");
    let files = manifest["files"].as_array().unwrap();
    let has = |end: &str| files.iter().any(|file| file["path"].as_str().unwrap().ends_with(end));
    for end in [".xplane.pb", ".xspan", "requests.jsonl", "results.json", "report.json"] {
        assert!(has(end), "{end} is not listed: {files:?}");
    }
}

#[test]
fn json_has_the_contract_and_adds_up() {
    let directory = tempfile::tempdir().unwrap();
    let args = profile_args(&["--requests", "20", "--concurrency", "3", "--json", "--no-progress"]);
    let output = run(directory.path(), &args, 0);
    assert_eq!(stderr(&output), "");
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["schema"], "xscope/profile/2");
    assert_eq!(report["request_counts"]["measured_requests"], 20);
    let saved = json_file(&only_run(directory.path()).join("report.json"));
    assert_eq!(saved, report, "report.json is what was printed");

    // The stages of a request add up to its wall time, with less than 2 % in none of them.
    for request in [&report, &report["slowest"]] {
        let total = request["total_latency_ms"].as_f64().unwrap();
        let waterfall = request["waterfall_ms"].as_object().unwrap();
        let sum: f64 = waterfall.values().map(|ms| ms.as_f64().unwrap()).sum();
        assert!((sum - total).abs() < 1e-6, "{sum} of {total}");
        let lost = waterfall.get("unaccounted").map_or(0.0, |ms| ms.as_f64().unwrap());
        assert!(lost <= 0.02 * total, "{lost} of {total} is in no stage");
    }
    let stages = report["stages"].as_array().unwrap();
    let shares: f64 = stages.iter().map(|stage| stage["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");

    for field in [
        "tokenization_ms",
        "queue_wait_ms",
        "model_forward_ms",
        "logprob_extraction_ms",
        "softmax_ms",
        "device_share_ms",
        "activation_memory_mb",
    ] {
        assert_eq!(report[field]["status"], "valid", "{field}: {}", report[field]);
    }
    let peak = &report["peak_hbm_mb"];
    assert_eq!(
        (&peak["status"], peak),
        (&"degraded".into(), &report["analysis"]["memory"]["peak_hbm_mb"])
    );
    let moment = &report["analysis"]["memory"]["peak_moment"];
    let alive: f64 =
        moment["owners_mb"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!((alive - peak["value"].as_f64().unwrap()).abs() < 1e-6, "{moment}");
    let checks = report["checks"].as_array().unwrap();
    let target = checks.iter().find(|check| check["name"] == "peak_hbm").unwrap();
    assert_eq!(target["outcome"], "unknown", "{target}");
    assert!(report["batch_size"].as_u64() >= Some(1), "{}", report["batch_size"]);
    assert_eq!((&report["num_items"], &report["num_label_tokens"]), (&2.into(), &2.into()));
    assert_eq!(report["sequence_lengths"].as_array().unwrap().len(), 2);

    // Whoever asks what ran finds prefills, as the batches are.
    for rows in ["/programs", "/steps/groups", "/steps/rows"] {
        let rows = report["analysis"].pointer(rows).and_then(Value::as_array).unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|row| row["stage"] == "prefill"), "{rows:?}");
    }

    // The layer tree accounts for all of the device's time.
    let layers = &report["analysis"]["layers"];
    let kernels = report["analysis"]["kernels"].as_array().unwrap();
    let total: f64 = kernels.iter().map(|kernel| kernel["self_us"].as_f64().unwrap()).sum();
    assert!((layers["total_us"].as_f64().unwrap() - total).abs() < 1e-3 * total);
    assert!(kernels.iter().all(|kernel| kernel["flops"]["status"] == "valid"));
    let share = report["batches"]["padding_share"]["value"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&share), "{share}");
}

#[test]
fn what_the_profiler_costs_is_measured_in_turns_with_it_off() {
    let directory = tempfile::tempdir().unwrap();
    let args = profile_args(&["--requests", "8", "--json", "--overhead-secs", "4"]);
    let output = run(directory.path(), &args, 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        report["request_counts"]["measured_requests"], 8,
        "its requests are not among the measured ones"
    );
    let table = directory.path().join("csv");
    let run_dir = only_run(directory.path()).display().to_string();
    run(directory.path(), &["export", &run_dir, "--csv", table.to_str().unwrap()], 0);
    let table = fs::read_to_string(table.join("requests.csv")).unwrap();
    let phases = report["request_counts"]["phases"].as_array().unwrap();
    for phase in phases {
        let name = phase["phase"].as_str().unwrap();
        let rows = table.lines().filter(|line| line.split(',').nth(2) == Some(name));
        let count = phase["answered_requests"].as_u64().unwrap();
        assert_eq!(rows.clone().count() as u64, count, "{name}");
        let is_outside = |line: &str| line.split(',').nth(8) == Some("true");
        assert!(rows.clone().all(|line| is_outside(line) == (name != "measure")), "{name}");
    }
    assert!(phases.iter().any(|phase| phase["phase"] == "overhead"), "{phases:?}");
    let overhead = &report["overhead"];
    let rows = overhead["costs"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert!(row("basic")["rounds"].as_u64().unwrap() > 0, "{overhead}");
    assert!(
        row("probes")["change_percent"]["reason"]
            .as_str()
            .unwrap()
            .contains("without xscope's probes")
    );
    assert!(
        row("full")["change_percent"]["reason"].as_str().unwrap().contains("--overhead-levels")
    );
    let answers = overhead["answers"].as_array().unwrap();
    assert!(answers.iter().all(|row| row["compared"].as_u64() > Some(0) && row["differ"] == 0));
    let run_dir = only_run(directory.path());
    assert!(!run_dir.join("overhead").exists(), "the profiles of its windows are thrown away");
    let record = json_file(&run_dir.join("overhead.json"));
    let recordings: Vec<&str> = record["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|window| window["recording"].as_str().unwrap())
        .take(4)
        .collect();
    assert_eq!(recordings, ["probes", "basic", "basic", "probes"], "the order is reversed");
    let output =
        run(directory.path(), &profile_args(&["--requests", "2", "--overhead-secs", "0"]), 0);
    assert!(!stdout(&output).contains("Overhead"), "{}", stdout(&output));
}

#[test]
fn a_running_server_is_profiled_through_the_same_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut server =
        xscope(directory.path(), &["serve", "--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let url = url.trim_end_matches(';').to_owned();

    let args = profile_args(&["--requests", "6", "--url", &url, "--json"]);
    let report: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    assert_eq!(report["request_counts"]["failed_requests"], 0);
    assert_eq!(report["model_forward_ms"]["status"], "valid");
    assert!(!report["analysis"]["kernels"].as_array().unwrap().is_empty());

    // It would be measured in the place of the one that is to be started.
    let started = directory.path().join("started");
    for command in [["profile"].as_slice(), &["bench", "score"]] {
        let own = ["--url", &url, "--", "touch", started.to_str().unwrap()];
        let output = run(directory.path(), &[command, &own].concat(), 3);
        assert!(stderr(&output).contains("a server answers at"), "{}", stderr(&output));
    }
    assert!(!started.exists());

    signal(&server, "-TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(server.wait().unwrap().success(), "{rest}");
}

#[test]
fn a_killed_run_is_readable_up_to_that_moment() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, run_dir) = start_endless(directory.path(), 10);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let written = rows(&run_dir);

    let output = run(directory.path(), &["analyze", run_dir.to_str().unwrap(), "--json"], 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let formats: Vec<&str> = report["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["format"].as_str().unwrap())
        .collect();
    assert!(
        formats.contains(&"xplane") && formats.contains(&"xspan") && formats.contains(&"requests")
    );
    assert!(!report["kernels"].as_array().unwrap().is_empty(), "the device's work is there");
    assert!(written > 10);
    let codes: Vec<&str> =
        report["quality"].as_array().unwrap().iter().map(|q| q["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"run.interrupted"), "{codes:?}");
}

#[test]
fn ctrl_c_ends_cleanly_with_a_run_marked_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let (child, run_dir) = start_endless(directory.path(), 10);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stdout(&output).contains("(the run was interrupted)"));
    assert_eq!(json_file(&run_dir.join("run.json"))["status"], "interrupted");
}

#[test]
fn what_cannot_be_asked_is_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (["--batch-sizes", "0"], "lengths are from 1"),
        (["--label-token-ids", "99999"], "outside the vocabulary"),
        (["--url", "https://127.0.0.1:1"], "https is not supported"),
        (["--model", "no-such-folder"], "no-such-folder"),
    ] {
        let args = [&["profile"], args.as_slice()].concat();
        let output = run(directory.path(), &args, 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    assert!(!directory.path().join("runs").exists(), "nothing was written");
}

#[test]
fn a_target_that_is_not_there_is_exit_code_3() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["profile", "--url", "http://127.0.0.1:1", "--ready-timeout-secs", "0"];
    let output = run(directory.path(), &args, 3);
    assert!(stderr(&output).contains("http://127.0.0.1:1"), "{}", stderr(&output));
    assert!(!directory.path().join("runs").exists());
}
