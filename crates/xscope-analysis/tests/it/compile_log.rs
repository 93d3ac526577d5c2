//! Compilations that servers' logs tell of.

use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, analyze};
use xscope_trace::model::{ClientRequest, DeviceId, LogRow, SourceId, TrackKind};
use xscope_trace::quality::{Code, Severity};
use xscope_trace::server_log::parse_line;
use xscope_trace::{Phase, Picos, Trace};

use crate::build::{device, track, us};

const SECOND: i64 = 1_000_000;

/// A trace of 40 s with a compilation from 2 to 6 s if `recorded`, and a log of lines at seconds.
fn trace_with(recorded: bool, log: &[(i64, &str)]) -> Trace {
    let mut trace = Trace::default();
    device(&mut trace, "cpu:0");
    let mut rows = vec![(("run", 0, 40 * SECOND), 0)];
    if recorded {
        rows.push((("backend_compile_and_load", 2 * SECOND, 4 * SECOND), 0));
    }
    track(&mut trace, TrackKind::HostThread, None, None, &rows);
    trace.client.push(ClientRequest {
        id: "r1".to_owned(),
        source: SourceId(0),
        point: String::new(),
        phase: Phase::Measure,
        ok: true,
        items: 3,
        labels: 2,
        intended: us(SECOND),
        sent: None,
        end: us(9 * SECOND),
    });
    for &(second, line) in log {
        let event = parse_line(line).unwrap().event;
        trace.log.push(LogRow { source: SourceId(0), at: Some(us(second * SECOND)), event });
    }
    trace
}

const AHEAD: (i64, &str) =
    (0, "[EXTEND] Begin to precompile bs_paddings=[32] token_paddings=[32, 64]");
const BATCH: (i64, &str) = (1, "Prefill batch. #new-seq: 3, #new-token: 33, #cached-token: 0");
const MISS: (i64, &str) = (8, "Prefill batch. #bid: 6, #cache_miss: 2");

