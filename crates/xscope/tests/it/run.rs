//! `xscope run`, and `xscope profile` on a server that it starts, with probes in real processes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use xscope_testing::{python, repository};

use crate::fake_server::{FakeServer, Kind};
use crate::profile::{json_file, only_run, rows, signal, wait_for, wait_for_run};
use crate::{run, stderr, stdout, xscope};

pub(crate) fn test_server() -> String {
    let path = repository().join("tests/servers/jax_score_server.py");
    path.to_str().unwrap().to_owned()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A module with a function, a table for it, and a script that calls it.
fn small_target(directory: &Path, script: &str) {
    fs::write(directory.join("small.py"), "def work(n):\n    return n * 2\n").unwrap();
    let table = "[[probe]]\nmodule = 'small'\nname = 'work'\nspan = 'work'\nrequest = 'n'\n\n\
                 [[probe]]\nmodule = 'small'\nname = 'gone'\nspan = 'gone'\n";
    fs::write(directory.join("small.toml"), table).unwrap();
    fs::write(directory.join("main.py"), script).unwrap();
}

#[test]
fn a_command_is_recorded_and_what_its_table_misses_is_told() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    small_target(directory.path(), "import small\nprint('answer', small.work(21))\n");
    let args = ["run", "--probes", "small.toml", "--", &python, "main.py"];
    let output = run(directory.path(), &args, 0);
    let said = stderr(&output);
    assert!(said.contains("answer 42"), "the command's output is shown: {said}");
    assert!(said.contains("a probe found nothing to record: small.gone (small.toml)"), "{said}");
    let run_dir = only_run(directory.path());
    assert_eq!(fs::read_to_string(run_dir.join("logs/server.log")).unwrap(), "answer 42\n");
    let manifest = json_file(&run_dir.join("run.json"));
    assert_eq!(manifest["status"], "complete");
    assert_eq!(manifest["probes"]["installed_count"], 1);
    let args = ["analyze", "--json", run_dir.to_str().unwrap()];
    let report: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    assert_eq!(report["events"], 1);
    // What recording took is counted, in the run and in its report.
    assert!(said.contains("recording 1 spans took at least"), "{said}");
    let recorded = &manifest["probes"]["recorded"];
    let spans = &report["recording_cost"]["recorders"][0];
    assert_eq!((&recorded["spans"], &spans["events"]), (&1.into(), &1.into()));
    let (ms, us) = (&recorded["time_ms"], &spans["time_us"]);
    assert_eq!((&ms["status"], &us["status"]), (&"degraded".into(), &"degraded".into()), "{ms}");
    let (ms, us) = (ms["value"].as_f64().unwrap(), us["value"].as_f64().unwrap());
    assert!(ms > 0.0 && (ms * 1e3 - us).abs() < 1e-6 * us, "{ms} ms, {us} us");
    assert!(recorded["time_share"]["value"].as_f64() < Some(1.0), "{recorded}");
}

#[test]
fn a_command_that_fails_is_exit_code_3_and_a_failed_run() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["run", "--", &python, "-c", "raise SystemExit(7)"], 3);
    assert!(stderr(&output).contains("exit status: 7"), "{}", stderr(&output));
    assert!(stderr(&output).contains("no probe was placed"), "{}", stderr(&output));
    assert_eq!(json_file(&only_run(directory.path()).join("run.json"))["status"], "failed");
}

#[test]
fn a_program_that_is_not_there_and_a_bad_table_are_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["run", "--", "/no/such/program"], 2);
    assert!(stderr(&output).contains("/no/such/program"), "{}", stderr(&output));
    fs::write(directory.path().join("bad.toml"), "[[probe]]\nmodule = 'm'\n").unwrap();
    let output = run(directory.path(), &["run", "--probes", "bad.toml", "--", "true"], 2);
    assert!(stderr(&output).contains("missing field `name`"), "{}", stderr(&output));
}

#[test]
fn a_signal_reaches_the_command_and_the_run_is_complete() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    let script = "import signal, sys, time, small\n\
                  signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended by a signal'))\n\
                  small.work(1)\nopen('ready', 'w').close()\ntime.sleep(600)\n";
    small_target(directory.path(), script);
    let args = ["run", "--probes", "small.toml", "--", &python, "main.py"];
    let child = xscope(directory.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the command's start", || directory.path().join("ready").exists());
    signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run_dir = only_run(directory.path());
    assert_eq!(json_file(&run_dir.join("run.json"))["status"], "complete");
    assert!(stderr(&output).contains("small.toml spans come from 1 processes"));
}

