//! `xscope export` and `xscope trim`, as their users run them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use xscope_testing::{python, repository};

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
    assert!(text.contains("Allocations by place") && text.contains("tp_llama.py:"), "{text}");
    let text = stdout(&run(directory.path(), &["analyze", &fixture("memory_report")], 0));
    assert!(text.contains("Memory as sglang-jax reports it"), "{text}");
}

/// A collector of traces that decodes with OpenTelemetry's own protos.
struct Collector {
    process: Child,
    out: BufReader<ChildStdout>,
    url: String,
}

fn collector_script() -> PathBuf {
    repository().join("crates/xscope/tests/collector.py")
}

fn python_with_protos() -> Option<String> {
    python("import opentelemetry.proto.collector.trace.v1.trace_service_pb2")
}

impl Collector {
    fn start(python: &str, args: &[&str]) -> Self {
        let mut process = Command::new(python)
            .arg(collector_script())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        out.read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self { process, out, url }
    }

    /// Ends it; what it got.
    fn spans(mut self) -> Vec<Value> {
        drop(self.process.stdin.take());
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        assert!(self.process.wait().unwrap().success(), "the collector refused something");
        serde_json::from_str(&text).unwrap()
    }
}

#[test]
fn a_collector_gets_each_request_with_what_was_done_for_it() {
    let Some(python) = python_with_protos() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    let collector = Collector::start(&python, &[]);
    let output = run(directory.path(), &["export", &path, "--otlp", &collector.url], 0);
    let spans = collector.spans();
    assert!(stderr(&output).contains(&format!(": {} spans", spans.len())), "{}", stderr(&output));

    let report = run(directory.path(), &["analyze", &path, "--json"], 0);
    let report: Value = serde_json::from_str(&stdout(&report)).unwrap();
    let found = &report["request_report"];
    let number = |value: &Value| value.as_u64().unwrap();
    let wanted = number(&found["request_counts"]["measured_requests"])
        + number(&found["request_counts"]["warmup_requests"]);
    let of_clients: Vec<&Value> = spans.iter().filter(|span| span["kind"] == 3).collect();
    assert_eq!(of_clients.len() as u64, wanted);
    let typical = &found["typical"];
    let is_typical = |span: &&&Value| {
        span["attributes"]["http.request.header.x-request-id"][0] == typical["request_id"]
    };
    let span = of_clients.iter().find(is_typical).unwrap();
    assert_eq!(span["name"], "score xscope-preset");
    let attributes = &span["attributes"];
    for (name, value) in [
        ("gen_ai.operation.name", "score"),
        ("gen_ai.provider.name", "xscope"),
        ("gen_ai.request.model", "xscope-preset"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(attributes[name], value);
    }
    let millis = |span: &Value| (number(&span["end"]) - number(&span["start"])) as f64 / 1e6;
    assert!((millis(span) - typical["total_latency_ms"].as_f64().unwrap()).abs() < 2e-6);
    assert_eq!(
        attributes["gen_ai.usage.input_tokens"].as_f64(),
        typical["total_tokens"]["value"].as_f64()
    );
    for (stage, ms) in typical["waterfall_ms"].as_object().unwrap() {
        assert_eq!(&attributes[format!("xscope.stage.{stage}_ms")], ms);
    }
    let inside = |parent: &Value| {
        let below = spans.iter().filter(|it| it["trace"] == parent["trace"] && it["parent"] != "");
        below.map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>()
    };
    for stage in ["request", "tokenize", "forward", "softmax"] {
        assert!(inside(span).contains(&stage), "{stage} not in {:?}", inside(span));
    }
    // From the request to its batch, back, and to what the device ran.
    let batches = spans.iter().filter(|it| it["name"] == "batch" && it["parent"] == "");
    let batch = batches.into_iter().find(|batch| {
        let links = batch["links"].as_array().unwrap();
        links.iter().any(|link| link[0] == span["trace"] && link[1] == span["id"])
    });
    let batch = batch.unwrap();
    let leads_there = |it: &&Value| {
        let links = it["links"].as_array().unwrap();
        it["trace"] == span["trace"] && links.iter().any(|link| link[0] == batch["trace"])
    };
    assert!(spans.iter().any(|it| leads_there(&it)));
    let on_device = |it: &&Value| {
        it["trace"] == batch["trace"] && it["attributes"]["xscope.device"].is_string()
    };
    assert!(spans.iter().any(|it| on_device(&it)), "{:?}", inside(batch));
}

#[test]
fn a_file_of_traces_is_the_same_each_time_and_decodes() {
    let Some(python) = python_with_protos() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    let once = stdout(&run(directory.path(), &["export", &path, "--otlp", "-"], 0));
    run(directory.path(), &["export", &path, "--otlp", "traces.jsonl"], 0);
    let file = directory.path().join("traces.jsonl");
    assert_eq!(fs::read_to_string(&file).unwrap(), once);
    let output =
        Command::new(python).arg(collector_script()).arg("--file").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_collector_does_not_take_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let run_path = fixture("run");
    let check = |path: &str, url: &str, expected: &str| {
        let output = run(directory.path(), &["export", path, "--otlp", url], 2);
        assert!(stderr(&output).contains(expected), "{url}: {}", stderr(&output));
    };
    check(&fixture("tpu_v6e"), "-", "knows of no request");
    check(&run_path, "https://127.0.0.1:1", "https is not supported");
    check(&run_path, "http://127.0.0.1:1", "cannot connect to http://127.0.0.1:1");
    let Some(python) = python_with_protos() else { return };
    let collector = Collector::start(&python, &["--refuse"]);
    check(&run_path, &collector.url, "it refused 1 spans: too old");
    check(&run_path, &format!("{}/prefix", collector.url), "it answers 404");
    collector.spans();
}

/// Rows of a table by the names of their columns; as much of CSV as a test needs.
fn rows_of(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let cells = |line: &str| -> Vec<String> {
        let mut quoted = false;
        let parts = line.split(|c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        parts.map(|cell| cell.trim_matches('"').replace("\"\"", "\"")).collect()
    };
    let mut lines = text.split_terminator("\r\n").map(cells);
    let heading = lines.next().unwrap();
    lines
        .map(|cells| {
            assert_eq!(cells.len(), heading.len(), "{cells:?}");
            heading.iter().cloned().zip(cells).collect()
        })
        .collect()
}

#[test]
fn tables_hold_what_the_report_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    let folder = directory.path().join("tables");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("collectives.csv"), "of an earlier export").unwrap();
    run(directory.path(), &["export", &path, "--csv", "tables"], 0);
    assert!(!folder.join("collectives.csv").exists(), "a table without rows is not there");
    let json = stdout(&run(directory.path(), &["analyze", &path, "--json"], 0));
    let report: Value = serde_json::from_str(&json).unwrap();
    let table = |name: &str| rows_of(&folder.join(name));
    let sum = |rows: &[BTreeMap<String, String>], column: &str| -> f64 {
        rows.iter().filter_map(|row| row[column].parse::<f64>().ok()).sum()
    };
    assert_eq!(table("slices.csv").len() as u64, report["events"].as_u64().unwrap());
    let kernels = table("kernels.csv");
    assert_eq!(kernels.len(), report["kernels"].as_array().unwrap().len());
    let of_report = |list: &str, field: &str| -> f64 {
        report[list].as_array().unwrap().iter().map(|row| row[field].as_f64().unwrap()).sum()
    };
    assert!((sum(&kernels, "self_us") - of_report("kernels", "self_us")).abs() < 1e-3);
    assert_eq!(kernels[0]["flops_status"], report["kernels"][0]["flops"]["status"]);
    let requests = table("requests.csv");
    let typical = &report["request_report"]["typical"];
    let row = requests.iter().find(|row| row["request"] == typical["request_id"]).unwrap();
    for (stage, ms) in typical["waterfall_ms"].as_object().unwrap() {
        let shown: f64 = row[&format!("{stage}_ms")].parse().unwrap();
        assert!((shown - ms.as_f64().unwrap()).abs() < 1e-9, "{stage}: {shown} is not {ms}");
    }
    let whole: f64 = row
        .iter()
        .filter(|(name, _)| name.contains('.') && name.ends_with("_ms"))
        .filter_map(|(_, ms)| ms.parse::<f64>().ok())
        .sum();
    assert!(whole > 0.0 && whole <= row["latency_ms"].parse::<f64>().unwrap());
    let layers = table("layers.csv");
    let top: f64 = layers
        .iter()
        .filter(|row| row["depth"] == "0")
        .map(|row| row["total_us"].parse::<f64>().unwrap())
        .sum();
    assert!((top - report["layers"]["total_us"].as_f64().unwrap()).abs() < 0.1, "{top}");
    let steps = report["steps"]["rows"].as_array().unwrap();
    assert_eq!(table("steps.csv").len(), steps.len());
    let recorders = report["recording_cost"]["recorders"].as_array().unwrap();
    assert_eq!(table("recorders.csv").len(), recorders.len());
    // A table without rows has no file.
    let findings = report["quality"].as_array().unwrap().len();
    let quality = folder.join("quality.csv");
    assert_eq!(if quality.exists() { rows_of(&quality).len() } else { 0 }, findings);
}

