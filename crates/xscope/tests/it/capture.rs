//! `xscope capture` against servers that behave as sglang-jax does, the built-in engine, and a JAX
//! server.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;
use xscope_testing::python;
use xscope_trace::Nanos;

use crate::fake_server::{FakeServer, Kind, Writes, files_in};
use crate::profile::{json_file, only_run, signal, wait_for};
use crate::run::{free_port, test_server};
use crate::{run, stderr, stdout, xscope};

const HOUR: Nanos = Nanos(3_600_000_000_000);

/// A capture of one server that begins at its first look.
fn capture_args<'a>(server: &'a FakeServer, more: &[&'a str]) -> Vec<&'a str> {
    [&["capture", "--url", &server.url, "--min-in-flight", "1"], more].concat()
}

/// A first page without the path that the run was read by, from the current folder or from the root.
fn findings(output: &Output) -> String {
    let page = stdout(output);
    let (path, rest) = page.split_once(" (xplane, ").unwrap();
    rest.replace(path, "PATH")
}

fn profiles_in(run: &Path) -> usize {
    files_in(&run.join("trace")).iter().filter(|path| path.ends_with(".xplane.pb")).count()
}

#[test]
fn a_capture_is_started_under_load_ended_by_steps_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind { ends_after: Some(2), ..Kind::default() });
    let args = capture_args(&server, &["--num-steps", "5", "--duration", "60s"]);
    let output = run(directory.path(), &args, 0);
    let said = stderr(&output);
    assert!(said.contains("4 requests in flight at most, says GET /get_server_info"), "{said}");
    assert!(stdout(&output).contains("1 device, busy for"), "{}", stdout(&output));
    let bodies = server.asked("/start_profile");
    let run_dir = only_run(directory.path());
    let trace_dir = run_dir.canonicalize().unwrap().join("trace");
    assert_eq!(bodies[0]["output_dir"], trace_dir.to_str().unwrap(), "absolute");
    assert_eq!(bodies[0]["python_tracer_level"], 0);
    assert_eq!(bodies[0]["num_steps"], 6, "sglang-jax traces one less");
    for field in ["profile_by_stage", "start_step", "activities", "device_tracer_level"] {
        assert!(bodies[0].get(field).is_none(), "{field} was not asked for");
    }
    let manifest = json_file(&run_dir.join("run.json"));
    assert_eq!(manifest["status"], "complete");
    assert_eq!(manifest["servers"][0]["profiler"], "collected");
    assert_eq!(manifest["servers"][0]["server_info"]["model_path"], "fake");
    assert!(manifest["servers"][0].get("clock").is_none(), "it is this machine's");
    let analyzed = run(directory.path(), &["analyze", run_dir.to_str().unwrap()], 0);
    assert_eq!(findings(&analyzed), findings(&output), "the run is complete in itself");
}

#[test]
fn steps_that_never_end_are_ended_by_time() {
    for has_status in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let server = FakeServer::start(Kind { has_status, ..Kind::default() });
        run(directory.path(), &capture_args(&server, &["--duration", "300ms", "--json"]), 0);
        assert!(!server.is_profiling());
        assert_eq!(server.asked("/stop_profile").len(), 1);
    }
}

#[test]
fn the_first_profile_is_taken_again_if_it_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind { busy: vec![0, 60], ..Kind::default() });
    let output = run(directory.path(), &capture_args(&server, &["--duration", "200ms"]), 0);
    let said = stderr(&output);
    assert!(said.contains("[device.missing]; taking it once more"), "{said}");
    assert_eq!(server.asked("/start_profile").len(), 2);
    assert_eq!(profiles_in(&only_run(directory.path())), 1, "the empty one is gone");

    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind { busy: vec![0], ..Kind::default() });
    let output = run(directory.path(), &capture_args(&server, &["--duration", "200ms"]), 3);
    assert!(stderr(&output).contains("[taken 2 times]"), "{}", stderr(&output));
    assert_eq!(server.asked("/start_profile").len(), 2);
}

