//! Profiles: steering them, and what is in their files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Value, json};
use xscope_engine::{CaptureLayout, Engine, EngineHandle};
use xscope_testing::files;
use xscope_trace::{
    Nanos,
    model::{Trace, TrackKind},
    span,
};

use crate::{
    client::{Reply, get, post, score, send},
    config, shut_down,
};

fn engine(root: &Path) -> EngineHandle {
    let mut config = config(root);
    config.max_batch_rows = 2;
    Engine::start(config).unwrap()
}

fn score_items(addr: SocketAddr, items: usize) -> Reply {
    let body = json!({ "query": [1, 2], "items": vec![[3]; items], "label_token_ids": [4] });
    let reply = score(addr, &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

fn start_profile(addr: SocketAddr, body: &Value) {
    let reply = post(addr, "/start_profile", &body.to_string());
    assert_eq!((reply.status, reply.body.as_str()), (200, "Start profiling.\n"), "{reply:?}");
}

fn stop_profile(addr: SocketAddr) {
    let reply = post(addr, "/stop_profile", "");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body, "Stop profiling. This will take some time.\n");
}

fn status(addr: SocketAddr) -> Value {
    get(addr, "/profile_status").json()
}

fn wait_until_idle(addr: SocketAddr) {
    while status(addr)["status"] != "idle" {
        thread::yield_now();
    }
}

fn ending(dir: &Path, end: &str) -> PathBuf {
    let found: Vec<PathBuf> =
        files(dir).into_iter().filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn load(dir: &Path) -> Trace {
    xscope_trace::read_paths(&[ending(dir, ".xspan"), ending(dir, ".xplane.pb")]).unwrap()
}

fn names(trace: &Trace, kind: TrackKind, track_name: &str) -> Vec<String> {
    let tracks = trace
        .tracks
        .iter()
        .filter(|track| track.kind == kind && trace.strings.get(track.name) == track_name);
    tracks
        .flat_map(|track| &track.slices.meta)
        .map(|&meta| trace.strings.get(trace.metas[meta].name).to_owned())
        .collect()
}

#[test]
fn a_capture_leaves_a_trace_that_tensorboard_finds() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let addr = engine.addr();
    score_items(addr, 1);
    let output = root.path().join("run");
    start_profile(addr, &json!({ "output_dir": output }));
    score_items(addr, 3);
    stop_profile(addr);
    score_items(addr, 1);

    let xplane = ending(&output, ".xplane.pb");
    let parts: Vec<_> = xplane.strip_prefix(&output).unwrap().components().collect();
    assert_eq!(parts.len(), 4, "{parts:?}");
    assert!(xplane.starts_with(output.join("plugins/profile")));
    assert!(ending(&output, ".xspan").starts_with(output.join("spans")));
    let last = engine.last_capture().unwrap();
    assert_eq!((last.batches, last.error, last.xplane), (2, None, Some(xplane)));

    let trace = load(&output);
    assert!(trace.findings.is_empty(), "{:?}", trace.findings);
    assert_eq!(names(&trace, TrackKind::Steps, "Steps"), ["2", "3"]);
    let modules = names(&trace, TrackKind::Modules, "XLA Modules");
    assert_eq!(modules, ["prefill_qwen3(1)", "prefill_qwen3(2)"]);
    let scopes = names(&trace, TrackKind::Derived, "Framework Name Scope");
    assert!(scopes.iter().any(|name| name == "layer_1"), "{scopes:?}");
    let ops = names(&trace, TrackKind::Ops, "XLA Ops");
    assert!(ops.iter().any(|name| name.starts_with("%matmul.")), "{ops:?}");
    assert!(ops.len() > 40);
    assert_eq!(names(&trace, TrackKind::HostThread, "requests 0")[0], "request");
}

#[test]
fn ops_carry_scope_work_and_batch_and_lie_in_their_module() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    start_profile(engine.addr(), &json!({}));
    score_items(engine.addr(), 2);
    score_items(engine.addr(), 2);
    stop_profile(engine.addr());
    let trace = load(root.path());
    let track = |kind| trace.tracks.iter().find(|track| track.kind == kind).unwrap();
    let (ops, modules) = (track(TrackKind::Ops), track(TrackKind::Modules));
    let mut layers = BTreeSet::new();
    for row in 0..ops.slices.len() {
        let run = ops.slices.run_of(row).unwrap();
        let module = (0..modules.slices.len())
            .find(|&module| modules.slices.run_of(module) == Some(run))
            .unwrap();
        assert!(modules.slices.start[module] <= ops.slices.start[row]);
        assert!(ops.slices.end(row) <= modules.slices.end(module));
        let meta = &trace.metas[ops.slices.meta[row]];
        let scope = trace.strings.get(meta.scope);
        assert!(scope.starts_with("forward/"), "{scope}");
        layers.insert(scope.split('/').nth(1).unwrap().to_owned());
        assert!(meta.flops.is_some() && meta.bytes.unwrap() > 0);
        assert!(!trace.strings.get(meta.category).is_empty());
    }
    let expected = ["embed", "layer_0", "layer_1", "logits", "norm"];
    assert_eq!(layers.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    // Two batches of one shape are two runs of one program, whose instructions are the same.
    let kinds: BTreeSet<_> = ops.slices.meta.iter().collect();
    assert_eq!(kinds.len() * 2, ops.slices.len());
}

#[test]
fn spans_of_a_request_tile_it_and_carry_its_name() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    start_profile(engine.addr(), &json!({}));
    let body = r#"{"query":"Is it? ","items":["a","b","c"],"label_token_ids":[4]}"#;
    let head = "POST /v1/score HTTP/1.1\r\ncontent-type: application/json\r\nx-request-id: mine";
    let reply = send(engine.addr(), head, body.as_bytes());
    stop_profile(engine.addr());

    let bytes = fs::read(ending(root.path(), ".xspan")).unwrap();
    let (file, issues) = span::read(&bytes);
    assert!(issues.is_empty(), "{issues:?}");
    let name = |id| file.strings.get(id).unwrap();
    let number: i64 = reply.header("x-xscope-request").unwrap().parse().unwrap();
    let spans: Vec<_> = file
        .spans
        .iter()
        .map(|row| row.span)
        .filter(|span| span.request == Some(span::Value::Int(number)))
        .collect();
    let request = spans.iter().find(|span| name(span.name) == "request").unwrap();
    let Some((key, span::Value::Text(text))) = request.arg else { panic!("{request:?}") };
    assert_eq!((name(key), name(text)), ("request_id", "mine"));
    let mut at = request.start;
    let mut sums: BTreeMap<&str, Nanos> = BTreeMap::new();
    for piece in spans.iter().filter(|span| name(span.name) != "request") {
        assert_eq!(piece.start, at, "{}", name(piece.name));
        at = at + piece.dur;
        let sum = sums.entry(name(piece.name)).or_default();
        *sum = *sum + piece.dur;
    }
    assert_eq!(at, request.start + request.dur);
    // A request's share of a batch's stages is all of them, to the nanosecond.
    let interval = |name_of: &str, batch| {
        let mut all = file.spans.iter().map(|row| row.span);
        let span = all.find(|span| span.batch == batch && name(span.name) == name_of).unwrap();
        (span.start, span.dur)
    };
    for forward in spans.iter().filter(|span| name(span.name) == "forward") {
        let batch = interval("batch.forward", forward.batch);
        assert_eq!((forward.start, forward.dur), batch);
        let schedule = interval("schedule", forward.batch);
        assert_eq!(schedule.0, interval("batch", forward.batch).0);
    }
    // The header tells the same.
    let timing = reply.header("server-timing").unwrap();
    for (stage, sum) in &sums {
        let entry = format!("{stage};dur={}.{:06}", sum.0 / 1_000_000, sum.0 % 1_000_000);
        assert!(timing.contains(&entry), "{entry} not in {timing}");
    }
    let batches: BTreeSet<_> =
        spans.iter().filter_map(|span| span.batch).map(|b| format!("{b:?}")).collect();
    assert_eq!(batches.len(), 2);
    let counters: BTreeSet<_> = file.counters.iter().map(|row| name(row.counter.name)).collect();
    assert!(counters.contains("memory_activations_peak_bytes"), "{counters:?}");
    assert!(counters.contains("queue_items"));
    // Another engine of this process may have started the peaks again just before one was read.
    let peaks = file.counters.iter().filter(|row| {
        name(row.counter.name) == "memory_activations_peak_bytes"
            && matches!(row.counter.value, span::Value::Int(bytes) if bytes > 0)
    });
    assert!(peaks.count() > 0);
    assert_eq!(file.spans.iter().filter(|row| name(row.span.name) == "batch").count(), 2);
}

