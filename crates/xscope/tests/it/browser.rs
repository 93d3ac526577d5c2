//! Reports, opened and used in a real browser; and what they do with input that is none.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use xscope_testing::{chromium, python, repository};

use crate::profile::{json_file, only_run, start_endless};
use crate::{binary, fixture, run, stderr, stdout};

const SMALL: [&str; 8] =
    ["--query-tokens", "2", "--item-tokens", "1", "--batch-sizes", "2", "--requests", "120"];

/// A Python with playwright, and a Chromium.
struct Browser {
    python: String,
    chromium: PathBuf,
}

impl Browser {
    #[track_caller]
    fn find() -> Option<Self> {
        let python = python("import playwright.sync_api")?;
        Some(Self { python, chromium: chromium()? })
    }

    /// Has the viewer serve a path, and uses it.
    fn view(&self, path: &str, report: &Path, more: &[&str]) {
        let report = report.to_str().unwrap();
        self.run("view.py", &[&[&*binary(), path, report], more].concat());
    }

    fn check(&self, page: &Path, more: &[&str]) {
        self.run("report.py", &[&[page.to_str().unwrap()], more].concat());
    }

    fn run(&self, script: &str, args: &[&str]) {
        let script = repository().join("crates/xscope/tests/browser").join(script);
        let mut command = Command::new(&self.python);
        // Chromium's sockets lie in the temporary folder, and their paths must be short.
        command.env_remove("TMPDIR");
        let output = command.arg(script).args(args).arg("--chromium").arg(&self.chromium).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
}

/// Where pictures are kept, for people and as artefacts of CI.
fn shots(name: &str) -> String {
    let path = repository().join("target/screenshots");
    path.join(name).to_str().unwrap().to_owned()
}

/// The page of `xscope report`, and the JSON of the same.
fn report(directory: &Path, path: &str) -> (PathBuf, PathBuf) {
    let (page, json) = (directory.join("page.html"), directory.join("page.json"));
    run(directory, &["report", path, "-o", page.to_str().unwrap()], 0);
    fs::write(&json, run(directory, &["analyze", path, "--json"], 0).stdout).unwrap();
    (page, json)
}

#[test]
fn the_reports_of_two_runs_and_their_difference_work_in_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for side in ["a", "b"] {
        let folder = directory.path().join(side);
        fs::create_dir(&folder).unwrap();
        run(&folder, &[&["profile", "--no-progress"], SMALL.as_slice()].concat(), 0);
        runs.push(only_run(&folder));
    }
    let (page, json) = (runs[0].join("report.html"), runs[0].join("report.json"));
    browser.check(&page, &[json.to_str().unwrap(), "--shots", &shots("run")]);
    let [a, b] = [0, 1].map(|side| runs[side].to_str().unwrap());
    let output = run(directory.path(), &["report", a, b], 0);
    assert_eq!(stdout(&output), "difference.html\n");
    browser.check(&directory.path().join("difference.html"), &["--shots", &shots("difference")]);
}

#[test]
fn the_reports_of_other_profiles_work_in_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    for name in ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto/excerpt.json.gz", "run"] {
        let (page, json) = report(directory.path(), &fixture(name));
        let shots = shots(name.split('/').next().unwrap());
        browser.check(&page, &[json.to_str().unwrap(), "--shots", &shots]);
    }
}

/// A trace whose every name is an attack, with more operations and threads than a page can hold.
fn hostile_trace() -> String {
    let attacks = [
        "</script><script>window.injected=1</script>",
        "<img src=x onerror=window.injected=2>",
        "\\\"><b class=injected onmouseover=alert(1)>",
        "<!--<script>",
        "]]>&lt;'\\u2028\\u202e",
        "javascript:alert(1)",
    ];
    let long = "<i>".repeat(350_000);
    let mut events = format!(
        "{{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{{\"name\":\"/device:TPU:0 {}\"}}}},\
         {{\"ph\":\"M\",\"pid\":1,\"tid\":1,\"name\":\"thread_name\",\"args\":{{\"name\":\"XLA Ops\"}}}},\
         {{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":0,\"dur\":5,\"name\":\"{long}\"}}",
        attacks[1]
    );
    for index in 0..20_000 {
        let attack = attacks[index % attacks.len()];
        write!(
            events,
            ",{{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{},\"dur\":5,\"name\":\"{attack}{index}\",\
             \"args\":{{\"tf_op\":\"jit(f)/{attack}{index}/{attack}\",\"hlo_category\":\"{attack}\"}}}}\
             ,{{\"ph\":\"X\",\"pid\":{},\"tid\":{index},\"ts\":{},\"dur\":1,\"name\":\"{attack}\"}}",
            10 + 10 * index,
            2 + index,
            10 * index
        )
        .unwrap();
    }
    format!("{{\"traceEvents\":[{events}]}}")
}