#[test]
fn of_two_profiles_the_one_in_which_more_was_done_is_kept() {
    for (busy, kept) in [(vec![4, 0], 0), (vec![4, 3], 0), (vec![3, 4], 1)] {
        let directory = tempfile::tempdir().unwrap();
        let server = FakeServer::start(Kind { busy, ..Kind::default() });
        let output = run(directory.path(), &capture_args(&server, &["--duration", "200ms"]), 0);
        let said = stderr(&output);
        assert!(said.contains("[window.idle]; taking it once more"), "{said}");
        assert!(said.contains("[window.idle] [taken 2 times]"), "{said}");
        assert_eq!(said.contains("keeping the first"), kept == 0, "{said}");
        let run_dir = only_run(directory.path());
        let files = files_in(&run_dir.join("trace"));
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(files[0].contains(&format!("2026_11_25_{kept:02}")), "{files:?}");
        assert!(!run_dir.join(".first").exists());
    }
}

#[test]
fn what_a_server_wrote_is_told_as_what_it_is() {
    for (writes, hosts, code, told, profiles) in [
        (Writes::Nothing, Some(1), 3, "is empty (0 bytes): JAX writes an empty file when", 1),
        (Writes::Json, Some(1), 0, "(chrome_json, ", 0),
        (Writes::Growing, Some(1), 0, "1 device, busy for", 1),
        (Writes::HostByHost, Some(2), 0, "2 devices, each busy for", 2),
        (Writes::HostByHost, None, 0, "2 devices, each busy for", 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = FakeServer::start(Kind { writes, hosts, ..Kind::default() });
        let output = run(directory.path(), &capture_args(&server, &["--duration", "200ms"]), code);
        let said = stdout(&output);
        assert!(said.contains(told), "{writes:?}: {said}{}", stderr(&output));
        assert!(!said.contains("scp"), "{writes:?}: it is here: {said}");
        let run_dir = only_run(directory.path());
        assert_eq!(profiles_in(&run_dir), profiles, "{writes:?}");
        let collect = ["capture", "--collect", run_dir.to_str().unwrap()];
        let collected = stdout(&run(directory.path(), &collect, code));
        assert!(collected.contains(told), "{writes:?}: {collected}");
    }
}

#[test]
fn two_pools_with_clocks_apart_are_one_run_on_one_axis() {
    let directory = tempfile::tempdir().unwrap();
    let prefill = FakeServer::start(Kind::default());
    let decode = FakeServer::start(Kind { ahead: HOUR, ..Kind::default() });
    let pools = ["--prefill-url", &prefill.url, "--decode-url", &decode.url];
    let args =
        [&["capture", "--min-in-flight", "1", "--duration", "300ms", "--json"], pools.as_slice()];
    let output = run(directory.path(), &args.concat(), 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["schema"], "xscope/capture/2");
    let clock = &report["servers"][1]["clock"];
    let (ahead, error) = (clock["ahead_ns"].as_i64(), clock["error_ns"].as_i64());
    let (ahead, error) = (ahead.unwrap(), error.unwrap());
    assert!((ahead - HOUR.0).abs() <= error, "{clock}");
    let sources = report["analysis"]["sources"].as_array().unwrap();
    let hosts: Vec<&str> =
        sources.iter().map(|source| source["hostname"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["decode (fake)", "prefill (fake)"]);
    let offset = |index: usize| sources[index]["offset_us"].as_f64().unwrap();
    assert!((offset(0) - offset(1)).abs() < 60e6, "an hour apart no more");
    assert!(sources[0]["offset_error_us"].as_f64().unwrap() > 0.0);
    for name in ["prefill", "decode"] {
        assert_eq!(files_in(&only_run(directory.path()).join("trace").join(name)).len(), 1);
    }
}

#[test]
fn a_profile_of_somebody_else_is_left_alone_and_the_way_out_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind::default());
    server.begin_profile();
    let output = run(directory.path(), &capture_args(&server, &[]), 3);
    let said = stderr(&output);
    assert!(said.contains("a profile is being taken already"), "{said}");
    assert!(said.contains("xscope capture --stop --url"), "{said}");
    assert!(server.is_profiling());
    assert!(server.asked("/start_profile").is_empty(), "nothing was sent");
    assert_eq!(json_file(&only_run(directory.path()).join("run.json"))["status"], "failed");

    let stop = ["capture", "--stop", "--url", &server.url];
    assert!(stderr(&run(directory.path(), &stop, 0)).contains("stopped"));
    assert!(!server.is_profiling());
    assert!(stderr(&run(directory.path(), &stop, 0)).contains("no profile was being taken"));
}

