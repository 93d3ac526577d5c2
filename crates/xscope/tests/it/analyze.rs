//! `xscope analyze` and usage errors.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{fixture, run, stderr, stdout, xscope};

#[test]
fn each_format_gives_a_report() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto/excerpt.json.gz", "run"] {
        let path = fixture(name);
        let text = stdout(&run(directory.path(), &["analyze", &path], 0));
        let more = format!("more: xscope analyze {path}");
        assert!(text.contains(&more) && text.contains(" layers, or kernels, "), "{name}:\n{text}");
        assert!(text.lines().count() <= 10, "{name}:\n{text}");
        let kernels = stdout(&run(directory.path(), &["analyze", &path, "kernels"], 0));
        assert!(kernels.contains("Kernels by self time"), "{name}:\n{kernels}");
        let json = stdout(&run(directory.path(), &["analyze", &path, "--json"], 0));
        let report: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["schema"], "xscope/analyze/2");
        let kernels = report["kernels"].as_array().unwrap();
        let own: Vec<f64> = kernels.iter().map(|k| k["self_us"].as_f64().unwrap()).collect();
        assert!(own.is_sorted_by(|a, b| a >= b), "{name}: kernels are ordered by self time");
        let categories = report["categories"].as_array().unwrap();
        let shares: f64 = categories.iter().map(|c| c["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{name}: shares add up to {shares}");
    }
}

/// The commands that a text names, which stand between back-ticks.
fn commands(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|it| it.starts_with("xscope ")).map(str::to_owned).collect()
}

/// Profiles up to this size are read by an unoptimised build in a second.
const MOST_BYTES: u64 = 900_000;

#[test]
fn commands_that_are_advised_run_as_printed_and_show_something() {
    let mut paths: Vec<String> =
        ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto/excerpt.json.gz"].map(fixture).into();
    let real = ["jax_cpu/multihost2x4", "ranks_dlrm"];
    let real = real.iter().filter_map(|name| xscope_testing::trace(name));
    let folders = [xscope_testing::traces(), xscope_testing::cases()];
    let small = folders.into_iter().flatten().flat_map(|folder| xscope_testing::files(&folder));
    let small = small.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_profile = [".json", ".json.gz", ".xplane.pb"].iter().any(|end| name.ends_with(end));
        is_profile && fs::metadata(path).unwrap().len() < MOST_BYTES
    });
    paths.extend(real.chain(small).map(|path| path.to_str().unwrap().to_owned()));
    let directory = tempfile::tempdir().unwrap();
    let mut shown = 0;
    for path in paths {
        let output = xscope(directory.path(), &["analyze", &path]).output().unwrap();
        // What is no profile is refused.
        let text = if output.status.success() { stdout(&output) } else { String::new() };
        for command in commands(&text) {
            let function = format!("xscope() {{ '{}' \"$@\"; }}; {command}", crate::binary());
            let output = std::process::Command::new("sh").args(["-c", &function]).output().unwrap();
            assert!(output.status.success(), "{command}: {}", stderr(&output));
            let page = stdout(&output);
            let rows = page.lines().filter(|line| !line.is_empty()).count();
            assert!(rows > 1 && !page.contains("not recorded"), "{command}: {page}");
            shown += 1;
        }
    }
    assert!(shown >= 40, "{shown}");
}

#[test]
fn a_window_cuts_every_section() {
    let directory = tempfile::tempdir().unwrap();
    let window = |args: &[&str]| -> Value {
        let path = fixture("jax_cpu");
        let args = [&["analyze", path.as_str(), "--json"], args].concat();
        serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap()
    };
    let whole = window(&[]);
    let half = format!("{}us", whole["window_us"].as_f64().unwrap() / 2.0);
    let (first, rest) = (window(&["--to", &half]), window(&["--from", &half]));
    let busy = |report: &Value| {
        let rows = report["devices"].as_array().unwrap().iter();
        rows.map(|row| row["busy_us"].as_f64().unwrap()).sum::<f64>()
    };
    assert!((busy(&first) + busy(&rest) - busy(&whole)).abs() < 1e-3);
    let path = fixture("jax_cpu");
    let output = run(directory.path(), &["analyze", &path, "--from", "2s", "--to", "1s"], 2);
    assert!(stderr(&output).contains("ends before it begins"));
}

