//! `xscope bench score` and `serving`, on the built-in engine and on servers that misbehave.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use xscope_testing::python;

use crate::capture::Server;
use crate::fake_server::{FakeServer, Kind, files_in};
use crate::profile::{json_file, only_run, signal, wait_for};
use crate::run::free_port;
use crate::{binary, run, stderr, stdout, xscope};

/// Small requests, so that a debug build answers in milliseconds.
const SMALL: [&str; 8] =
    ["--query-tokens", "2", "--item-tokens", "1", "--warmup", "1", "--require", "mean_ms"];

/// A server in Python, of which `answer(number, body)` gives the body of an answer.
#[track_caller]
fn answering(directory: &Path, answer: &str) -> Option<Vec<String>> {
    let server = format!(
        r#"
import http.server, itertools, json, os, sys, threading, time
numbers = itertools.count()
def right(body):
    labels = len(body["label_token_ids"])
    return {{"scores": [[1 / labels] * labels] * len(body["items"])}}
{answer}
class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.reply(200 if self.path == "/health" else 404, b"{{}}")
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        got = answer(next(numbers), body)
        kind = "text/event-stream" if isinstance(got, str) else "application/json"
        self.reply(200, got.encode() if isinstance(got, str) else json.dumps(got).encode(), kind)
    def reply(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
"#
    );
    let python = python("pass")?;
    let path = directory.join("server.py");
    fs::write(&path, server).unwrap();
    let path = path.to_str().unwrap().to_owned();
    Some([python, "-u".to_owned(), path, "{port}".to_owned()].into())
}

/// One point of ten requests on this server; the results and what was said.
fn score(directory: &Path, server: &[String], more: &[&str], code: i32) -> (Value, String) {
    let args = ["bench", "score", "--batch-sizes", "2", "--label-counts", "2", "--trials", "1"];
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let args = [&args[..], &SMALL, &["--json"], more, &["--"], &server].concat();
    let output = run(directory, &args, code);
    (serde_json::from_str(&stdout(&output)).unwrap_or_default(), stderr(&output))
}

fn causes(results: &Value) -> Vec<&str> {
    let causes = results["results"][0]["validity"]["causes"].as_array().unwrap();
    causes.iter().map(|cause| cause["cause"].as_str().unwrap()).collect()
}

#[test]
fn a_matrix_gives_every_output() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["bench", "score", "--batch-sizes", "1,3", "--label-counts", "2", "--requests", "4"];
    let more = ["--trials", "2", "--enable-memory", "--output-json", "r.json", "--csv", "r.csv"];
    let more = [&more[..], &["--fail-on", "never"]].concat();
    let output = run(directory.path(), &[&args[..], &SMALL, &more].concat(), 0);
    let table = stdout(&output);
    for part in ["b1_l2", "b3_l2", "items/s", "closed:1", "p99 ms", "peak MB"] {
        assert!(table.contains(part), "{part}:\n{table}");
    }

    let results = json_file(&directory.path().join("r.json"));
    let run_dir = only_run(directory.path());
    let kept = json_file(&run_dir.join("results.json"));
    assert_eq!(kept["results"][0]["trials"], results["results"][0]["trials"]);
    assert_eq!(kept["results"][0]["trace_path"], "trace/b1_l2");
    assert_eq!(
        (&results["schema"], &results["ended"]),
        (&"xscope/results/2".into(), &"complete".into())
    );
    for name in ["batch_sizes", "label_counts", "num_runs", "warmup_runs", "model", "workload"] {
        assert!(!results["config"][name].is_null(), "{name}");
    }
    let metadata = results["metadata"].as_object().unwrap();
    for name in
        ["jax_version", "device_names", "device_count", "platform", "commit", "timestamp", "host"]
    {
        assert!(metadata.contains_key(name), "{name}");
    }
    let points = results["results"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for (point, items) in points.iter().zip([1, 3]) {
        assert_eq!((&point["batch_size"], &point["label_count"]), (&items.into(), &2.into()));
        assert_eq!((&point["n"], &point["failed"]), (&8.into(), &0.into()), "{point}");
        assert_eq!(point["trials"].as_array().unwrap().len(), 2);
        assert!(point["throughput_items_per_sec"]["value"].as_f64().unwrap() > 0.0);
        assert!(point["p50_ms"]["value"].as_f64() <= point["max_ms"]["value"].as_f64());
        assert_eq!(point["p99_ms"]["status"], "unavailable");
        assert!(point["workload_hash"].as_str().unwrap().starts_with("sha256:"));
        assert!(point["client"]["cpu_cores"]["value"].as_f64().unwrap() > 0.0);
        assert!(point["warmup"]["evidence"][0].as_str().unwrap().contains("median"), "{point}");
        // The answer of the same request, after warm-up and after each trial.
        assert_eq!(point["drift_compared"], 2);
        assert!(point["peak_hbm_mb"]["value"].as_f64().unwrap() > 0.0, "{point}");
        assert_eq!(point["peak_hbm_mb"]["status"], "degraded", "the device is a CPU: {point}");
        let trace = Path::new(point["trace_path"].as_str().unwrap());
        assert!(trace.join("plugins/profile").is_dir());
    }
    let csv = fs::read_to_string(directory.path().join("r.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3);
    let rows = fs::read_to_string(run_dir.join("requests.jsonl")).unwrap();
    let of = |phase: &str| rows.lines().filter(|row| row.contains(phase)).count();
    assert_eq!((of("\"measure\""), of("\"check\""), of("\"profile\"")), (16, 6, 8));
    let same = ["compare", "r.json", "r.json", "--fail-on", "never"];
    run(directory.path(), &same, 0);
}

#[test]
fn the_profiler_of_a_killed_benchmark_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    // While it is profiled it answers nothing but how to end that.
    let answer = r#"
def answer(number, body):
    if "output_dir" in body:
        open("on", "w").close()
    elif not body:
        os.remove("on")
    else:
        while os.path.exists("on"):
            time.sleep(0.01)
        return right(body)
    return {}
"#;
    let Some(words) = answering(directory.path(), answer) else { return };
    let port = free_port().to_string();
    let mut server = Command::new(&words[0]);
    server.args(&words[1..3]).arg(&port).current_dir(directory.path()).stderr(Stdio::null());
    let _server = Server(server.spawn().unwrap());
    let (url, on) = (format!("http://127.0.0.1:{port}"), directory.path().join("on"));
    let args = ["bench", "score", "--url", &url, "--enable-trace", "--batch-sizes", "1"];
    let args = [&args[..], &SMALL, &["--trials", "1", "--requests", "2"]].concat();
    let mut bench = xscope(directory.path(), &args).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the profile", || on.exists());
    signal(&bench, "-KILL");
    bench.wait().unwrap();
    wait_for("the end of the profile", || !on.exists());
}

#[test]
fn the_server_of_a_killed_benchmark_ends_with_it() {
    let serve = format!("echo {{port}} > port; {} serve --port {{port}}", binary());
    let score = ["--batch-sizes", "1", "--", "sh", "-c", &format!("{serve} & wait")];
    for args in [&["score"][..], &["sweep", "grid.toml"]] {
        let directory = tempfile::tempdir().unwrap();
        let sweep = format!(
            "command = \"sh -c '{serve} --max-batch-rows {{rows}} & wait'\"\n[values]\nrows = [8]\n"
        );
        fs::write(directory.path().join("grid.toml"), sweep).unwrap();
        let more: &[&str] = if args == ["score"] { &score } else { &[] };
        let args = [&["bench"], args, &["--requests", "100000"], more].concat();
        let mut bench = xscope(directory.path(), &args).stderr(Stdio::null()).spawn().unwrap();
        let port = directory.path().join("port");
        let address = || Some(format!("127.0.0.1:{}", fs::read_to_string(&port).ok()?.trim()));
        let answers = || address().is_some_and(|address| TcpStream::connect(address).is_ok());
        wait_for("the server", answers);
        signal(&bench, "-KILL");
        bench.wait().unwrap();
        wait_for("the end of the server", || !answers());
    }
}

#[test]
fn a_server_that_dies_ends_the_load_and_its_log_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let answer = r#"
def answer(number, body):
    if number >= 12:
        print("TypeError: Cannot concatenate arrays", flush=True)
        os._exit(7)
    return right(body)
"#;
    let Some(server) = answering(directory.path(), answer) else { return };
    let (results, log) = score(directory.path(), &server, &["--requests", "1000"], 3);
    assert_eq!(causes(&results)[0], "server_died", "{results} {log}");
    let detail = results["results"][0]["validity"]["causes"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("TypeError: Cannot concatenate arrays"), "{detail}");
    assert!(detail.contains("exit status: 7"), "{detail}");
    assert_eq!(results["ended"], "early");
    assert!(results["results"][0]["ok_requests"].as_u64().unwrap() < 12);
    assert_eq!(json_file(&only_run(directory.path()).join("run.json"))["status"], "failed");
}

#[test]
fn requests_that_met_a_compilation_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    // Not in warm-up, which would go on.
    let answer = r#"
def answer(number, body):
    if number % 20 == 19:
        time.sleep(0.5)
        print(f"[2026-11-24 10:15:08] Prefill batch. #bid: {number}, #cache_miss: 1", flush=True)
    return right(body)
"#;
    let Some(server) = answering(directory.path(), answer) else { return };
    let (results, _) = score(directory.path(), &server, &["--requests", "20"], 1);
    assert!(causes(&results).contains(&"compile_in_window"), "{results}");
    let split = &results["results"][0]["compile"];
    assert_eq!(split["detected_by"], "log");
    assert!(split["hit"]["n"].as_u64().unwrap() >= 1, "{split}");
    let all = split["hit"]["n"].as_u64().unwrap() + split["clean"]["n"].as_u64().unwrap();
    assert_eq!(all, 20);
    assert!(split["hit"]["max_ms"]["value"].as_f64().unwrap() >= 500.0, "{split}");
    assert!(split["evidence"][0].as_str().unwrap().contains("#cache_miss: 1"), "{split}");
}