/// What a `kill -9` would leave: the files as they are, with the capture still running.
#[test]
fn a_capture_can_be_read_while_it_runs() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    start_profile(engine.addr(), &json!({}));
    score_items(engine.addr(), 1);
    // Its batch comes after the first one has been written.
    score_items(engine.addr(), 1);
    let trace = load(root.path());
    let steps = names(&trace, TrackKind::Steps, "Steps");
    assert_eq!(steps.first().map(String::as_str), Some("1"), "{steps:?}");
    assert!(!trace.spans.is_empty());
    // An engine that ends completes its capture.
    shut_down(engine);
    let trace = load(root.path());
    assert_eq!(names(&trace, TrackKind::Steps, "Steps"), ["1", "2"]);
    assert!(trace.findings.is_empty(), "{:?}", trace.findings);
}

#[test]
fn num_steps_captures_that_many_batches_and_stops() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let addr = engine.addr();
    start_profile(addr, &json!({ "num_steps": "2", "start_step": 2 }));
    assert_eq!(status(addr)["status"], "in_progress");
    let replies: Vec<Reply> = (0..4).map(|_| score_items(addr, 1)).collect();
    wait_until_idle(addr);
    let trace = load(root.path());
    assert_eq!(names(&trace, TrackKind::Steps, "Steps"), ["2", "3"]);
    // Requests of the captured batches are in it, though the last ended after the capture.
    let number = |reply: &Reply| reply.header("x-xscope-request").unwrap().parse::<i64>().unwrap();
    let requests: BTreeSet<i64> = trace
        .spans
        .iter()
        .filter_map(|span| match span.request {
            Some(xscope_trace::model::SpanKey::Number(number)) => Some(number),
            _ => None,
        })
        .collect();
    for (reply, captured) in replies.iter().zip([false, true, true, false]) {
        assert_eq!(requests.contains(&number(reply)), captured, "{}", number(reply));
    }
    assert_eq!(status(addr)["last"]["batches"], 2);
}

