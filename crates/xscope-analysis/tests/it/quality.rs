//! Findings: each is there where its cause is, and not where it is not.

use std::collections::BTreeSet;

use xscope_analysis::analyze;
use xscope_trace::metric::Status;
use xscope_trace::model::{ArgCell, ArgStore, ArgTable};
use xscope_trace::model::{
    ClientRequest, Counter, DeviceId, DeviceKind, Flow, Format, ProgramId, SliceRef, SourceId,
    Track, TrackId, TrackKind,
};
use xscope_trace::quality::{Code, Severity};
use xscope_trace::read::read_bytes;
use xscope_trace::strings::StrId;
use xscope_trace::{Phase, Trace};

use crate::build::{Row, device, made, program, track, us};

/// The finding of this code: how bad, how often, and what it says.
fn finding(trace: &Trace, code: Code) -> Option<(Severity, u64, String)> {
    let found = analyze(trace).quality.into_iter().find(|finding| finding.code == code)?;
    Some((found.severity, found.count, found.message))
}

fn count(trace: &Trace, code: Code) -> u64 {
    finding(trace, code).map_or(0, |(_, count, _)| count)
}

fn gpu(trace: &mut Trace, name: &str) -> DeviceId {
    let id = device(trace, name);
    trace.devices[id].kind = DeviceKind::Gpu;
    id
}

#[test]
fn calls_of_the_python_tracer_are_counted() {
    let mut trace = Trace::default();
    device(&mut trace, "cpu:0");
    let calls = [(("$a.py:1 f", 0, 10), 0), (("$b.py:2 g", 5, 2), 0), (("dot", 20, 2), 0)];
    track(&mut trace, TrackKind::HostThread, None, None, &calls);
    assert_eq!(count(&trace, Code::PythonTracerOn), 2);
    trace.tracks.clear();
    assert_eq!(count(&trace, Code::PythonTracerOn), 0);
}

