//! What all roads to a run have in common.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::profile::{json_file, only_run, signal, wait_for, wait_for_run};
use crate::run::free_port;
use crate::{binary, run, stdout, xscope};

/// Small requests, so that a debug build answers in milliseconds.
const SMALL: [&str; 12] = [
    "--requests",
    "3",
    "--query-tokens",
    "2",
    "--item-tokens",
    "1",
    "--batch-sizes",
    "2",
    "--label-counts",
    "2",
    "--warmup",
    "1",
];

/// A source tree to start commands in.
fn source_tree() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let author = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
    for args in [&["init", "-q"][..], &["commit", "-q", "--allow-empty", "-m", "x"]] {
        let mut git = Command::new("git");
        let done = git.args(author).args(args).current_dir(directory.path()).status().unwrap();
        assert!(done.success());
    }
    directory
}

/// The built-in engine as a server; it ends with this.
struct Engine {
    server: Child,
    url: String,
}

impl Engine {
    fn start(directory: &Path) -> Self {
        let mut serve = xscope(directory, &["serve", "--port", "0"]);
        let mut server = serve.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        Self { url: url.trim_end_matches(';').to_owned(), server }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// The fields of a file of results that say nothing, of those of which the built-in engine tells.
fn silent(results: &Value) -> Vec<&'static str> {
    const FIELDS: [&str; 20] = [
        "/ended",
        "/config/bench",
        "/config/model",
        "/config/backend",
        "/config/url",
        "/config/workload",
        "/config/trial_count",
        "/config/command_line",
        "/metadata/commit",
        "/metadata/timestamp",
        "/metadata/host/hostname",
        "/metadata/host/cores",
        "/metadata/versions/xscope",
        "/metadata/versions/server",
        "/metadata/device_names",
        "/metadata/device_count",
        "/metadata/platform",
        "/metadata/server_info",
        "/metadata/server_start",
        "/metadata/server_command",
    ];
    let says = |field: &&str| match results.pointer(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(values)) => !values.is_empty(),
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        Some(_) => true,
    };
    FIELDS.into_iter().filter(|field| !says(field)).collect()
}

/// Why a field may say nothing.
const NOT_OURS: &[&str] = &["/metadata/server_command"];
const NO_SERVER: &[&str] = &[
    "/config/url",
    "/metadata/versions/server",
    "/metadata/platform",
    "/metadata/server_info",
    "/metadata/server_start",
    "/metadata/server_command",
];
const ALL: &[&str] = &[];

/// Runs a command with small requests and checks which fields of its results say nothing.
fn check(args: &[&str], file: impl Fn(&Path) -> PathBuf, silent_are: &[&str]) {
    let directory = source_tree();
    run(directory.path(), args, 0);
    let results = json_file(&file(&only_run(directory.path())));
    assert_eq!(silent(&results), silent_are, "{args:?}: {results:#}");
    // Whoever says that a server is warm, or is not, has looked.
    let warmup = &results["results"][0]["warmup"];
    assert!(warmup["warm"].is_boolean() && warmup["requests"] != 0, "{args:?}: {warmup}");
    assert!(!warmup["evidence"][0].as_str().unwrap().is_empty(), "{args:?}: {warmup}");
}

#[test]
fn results_say_the_same_of_where_they_come_from_on_every_road() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::start(directory.path());
    let (url, port) = (engine.url.as_str(), free_port().to_string());
    let own_url = format!("http://127.0.0.1:{port}");
    let program = binary();
    let serve = format!("{program} serve --port {{port}}");
    let small = |args: &[&'static str]| [args, &SMALL].concat();
    let of_run = |run: &Path| run.join("results.json");

    let profile = small(&["profile", "--overhead-secs", "0"]);
    check(&profile, of_run, NOT_OURS);
    check(&[&profile[..], &["--url", url]].concat(), of_run, NOT_OURS);
    let own = ["--url", &own_url, "--", &program, "serve", "--port", &port];
    check(&[&profile[..], &own].concat(), of_run, ALL);

    let score = small(&["bench", "score", "--trials", "1", "--fail-on", "never"]);
    check(&score, of_run, ALL);
    check(&[&score[..], &["--url", url]].concat(), of_run, NOT_OURS);

    let ab = small(&["bench", "ab", "--max-pairs", "2", "--fail-on", "never"]);
    let side = |run: &Path| run.join("a/results-000.json");
    check(&[&ab[..], &["--a", &serve, "--b", &serve]].concat(), side, ALL);
    check(&[&ab[..], &["--a-url", url, "--b", &serve]].concat(), side, NOT_OURS);

    fs::write(directory.path().join("grid.toml"), format!("command = {serve:?}\n[values]\n"))
        .unwrap();
    let grid = directory.path().join("grid.toml");
    let sweep = small(&["bench", "sweep", "--trials", "1", "--confirm", "1"]);
    let cell = |run: &Path| only_run_in(&run.join("cells/only")).join("results.json");
    check(&[&sweep[..], &[grid.to_str().unwrap()]].concat(), cell, ALL);

    let kernel = ["bench", "kernel", "matmul:m=1,n=8,k=8", "--trials", "6"];
    check(&kernel, of_run, NO_SERVER);
}