#[test]
fn starting_twice_and_stopping_idle_say_the_way_out() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let addr = engine.addr();
    let stop = post(addr, "/stop_profile", "");
    assert_eq!(stop.status, 409);
    assert!(stop.message().contains("/start_profile"), "{stop:?}");
    assert_eq!(status(addr)["status"], "idle");

    start_profile(addr, &json!({ "output_dir": root.path().join("a") }));
    let again = get(addr, "/start_profile");
    assert_eq!(again.status, 409);
    assert!(again.message().contains("/stop_profile"), "{again:?}");
    assert!(again.message().contains(root.path().join("a").to_str().unwrap()), "{again:?}");
    assert_eq!(status(addr)["status"], "in_progress");

    assert_eq!(get(addr, "/stop_profile").status, 200);
    assert_eq!(status(addr)["status"], "idle");
    assert_eq!(get(addr, "/start_profile").status, 200);
    stop_profile(addr);
}

#[test]
fn stopping_what_stops_by_itself_waits_for_its_files() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    start_profile(engine.addr(), &json!({ "num_steps": 1 }));
    score_items(engine.addr(), 1);
    // Depending on who is faster it is being written or is complete.
    let stop = post(engine.addr(), "/stop_profile", "");
    assert!([200, 409].contains(&stop.status), "{stop:?}");
    assert_eq!(status(engine.addr())["status"], "idle");
    assert_eq!(names(&load(root.path()), TrackKind::Steps, "Steps"), ["1"]);
}