/// Profiles the test server that xscope starts.
fn profile_test_server(directory: &Path, python: &str, code: i32) -> std::process::Output {
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let load = ["--requests", "12", "--warmup", "2", "--batch-sizes", "3", "--json"];
    let load = [load.as_slice(), &["--overhead-secs", "60"]].concat();
    let server = ["--", python, &test_server(), "--port", &port];
    let args = [&["profile", "--url", &url], load.as_slice(), server.as_slice()].concat();
    let output = xscope(directory, &args).env("JAX_PLATFORMS", "cpu").output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    output
}

#[test]
fn one_command_shows_the_waterfall_over_all_processes_of_a_jax_server() {
    let Some(python) = python("import jax") else { return };
    let directory = tempfile::tempdir().unwrap();
    let output = profile_test_server(directory.path(), &python, 0);
    assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["request_counts"]["measured_requests"], 12);
    let names: Vec<&str> =
        report["stages"].as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
    for stage in [
        "http.parse",
        "tokenize",
        "batch.build",
        "ipc.send",
        "queue.wait",
        "schedule",
        "forward",
        "logprob.extract",
        "detokenize",
        "softmax",
        "http.respond",
    ] {
        assert!(names.contains(&stage), "{stage} is missing: {names:?}");
    }
    let total = report["total_latency_ms"].as_f64().unwrap();
    let waterfall = report["waterfall_ms"].as_object().unwrap();
    let sum: f64 = waterfall.values().filter_map(Value::as_f64).sum();
    assert!((sum - total).abs() < 1e-6, "{sum} of {total}");
    assert_eq!(report["device_share_ms"]["status"], "valid");
    assert!(report["device_share_ms"]["value"].as_f64().unwrap() > 0.0);
    assert_eq!(report["sequence_lengths"].as_array().unwrap().len(), 3);
    let quality = report["analysis"]["quality"].as_array().unwrap();
    assert!(quality.iter().any(|finding| finding["code"] == "batches.joined_by_time"));
    let run_dir = only_run(directory.path());
    let manifest = json_file(&run_dir.join("run.json"));
    assert_eq!(manifest["probes"]["processes"].as_array().unwrap().len(), 3);
    assert_eq!(manifest["probes"]["errors"], 0, "{}", manifest["probes"]);
    for stage in ["ready", "peak_batch"] {
        let memory = json_file(&run_dir.join(format!("memory/memory_report_device_{stage}.json")));
        assert!(memory["total_memory_mb"].as_f64().unwrap() > 0.1, "{memory}");
        assert!(run_dir.join(format!("memory/device_{stage}.prof")).metadata().unwrap().len() > 0);
    }
    let rows = report["overhead"]["costs"].as_array().unwrap();
    let probes = rows.iter().find(|row| row["name"] == "probes").unwrap();
    assert!(probes["rounds"].as_u64() > Some(0), "recording was switched off and on: {probes}");
    let record = json_file(&run_dir.join("overhead.json"));
    let windows = record["windows"].as_array().unwrap();
    let of_probes = |round: &Value| {
        let of_round = windows.iter().filter(|window| window["round"] == *round);
        of_round.map(|window| window["recording"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of_probes(&0.into()), ["probes", "nothing"], "one request of each");
    assert_eq!(of_probes(&1.into()), ["nothing", "probes"]);
    assert_eq!(windows[0]["latencies_ms"].as_array().unwrap().len(), 1);
    let counted = rows.iter().find(|row| row["name"] == "counted").unwrap();
    assert_eq!(counted["change_percent"]["status"], "degraded", "{counted}");
    assert!(counted["change_percent"]["value"].as_f64() > Some(0.0), "{counted}");
    assert_eq!(fs::read(run_dir.join("probe/control")).unwrap(), [1], "and is on again");
    let memory = rows.iter().find(|row| row["name"] == "memory").unwrap();
    assert_eq!(memory["change_percent"]["status"], "valid", "{memory}");
    let summary = json_file(&run_dir.join("memory/memory_summary.json"));
    assert_eq!(summary["total_reports"], 2, "{summary}");
    assert!(summary["peak_memory_by_stage"]["peak_batch"].as_f64() > Some(0.1), "{summary}");
    assert_eq!(summary["memory_breakdown_by_type"]["device"].as_array().unwrap().len(), 2);
    let peak = &report["peak_hbm_mb"];
    assert_eq!(&json_file(&run_dir.join("results.json"))["results"][0]["peak_hbm_mb"], peak);
    assert_eq!(peak["status"], "degraded", "a CPU counts no peak: {peak}");
    assert!(peak["value"].as_f64().unwrap() > 0.1);
}

/// Sends a score request to a server on this machine; the status line of its answer.
fn score(port: &str, request_id: &str) -> Option<String> {
    let body = r#"{"model":"m","query":[1,2,3],"items":[[4],[5]],"label_token_ids":[7,8]}"#;
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
    let head = format!(
        "POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         x-request-id: {request_id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}

#[test]
fn of_a_slow_request_the_spans_are_kept_and_the_device_of_the_next_one_like_it() {
    let Some(python) = python("import jax") else { return };
    let directory = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let server = test_server();
    // Every request takes longer than this on any machine, so each is one like that before it.
    let args = [
        "run",
        "--quiet",
        "--slow-over",
        "1ms",
        "--url",
        &url,
        "--",
        &python,
        &server,
        "--port",
        &port,
    ];
    let said = directory.path().join("said");
    let mut child = xscope(directory.path(), &args)
        .env("JAX_PLATFORMS", "cpu")
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    wait_for("the server", || score(&port, "first").is_some());
    let text = || fs::read_to_string(&said).unwrap();
    wait_for("the profile of a request like the slow one", || {
        assert!(score(&port, "later").unwrap().contains(" 200 "));
        text().contains("the device profile of one like it is in the run")
    });
    let args = ["analyze", "--json", "runs"];
    let report: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    let has_ring = report["sources"].to_string().contains("/.ring/");
    assert!(!has_ring, "what may be thrown away yet is no part of the run");
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success(), "{}", text());
    assert!(text().contains("slow: first took"), "{}", text());

    let run_dir = only_run(directory.path());
    assert!(!run_dir.join(".ring").exists(), "what was not kept is thrown away");
    let slow = &json_file(&run_dir.join("run.json"))["slow"];
    assert_eq!(
        (&slow["profiled"], &slow["kept"][0]["request_id"]),
        (&true.into(), &"first".into())
    );
    let like = &slow["kept"][0]["like"];
    assert_eq!((&like["items"], &like["tokens"]), (&2.into(), &8.into()));
    let kept = slow["kept"].as_array().unwrap();
    assert!(kept.iter().any(|kept| kept["like"]["labels"][0] == "(7, 8)"), "{slow}");
    let args = ["analyze", "--json", run_dir.to_str().unwrap()];
    let report: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    let sources = report["sources"].as_array().unwrap();
    let count = |format: &str| sources.iter().filter(|source| source["format"] == format).count();
    assert_eq!((count("xspan"), count("xplane")), (3, 1), "{sources:?}");
    let slowest = &report["request_report"]["slowest"];
    for stage in ["tokenize", "queue.wait", "forward", "detokenize"] {
        assert!(slowest["waterfall_ms"][stage].as_f64() > Some(0.0), "{stage}: {slowest}");
    }
    assert!(report["devices"].as_array().is_some_and(|devices| !devices.is_empty()));
}

#[test]
fn the_profiler_for_a_slow_request_is_stopped_however_xscope_ends() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind::default());
    fs::write(directory.path().join("small.py"), "def work():\n    pass\n").unwrap();
    let table = "[[probe]]\nmodule = 'small'\nname = 'work'\nspan = 'request'\nopens = true\n";
    fs::write(directory.path().join("small.toml"), table).unwrap();
    // Ends with its directory, which goes with the test.
    let script = "import os, time, small\nsmall.work()\n\
                  while os.path.exists('small.py'):\n    time.sleep(0.01)\n";
    fs::write(directory.path().join("main.py"), script).unwrap();
    let args = ["run", "--slow-over", "0s", "--url", &server.url, "--probes", "small.toml"];
    let args = [args.as_slice(), &["--", &python, "main.py"]].concat();
    let mut child = xscope(directory.path(), &args).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the profile", || server.is_profiling());
    signal(&child, "-KILL");
    child.wait().unwrap();
    wait_for("the end of the profile", || !server.is_profiling());
}