#[test]
fn requests_of_a_run_are_a_section() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    let text = stdout(&run(directory.path(), &["analyze", &path, "requests"], 0));
    for title in ["Stages", "Typical request", "What the slowest 1 % have in common", "Batches"] {
        assert!(text.contains(title), "{title}:\n{text}");
    }
    let markdown = stdout(&run(directory.path(), &["analyze", &path, "requests", "--markdown"], 0));
    assert!(markdown.contains("### Stages"), "{markdown}");
    let json = stdout(&run(directory.path(), &["analyze", &path, "requests", "--json"], 0));
    let report: Value = serde_json::from_str(&json).unwrap();
    let report = &report["request_report"];
    let shares = report["stages"].as_array().unwrap().iter();
    let sum: f64 = shares.map(|row| row["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{json}");
    let typical = &report["typical"];
    // The spans of this run count no tokens: what is shared out by them is not known.
    for figure in ["padding_ms", "device_share_ms"] {
        assert_eq!(typical[figure]["status"], "unavailable", "{figure}: {typical}");
    }
    let whole: f64 =
        typical["waterfall_ms"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!((whole - typical["total_latency_ms"].as_f64().unwrap()).abs() < 1e-6, "{typical}");
    let text = stdout(&run(directory.path(), &["analyze", &fixture("jax_cpu"), "requests"], 0));
    assert!(text.contains("not recorded: it knows of no requests"), "{text}");
}

#[test]
fn a_file_that_a_run_lacks_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let (run_dir, whole) = (directory.path().join("run"), fixture("run"));
    for file in xscope_testing::files(Path::new(&whole)) {
        let copy = run_dir.join(file.strip_prefix(&whole).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, copy).unwrap();
    }
    let quality = || stdout(&run(directory.path(), &["analyze", "run", "quality"], 0));
    assert!(!quality().contains("run.file_"), "{}", quality());
    fs::remove_file(run_dir.join("results.json")).unwrap();
    assert!(quality().contains("[run.file_missing]"), "{}", quality());
}

#[test]
fn kernels_are_grouped_by_each_name_and_by_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("jax_cpu");
    let json = |args: &[&str]| -> Value {
        let args = [&["analyze", path.as_str()], args, &["--json"]].concat();
        serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap()
    };
    let own = |report: &Value, rows: &str| -> f64 {
        report[rows].as_array().unwrap().iter().map(|row| row["self_us"].as_f64().unwrap()).sum()
    };
    let whole = own(&json(&["kernels"]), "kernels");
    for by in ["name", "scope", "category", "program", "device", "component"] {
        let groups = json(&["kernels", "--by", by]);
        assert!((own(&groups, "groups") - whole).abs() < 1e-3, "{by}: {groups}");
    }
    for (args, expected) in [
        (&["kernels", "--by", "layer"][..], "one of name, scope, category"),
        (&["kernels", "--by"], "a value is required"),
        (&["layers", "--by", "scope"], "analyze PATH kernels --by"),
    ] {
        let args = [&["analyze", path.as_str()], args].concat();
        let output = run(directory.path(), &args, 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[test]
fn a_step_is_a_window_and_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("run");
    let json = |args: &[&str]| -> Value {
        let args = [&["analyze", path.as_str()], args, &["--json"]].concat();
        serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap()
    };
    let steps = json(&["steps"]);
    let steps = steps["steps"]["rows"].as_array().unwrap();
    let first = steps[0]["number"].to_string();
    let one = json(&["--step", &first]);
    let duration = steps[0]["duration_us"].as_f64().unwrap();
    assert!((one["window_us"].as_f64().unwrap() - duration).abs() < 1e-3, "{}", one["window_us"]);
    let two = format!("{first}..{}", steps[1]["number"]);
    assert!(json(&["--step", &two])["window_us"].as_f64().unwrap() > duration);
    let [kineto, memory] = ["kineto/excerpt.json.gz", "memory_report"].map(fixture);
    for (path, step, expected) in [
        (&path, "900", "no step 900: they are numbered"),
        (&path, "5..3", "step 5 comes after step 3"),
        (&path, "x", "a number, or two with .. between them, as in 3..5"),
        (&path, "..", "a number, or two with .. between them, as in 3..5"),
        (&kineto, "0", "there is no step 0: they are numbered 6 to 6"),
        (&memory, "0", "this profile has no steps: use --from and --to"),
    ] {
        let output = run(directory.path(), &["analyze", path, "--step", step], 2);
        assert!(stderr(&output).contains(expected), "{step}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{step}");
    }
    let both = ["analyze", path.as_str(), "--step", "0", "--from", "1s"];
    assert!(stderr(&run(directory.path(), &both, 2)).contains("cannot be used with"));
}

#[test]
fn the_peaks_of_this_cpu_are_measured_if_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("jax_cpu");
    let bound = |args: &[&str]| -> (usize, String) {
        let args = [&["analyze", path.as_str(), "kernels", "--json"], args].concat();
        let output = run(directory.path(), &args, 0);
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let kernels = report["kernels"].as_array().unwrap().iter();
        (kernels.filter(|row| row["bound_by"] != "unknown").count(), stderr(&output))
    };
    assert_eq!(bound(&[]), (0, String::new()));
    let (known, progress) = bound(&["--measure-cpu"]);
    assert!(known > 0 && progress.contains("measuring what this CPU can do"), "{progress}");
    let output = run(directory.path(), &["analyze", &path, "--measure-cpu=3"], 2);
    assert!(stderr(&output).contains("unexpected value '3' for '--measure-cpu'"));
    // What it cannot help is said instead of measured for nothing.
    let output = run(directory.path(), &["analyze", &fixture("tpu_v6e"), "--measure-cpu"], 2);
    assert!(stderr(&output).contains("no CPU device"), "{}", stderr(&output));
}