#[test]
fn the_engines_own_process_can_capture_anywhere() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let layout = CaptureLayout {
        output_dir: elsewhere.path().join("trace"),
        spans_dir: elsewhere.path().join("spans"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.start_capture(&layout)).unwrap();
    score_items(engine.addr(), 1);
    let report = runtime.block_on(engine.stop_capture()).unwrap();
    assert_eq!((report.batches, report.error), (1, None));
    assert!(report.spans.unwrap().starts_with(&layout.spans_dir));
    assert!(report.xplane.unwrap().exists());
    assert!(runtime.block_on(engine.stop_capture()).is_err());
}

#[test]
fn two_captures_into_one_directory_keep_both() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    for _ in 0..2 {
        start_profile(engine.addr(), &json!({}));
        score_items(engine.addr(), 1);
        stop_profile(engine.addr());
    }
    let count = |end: &str| {
        files(root.path()).iter().filter(|path| path.to_str().unwrap().ends_with(end)).count()
    };
    assert_eq!((count(".xplane.pb"), count(".xspan")), (2, 2));
}

#[test]
fn spans_can_go_elsewhere_and_stages_have_their_directory() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let (trace, spans) = (root.path().join("trace"), root.path().join("spans"));
    start_profile(engine.addr(), &json!({ "output_dir": trace, "spans_dir": spans }));
    score_items(engine.addr(), 1);
    stop_profile(engine.addr());
    assert!(ending(&spans, ".xspan").starts_with(&spans));
    assert!(ending(&trace, ".xplane.pb").starts_with(trace.join("plugins")));

    start_profile(
        engine.addr(),
        &json!({
            "output_dir": trace, "profile_by_stage": true, "profile_stages": ["prefill"],
        }),
    );
    score_items(engine.addr(), 1);
    stop_profile(engine.addr());
    assert!(ending(&trace.join("prefill"), ".xplane.pb").exists());
}

#[test]
fn tracer_levels_choose_what_is_written() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let body =
        json!({ "device_tracer_level": 0, "host_tracer_level": 1, "python_tracer_level": 0 });
    start_profile(engine.addr(), &body);
    score_items(engine.addr(), 1);
    stop_profile(engine.addr());
    let trace = load(root.path());
    assert!(trace.tracks.iter().all(|track| track.kind != TrackKind::Ops));
    assert!(names(&trace, TrackKind::HostThread, "xscope-sched").contains(&"batch".to_owned()));
}

#[test]
fn paths_out_of_the_root_and_wrong_fields_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let addr = engine.addr();
    std::os::unix::fs::symlink("/etc", root.path().join("out")).unwrap();
    let escape = root.path().join("../elsewhere");
    for (body, expected) in [
        (json!({ "output_dir": "relative" }), "relative path"),
        (json!({ "output_dir": "/etc/xscope" }), "outside the server's profile root"),
        (json!({ "output_dir": escape }), "must not have"),
        (json!({ "output_dir": root.path().join("out/x") }), "outside"),
        (json!({ "spans_dir": "/" }), "outside"),
        (json!({ "num_steps": "abc" }), "`num_steps` is the string"),
        (json!({ "host_tracer_level": 99 }), "0 to 3"),
    ] {
        let reply = post(addr, "/start_profile", &body.to_string());
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        assert!(reply.message().contains(expected), "{body}: {reply:?}");
        assert_eq!(status(addr)["status"], "idle", "{body}");
    }
    assert!(post(addr, "/start_profile", "{").message().contains("not valid JSON"));
    assert_eq!(score_items(addr, 1).status, 200);
}