#[test]
fn the_death_of_a_server_is_exit_code_3_and_its_spans_are_there() {
    let Some(python) = python("import jax") else { return };
    let directory = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let server = test_server();
    let args = [
        "profile",
        "--url",
        &url,
        "--requests",
        "100000",
        "--batch-sizes",
        "1",
        "--",
        &python,
        &server,
        "--port",
        &port,
    ];
    let child = xscope(directory.path(), &args)
        .env("JAX_PLATFORMS", "cpu")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let run_dir = wait_for_run(directory.path());
    wait_for("the load", || rows(&run_dir) > 20);
    let mut notes = fs::read_dir(run_dir.join("spans")).unwrap().map(|entry| entry.unwrap().path());
    let first = notes.find(|path| {
        let note = path.to_string_lossy().ends_with(".probes.json").then(|| json_file(path));
        note.is_some_and(|note| note["parent"] == child.id())
    });
    let pid = json_file(&first.unwrap())["pid"].to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let args = ["analyze", "--json", run_dir.to_str().unwrap()];
    let report: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    let formats = report["sources"].as_array().unwrap();
    assert_eq!(formats.iter().filter(|source| source["format"] == "xspan").count(), 3);
    let codes = report["quality"].as_array().unwrap();
    assert!(codes.iter().any(|finding| finding["code"] == "run.failed"), "{codes:?}");
}