#[test]
fn a_bare_500_is_explained() {
    for (has_status, expected) in [
        (true, "the server says that no profile is being taken"),
        (false, "either a profile is being taken already"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = FakeServer::start(Kind { has_status, is_read_only: true, ..Kind::default() });
        let said = stderr(&run(directory.path(), &capture_args(&server, &[]), 3));
        assert!(said.contains(expected) && said.contains("may not write"), "{said}");
        assert!(said.contains("it says: Internal Server Error"), "{said}");
    }
}

#[test]
fn without_load_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind { running: vec![0], ..Kind::default() });
    let args = ["capture", "--url", &server.url, "--wait-load", "300ms"];
    let said = stderr(&run(directory.path(), &args, 3));
    assert!(said.contains("no load within 0 s") && said.contains("--load"), "{said}");
    assert!(server.asked("/start_profile").is_empty());

    // Work that grows is waited for; a server that says nothing is not.
    let growing = (0..12).collect();
    for (running, expected) in [(growing, "11 requests in flight"), (Vec::new(), "unknown")] {
        let server = FakeServer::start(Kind { running, ..Kind::default() });
        let args = ["capture", "--url", &server.url, "--duration", "200ms", "--profile-name", "n"];
        let said = stderr(&run(directory.path(), &args, 0));
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(fs::read_dir(directory.path().join("runs/n")).unwrap().count(), 2);
}

/// A capture that goes on for an hour, with its profiler on.
fn start_long(directory: &Path, server: &FakeServer) -> Child {
    let args = capture_args(server, &["--duration", "3600s"]);
    let mut command = xscope(directory, &args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the profile", || server.is_profiling());
    child
}

#[test]
fn no_profiler_stays_on_however_xscope_ends() {
    for (name, code) in [("-INT", Some(130)), ("-TERM", Some(130)), ("-KILL", None)] {
        let directory = tempfile::tempdir().unwrap();
        let server = FakeServer::start(Kind::default());
        let child = start_long(directory.path(), &server);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), code, "{name}: {}", stderr(&output));
        wait_for("the end of the profile", || !server.is_profiling());
        let run_dir = only_run(directory.path());
        let (status, profiler) =
            if code.is_some() { ("interrupted", "collected") } else { ("running", "on") };
        let manifest = json_file(&run_dir.join("run.json"));
        assert_eq!(
            (&manifest["status"], &manifest["servers"][0]["profiler"]),
            (&status.into(), &profiler.into())
        );
        wait_for("the file", || profiles_in(&run_dir) == 1);
        run(directory.path(), &["analyze", run_dir.to_str().unwrap()], 0);
    }
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server_that_never_answers() {
    for hangs_on in ["/start_profile", "/stop_profile"] {
        let directory = tempfile::tempdir().unwrap();
        let server = FakeServer::start(Kind { hangs_on, ..Kind::default() });
        let args = capture_args(&server, &["--duration", "100ms"]);
        let mut command = xscope(directory.path(), &args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the order", || !server.asked(hangs_on).is_empty());
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{hangs_on}: {}", stderr(&output));
        let manifest = json_file(&only_run(directory.path()).join("run.json"));
        assert_eq!(manifest["status"], "interrupted", "{hangs_on}");
        assert!(!server.asked("/stop_profile").is_empty(), "it may have been started all the same");
    }
}

#[test]
fn what_a_killed_capture_left_on_is_stopped_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind::default());
    run(directory.path(), &capture_args(&server, &["--duration", "200ms"]), 0);
    // As if that had been killed, and its watchdog, too.
    let left = only_run(directory.path());
    fs::remove_dir_all(left.join("trace/plugins")).unwrap();
    let mut manifest = json_file(&left.join("run.json"));
    manifest["status"] = "running".into();
    manifest["writer"]["boot_id"] = "another".into();
    manifest["servers"][0]["profiler"] = "on".into();
    fs::write(left.join("run.json"), manifest.to_string()).unwrap();
    server.begin_profile();

    let output = run(directory.path(), &capture_args(&server, &["--duration", "200ms"]), 0);
    let said = stderr(&output);
    assert!(said.contains("had left on when it was killed"), "{said}");
    let state = &json_file(&left.join("run.json"))["servers"][0]["profiler"];
    assert_eq!(state, "elsewhere", "its file is in no place that is known");
}