#[test]
fn hostile_names_neither_inject_nor_hang() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("hostile.trace.json");
    fs::write(&trace, hostile_trace()).unwrap();
    let (page, _) = report(directory.path(), trace.to_str().unwrap());
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("left out of this page"), "what is cut is told");
    let before_scripts = text.split("<script>").next().unwrap();
    for markup in ["<img", "<b class", "<i>", "<!--"] {
        assert!(!before_scripts.contains(markup), "{markup} is in the page");
    }
    if let Some(browser) = Browser::find() {
        browser.check(&page, &["--hostile", "--shots", &shots("hostile")]);
        let report = directory.path().join("page.json");
        let more = ["--search", "onerror", "--shots", &shots("view_hostile")];
        browser.view(trace.to_str().unwrap(), &report, &more);
    }
}

/// A copy of a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_damaged_run_shows_what_there_is_and_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("run");
    copy(Path::new(&fixture("run")), &whole);
    let page = || {
        run(directory.path(), &["report", "run"], 0);
        fs::read_to_string(whole.join("report.html")).unwrap()
    };
    assert!(page().contains("Typical request"));

    fs::remove_dir_all(whole.join("trace")).unwrap();
    let text = page();
    assert!(text.contains("run.file_missing") && text.contains("xplane.pb"));
    assert!(text.contains("Typical request"), "the requests are still there");

    fs::remove_dir_all(whole.join("spans")).unwrap();
    fs::write(whole.join("requests.jsonl"), "{\"index\":").unwrap();
    let text = page();
    assert!(text.contains("run.file_changed") && text.contains("requests.jsonl"));
    assert!(text.contains("Environment") && text.contains("To repeat it"));

    fs::remove_file(whole.join("requests.jsonl")).unwrap();
    let text = page();
    assert!(text.contains("run.unreadable"));
    if let Some(browser) = Browser::find() {
        browser.check(&whole.join("report.html"), &[]);
    }
}

#[test]
fn what_is_no_profile_gives_no_page() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("text.txt"), "hello").unwrap();
    run(directory.path(), &["report", "text.txt"], 2);
    run(directory.path(), &["report", "missing"], 2);
    run(directory.path(), &["report", "a", "b", "c"], 2);
    assert!(!directory.path().join("report.html").exists());
}

#[test]
fn the_viewer_works_in_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    for (name, search) in [("run", "matmul"), ("tpu_v6e", "fusion"), ("jax_cpu", "dot")] {
        let (_, json) = report(directory.path(), &fixture(name));
        let shots = shots(&format!("view_{name}"));
        browser.view(&fixture(name), &json, &["--search", search, "--shots", &shots]);
    }
    let runs = directory.path().join("runs");
    for name in ["a", "b"] {
        fs::create_dir_all(runs.join(name)).unwrap();
        for file in ["run.json", "results.json", "requests.jsonl"] {
            fs::copy(PathBuf::from(fixture("run")).join(file), runs.join(name).join(file)).unwrap();
        }
    }
    let more = ["--page", "runs", "--shots", &shots("view_runs")];
    browser.view(runs.to_str().unwrap(), Path::new("-"), &more);
}

#[test]
fn a_benchmark_is_watched_while_it_runs() {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (child, run_dir) = start_endless(directory.path(), 10);
    let _benchmark = KilledOnDrop(child);
    let target = json_file(&run_dir.join("run.json"))["target"].as_str().unwrap().to_owned();
    let shots = shots("view_live");
    let more = ["--page", "live", "--live", &target, "--shots", &shots];
    browser.view(run_dir.to_str().unwrap(), Path::new("-"), &more);
}

/// A process that does not outlive a test that fails.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
