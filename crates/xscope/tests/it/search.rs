//! `xscope bench find-max` and `sweep` on servers of the tests' own.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use xscope_testing::python;

use crate::profile::{json_file, only_run, signal, wait_for, wait_for_run};
use crate::run::free_port;
use crate::{run, stderr, stdout, xscope};

/// Small requests.
const SMALL: [&str; 8] =
    ["--query-tokens", "2", "--item-tokens", "1", "--warmup", "1", "--batch-sizes", "2"];

/// A server that takes as long as it is told for a request, one after the other.
const SERVER: &str = r#"
import http.server, json, sys, threading, time
one = threading.Lock()
class Score(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.reply(200 if self.path == "/health" else 404, b"{}")
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with one:
            time.sleep(float(sys.argv[2]))
        if self.path == "/generate":
            tokens = {"prompt_tokens": len(asked["input_ids"]),
                      "completion_tokens": asked["sampling_params"]["max_new_tokens"]}
            self.reply(200, json.dumps({"text": "a", "meta_info": tokens}).encode())
            return
        labels = len(asked["label_token_ids"])
        scores = [[1.0 / labels] * labels for _ in asked["items"]]
        self.reply(200, json.dumps({"scores": scores}).encode())
    def reply(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
if sys.argv[2] == "0.5":
    print("RESOURCE_EXHAUSTED: Attempting to allocate 34.0G")
    sys.exit(1)
Server(("127.0.0.1", int(sys.argv[1])), Score).serve_forever()
"#;

fn write_server(directory: &Path) {
    fs::write(directory.join("server.py"), SERVER).unwrap();
}

#[test]
fn the_capacity_of_a_server_is_bracketed_and_confirmed() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    write_server(directory.path());
    let port = free_port().to_string();
    let mut server = std::process::Command::new(python)
        .args(["server.py", &port, "0.1"])
        .current_dir(directory.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let args =
        ["bench", "score", "--find-max", "--url", &url, "--slo", "p50=500ms", "--start-rate", "2"];
    let more = ["--precision", "40", "--rate-secs", "2", "--json", "--label-counts", "2"];
    let output = xscope(directory.path(), &[&args[..], &more, &SMALL].concat()).output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let found = &found["points"][0];
    assert_eq!(found["point"], "b2_l2", "{}", stderr(&output));
    let max = found["max_per_sec"]["value"].as_f64().unwrap_or_else(|| panic!("{found}"));
    // 10 a second are all it can do; a short try ends before the queue of a little more is long.
    assert!((1.0..=16.0).contains(&max), "{found}");
    let fails = found["fails_per_sec"].as_f64().unwrap();
    assert!(fails > max && fails <= 1.41 * max, "{found}");
    let rates = found["rates"].as_array().unwrap();
    let last = rates.last().unwrap();
    assert_eq!((&last["confirms"], &last["outcome"]), (&true.into(), &"holds".into()));
    // Each rate is a run, and all of them are points of the results.
    let run_dir = only_run(directory.path());
    let results = json_file(&run_dir.join("results.json"));
    assert_eq!(results["results"].as_array().unwrap().len(), rates.len());
    let of_rate = run_dir.join(rates[0]["run"].as_str().unwrap());
    assert_eq!(json_file(&of_rate.join("run.json"))["status"], "complete");
    assert!(results["results"][0]["goodput_per_sec"]["value"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_batch_at_once_takes_as_long_as_its_last_answer() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    write_server(directory.path());
    let port = free_port().to_string();
    let mut server = std::process::Command::new(python)
        .args(["server.py", &port, "0.01"])
        .current_dir(directory.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let args = ["bench", "one-batch-server", "--base-url", &url, "--batch-size", "1", "4"];
    let more = ["--input-len", "5", "--output-len", "2", "--result-filename", "lines.jsonl"];
    let output = xscope(directory.path(), &[&args[..], &more].concat()).output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let lines = fs::read_to_string(directory.path().join("lines.jsonl"));
    let lines = lines.unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", stdout(&output));
    let last = &lines[1];
    assert_eq!((&last["batch_size"], &last["input_len"]), (&4.into(), &5.into()));
    // Four requests of 10 ms, one after the other.
    let secs = last["latency"].as_f64().unwrap();
    assert!(secs >= 0.04, "{secs}");
    let rate = last["output_throughput"].as_f64().unwrap();
    assert!((rate * secs - 8.0).abs() < 1e-6);
}

fn grid(directory: &Path, python: &str, secs: &str) {
    write_server(directory);
    let grid =
        format!("command = \"{python} server.py {{port}} {{secs}}\"\n[values]\nsecs = {secs}\n");
    fs::write(directory.join("grid.toml"), grid).unwrap();
}

const SWEEP: [&str; 9] =
    ["bench", "sweep", "grid.toml", "--requests", "12", "--trials", "1", "--json", "--confirm=1"];

#[test]
fn settings_are_ranked_and_one_that_runs_out_of_memory_is_a_result() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    grid(directory.path(), &python, "[0.001, 0.06, 0.5, 0.7]");
    let output = run(directory.path(), &[&SWEEP[..], &SMALL].concat(), 0);
    let sweep: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let cells = sweep["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    assert_eq!((&cells[3]["status"], &cells[3]["run"]), (&"skipped".into(), &Value::Null));
    assert_eq!(cells[2]["status"], "out_of_memory");
    assert!(cells[2]["reason"].as_str().unwrap().contains("RESOURCE_EXHAUSTED: Attempting"));
    assert_eq!((&sweep["winner"], &sweep["complete"]), (&"secs=0.001".into(), &true.into()));
    assert_eq!(sweep["confirmed"].as_array().unwrap().len(), 1);
    let first = cells[0]["run"].as_str().unwrap();
    assert!(only_run(directory.path()).join(first).join("results.json").is_file());
}

#[test]
fn a_sweep_that_was_killed_goes_on_where_it_was() {
    let Some(python) = python("pass") else { return };
    let directory = tempfile::tempdir().unwrap();
    grid(directory.path(), &python, "[0.001, 0.25, 0.002]");
    let args = [&SWEEP[..], &SMALL].concat();
    let mut child = xscope(directory.path(), &args).stderr(Stdio::null()).spawn().unwrap();
    let done = |run: &Path| match run.join("sweep.json").is_file() {
        true => json_file(&run.join("sweep.json"))["cells"].as_array().map_or(0, Vec::len),
        false => 0,
    };
    let run_dir = wait_for_run(directory.path());
    wait_for("the first setting", || done(&run_dir) == 1);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let before = json_file(&run_dir.join("sweep.json"));
    let path = run_dir.to_str().unwrap();
    let output = run(directory.path(), &[&args[..], &["--resume", path]].concat(), 0);
    assert!(stderr(&output).contains("1 settings are measured already"), "{}", stderr(&output));
    let after = json_file(&run_dir.join("sweep.json"));
    assert_eq!(after["cells"][0], before["cells"][0], "what is on disk is not measured again");
    assert_eq!(after["cells"].as_array().unwrap().len(), 3);
    assert_eq!(after["complete"], true);

    let other = [&args[..], &["--resume", path, "--label-counts", "4"]].concat();
    let output = run(directory.path(), &other, 2);
    assert!(stderr(&output).contains("is of another sweep"), "{}", stderr(&output));
}