#[test]
fn a_json_with_as_many_events_as_its_writer_keeps_is_cut() {
    for (events, expected) in [(999_999, 1), (1_000_000, 1), (500_000, 0), (1_000_001, 0)] {
        let mut trace = Trace::default();
        device(&mut trace, "cpu:0");
        trace.sources[SourceId(0)].format = Format::ChromeJson;
        let rows: Vec<(Row<'_>, i64)> = (0..events).map(|at| (("x", at, 1), 0)).collect();
        track(&mut trace, TrackKind::HostThread, None, None, &rows);
        assert_eq!(count(&trace, Code::JsonCapped), expected, "{events} events");
    }
}

#[test]
fn work_before_its_launch_shows_that_clocks_differ() {
    let mut trace = Trace::default();
    let id = gpu(&mut trace, "gpu:0");
    track(&mut trace, TrackKind::HostThread, None, None, &[(("launch", 100, 5), 0)]);
    track(&mut trace, TrackKind::Ops, Some(id), None, &[(("kernel", 60, 5), 0)]);
    let (from, to) =
        (SliceRef { track: TrackId(0), row: 0 }, SliceRef { track: TrackId(1), row: 0 });
    trace.flows.push(Flow { from, to });
    let (severity, count, message) = finding(&trace, Code::ClockInverted).unwrap();
    assert_eq!((severity, count), (Severity::Warning, 1));
    assert!(message.contains("40.000 us"), "{message}");
    trace.tracks[TrackId(1)].slices.start[0] = us(101);
    assert_eq!(finding(&trace, Code::ClockInverted), None);
}

#[test]
fn executions_before_their_enqueueing_show_that_clocks_differ() {
    let mut trace = Trace::default();
    let id = gpu(&mut trace, "tpu:0");
    let key = trace.strings.intern("device_ordinal");
    track(&mut trace, TrackKind::HostThread, None, None, &[(("DoEnqueueProgram", 100, 5), 7)]);
    trace.tracks[TrackId(0)].slices.args = ArgStore::Table(ArgTable {
        rows: vec![(0, 1)],
        keys: vec![key],
        values: vec![ArgCell::Int(trace.devices[id].ordinal)],
    });
    track(&mut trace, TrackKind::Modules, Some(id), None, &[(("jit_f", 70, 5), 7)]);
    assert!(finding(&trace, Code::ClockInverted).unwrap().2.contains("30.000 us"));
    trace.tracks[TrackId(1)].slices.run[0] = 8;
    assert_eq!(finding(&trace, Code::ClockInverted), None, "of another execution");
}

#[test]
fn a_tpu_of_which_both_sides_are_known_has_its_clocks_checked() {
    let Some(mut trace) = crate::real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    assert_eq!(finding(&trace, Code::ClockInverted), None);
    for modules in trace.tracks.iter_mut().filter(|track| track.kind == TrackKind::Modules) {
        for start in &mut modules.slices.start {
            *start = *start - us(10_000_000);
        }
    }
    let early = count(&trace, Code::ClockInverted);
    assert!(early > 0, "{early}");
}

#[test]
fn programs_without_operations_show_that_some_were_lost() {
    let mut trace = Trace::default();
    let id = device(&mut trace, "tpu:0");
    trace.devices[DeviceId(0)].kind = DeviceKind::Tpu;
    let runs = [(("jit_f", 0, 10), 1), (("jit_f", 20, 10), 2), (("jit_f", 40, 10), 3)];
    track(&mut trace, TrackKind::Modules, Some(id), None, &runs);
    let ops = [(("dot", 1, 8), 1), (("dot", 21, 8), 2)];
    track(&mut trace, TrackKind::Ops, Some(id), None, &ops);
    let (severity, count, _) = finding(&trace, Code::DeviceOperationsLost).unwrap();
    assert_eq!((severity, count), (Severity::Error, 1));
    track(&mut trace, TrackKind::Ops, Some(id), None, &[(("dot", 45, 1), 3)]);
    assert_eq!(finding(&trace, Code::DeviceOperationsLost), None);
}

#[test]
fn launches_of_graphs_hide_what_ran() {
    let mut trace = Trace::default();
    let id = gpu(&mut trace, "gpu:0");
    track(&mut trace, TrackKind::Ops, Some(id), None, &[(("kernel", 5, 5), 0)]);
    let host = [(("cuGraphLaunch", 0, 2), 0), (("cuLaunchKernel", 3, 1), 0)];
    track(&mut trace, TrackKind::HostThread, None, None, &host);
    assert_eq!(count(&trace, Code::GpuCommandBuffers), 1);
}

#[test]
fn counters_are_missed_on_chips_only() {
    let mut trace = Trace::default();
    let id = device(&mut trace, "d:0");
    track(&mut trace, TrackKind::Ops, Some(id), None, &[(("dot", 5, 5), 0)]);
    assert_eq!(count(&trace, Code::CountersMissing), 0, "a CPU has none");
    trace.devices[DeviceId(0)].kind = DeviceKind::Tpu;
    assert_eq!(count(&trace, Code::CountersMissing), 1);
    let fact = |percent: &str| ("matrix_unit_utilization_percent".to_owned(), percent.to_owned());
    trace.sources[SourceId(0)].facts = vec![fact("0")];
    assert_eq!(count(&trace, Code::CountersMissing), 1, "0 is what the runtime writes for none");
    let mut counter = |name: &str| {
        trace.counters = vec![Counter {
            name: trace.strings.intern(name),
            unit: StrId::EMPTY,
            source: SourceId(0),
            pid: Track::NO_PROCESS,
            at: vec![us(0)],
            value: vec![1.0],
        }];
        count(&trace, Code::CountersMissing)
    };
    assert_eq!(counter("memory.weights.live_bytes"), 1, "it says nothing of units");
    assert_eq!(counter("GPU 0 Utilization"), 0);
    trace.counters.clear();
    trace.sources[SourceId(0)].facts = vec![fact("31.5")];
    assert_eq!(count(&trace, Code::CountersMissing), 0);
}

#[test]
fn a_first_execution_that_is_no_exception_is_none() {
    for (first, expected) in [(40, 1), (29, 0)] {
        let mut trace = Trace::default();
        let id = device(&mut trace, "cpu:0");
        let code = program(&mut trace, &[made("dot", "dot", "", 1)], 0..1);
        let ops: Vec<(Row<'_>, i64)> = (0..5)
            .map(|run| (("dot", run * 100, if run == 0 { first } else { 10 }), run + 1))
            .collect();
        track(&mut trace, TrackKind::Ops, Some(id), Some(code), &ops);
        assert_eq!(count(&trace, Code::WarmUpInWindow), expected, "first takes {first}");
        trace.tracks[TrackId(0)].slices = xscope_trace::model::Slices::default();
        assert_eq!(count(&trace, Code::WarmUpInWindow), 0, "no executions");
    }
}

#[test]
fn requests_of_the_warm_up_are_told_if_the_device_was_recorded() {
    let mut trace = Trace::default();
    let id = device(&mut trace, "cpu:0");
    track(
        &mut trace,
        TrackKind::Ops,
        Some(id),
        None,
        &[(("dot", 100, 5), 0), (("dot", 200, 5), 0)],
    );
    for (index, end) in [90, 150, 160].into_iter().enumerate() {
        trace.client.push(ClientRequest {
            id: index.to_string(),
            source: SourceId(0),
            point: String::new(),
            phase: if end >= 160 { Phase::Measure } else { Phase::Warmup },
            ok: true,
            items: 1,
            labels: 2,
            intended: us(end - 10),
            sent: None,
            end: us(end),
        });
    }
    assert_eq!(count(&trace, Code::WarmUpRequests), 1);
}

#[test]
fn copies_of_a_gpu_say_how_much_they_moved() {
    let Some(trace) = crate::real("gpu_amd/jax_conv.xplane.pb") else { return };
    let report = analyze(&trace);
    let copy = report.kernels.iter().find(|kernel| kernel.name == "CopyDeviceToDevice").unwrap();
    assert!(copy.bytes.value.is_some_and(|bytes| bytes > 0.0), "{:?}", copy.bytes);
    assert_eq!(copy.bytes.unit, "B");
}

#[test]
fn missing_scopes_have_a_remedy_that_applies() {
    let message = |with: fn(&mut Trace) -> Option<ProgramId>| {
        let mut trace = Trace::default();
        let id = device(&mut trace, "cpu:0");
        trace.sources[SourceId(0)].format = Format::ChromeJson;
        let program = with(&mut trace);
        track(&mut trace, TrackKind::Ops, Some(id), program, &[(("dot", 0, 5), 1)]);
        finding(&trace, Code::ScopesMissing).unwrap().2
    };
    let unknown = message(|_| None);
    assert!(unknown.ends_with("told by the names of operations"), "{unknown}");
    let pytorch = message(|trace| {
        track(trace, TrackKind::HostThread, None, None, &[(("aten::mm", 0, 5), 0)]);
        None
    });
    assert!(pytorch.contains("PyTorch") && !pytorch.contains("jax"), "{pytorch}");
    let json = message(|trace| Some(program(trace, &[], 0..0)));
    assert!(json.ends_with("give the XPlane file of the same profile"), "{json}");
    let jax = message(|trace| Some(program(trace, &[made("dot", "dot", "", 1)], 0..1)));
    assert!(jax.ends_with("wrap the model's parts in jax.named_scope"), "{jax}");
}

/// Which findings degrade figures of a Chrome JSON with these events, and how its kernels' rate is.
fn degraded(json: &str) -> (Vec<Code>, Option<Status>) {
    let report = analyze(&read_bytes("a.json", json.into()).unwrap());
    let codes: BTreeSet<Code> = report.degraded.iter().map(|row| row.code).collect();
    (
        codes.into_iter().collect(),
        report.kernels.first().map(|kernel| kernel.roofline.bytes_per_sec.status),
    )
}

#[test]
fn damage_of_chrome_json_degrades_as_that_of_xplane_does() {
    let copy = |ts: u64| {
        format!(
            r#"{{"ph":"X","cat":"gpu_memcpy","name":"Memcpy HtoD","pid":0,"tid":7,"ts":{ts},"dur":5,"args":{{"stream":7,"device":0,"bytes":4000}}}}"#
        )
    };
    let events = |rest: &str| format!(r#"{{"traceEvents":[{},{}{rest}"#, copy(0), copy(10));
    for (rest, code, status) in [
        ("]}", None, Status::Valid),
        (r#",{"ph":"X","na"#, Some(Code::ChromeTruncated), Status::Degraded),
        (
            r#",{"ph":"X","name":"a","pid":0,"tid":7,"ts":"?"}]}"#,
            Some(Code::ChromeBadEvent),
            Status::Degraded,
        ),
        (
            r#",{"ph":"E","name":"a","pid":0,"tid":7,"ts":9}]}"#,
            Some(Code::ChromeUnmatchedEnd),
            Status::Degraded,
        ),
        (
            r#",{"ph":"B","name":"a","pid":0,"tid":7,"ts":9}]}"#,
            Some(Code::ChromeUnfinished),
            Status::Degraded,
        ),
    ] {
        let found = degraded(&events(rest));
        assert_eq!(found, (code.into_iter().collect(), Some(status)), "{rest}");
    }
    for code in [Code::ChromeTruncated, Code::ChromeEventCap, Code::ChromeBadEvent] {
        assert_eq!(code.touches(), Code::XplaneTruncated.touches(), "{code}");
    }
}

#[test]
fn advice_on_graphs_is_that_of_the_framework() {
    let message = |launch: &str| {
        let mut trace = Trace::default();
        let id = device(&mut trace, "gpu:0");
        trace.sources[SourceId(0)].format = Format::ChromeJson;
        track(&mut trace, TrackKind::Ops, Some(id), None, &[(("dot", 0, 5), 1)]);
        let host = [(("cudaGraphLaunch", 0, 1), 0), ((launch, 0, 5), 0)];
        track(&mut trace, TrackKind::HostThread, None, None, &host);
        finding(&trace, Code::GpuCommandBuffers).unwrap().2
    };
    let (torch, jax) = (message("aten::mm"), message("PjitFunction(f)"));
    assert!(torch.starts_with("1 graph of") && torch.contains("eager mode"), "{torch}");
    assert!(!torch.contains("XLA") && jax.contains("XLA_FLAGS"), "{torch} {jax}");
}

#[test]
fn a_few_calls_of_python_stretch_nothing() {
    let severity = |calls: i64, every_us: i64| {
        let mut trace = Trace::default();
        let id = device(&mut trace, "cpu:0");
        track(&mut trace, TrackKind::Ops, Some(id), None, &[(("dot", 0, 5), 1)]);
        let rows: Vec<_> = (0..calls).map(|at| (("$f.py:1 f", at * every_us, 1), 0)).collect();
        track(&mut trace, TrackKind::HostThread, None, None, &rows);
        finding(&trace, Code::PythonTracerOn).unwrap().0
    };
    assert_eq!(severity(31, 1), Severity::Info);
    assert_eq!(severity(5000, 1), Severity::Warning);
    assert_eq!(severity(5000, 10_000), Severity::Info, "50 s of next to none");
}

#[test]
fn work_from_before_the_capture_is_told() {
    let mut trace = Trace::default();
    let id = gpu(&mut trace, "gpu:0");
    track(&mut trace, TrackKind::HostThread, None, None, &[(("launch", 40, 5), 0)]);
    let kernels = [(("a", 10, 30), 0), (("b", 50, 60), 0), (("c", 120, 10), 0)];
    track(&mut trace, TrackKind::Ops, Some(id), None, &kernels);
    assert_eq!(finding(&trace, Code::DeviceLaunchedBefore), None, "no launch is known");
    let from = SliceRef { track: TrackId(0), row: 0 };
    trace.flows.push(Flow { from, to: SliceRef { track: TrackId(1), row: 1 } });
    let (severity, count, message) = finding(&trace, Code::DeviceLaunchedBefore).unwrap();
    assert_eq!((severity, count), (Severity::Info, 1));
    assert!(message.starts_with("30.0 %"), "{message}");
    trace.flows[0].to.row = 0;
    assert_eq!(finding(&trace, Code::DeviceLaunchedBefore), None);
}

#[test]
fn an_execution_that_outweighs_the_others_is_told() {
    let slow = |first: i64, times: i64| {
        let mut trace = Trace::default();
        let id = gpu(&mut trace, "gpu:0");
        let rest = (0..times - 1).map(|at| (("gemm", 1000 + 20 * at, 10), 0));
        let rows: Vec<(Row<'_>, i64)> = [(("gemm", 0, first), 0)].into_iter().chain(rest).collect();
        track(&mut trace, TrackKind::Ops, Some(id), None, &rows);
        finding(&trace, Code::KernelsOutlier).map(|(_, _, message)| message)
    };
    let message = slow(900, 6).unwrap();
    assert!(message.starts_with("one of 6 executions of gemm took 900.00 us"), "{message}");
    assert!(message.contains("94.7 %"), "{message}");
    assert_eq!((slow(40, 6), slow(900, 3)), (None, None));
}