#[test]
fn profiles_on_another_disk_are_collected() {
    let directory = tempfile::tempdir().unwrap();
    let disk = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind {
        disk: Some(disk.path().to_owned()),
        ahead: Nanos(-HOUR.0),
        ..Kind::default()
    });
    let more = ["--duration", "200ms", "--remote-dir", "/srv/profiles"];
    let output = run(directory.path(), &capture_args(&server, &more), 0);
    let run_dir = only_run(directory.path());
    let id = run_dir.file_name().unwrap().to_str().unwrap();
    let there = format!("/srv/profiles/{id}");
    assert_eq!(server.asked("/start_profile")[0]["output_dir"], there.as_str());
    assert!(server.asked("/start_profile")[0].get("spans_dir").is_none());
    let here = run_dir.canonicalize().unwrap().join("trace");
    let copy = format!("scp -r 'HOST:{there}/.' '{}/'", here.display());
    let said = stdout(&output);
    assert!(said.contains(&copy), "{said}");
    let collect = ["capture", "--collect", run_dir.to_str().unwrap()];
    assert!(said.contains(&format!("xscope capture --collect runs/{id}")), "{said}");
    let refused = stderr(&run(directory.path(), &collect, 2));
    assert!(refused.contains("nothing is collected yet") && refused.contains(&copy), "{refused}");

    let from = disk.path().join(there.trim_start_matches('/')).join("plugins");
    let copied = Command::new("cp").arg("-r").args([&from, &here]).status().unwrap();
    assert!(copied.success());
    let output = run(directory.path(), &collect, 0);
    assert!(stdout(&output).contains("1 device, busy for"), "{}", stdout(&output));
    let manifest = json_file(&run_dir.join("run.json"));
    assert_eq!(manifest["servers"][0]["profiler"], "collected");
    assert_eq!(manifest["files"].as_array().unwrap().len(), 1);
    let ahead = manifest["servers"][0]["clock"]["ahead_ns"].as_i64().unwrap();
    assert!((ahead + HOUR.0).abs() < 60_000_000_000, "{ahead}");
}

#[test]
fn a_shared_disk_is_collected_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    let server = FakeServer::start(Kind { busy: vec![0, 60], ..Kind::default() });
    let more = ["--duration", "200ms", "--remote-dir", shared.to_str().unwrap()];
    let output = run(directory.path(), &capture_args(&server, &more), 0);
    assert!(stdout(&output).contains("1 device, busy for"), "{}", stdout(&output));
    let run_dir = only_run(directory.path());
    assert_eq!(profiles_in(&run_dir), 1, "the empty one is gone");
    let analyzed = run(directory.path(), &["analyze", run_dir.to_str().unwrap()], 0);
    assert_eq!(findings(&analyzed), findings(&output));
}