#[test]
fn an_answer_that_drifts_makes_a_point_invalid() {
    let directory = tempfile::tempdir().unwrap();
    let answer = r#"
seen = set()
def answer(number, body):
    text = json.dumps(body)
    drift = 0.2 if text in seen else 0.0
    seen.add(text)
    return {"scores": [[0.5 + drift, 0.5 - drift]] * len(body["items"])}
"#;
    let Some(server) = answering(directory.path(), answer) else { return };
    let (results, _) = score(directory.path(), &server, &["--requests", "20"], 1);
    assert_eq!(causes(&results)[0], "wrong_answers", "{results}");
    assert!(results.to_string().contains("scores 0.7 where an equal request scored 0.5"));
}

#[test]
fn generation_is_streamed_and_its_lengths_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let answer = r#"
def answer(number, body):
    asked = body["sampling_params"]["max_new_tokens"]
    piece = lambda n: {"text": "", "meta_info": {"completion_tokens": n, "prompt_tokens": 9}}
    events = [f"data: {json.dumps(piece(n + 1))}\n\n" for n in range(asked)]
    return "".join(events) + "data: [DONE]\n\n"
"#;
    let Some(server) = answering(directory.path(), answer) else { return };
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let args = ["bench", "serving", "--dataset-name", "random-ids", "--random-input-len", "8"];
    let more = ["--random-output-len", "1,4", "--max-concurrency", "2", "--num-prompts", "6"];
    let rest =
        ["--output-file", "lines.jsonl", "--trials", "1", "--json", "--fail-on", "never", "--"];
    let more = [&more[..], &rest, &server].concat();
    let output = run(directory.path(), &[&args[..], &more].concat(), 0);
    let results: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let points = results["results"].as_array().unwrap();
    let names: Vec<&str> = points.iter().map(|point| point["point"].as_str().unwrap()).collect();
    assert_eq!(names, ["in8_out1_c2", "in8_out4_c2"]);
    assert_eq!((&points[1]["ttft"]["n"], &points[1]["itl"]["n"]), (&6.into(), &18.into()));
    let [output, input] = ["output_tokens_per_sec", "input_tokens_per_sec"]
        .map(|name| points[1][name]["value"].as_f64().unwrap());
    assert!((input / output - 9.0 / 4.0).abs() < 1e-9);
    assert_eq!(points[1]["tpot"]["n"], 6);
    let lines = fs::read_to_string(directory.path().join("lines.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["completed"], &last["total_output_tokens"]), (&6.into(), &24.into()));
}

/// Generates what it is asked for, whole.
const GENERATE: &str = r#"
def answer(number, body):
    asked = body["sampling_params"]["max_new_tokens"]
    return {"text": "a", "meta_info": {"completion_tokens": asked, "prompt_tokens": 8}}
"#;

/// Four requests to a server, and a profile of its decode workers: the results and the run.
fn serve_and_profile(
    directory: &Path,
    workers: &[FakeServer],
    code: i32,
) -> Option<(String, Value, PathBuf)> {
    let server = answering(directory, GENERATE)?;
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let args = ["bench", "serving", "--dataset-name", "random-ids", "--random-input-len", "8"];
    let more = ["--random-output-len", "2", "--num-prompts", "4", "--trials", "1"];
    let mut urls = vec!["--profile", "--profile-decode-url"];
    urls.extend(workers.iter().map(|worker| worker.url.as_str()));
    let rest = ["--disable-stream", "--require", "mean_ms", "--"];
    let args = [&args[..], &more, &urls, &rest, &server].concat();
    let output = run(directory, &args, code);
    let run_dir = only_run(directory);
    Some((stdout(&output), json_file(&run_dir.join("results.json")), run_dir))
}

#[test]
fn workers_of_one_pool_are_profiled_beside_each_other() {
    let directory = tempfile::tempdir().unwrap();
    // Both on this disk, with one host name and one number for their first profile.
    let workers = [FakeServer::start(Kind::default()), FakeServer::start(Kind::default())];
    let Some((text, results, run_dir)) = serve_and_profile(directory.path(), &workers, 0) else {
        return;
    };
    assert!(text.contains("Successful requests:                     4"), "{text}");
    assert_eq!(results["results"][0]["trace_path"], "trace/in8_out2");
    let trace = run_dir.join("trace/in8_out2");
    for worker in &workers {
        let port = worker.url.rsplit(':').next().unwrap();
        assert_eq!(files_in(&trace.join(format!("127.0.0.1_{port}"))).len(), 1);
        assert_eq!(worker.asked("/start_profile").len(), 1);
        assert!(!worker.is_profiling() && worker.asked("/generate").is_empty());
    }
    assert_eq!(files_in(&trace).len(), 2);
}

#[test]
fn a_profile_that_shows_a_compilation_says_that_the_point_was_not_warm() {
    let directory = tempfile::tempdir().unwrap();
    let workers = [FakeServer::start(Kind { compiles: true, ..Kind::default() })];
    let Some((text, results, _)) = serve_and_profile(directory.path(), &workers, 1) else { return };
    let point = &results["results"][0];
    assert!(point["compile"].is_null(), "nothing watched while it was measured: {point}");
    let split = &point["compile_profiled"];
    assert_eq!(
        (&split["detected_by"], &split["hit"]["n"]),
        (&"trace".into(), &4.into()),
        "{split}"
    );
    assert!(causes(&results).contains(&"not_warm"), "{point}");
    assert!(
        text.contains("4 of 4 requests met a compilation while the profile was taken"),
        "{text}"
    );
    assert!(text.contains("(known from the trace)"), "{text}");
}
