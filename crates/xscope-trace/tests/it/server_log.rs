//! Logs of servers, in run directories and alone.

use std::fs;

use serde_json::json;
use xscope_trace::model::LogRow;
use xscope_trace::quality::Code;
use xscope_trace::run::{NewRun, RunClock, RunDir, RunStatus};
use xscope_trace::server_log::{LogEvent, Pass};
use xscope_trace::{Error, Nanos, Trace, read_paths};

/// 2026-11-24T10:15:00Z.
const STARTED: Nanos = Nanos(1_795_515_300_000_000_000);
const LINES: &str = "[2026-11-24 18:15:01] Prefill batch. #new-seq: 3, #new-token: 33\n\
                     [2026-11-24 18:15:09] Prefill batch. #bid: 6, #cache_miss: 2\n";

fn run_with(log: &str) -> (tempfile::TempDir, Result<Trace, Error>) {
    let parent = tempfile::tempdir().unwrap();
    let new = NewRun {
        kind: "score".to_owned(),
        model: "m".to_owned(),
        hardware: "cpu".to_owned(),
        command_line: Vec::new(),
        target: String::new(),
        workload: json!({}),
        versions: Vec::new(),
        git_commit: None,
        clock: RunClock::default(),
        started_wall: STARTED,
    };
    let mut run = RunDir::create(parent.path(), new).unwrap();
    fs::write(run.logs_dir().join("server.log"), log).unwrap();
    fs::write(run.path().join("other.log"), LINES).unwrap();
    let row = json!({"request_id": "a", "intended_ns": 0, "end_ns": 5});
    fs::write(run.requests_path(), format!("{row}\n")).unwrap();
    run.finish(RunStatus::Complete, STARTED + Nanos(20_000_000_000)).unwrap();
    let trace = read_paths(&[run.path().to_owned()]);
    (parent, trace)
}

#[test]
fn the_log_of_a_run_is_placed_in_its_time_whatever_its_zone() {
    let (_folder, trace) = run_with(LINES);
    let trace = trace.unwrap();
    assert_eq!(trace.log.len(), 2, "only what is in logs/ is the server's");
    assert!(matches!(trace.log[1].event, LogEvent::CacheMiss { programs: 2, .. }));
    let log = trace.sources.iter().find(|source| source.format.name() == "server_log").unwrap();
    assert_eq!(log.clock.unix_epoch, Some(STARTED + Nanos(1_000_000_000)));
}

#[test]
fn a_log_that_says_nothing_is_no_part_of_a_run_and_no_input_alone() {
    let (folder, trace) = run_with("Uvicorn running\n");
    let trace = trace.unwrap();
    assert!(trace.log.is_empty() && trace.sources.len() == 1);
    assert!(!trace.findings.iter().any(|finding| finding.code == Code::SourceUnreadable));
    let alone = folder.path().join("alone.log");
    fs::write(&alone, "Uvicorn running\n").unwrap();
    let error = read_paths(std::slice::from_ref(&alone)).unwrap_err().to_string();
    assert!(error.contains("JAX_LOG_COMPILES=1"), "{error}");
    fs::write(&alone, LINES).unwrap();
    assert_eq!(read_paths(&[alone]).unwrap().log.len(), 2);
}

#[test]
fn a_real_log_is_read_line_by_line() {
    let path = xscope_testing::fixture("sglang_jax/server.log");
    let trace = read_paths(&[path]).unwrap();
    let at = |row: &LogRow| row.at.map(|at| at.0 / 1_000_000_000_000);
    let misses: Vec<_> = trace
        .log
        .iter()
        .filter_map(|row| match row.event {
            LogEvent::CacheMiss { pass, batch, programs } => Some((at(row), pass, batch, programs)),
            _ => None,
        })
        .collect();
    // Seconds after 18:29:38, the first line that says something.
    assert_eq!(
        misses,
        [
            (Some(59), Pass::Prefill, Some(2), 2),
            (Some(67), Pass::Decode, None, 2),
            (Some(75), Pass::Prefill, Some(5), 2),
            (Some(78), Pass::Decode, None, 2),
        ]
    );
    let ahead = |pass, sequences: &[u64], tokens: &[u64]| LogEvent::Precompile {
        pass,
        sequences: sequences.to_vec(),
        tokens: tokens.to_vec(),
    };
    assert_eq!(
        trace.log[..2].iter().map(|row| (at(row), row.event.clone())).collect::<Vec<_>>(),
        [
            (Some(0), ahead(Pass::Prefill, &[32], &[32, 64, 128, 256, 512, 1024])),
            (Some(27), ahead(Pass::Decode, &[1, 8, 32], &[])),
        ]
    );
    let prefills: Vec<(u64, u64)> = trace
        .log
        .iter()
        .filter_map(|row| match row.event {
            LogEvent::Prefill { sequences, tokens } => Some((sequences, tokens)),
            _ => None,
        })
        .collect();
    assert_eq!((prefills.len(), &prefills[..2]), (8, &[(1, 11), (2, 22)][..]));
}