#[test]
fn what_a_server_ignores_is_said_and_what_would_hang_it_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakeServer::start(Kind { has_status: false, ..Kind::default() });
    let more = ["--duration", "200ms", "--mem", "--profile-id", "p", "--device-tracer-level", "1"];
    let output = run(directory.path(), &capture_args(&server, &more), 0);
    for option in ["--mem, --rpd: sent", "--profile-id: sent", "--device-tracer-level: sent"] {
        assert!(stderr(&output).contains(option), "{}", stderr(&output));
    }
    let body = &server.asked("/start_profile")[0];
    assert_eq!(body["activities"], serde_json::json!(["CPU", "GPU", "MEM"]));
    assert_eq!((&body["profile_id"], &body["device_tracer_level"]), (&"p".into(), &1.into()));

    for (args, code, expected) in [
        (["--host-tracer-level", "4"], 2, "host_tracer_level is 4: it must be 0 to 3"),
        (["--python-tracer-level", "2"], 2, "it must be 0 to 1"),
        (["--remote-dir", "profiles"], 2, "it must be an absolute path"),
        (["--profile-name", "../x"], 2, "it must be a name"),
        (["--duration", "0s"], 2, "needs some time"),
        (["--remote-dir", "gs://bucket/x"], 3, "never answer again"),
    ] {
        let said = stderr(&run(directory.path(), &capture_args(&server, &args), code));
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    assert_eq!(server.asked("/start_profile").len(), 1);
}

/// A server that ends with the test, however that ends.
pub(crate) struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The built-in engine as a server, and its address; its log must stay open.
fn serve(directory: &Path) -> (Server, BufReader<ChildStderr>, String) {
    let mut command = xscope(directory, &["serve", "--port", "0"]);
    let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    (Server(server), log, url.trim_end_matches(';').to_owned())
}

const SMALL_LOAD: [&str; 7] =
    ["--load", "--batch-sizes", "2", "--query-tokens", "2", "--item-tokens", "1"];

#[test]
fn the_built_in_engine_is_captured_under_a_load_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, _log, url) = serve(directory.path());
    let args = ["capture", "--url", &url, "--num-steps", "8", "--duration", "60s", "--json"];
    let output = run(directory.path(), &[&args, SMALL_LOAD.as_slice()].concat(), 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let analysis = &report["analysis"];
    assert!(!analysis["kernels"].as_array().unwrap().is_empty());
    assert!(
        analysis["request_report"]["request_counts"]["measured_requests"].as_u64().unwrap_or(1) > 0,
        "{}",
        analysis["request_report"]
    );
    let known = report["servers"][0]["load"].as_str().unwrap();
    assert!(known.starts_with("xscope's own load"), "{known}");
    // A request that came last may name a batch that the device was not traced in any more.
    assert_eq!(analysis["steps"]["rows"].as_array().unwrap().len(), 8, "{}", analysis["steps"]);
}

#[test]
fn a_jax_server_is_captured_under_a_load_of_ours() {
    let Some(python) = python("import jax") else { return };
    let directory = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let server = Command::new(python)
        .args([&test_server(), "--port", &port])
        .env("JAX_PLATFORMS", "cpu")
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(server);
    let address = PathBuf::from(format!("127.0.0.1:{port}"));
    wait_for("the server", || std::net::TcpStream::connect(address.to_str().unwrap()).is_ok());
    let args = ["capture", "--url", &url, "--duration", "500ms", "--json"];
    let output = run(directory.path(), &[&args, SMALL_LOAD.as_slice()].concat(), 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    // The client's rows and the profile are on one axis, though the server stamps no clock of ours.
    let quality = report["analysis"]["quality"].as_array().unwrap();
    let is_clock = |finding: &&Value| finding["code"].as_str().unwrap().starts_with("clock.");
    assert_eq!(quality.iter().find(is_clock), None);
    let programs = report["analysis"]["programs"].as_array().unwrap();
    let named =
        |name: &str| programs.iter().any(|row| row["name"].as_str().unwrap().contains(name));
    assert!(named("run_model") && named("run_decode"), "{programs:?}");
    let steps = report["analysis"]["steps"]["groups"].as_array().unwrap();
    assert!(steps.iter().any(|group| group["stage"] == "decode"), "{steps:?}");
}