#[test]
fn what_is_no_profile_is_refused_with_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("empty.xplane.pb", b"");
    write("text.txt", b"hello");
    write("cut.xplane.pb", &[0x0a, 0xff, 0xff, 0x03, 0x12]);
    fs::create_dir(directory.path().join("folder")).unwrap();
    for (name, expected) in [
        ("missing", "missing"),
        ("empty.xplane.pb", "is empty (0 bytes)"),
        ("text.txt", "no profile that xscope knows"),
        ("cut.xplane.pb", "byte"),
        ("folder", "no profile in it"),
    ] {
        let output = run(directory.path(), &["analyze", name], 2);
        assert!(stderr(&output).contains(expected), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{name}");
    }
    run(directory.path(), &["analyze"], 2);
    run(directory.path(), &["no-such-command"], 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = xscope(directory.path(), &["analyze", &fixture("jax_cpu"), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn a_chip_can_be_named_where_the_profile_names_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = fixture("gpu_amd");
    let largest = |args: &[&str]| -> f64 {
        let args = [&["analyze", path.as_str(), "kernels", "--json"], args].concat();
        let report: Value =
            serde_json::from_str(&stdout(&run(directory.path(), &args, 0))).unwrap();
        let shares = report["kernels"].as_array().unwrap().iter();
        shares.filter_map(|row| row["efficiency"]["value"].as_f64()).fold(0.0, f64::max)
    };
    // Its memory moves 5.3 TB/s; that of a T4 320 GB/s.
    let (told, named) = (largest(&[]), largest(&["--chip", "t4"]));
    assert!(told > 0.0 && (named / told - 5300.0 / 320.0).abs() < 1e-6, "{told} {named}");
    for (args, expected) in [
        (["analyze", &path, "--chip", "MI9000"], "no chip that is known; there are tpu7x,"),
        (["analyze", &fixture("jax_cpu"), "--chip", "t4"], "has no TPU or GPU"),
    ] {
        let output = run(directory.path(), &args, 2);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

/// A copy of the run in the fixtures.
fn copy_of_run(to: &Path) {
    let mut pending = vec![(Path::new(&fixture("run")).to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => pending.push((entry.path(), to)),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
}

#[test]
fn what_a_run_measured_of_recording_is_in_its_overhead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    copy_of_run(&path);
    let args = ["analyze", path.to_str().unwrap(), "overhead"];
    let text = stdout(&run(directory.path(), &args, 0));
    assert!(text.contains("What recording took") && !text.contains("95 % interval"), "{text}");
    let window = |round: u32, recording: &str, ms: f64| {
        json!({"round": round, "recording": recording, "latencies_ms": vec![ms; 4], "differ": 0,
               "failed": 0})
    };
    let windows: Vec<Value> = (0..8)
        .flat_map(|round| [window(round, "probes", 10.0), window(round, "basic", 10.5)])
        .collect();
    let record = json!({"schema": "xscope/overhead/1", "batch_size": 2, "label_count": 2,
                        "concurrency": 1, "windows": windows, "left_out": []});
    fs::write(path.join("overhead.json"), record.to_string()).unwrap();
    let text = stdout(&run(directory.path(), &args, 0));
    assert!(text.contains("basic") && text.contains("within the budget"), "{text}");
    let report: Value = serde_json::from_str(&stdout(&run(
        directory.path(),
        &[&args[..], &["--json"]].concat(),
        0,
    )))
    .unwrap();
    let rows = report["recording_cost"]["overhead"]["costs"].as_array().unwrap();
    let basic = rows.iter().find(|row| row["name"] == "basic").unwrap();
    let change = basic["change_percent"]["value"].as_f64().unwrap();
    assert!((change - 5.0).abs() < 1e-9 && basic["verdict"] == "within", "{basic}");
}