/// The queries of sglang-jax's RFC on profiling, word for word.
const QUERIES: [&str; 3] = [
    "SELECT name, dur/1e6 as ms FROM slice ORDER BY dur DESC LIMIT 10;",
    "SELECT name, SUM(dur)/1e6 as total_ms FROM slice GROUP BY name ORDER BY total_ms DESC;",
    "SELECT ts, value FROM counter WHERE name = 'hbm_usage';",
];

/// Checks a Perfetto file against Perfetto's schema; what the queries say of it.
fn checked_by_perfetto(file: &Path, args: &[&str]) -> Option<[Value; 3]> {
    let python = python("import perfetto.protos.perfetto.trace.perfetto_trace_pb2")?;
    let script = repository().join("crates/xscope-trace/tests/perfetto_check.py");
    let output = Command::new(python)
        .arg(script)
        .arg(file)
        .args(args)
        .arg("--sql")
        .args(QUERIES)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Some(rows.try_into().unwrap())
}

#[test]
fn queries_on_a_perfetto_file_give_the_figures_of_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    run(directory.path(), &["export", &path, "--perfetto", "run.pftrace"], 0);
    let file = directory.path().join("run.pftrace");
    let wanted = ["--expect-slice", "request", "server", "batch.forward"];
    let Some([longest, totals, usage]) = checked_by_perfetto(&file, &wanted) else { return };
    let json = stdout(&run(directory.path(), &["analyze", &path, "--json"], 0));
    let report: Value = serde_json::from_str(&json).unwrap();
    let close = |shown: f64, expected: f64, what: &str| {
        // Perfetto counts whole nanoseconds; begin and end of a slice are rounded down.
        assert!((shown - expected).abs() <= 1e-3 + expected * 1e-3, "{what}: {shown} {expected}");
    };
    let total_of = |name: &str| {
        let rows = totals.as_array().unwrap();
        rows.iter().find(|row| row[0] == name).unwrap()[1].as_f64().unwrap()
    };
    let kernels = report["kernels"].as_array().unwrap();
    let name = kernels[0]["name"].as_str().unwrap();
    let same = kernels.iter().filter(|kernel| kernel["name"] == name);
    let total: f64 = same.map(|kernel| kernel["total_us"].as_f64().unwrap()).sum();
    close(total_of(name), total / 1e3, name);
    // Each request once, though client, server and profiler all recorded it.
    let requests = rows_of_requests(directory.path(), &path);
    let latencies: f64 = requests.iter().sum();
    close(total_of("request"), latencies, "request");
    let slowest = requests.iter().copied().fold(0.0, f64::max);
    close(longest[0][1].as_f64().unwrap(), slowest, "the longest slice");
    assert_eq!(longest[0][0], "request");
    let peak = usage.as_array().unwrap().iter().map(|row| row[1].as_f64().unwrap());
    let peak = peak.fold(0.0, f64::max) / 1e6;
    close(peak, report["memory"]["peak"]["value"].as_f64().unwrap(), "peak of hbm_usage");
}

/// Latencies of all requests in ms.
fn rows_of_requests(directory: &Path, path: &str) -> Vec<f64> {
    run(directory, &["export", path, "--csv", "all"], 0);
    let rows = rows_of(&directory.join("all/requests.csv"));
    rows.iter().map(|row| row["latency_ms"].parse().unwrap()).collect()
}

#[test]
fn each_host_is_a_machine_for_perfetto() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (fixture("tpu_v6e"), fixture("jax_cpu"));
    run(directory.path(), &["export", &a, &b, "--perfetto", "two.pftrace"], 0);
    drop(checked_by_perfetto(&directory.path().join("two.pftrace"), &["--expect-machines", "2"]));
}
