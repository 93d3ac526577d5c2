//! `xscope bench ab` with servers that it starts itself.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use xscope_testing::python;

use crate::profile::{json_file, only_run, signal, wait_for, wait_for_run};
use crate::{binary, run, stderr, stdout, xscope};

/// The built-in engine as a command, with more arguments.
fn engine(more: &str) -> String {
    format!("{} serve --port {{port}} {more}", binary())
}

/// Runs A against B in small blocks; the report and the log.
fn ab(directory: &Path, a: &str, b: &str, more: &[&str], code: i32) -> (Value, String) {
    let block = ["--requests", "20", "--batch-sizes", "8", "--query-tokens", "2"];
    let more = [&["--item-tokens", "1", "--warmup", "1", "--json"], more].concat();
    let args = [&["bench", "ab", "--a", a, "--b", b], block.as_slice(), &more].concat();
    let output = run(directory, &args, code);
    (serde_json::from_str(&stdout(&output)).unwrap_or_default(), stderr(&output))
}

fn verdicts(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().map(|row| row["verdict"].as_str().unwrap()).collect()
}

#[test]
fn the_engine_does_not_differ_from_itself() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine("");
    // Chance makes one false alarm in a hundred; in a test that is too many.
    let rules = "confidence = 0.9999\nfalse_discovery_rate = 0.0001\n";
    fs::write(directory.path().join("rules.toml"), rules).unwrap();
    let more = ["--within", "60", "--max-pairs", "16", "--fail-on", "fail"];
    let more = [&more[..], &["--rules", "rules.toml"]].concat();
    let (report, log) = ab(directory.path(), &engine, &engine, &more, 0);
    for verdict in verdicts(&report) {
        assert!(["no_difference", "cannot_tell"].contains(&verdict), "{report}");
    }
    assert_eq!(report["rows"][0]["paired"], true);
    assert!(log.contains("ended after"), "{log}");

    let run_dir = only_run(directory.path());
    assert_eq!(json_file(&run_dir.join("run.json"))["status"], "complete");
    let pairs = report["rows"][0]["samples_a"].as_u64().unwrap();
    for side in ["a", "b"] {
        let results = json_file(&run_dir.join(side).join("results-000.json"));
        let trials = results["results"][0]["trials"].as_array().unwrap();
        assert_eq!(trials.len() as u64, pairs);
        let rows = fs::read_to_string(run_dir.join(side).join("requests.jsonl")).unwrap();
        assert!(rows.lines().count() as u64 >= 20 * pairs);
    }
    // What was written can be compared again.
    let sides = ["a", "b"].map(|side| run_dir.join(side).to_str().unwrap().to_owned());
    let args = ["compare", &sides[0], &sides[1], "--paired", "--json", "--fail-on", "never"];
    let args = [&args[..], &["--rules", "rules.toml"]].concat();
    let again: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    let p50 = |report: &Value| {
        let rows = report["rows"].as_array().unwrap();
        rows.iter().find(|row| row["metric"] == "p50_ms").unwrap()["change_percent"].clone()
    };
    assert_eq!(p50(&again), p50(&report));
}

#[test]
fn a_server_without_batches_is_slower_and_that_is_soon_known() {
    let directory = tempfile::tempdir().unwrap();
    let more = ["--max-pairs", "32", "--restart-every", "1"];
    let slow = engine("--max-batch-rows 1");
    let (report, log) = ab(directory.path(), &engine(""), &slow, &more, 1);
    assert_eq!(report["gate"], "fail", "{report}");
    assert!(log.contains("the answer is known"), "{log}");
    let row = &report["rows"][0];
    assert_eq!((&row["verdict"], &row["sample"]), (&"slower".into(), &"start".into()));
    assert_eq!(row["change_percent"]["status"], "valid");
    let why = report["differences"].as_array().unwrap();
    assert!(why.iter().any(|fact| fact["what"] == "max_batch_rows"), "{why:?}");
}

/// The marks that servers leave while they are up.
#[test]
fn one_at_a_time_means_that_the_other_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let up = directory.path().join("up");
    let alone = |name: &str| {
        let mark = up.display();
        let engine = engine("");
        format!(
            "mkdir {mark} || echo {name} is not alone; trap 'kill $!; wait; rmdir {mark}' TERM; {engine} & wait"
        )
    };
    let more = ["--one-at-a-time", "--max-pairs", "2", "--fail-on", "never"];
    let (report, _) = ab(directory.path(), &alone("a"), &alone("b"), &more, 0);
    let row = &report["rows"][0];
    assert_eq!((&row["sample"], &row["samples_b"]), (&"start".into(), &2.into()));
    let logs = only_run(directory.path()).join("logs");
    for log in ["a-0.log", "b-0.log", "a-1.log", "b-1.log"] {
        let text = fs::read_to_string(logs.join(log)).unwrap();
        assert!(!text.contains("not alone") && !text.contains("File exists"), "{log}: {text}");
    }
}

#[test]
fn a_server_that_ends_is_exit_code_3_with_its_last_words() {
    let directory = tempfile::tempdir().unwrap();
    let dead = "echo 'no such model'; exit 1 # {port}";
    let (_, log) = ab(directory.path(), &engine(""), dead, &[], 3);
    assert!(log.contains("no such model") && log.contains("b-0.log"), "{log}");
    assert_eq!(json_file(&only_run(directory.path()).join("run.json"))["status"], "failed");
}

#[test]
fn what_was_measured_before_ctrl_c_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine("");
    let args = ["bench", "ab", "--a", &engine, "--b", &engine, "--requests", "5", "--warmup", "1"];
    let more = ["--query-tokens", "2", "--item-tokens", "1", "--within", "0.01"];
    let child =
        xscope(directory.path(), &[args.as_slice(), &more, &["--max-pairs", "4096"]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let run_dir = wait_for_run(directory.path());
    let results = run_dir.join("b/results-000.json");
    let pairs = || match results.is_file() {
        true => json_file(&results)["results"][0]["trials"].as_array().map_or(0, Vec::len),
        false => 0,
    };
    wait_for("the third pair", || pairs() > 2);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stdout(&output).contains("p50_ms"), "{}", stdout(&output));
    assert_eq!(json_file(&run_dir.join("run.json"))["status"], "interrupted");
}

#[test]
fn a_server_that_answers_wrongly_is_invalid_and_not_fast() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = r#"
import http.server, sys
class Wrong(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.reply(200 if self.path == "/health" else 404, b"{}")
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(200, b'{"scores": [[0.5, 0.5]]}')
    def reply(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Wrong).serve_forever()
"#;
    fs::write(directory.path().join("wrong.py"), wrong).unwrap();
    let Some(python) = python("pass") else { return };
    let wrong = format!("{python} wrong.py {{port}}");
    let more = ["--label-counts", "2"];
    let (report, log) = ab(directory.path(), &engine(""), &wrong, &more, 1);
    assert_eq!(report["gate"], "invalid", "{report} {log}");
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(0), "{report}");
    assert!(report["left_out"].to_string().contains("answers were wrong"), "{report}");
    assert!(log.contains("ended after 1 pairs"), "{log}");
}