fn check(report: &AnalyzeReport, expected: &[(&str, Option<i64>, i64)]) {
    let found: Vec<_> =
        report.compiles.iter().map(|row| (row.seen_in, row.batch, row.duration.0)).collect();
    let expected: Vec<_> =
        expected.iter().map(|&(seen, batch, secs)| (seen, batch, us(secs * SECOND).0)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_miss_names_the_batch_of_the_compilation_that_the_trace_shows() {
    let report = analyze(&trace_with(true, &[AHEAD, BATCH, MISS]));
    check(&report, &[("both", Some(6), 4)]);
    assert!(report.compiles[0].advice.starts_with("a batch of 3 sequences and 33 tokens"));
    assert_eq!(report.compiles[0].waiting, ["r1"]);
    check(&analyze(&trace_with(true, &[])), &[("trace", None, 4)]);
}

#[test]
fn a_log_alone_makes_a_row_as_long_as_the_pass() {
    let report = analyze(&trace_with(false, &[AHEAD, BATCH, MISS, (50, MISS.1)]));
    // From second 1 to the end of second 8; what is after the profile is no part of it.
    check(&report, &[("log", Some(6), 8)]);
    assert_eq!(
        (report.compiles[0].requests_waiting.value, &*report.compiles[0].program),
        (Some(1.0), "2 programs")
    );
}

#[test]
fn what_jax_logs_is_not_counted_twice() {
    let jax = (5, "Finished XLA compilation of jit(f) in 3.0 sec");
    check(&analyze(&trace_with(false, &[BATCH, jax, MISS])), &[("log", Some(6), 3)]);
    check(&analyze(&trace_with(true, &[(6, jax.1)])), &[("both", None, 4)]);
}

#[test]
fn the_advice_is_what_would_have_avoided_it() {
    let advice = |log: &[(i64, &str)]| {
        let report = analyze(&trace_with(false, log));
        report.compiles.last().unwrap().advice.clone()
    };
    let large = (1, "Prefill batch. #new-seq: 3, #new-token: 100");
    let full = (1, "Prefill batch. #new-seq: 32, #new-token: 33");
    for (log, part) in [
        (&[BATCH, MISS][..], "without --disable-precompile"),
        (&[AHEAD, large, MISS], "add 100 to --precompile-token-paddings"),
        (&[AHEAD, BATCH, MISS], "add 3 to --precompile-bs-paddings"),
        (&[AHEAD, full, MISS], "without these labels"),
        (&[AHEAD, BATCH, BATCH, MISS], "labels or another constant are new"),
        (&[(9, "Decode batch. #running-req: 1, #cache_miss: 1")], "--precompile-bs-paddings"),
    ] {
        let found = advice(log);
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn a_window_leaves_out_what_is_logged_outside_of_it() {
    use xscope_analysis::reports::analyze::{Options, analyze_with};
    let mut trace = trace_with(false, &[BATCH, MISS]);
    let window = xscope_trace::trim::clip(&mut trace, us(20 * SECOND), Picos(i64::MAX));
    let report = analyze_with(&trace, &Options { window: Some(window), ..Options::default() });
    check(&report, &[]);
}

#[test]
fn the_log_of_a_real_server_names_every_miss() {
    let path = xscope_testing::fixture("sglang_jax/server.log");
    let report = analyze(&xscope_trace::read_paths(&[path]).unwrap());
    // Put together at 18:30:24 and 18:30:37, over by the end of 18:30:37 and 18:30:53; the decode
    // steps say only when they were over.
    check(
        &report,
        &[("log", Some(2), 14), ("log", Some(5), 17), ("log", None, 1), ("log", None, 1)],
    );
    for (row, batch) in report.compiles.iter().zip(["1 sequence and 11", "2 sequences and 22"]) {
        assert!(row.advice.starts_with(&format!("a batch of {batch} tokens: the bucket of 32")));
        // A log alone knows neither of requests nor of devices.
        assert_eq!((row.requests_waiting.value, row.devices_idle_us.value), (None, None));
    }
}

#[test]
fn what_devices_did_is_known_only_while_they_were_recorded() {
    let mut trace = trace_with(false, &[BATCH, MISS]);
    let idle = |trace: &Trace| analyze(trace).compiles[0].devices_idle_us.value;
    assert_eq!(idle(&trace), None);
    let on = Some(DeviceId(0));
    track(&mut trace, TrackKind::Ops, on, None, &[(("dot", 3 * SECOND, SECOND), 1)]);
    assert_eq!(idle(&trace), None, "its first operation came later");
    let rows = [(("dot", 0, SECOND), 1), (("dot", 20 * SECOND, SECOND), 1)];
    track(&mut trace, TrackKind::Ops, on, None, &rows);
    // From second 1 to 9, but for the one in which it was busy.
    assert_eq!(idle(&trace), Some(7e6));
}

#[test]
fn what_warm_up_compiled_is_no_warning() {
    let finding = |trace: &Trace, code| {
        let found = analyze(trace).quality.into_iter().find(|finding| finding.code == code);
        found.map(|finding| (finding.severity, finding.count))
    };
    let decode = (12, "Decode batch. #running-req: 1, #cache_miss: 1");
    let check = |from: i64, measured, warming_up| {
        let mut trace = trace_with(true, &[BATCH, MISS, decode]);
        trace.client[0].intended = us(from);
        trace.client[0].end = us(20 * SECOND);
        let found = [Code::CompileInWindow, Code::CompileWarmUp].map(|code| finding(&trace, code));
        let expected = [(Severity::Warning, measured), (Severity::Info, warming_up)];
        assert_eq!(found, expected.map(|it: (_, Option<u64>)| it.1.map(|n| (it.0, n))), "{from}");
        let headlines = analyze(&trace).headlines;
        let is_said = headlines.iter().any(|headline| headline.section == Section::Compiles);
        assert_eq!(is_said, measured.is_some(), "{headlines:?}");
    };
    check(3 * SECOND, Some(2), None);
    // The trace shows one from 2 to 6 s, the log one that ended in second 12, maybe before 12.5.
    check(6 * SECOND, Some(1), Some(1));
    check(12 * SECOND + SECOND / 2, None, Some(2));
    let mut unknown = trace_with(true, &[]);
    unknown.client.clear();
    assert_eq!(finding(&unknown, Code::CompileInWindow), Some((Severity::Warning, 1)));
}