#[test]
fn nobody_calls_a_server_warm_that_was_not_warmed_up() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["profile", "--warmup", "0", "--requests", "2", "--overhead-secs", "0"];
    run(directory.path(), &args, 0);
    let results = json_file(&only_run(directory.path()).join("results.json"));
    let warmup = &results["results"][0]["warmup"];
    assert_eq!((&warmup["warm"], &warmup["requests"]), (&Value::Null, &0.into()), "{warmup}");
}

/// The one folder in a folder.
fn only_run_in(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[test]
fn a_search_says_where_it_comes_from_even_if_it_is_stopped() {
    let directory = source_tree();
    let args = ["bench", "score", "--find-max", "--slo", "p50=10s", "--fail-on", "never"];
    let args = [&args[..], &SMALL, &["--rate-secs", "0.2"]].concat();
    let mut search = xscope(directory.path(), &args);
    let mut search = search.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let run_dir = wait_for_run(directory.path());
    let rates = run_dir.join("rates");
    wait_for("a rate", || {
        let runs = fs::read_dir(&rates).into_iter().flatten().flatten();
        runs.filter(|run| run.path().join("results.json").exists()).count() > 0
    });
    signal(&search, "-INT");
    assert_eq!(search.wait().unwrap().code(), Some(130));
    assert_eq!(silent(&json_file(&run_dir.join("results.json"))), ALL);
}

#[test]
fn a_point_of_one_name_is_the_same_requests_whoever_sends_them() {
    let directory = tempfile::tempdir().unwrap();
    let small = ["--requests", "4", "--warmup", "1", "--batch-sizes", "2", "--no-progress"];
    let profile = [&["profile", "--overhead-secs", "0"], &small[..]].concat();
    let score = ["bench", "score", "--label-counts", "2", "--trials", "1", "--fail-on", "never"];
    let score = [&score, &small[..]].concat();
    let files = [("profile", profile), ("score", score)].map(|(name, args)| {
        let folder = directory.path().join(name);
        fs::create_dir(&folder).unwrap();
        run(&folder, &args, 0);
        only_run(&folder).join("results.json")
    });
    let points = files.each_ref().map(|file| json_file(file)["results"][0].clone());
    for field in ["point", "workload_hash", "arrivals", "batch_size", "label_count"] {
        assert_eq!(points[0][field], points[1][field], "{field}");
    }
    let [a, b] = files.each_ref().map(|file| file.to_str().unwrap());
    let args = ["compare", a, b, "--json", "--fail-on", "never"];
    let report: Value = serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
    let why = report["quality"].to_string() + &report["left_out"].to_string();
    assert!(!why.contains("workload"), "{report}");
}

#[test]
fn a_server_that_is_waited_for_is_given_up_at_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    for command in [&["profile", "--url"][..], &["capture", "--url"], &["bench", "score", "--url"]]
    {
        // It takes connections and answers nothing.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut waiting = xscope(directory.path(), &[command, &[&url]].concat());
        let mut waiting = waiting.stderr(Stdio::piped()).spawn().unwrap();
        let _asked = listener.accept().unwrap();
        if command[0] != "capture" {
            let mut said = BufReader::new(waiting.stderr.take().unwrap());
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert!(line.starts_with(&format!("waiting for the server at {url}")), "{line}");
            waiting.stderr = Some(said.into_inner());
        }
        signal(&waiting, "-INT");
        assert_eq!(waiting.wait().unwrap().code(), Some(130), "{command:?}");
    }
}
