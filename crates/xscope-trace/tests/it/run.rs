use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use xscope_trace::run::{
    FileProblem, JsonlWriter, NewRun, RunClock, RunDir, RunManifest, RunStatus, SCHEMA,
};
use xscope_trace::{Bytes, Nanos};

const STARTED: Nanos = Nanos(1_795_515_300_123_456_789);

fn new_run(model: &str) -> NewRun {
    NewRun {
        kind: "score".to_owned(),
        model: model.to_owned(),
        hardware: "TPU v6e-1".to_owned(),
        command_line: vec!["xscope".to_owned(), "profile".to_owned()],
        target: "http://127.0.0.1:30000".to_owned(),
        workload: json!({"items": 8}),
        versions: vec![("xscope".to_owned(), "0.1.0".to_owned())],
        git_commit: None,
        clock: RunClock { wall_offset: Nanos(7), wall_offset_error: Nanos(1) },
        started_wall: STARTED,
    }
}

fn json_of(run: &RunDir) -> Value {
    serde_json::from_slice(&fs::read(run.path().join("run.json")).unwrap()).unwrap()
}

fn write_json(dir: &Path, value: &Value) {
    fs::write(dir.join("run.json"), value.to_string()).unwrap();
}

#[test]
fn a_run_from_begin_to_end() {
    let parent = tempfile::tempdir().unwrap();
    let runs = parent.path().join("runs");
    let mut run = RunDir::create(&runs, new_run("Qwen/Qwen3-0.6B")).unwrap();
    let name = "20261124T101500Z-score-qwen3_0.6b-tpu_v6e-1";
    assert_eq!(run.path(), runs.join(name));
    assert_eq!(json_of(&run)["status"], "running");
    assert_eq!(run.capture_dir(), run.path().join("trace"));
    assert!(run.capture_dir().is_dir() && run.spans_dir().is_dir() && run.logs_dir().is_dir());
    assert_eq!(RunDir::open(run.path()).unwrap().manifest, run.manifest);

    fs::write(run.spans_dir().join("12.xspan"), "123456789").unwrap();
    JsonlWriter::open(&run.requests_path()).unwrap().write(&json!({"id": 1})).unwrap();
    run.finish(RunStatus::Complete, Nanos(STARTED.0 + 5)).unwrap();
    let opened = RunDir::open(run.path()).unwrap();
    assert_eq!((opened.manifest.status, &opened.issues), (RunStatus::Complete, &Vec::new()));
    assert_eq!(opened.manifest, run.manifest);
    let files: Vec<&str> = opened.manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["requests.jsonl", "spans/12.xspan"]);
    let spans = &opened.manifest.files[1];
    assert_eq!((spans.bytes, spans.crc32.as_str()), (Bytes(9), "cbf43926"));
    assert_eq!(json_of(&run)["started_wall_ns"], STARTED.0);
    assert_eq!(json_of(&run)["schema"], SCHEMA);

    assert_eq!(opened.verify().unwrap(), []);
    fs::write(run.spans_dir().join("12.xspan"), "12345678x").unwrap();
    fs::remove_file(run.requests_path()).unwrap();
    let expected = [
        FileProblem::Missing { path: "requests.jsonl".to_owned() },
        FileProblem::Changed { path: "spans/12.xspan".to_owned() },
    ];
    assert_eq!(opened.verify().unwrap(), expected);
}

#[test]
fn runs_of_one_second_have_numbers() {
    let parent = tempfile::tempdir().unwrap();
    let names: Vec<PathBuf> = (0..3)
        .map(|_| RunDir::create(parent.path(), new_run("m")).unwrap().path().to_owned())
        .collect();
    let name = "20261124T101500Z-score-m-tpu_v6e-1";
    let expected = [name.to_owned(), format!("{name}-2"), format!("{name}-3")];
    assert_eq!(names, expected.map(|name| parent.path().join(name)));
}

#[test]
fn a_dead_writer_reads_as_interrupted() {
    let parent = tempfile::tempdir().unwrap();
    let run = RunDir::create(parent.path(), new_run("m")).unwrap();
    let mut json = json_of(&run);
    json["writer"]["start_ticks"] = json!(1);
    write_json(run.path(), &json);
    let opened = RunDir::open(run.path()).unwrap();
    assert_eq!(opened.manifest.status, RunStatus::Interrupted);
    assert_eq!(json_of(&run)["status"], "running");
}

#[test]
fn manifests_of_others_are_read_as_far_as_they_go() {
    let check = |text: &str, issues: usize| {
        let (manifest, found) = RunManifest::from_json(text.as_bytes());
        assert_eq!(found.len(), issues, "{text}: {found:?}");
        manifest
    };
    check("", 2);
    check("[]", 2);
    let newer = r#"{"schema": "xscope/run/9", "status": "complete", "energy_joules": 5,
                    "target": {"url": "x"}, "workload": "any"}"#;
    let manifest = check(newer, 2);
    assert_eq!((manifest.status, manifest.target.as_str()), (RunStatus::Complete, ""));
    assert_eq!((&manifest.workload, &manifest.other["energy_joules"]), (&json!("any"), &json!(5)));
    let manifest = check(r#"{"schema": "xscope/run/1", "status": "exploded"}"#, 1);
    assert_eq!(manifest.status, RunStatus::Interrupted);

    let dir = tempfile::tempdir().unwrap();
    let error = RunDir::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("no run directory"), "{error}");
}

proptest! {
    #[test]
    fn any_model_name_makes_one_directory_in_the_parent(model in "\\PC{0,80}|[./\\\\ ]{0,9}") {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDir::create(parent.path(), new_run(&model)).unwrap();
        prop_assert_eq!(run.path().parent().unwrap(), parent.path());
        let name = run.path().file_name().unwrap().to_str().unwrap();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        prop_assert!(name.chars().all(plain) && name.len() < 120, "{name}");
        prop_assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn any_bytes_give_a_manifest(text in "\\PC{0,200}") {
        RunManifest::from_json(text.as_bytes());
    }
}
