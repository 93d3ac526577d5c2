//! Idle time, compilations and collectives of traces made by hand.

use xscope_analysis::analyze;
use xscope_analysis::devices::collectives::LateRow;
use xscope_analysis::devices::collectives::waiting::WaitFrom;
use xscope_analysis::kernels::row::Filter;
use xscope_analysis::kernels::tasks::tasks;
use xscope_analysis::reports::analyze::{Options, analyze_with};
use xscope_analysis::section::Section;
use xscope_trace::metric::Status;
use xscope_trace::model::{DeviceId, ProgramId, SourceId, TrackId, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::{Metric, Phase, Trace};

use crate::build::{device, made, program, track, us};
use crate::{case, real};

fn causes(trace: &Trace, at: usize) -> Vec<(&'static str, f64)> {
    let report = analyze(trace);
    report.idle[at].causes.iter().map(|row| (row.cause, row.us)).collect()
}

#[test]
fn each_idle_moment_has_one_cause() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let id = program(&mut trace, &[made("dot", "dot", "", 1)], 0..1);
    let ops = [(("dot", 0, 10), 1), (("dot", 100, 10), 2), (("dot", 200, 10), 3)];
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &ops);
    let host = [
        (("run_batch", 5, 80), 0),
        (("backend_compile_and_load", 20, 40), 0),
        (("TransferToDevice", 50, 30), 0),
        (("block_until_ready", 110, 90), 0),
    ];
    track(&mut trace, TrackKind::HostThread, None, None, &host);
    // 10-20 and 80-85 host, 20-60 compile, 60-80 transfer, 85-100 and 110-200 unknown.
    assert_eq!(
        causes(&trace, 0),
        [("unknown", 105.0), ("compile", 40.0), ("transfer", 20.0), ("host", 15.0)]
    );
    let report = analyze(&trace);
    assert_eq!(report.idle[0].host_code[0].name, "run_batch");
    let [compile] = report.compiles.as_slice() else { panic!("{:?}", report.compiles) };
    assert_eq!(
        (compile.start_us, compile.duration_us, compile.devices_idle_us.value),
        (20.0, 40.0, Some(40.0))
    );
}

#[test]
fn a_device_waits_for_its_peers_only_if_they_run_the_same() {
    let mut trace = Trace::default();
    let (a, b) = (device(&mut trace, "cpu:0"), device(&mut trace, "cpu:1"));
    let id = program(&mut trace, &[made("dot", "dot", "", 1)], 0..1);
    let ops = [(("dot", 0, 10), 1), (("dot", 40, 10), 2)];
    track(&mut trace, TrackKind::Ops, Some(a), Some(id), &ops);
    track(&mut trace, TrackKind::Ops, Some(b), Some(id), &[(("dot", 0, 30), 1)]);
    assert_eq!(causes(&trace, 0), [("peer", 20.0), ("unknown", 10.0)]);
    trace.tracks.reverse();
    assert_eq!(causes(&trace, 0), [("peer", 20.0), ("unknown", 10.0)], "order of tracks");
}

#[test]
fn a_compilation_is_told_from_the_program_that_follows() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let (old, new) = (
        program(&mut trace, &[made("dot", "dot", "", 1)], 0..1),
        program(&mut trace, &[made("dot", "dot", "", 1)], 0..1),
    );
    for (id, number, shape) in [(old, 1, "f32[8]"), (new, 2, "f32[16]")] {
        let name = trace.strings.intern(&format!("jit_f({number})"));
        let shape = trace.strings.intern(shape);
        let program = &mut trace.programs[id];
        program.name = name;
        program.parameters = vec![xscope_trace::model::Parameter { shape, ..Default::default() }];
    }
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(old), &[(("dot", 0, 10), 1)]);
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(new), &[(("dot", 90, 10), 2)]);
    track(&mut trace, TrackKind::HostThread, None, None, &[(("backend_compile", 20, 50), 0)]);
    let report = analyze(&trace);
    let [row] = report.compiles.as_slice() else { panic!("{:?}", report.compiles) };
    assert_eq!((row.program.as_str(), row.reason), ("jit_f(2)", "other_variant"));
    assert!(row.advice.contains("f32[16], there f32[8]"), "{}", row.advice);
}

#[test]
fn who_waits_for_whom_in_a_collective() {
    let mut trace = Trace::default();
    let (a, b) = (device(&mut trace, "cpu:0"), device(&mut trace, "cpu:1"));
    let id = program(&mut trace, &[made("all-reduce", "all-reduce", "", 1)], 0..1);
    trace.programs[ProgramId(0)].instructions[0].result_bytes = xscope_trace::Bytes(1000);
    let ops = |start: i64, dur: i64| [(("all-reduce", start, dur), 1)];
    track(&mut trace, TrackKind::Ops, Some(a), Some(id), &ops(0, 30));
    track(&mut trace, TrackKind::Ops, Some(b), Some(id), &ops(20, 10));
    let report = analyze(&trace);
    let [row] = report.collectives.as_slice() else { panic!("{:?}", report.collectives) };
    assert_eq!((row.count, row.devices, row.late[0].device.as_str()), (1, 2, "cpu:1"));
    assert_eq!((row.wait_us.value, row.transfer_us.value), (Some(20.0), Some(20.0)));
    // 1000 bytes in the 10 us after the last arrival.
    assert!((row.bytes_per_sec.value.unwrap() - 1e8).abs() < 1.0);
    assert_eq!(trace.tracks[TrackId(0)].slices.start[0], us(0));
    assert_eq!(trace.tracks[TrackId(0)].source, SourceId(0));
}

/// Two replica groups, devices 0 and 1, 2 and 3, that run one all-reduce twice. In the first
/// execution devices 1 and 3 come late, in the second devices 1 and 2. With `recorded`, threads say
/// how long they waited, as JAX's CPU backend does.
fn two_groups(recorded: bool) -> Trace {
    let mut trace = Trace::default();
    let id = program(&mut trace, &[made("all-reduce", "all-reduce", "", 1)], 0..1);
    trace.programs[ProgramId(0)].instructions[0].result_bytes = xscope_trace::Bytes(1000);
    trace.programs[ProgramId(0)].instructions[0].groups = vec![vec![0, 1], vec![2, 3]];
    // Start and duration of each execution, and the wait in it.
    let devices = [
        [((0, 30), Some((5, 15))), ((100, 40), Some((102, 28)))],
        [((20, 10), None), ((130, 10), None)],
        [((0, 50), Some((2, 38))), ((140, 10), None)],
        [((40, 10), None), ((100, 50), Some((101, 39)))],
    ];
    for (number, runs) in devices.into_iter().enumerate() {
        let device = device(&mut trace, &format!("cpu:{number}"));
        let ops = [(1, runs[0].0), (2, runs[1].0)]
            .map(|(run, (start, dur))| (("all-reduce", start, dur), run));
        track(&mut trace, TrackKind::Ops, Some(device), Some(id), &ops);
        let mut host = Vec::new();
        for ((start, dur), wait) in runs {
            host.push((("Rendezvous", start, dur), 0));
            host.extend(wait.map(|(at, dur)| (("Wait: pending_threads=1/2", at, dur), 0)));
        }
        if recorded {
            track(&mut trace, TrackKind::HostThread, None, None, &host);
            if let [.., before, last] = &mut *trace.tracks {
                last.tid = before.tid;
            }
        }
    }
    trace
}

#[test]
fn a_rendezvous_says_who_waited_in_each_group() {
    let report = analyze(&two_groups(true));
    let [row] = report.collectives.as_slice() else { panic!("{:?}", report.collectives) };
    assert_eq!((row.count, row.devices, row.group_size), (2, 4, 2));
    // 15 + 28 of device 0, 38 of device 2, 39 of device 3; of 210 in all.
    assert_eq!((row.wait_us.value, row.wait_us.status), (Some(120.0), Status::Valid));
    assert_eq!((row.total_us, row.transfer_us.value), (210.0, Some(90.0)));
    assert_eq!(
        (row.wait_from, row.late[0].device.as_str(), row.late[0].count),
        (WaitFrom::Rendezvous, "cpu:1", 2)
    );
    // Eight times 1000 bytes in 90 us.
    assert!((row.bytes_per_sec.value.unwrap() - 8e9 / 90.0).abs() < 1.0);
}

#[test]
fn without_a_rendezvous_the_last_of_each_group_tells_who_waited() {
    let report = analyze(&two_groups(false));
    let row = &report.collectives[0];
    // In the first execution 20 of device 0 and 40 of device 2, then 30 of device 0 and 40 of device 3.
    assert_eq!((row.wait_us.value, row.wait_us.status), (Some(130.0), Status::Valid));
    assert_eq!((row.wait_from, row.transfer_us.value), (WaitFrom::Arrivals, Some(80.0)));
    let late = |row: &LateRow| (row.device.clone(), row.count, row.caused_us);
    let late: Vec<_> = row.late.iter().map(late).collect();
    let expected = [("cpu:1", 2, 50.0), ("cpu:3", 1, 40.0), ("cpu:2", 1, 40.0)];
    let mut expected = expected.map(|(name, count, us)| (name.to_owned(), count, us));
    expected[1..].sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(late, expected);
}

#[test]
fn without_the_devices_of_the_groups_the_wait_is_an_upper_bound() {
    let mut trace = two_groups(false);
    // Places that no device of the trace has.
    trace.programs[ProgramId(0)].instructions[0].groups = vec![vec![4, 5], vec![6, 7]];
    let row = &analyze(&trace).collectives[0];
    // Until the last device of both groups: 30 + 10 + 40, then 40 + 10 + 40.
    assert_eq!((row.wait_us.value, row.wait_us.status), (Some(170.0), Status::Degraded));
}

/// Count and time of the executions of a GPU's only program, of these operations, 10 us each.
fn gpu_executions(names: &[&str]) -> (u64, f64) {
    let mut trace = Trace::default();
    let gpu = device(&mut trace, "/device:GPU:0");
    trace.devices[DeviceId(0)].kind = xscope_trace::model::DeviceKind::Gpu;
    // `c` is of a loop.
    let rows = [made("a", "dot", "", 1), made("b", "dot", "", 1), made("c", "dot", "", 1)];
    let id = program(&mut trace, &rows, 0..2);
    let ops: Vec<_> = (0..).zip(names).map(|(at, name)| ((*name, 20 * at, 10), 0)).collect();
    track(&mut trace, TrackKind::Ops, Some(gpu), Some(id), &ops);
    let rows = analyze(&trace).programs;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    (row.count, row.total_us)
}

#[test]
fn executions_of_a_gpu_begin_with_what_the_program_begins_with() {
    // The first is cut; the last has a loop. Each lasts from its first operation to its last.
    assert_eq!(gpu_executions(&["b", "a", "b", "a", "c", "c", "b"]), (3, 10.0 + 30.0 + 70.0));
    // A sort launches its kernel again and again.
    assert_eq!(gpu_executions(&["a", "a", "b", "a", "a", "b"]), (2, 100.0));
    // A program of one operation is over with it.
    assert_eq!(gpu_executions(&["a", "a", "a"]), (3, 30.0));
}

#[test]
fn executions_of_real_gpu_programs_are_found() {
    let Some(trace) = real("gpu_amd/jax_conv.xplane.pb") else { return };
    let report = analyze(&trace);
    let counts = |report: &xscope_analysis::AnalyzeReport, part: &str| {
        let rows = report.programs.iter().filter(|row| row.name.contains(part));
        rows.map(|row| row.count).collect::<Vec<_>>()
    };
    // As often as TraceLens counts each kernel of it.
    assert_eq!((counts(&report, "jit_forward_3d_conv"), report.programs.len()), (vec![5], 1));
    let Some(trace) = real("gpu_amd/jax_gemm.xplane.pb") else { return };
    let report = analyze(&trace);
    assert_eq!(counts(&report, "jit_dot"), [3; 6]);
    assert_eq!(counts(&report, "jit_convert_element_type"), [12]);
    assert_eq!(counts(&report, "jit_broadcast").iter().sum::<u64>(), 12);
    // Six shapes; the steps are those of the program that takes most of the time.
    assert_eq!(report.steps.groups.iter().map(|row| row.count).collect::<Vec<_>>(), [3]);
}

#[test]
fn the_halves_of_an_asynchronous_copy_have_no_rate() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let report = analyze(&trace);
    let halves = report.kernels.iter().filter(|row| row.category.starts_with("copy-"));
    let halves: Vec<_> = halves.collect();
    assert!(!halves.is_empty());
    for row in halves {
        let rates = &row.roofline;
        assert_eq!((rates.bytes_per_sec.value, rates.efficiency.value), (None, None), "{row:?}");
        assert!(rates.bytes_per_sec.reason.as_ref().unwrap().contains("asynchronous"));
        assert!(row.bytes.value.is_some(), "what it moves is known: {row:?}");
    }
    let possible = report.kernels.iter().filter_map(|row| row.roofline.efficiency.value);
    assert!(possible.clone().count() > 0 && possible.clone().all(|share| share < 2.0));
    assert!(report.kernels.iter().all(|row| row.device.starts_with("TPU:")));
}

#[test]
fn what_recording_took_is_told_by_recorder() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    trace.sources[SourceId(0)].size = xscope_trace::Bytes(3_000_000);
    let id = program(&mut trace, &[made("dot", "dot", "", 1)], 0..1);
    let ops = [(("dot", 0, 10), 1), (("dot", 999_990, 10), 2)];
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &ops);
    let main = [
        (("$app.py:1 run", 0, 1000), 0),
        (("start_trace", 100, 50), 0),
        (("$profiler.py:271 stop_trace", 900_000, 90_000), 0),
        // JAX wraps functions that it annotates in one of this file; what they do is no recording.
        (("$profiler.py:417 wrapper", 2000, 800_000), 0),
    ];
    track(&mut trace, TrackKind::HostThread, None, None, &main);
    // Overlaps the thread above by 20 ms.
    let other = [(("ProfilerSession::CollectData", 970_000, 29_000), 0)];
    track(&mut trace, TrackKind::HostThread, None, None, &other);
    let report = analyze(&trace).recording;
    // 3 MB in a second.
    assert_eq!(report.bytes_per_sec.value, Some(3e6));
    let rows: Vec<_> =
        report.recorders.iter().map(|row| (row.recorder, row.events, row.time_us.value)).collect();
    assert_eq!(
        rows,
        [
            ("python_tracer", 3, None),
            ("host_tracer", 2, None),
            ("device_tracer", 2, None),
            // 50, 90,000 and 29,000 without what they share.
            ("profiler", 3, Some(99_050.0)),
        ]
    );
    assert!((report.recorders[3].share.value.unwrap() - 0.09905).abs() < 1e-9);
    assert!(report.recorders[0].time_us.reason.as_ref().unwrap().contains("with and without"));
}

#[test]
fn causes_add_up_on_real_traces() {
    for name in [
        "jax_cpu/tp8_forward",
        "sglang_jax_cpu/basic",
        "gpu_amd/jax_conv.xplane.pb",
        "tpu_v6e/tpu_inference.xplane.pb",
        "kineto/h100_bert.json.gz",
    ] {
        let Some(trace) = real(name) else { return };
        let report = analyze(&trace);
        for (idle, device) in report.idle.iter().zip(&report.devices) {
            let sum: f64 = idle.causes.iter().map(|row| row.us).sum();
            assert!((sum - device.idle_us).abs() < 1e-3, "{name}: {sum} of {}", device.idle_us);
        }
        for row in &report.timeline {
            let parts = row.computation_us + row.exposed_communication_us + row.exposed_copy_us;
            assert!((parts + row.idle_us - row.window_us).abs() < 1e-3, "{name}: {row:?}");
        }
    }
}

#[test]
fn a_filter_keeps_what_it_names() {
    use xscope_analysis::kernels::row::Filter;
    use xscope_analysis::reports::analyze::{Options, analyze_with};
    let Some(trace) = real("jax_cpu/tp8_forward") else { return };
    let whole = analyze(&trace);
    let filter = Filter { device: Some("cpu:3".to_owned()), ..Filter::default() };
    let part = analyze_with(&trace, &Options { filter, ..Options::default() });
    assert!(!part.kernels.is_empty() && part.kernels.iter().all(|row| row.device == "cpu:3"));
    let others: f64 =
        whole.kernels.iter().filter(|row| row.device != "cpu:3").map(|r| r.self_us).sum();
    let sum = others + part.layers.root.total_us;
    assert!((sum - whole.layers.root.total_us).abs() < 1e-3, "devices add up to the whole");
}

#[test]
fn findings_that_matter_are_three_and_ordered() {
    for name in
        ["jax_cpu/tp8_forward", "tpu_v6e/tpu_inference.xplane.pb", "kineto/h100_bert.json.gz"]
    {
        let Some(trace) = real(name) else { return };
        let headlines = analyze(&trace).headlines;
        assert!(!headlines.is_empty() && headlines.len() <= 3, "{name}: {headlines:?}");
        assert!(headlines.is_sorted_by(|a, b| a.share >= b.share), "{name}: {headlines:?}");
    }
}

#[test]
fn iterations_of_a_task_are_told_apart_by_side() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let ops = [(("decode", 0, 10), 1), (("other", 20, 10), 1), (("decode", 40, 30), 2)];
    track(&mut trace, TrackKind::Ops, Some(cpu), None, &ops);
    let host = [(("decode", 0, 50), 0), (("decode", 5, 10), 0)];
    track(&mut trace, TrackKind::HostThread, None, None, &host);
    let rows = tasks(&trace, |name| name == "decode");
    let found: Vec<_> = rows.iter().map(|row| (row.side, row.iterations_us.clone())).collect();
    assert_eq!(found, [("device", vec![10.0, 30.0]), ("host", vec![50.0])]);
}

#[test]
fn the_order_of_tracks_does_not_matter() {
    let Some(mut trace) = real("jax_cpu/tp8_forward") else { return };
    let json = |trace: &Trace| serde_json::to_value(analyze(trace)).unwrap();
    let before = json(&trace);
    // Args and flows refer to rows, not to the place of a track, so tracks may change places.
    trace.tracks.reverse();
    assert_eq!(before, json(&trace));
}

#[test]
fn a_program_that_calls_itself_ends() {
    use crate::build::Made;
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let rows: Vec<Made<'_>> = (0..200)
        .map(|_| Made { members: Some(0..200), trips: Some(2), ..made("call", "call", "a/b/c", 1) })
        .collect();
    let id = program(&mut trace, &rows, 0..200);
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &[(("call", 0, 10), 1)]);
    let report = analyze(&trace);
    assert!((report.layers.root.total_us - 10.0).abs() < 1e-9);
}

#[test]
fn a_sampler_belongs_to_the_forward_pass_before_it() {
    let Some(trace) = real("sglang_jax_cpu/basic") else { return };
    let rows = analyze(&trace).programs;
    let of = |part: &str| rows.iter().filter(|row| row.name.contains(part)).collect::<Vec<_>>();
    let (models, samplers) = (of("run_model"), of("sampler"));
    let count = |rows: &[&xscope_analysis::devices::programs::ProgramRow]| {
        rows.iter().map(|row| row.count).sum::<u64>()
    };
    // Five requests, each a prefill and a wasted decode step.
    assert_eq!((count(&models), count(&samplers)), (10, 10), "{rows:?}");
    for sampler in samplers {
        let follows: u64 = sampler.follows.iter().map(|it| it.count).sum();
        assert_eq!((sampler.stage, follows, sampler.follows.len()), ("sampler", sampler.count, 1));
    }
}

#[test]
fn a_finding_degrades_the_figures_that_it_touches_and_no_others() {
    let mut trace = Trace::default();
    let id = program(&mut trace, &[made("all-reduce", "all-reduce", "", 8)], 0..1);
    for at in [0, 4] {
        let cpu = device(&mut trace, "cpu");
        track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &[(("all-reduce", at, 10), 1)]);
    }
    let status = |trace: &Trace| {
        let report = analyze(trace);
        let row = &report.collectives[0];
        let codes = report.degraded.iter().map(|row| row.code).collect::<Vec<_>>();
        (row.wait_us.status, report.kernels[0].flops.status, codes)
    };
    let (wait, flops, codes) = status(&trace);
    assert_eq!((wait, codes.len()), (Status::Valid, 0));
    let made = |code| Finding::new(code, "made");
    for (finding, expected) in [
        (made(Code::XplaneDamagedLine), Status::Degraded),
        (made(Code::XplaneDamagedLine).harmless(), Status::Valid),
        (made(Code::XplaneDamagedHlo), Status::Valid),
    ] {
        let code = finding.code;
        trace.findings = vec![finding];
        let found = status(&trace);
        assert_eq!(found.0, expected, "{code}");
        match code {
            Code::XplaneDamagedHlo => assert_eq!(found.1, Status::Degraded),
            _ => assert_eq!(found.1, flops, "{code}"),
        }
    }
    trace.findings = vec![made(Code::XplaneDamagedLine)];
    let report = analyze(&trace);
    let reason = report.collectives[0].wait_us.reason.clone().unwrap();
    assert_eq!(reason, "made [xplane.damaged_line]");
    assert_eq!(report.collectives[0].bytes.value, None, "what is unknown stays unknown");
}

#[test]
fn host_code_is_named_for_every_moment_of_a_gap() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let id = program(&mut trace, &[made("op", "dot", "", 1)], 0..1);
    track(
        &mut trace,
        TrackKind::Ops,
        Some(cpu),
        Some(id),
        &[(("op", 0, 10), 1), (("op", 50, 10), 1)],
    );
    let host = |trace: &mut Trace, rows: &[_]| {
        let rows: Vec<_> = rows.iter().map(|&row| (row, 0)).collect();
        track(trace, TrackKind::HostThread, None, None, &rows);
    };
    // The gap is from 10 to 50. A wait inside of work is part of that work.
    host(&mut trace, &[("outer", 5, 30), ("inner", 20, 8), ("wait", 21, 3)]);
    host(&mut trace, &[("other", 30, 12), ("short", 32, 2)]);
    let report = analyze(&trace);
    let code: Vec<_> =
        report.idle[0].host_code.iter().map(|row| (row.name.as_str(), row.us)).collect();
    // From 30 on `other` (12 us) says more than `outer` (30 us).
    assert_eq!(code, [("outer", 12.0), ("other", 10.0), ("inner", 8.0), ("short", 2.0)]);
    let cause = |name: &str| report.idle[0].causes.iter().find(|row| row.cause == name).unwrap().us;
    assert_eq!((cause("host"), cause("unknown")), (32.0, 8.0));
}

#[test]
fn groups_of_kernels_add_up() {
    use xscope_analysis::reports::grouping::{GroupBy, grouped};
    let Some(trace) = real("jax_cpu/tp8_forward") else { return };
    let report = analyze(&trace);
    let whole: f64 = report.kernels.iter().map(|kernel| kernel.self_us).sum();
    for (name, by) in GroupBy::ALL {
        let groups = grouped(&report, by).groups;
        let share: f64 = groups.iter().map(|row| row.share).sum();
        let own: f64 = groups.iter().map(|row| row.self_us).sum();
        assert!((share - 1.0).abs() < 1e-9 && (own - whole).abs() < 1e-3, "{name}: {share}, {own}");
    }
    let devices = grouped(&report, GroupBy::Device).groups;
    assert_eq!((devices.len(), devices[0].devices), (8, 1));
    let components = grouped(&report, GroupBy::Component).groups;
    let unknown = components.iter().find(|row| row.group == "unknown");
    assert!(unknown.is_none_or(|row| row.share < 0.01), "{components:?}");
}

#[test]
fn tasks_are_looked_for_in_stages_and_scopes_too() {
    if let Some(trace) = case("tpu_counters.xplane.pb") {
        let rows = tasks(&trace, |name| name == "ep_wait_in");
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].side, rows[0].count, rows[0].mean_us), ("stage", 1, 80.0));
    }
    let mut trace = Trace::default();
    let on = Some(device(&mut trace, "cpu:0"));
    let scope = "jit(f)/layer_0/mlp/dot_general";
    let id = program(&mut trace, &[made("dot", "dot", scope, 1)], 0..1);
    track(&mut trace, TrackKind::Ops, on, Some(id), &[(("dot", 0, 10), 1)]);
    let rows = tasks(&trace, |name| name.contains("mlp"));
    assert_eq!((rows[0].name.as_str(), rows[0].scope.as_str()), ("dot", scope));
}

#[test]
fn stages_and_samples_say_what_bounds_a_kernel() {
    let Some(trace) = case("tpu_counters.xplane.pb") else { return };
    let report = analyze(&trace);
    let kernel = &report.kernels[0];
    let inside = kernel.inside.as_ref().unwrap();
    assert_eq!(
        (kernel.roofline.bound_by, inside.dma_wait_share.clone()),
        ("dma", Metric::valid(0.8, "1"))
    );
    let stages: Vec<_> = inside
        .noted_stages
        .iter()
        .map(|it| (it.name.as_str(), it.count, it.self_us, it.share))
        .collect();
    assert_eq!(stages, [("ep_wait_in", 1, 80.0, 0.8), ("ep_run_kernel", 1, 20.0, 0.2)]);
    let unit = &inside.sampled_units[0];
    assert_eq!((inside.sampled_units.len(), unit.name.as_str(), unit.sample_count), (1, "MXU", 2));
    let busy = unit.slot_share.value.unwrap();
    assert!((busy - 0.144).abs() < 1e-9, "weighed by time: {busy}");
    assert!(report.quality.iter().all(|it| it.code != Code::CountersMissing));
    let first = &report.headlines[0];
    assert!(first.text.ends_with("; 80.0 % of that it waits for its copies (DMA)"), "{first:?}");
}

#[test]
fn a_filter_is_one_of_time_lines_and_not_of_busy_time() {
    let mut trace = Trace::default();
    let on = Some(device(&mut trace, "cpu:0"));
    let id = program(&mut trace, &[made("dot", "dot", "", 1), made("add", "add", "", 1)], 0..2);
    let rows = [(("dot", 0, 10), 1), (("add", 20, 30), 1)];
    track(&mut trace, TrackKind::Ops, on, Some(id), &rows);
    let filter = Filter { name: Some("dot".to_owned()), ..Filter::default() };
    let report = analyze_with(&trace, &Options { filter, ..Options::default() });
    let (line, device) = (&report.timeline[0], &report.devices[0]);
    assert_eq!((line.computation_us, line.window_us), (10.0, 10.0));
    assert_eq!((device.busy_us, device.idle_us), (40.0, 10.0));
    assert_eq!(report.devices, analyze(&trace).devices);
}

#[test]
fn a_host_that_is_blocked_in_a_copy_moves_nothing() {
    let Some(trace) = case("blocking_copy.json") else { return };
    // From 50 to 100,100 us but for the copy, which runs from 100,040 to 100,042.
    let expected = [("blocked", 99_978.0), ("unknown", 50.0), ("host", 20.0)];
    assert_eq!(causes(&trace, 0), expected);
    let report = analyze(&trace);
    let call = &report.idle[0].causes[0].calls[0];
    assert_eq!((call.name.as_str(), call.us), ("cudaMemcpyAsync", 99_978.0));
    assert_eq!(report.timeline[0].exposed_copy_us, 2.0);
    let Some(trace) = real("sglang_gpu/sglang_Qwen3-8B_prefilldecode.json.gz") else { return };
    let report = analyze(&trace);
    let worst = &report.idle[0].causes[0];
    assert_eq!((worst.cause, worst.calls[0].name.as_str()), ("blocked", "hipMemcpyWithStream"));
    assert!(report.idle[0].causes.iter().all(|row| row.cause != "transfer"));
}

/// A device that idles from 10 to 110, and the causes of that with events of one host thread.
fn causes_with(host: &[crate::build::Row<'_>]) -> Vec<(&'static str, f64)> {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let id = program(&mut trace, &[made("dot.1", "dot", "", 1)], 0..1);
    let ops = [(("dot.1", 0, 10), 1), (("dot.1", 110, 10), 2)];
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &ops);
    let rows: Vec<_> = host.iter().map(|&row| (row, 0)).collect();
    track(&mut trace, TrackKind::HostThread, None, None, &rows);
    causes(&trace, 0)
}

#[test]
fn waiting_for_work_is_no_work_and_annotations_are_no_code() {
    type Causes<'a> = &'a [(&'a str, f64)];
    let waits =
        ["$socket.py:961 recv_pyobj", "$<unknown> acquire", "select.epoll", "$queue.py:154 get"];
    for wait in waits {
        let host = [("loop", 0, 110), (wait, 20, 60), ("inner", 30, 10)];
        let expected: Causes<'_> = &[("no_request", 60.0), ("host", 40.0)];
        assert_eq!(causes_with(&host), expected, "{wait}");
    }
    for no_code in ["ProfilerStep#6", "## backward ##", "dot.1", "$profiler.py:115 start_trace"] {
        let expected: Causes<'_> = &[("unknown", 80.0), ("host", 20.0)];
        assert_eq!(causes_with(&[("code", 10, 20), (no_code, 30, 80)]), expected, "{no_code}");
    }
}

#[test]
fn a_step_that_is_annotated_is_no_code() {
    let event = |name: &str, pid: u32, ts: u32, dur: u32, args: &str| {
        format!(
            r#"{{"ph":"X","name":"{name}","pid":{pid},"tid":1,"ts":{ts},"dur":{dur},"args":{args}}}"#
        )
    };
    let name = |what: &str, pid: u32, name: &str| {
        format!(r#"{{"ph":"M","name":"{what}","pid":{pid},"tid":1,"args":{{"name":"{name}"}}}}"#)
    };
    let events = [
        name("process_name", 1, "/device:TPU:0"),
        name("thread_name", 1, "XLA Ops"),
        name("process_name", 9, "/host:CPU"),
        event("dot.1", 1, 0, 10, "{}"),
        event("dot.1", 1, 110, 10, "{}"),
        event("train", 9, 0, 120, r#"{"step_num":"7"}"#),
        event("code", 9, 10, 20, "{}"),
    ];
    let json = format!("[{}]", events.join(","));
    let trace = xscope_trace::read::read_bytes("jax.trace.json", json.into_bytes()).unwrap();
    assert_eq!(causes(&trace, 0), [("unknown", 80.0), ("host", 20.0)]);
}

#[test]
fn a_thread_that_launches_nothing_waits_for_no_work() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let id = program(&mut trace, &[made("dot.1", "dot", "", 1)], 0..1);
    let ops = [(("dot.1", 0, 10), 1), (("dot.1", 110, 10), 2)];
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &ops);
    track(&mut trace, TrackKind::HostThread, None, None, &[(("$<unknown> acquire", 0, 120), 0)]);
    track(&mut trace, TrackKind::HostThread, None, None, &[(("PjitFunction(f)", 100, 10), 0)]);
    assert_eq!(causes(&trace, 0), [("unknown", 90.0), ("host", 10.0)]);
}

/// What the headline of a section says, and what it advises.
fn headline(trace: &Trace, section: Section) -> (String, String) {
    let found = analyze(trace).headlines.into_iter().find(|headline| headline.section == section);
    found.map(|headline| (headline.text, headline.next)).unwrap_or_default()
}

#[test]
fn most_is_more_than_half() {
    let Some(trace) = case("most_of_it.json") else { return };
    let (text, _) = headline(&trace, Section::Idle);
    assert!(text.contains("(the largest part, 10.0 %, in `work_0`)"), "{text}");
    assert!(!text.contains("most of it"), "{text}");
    let Some(trace) = case("blocking_copy.json") else { return };
    let (text, _) = headline(&trace, Section::Idle);
    assert!(text.contains("(most of it, 100.0 %, in `cudaMemcpyAsync`)"), "{text}");
}

#[test]
fn the_largest_kernel_is_that_of_all_programs_together() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    // `big` takes 60 us in one program, `many` 40 us in each of two.
    for (name, times) in [("big", &[(0, 60)][..]), ("many", &[(60, 40)]), ("many", &[(100, 40)])] {
        let id = program(&mut trace, &[made(name, "dot", "", 1)], 0..1);
        let rows: Vec<_> = times.iter().map(|&(at, dur)| ((name, at, dur), 1)).collect();
        track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &rows);
    }
    let (text, next) = headline(&trace, Section::Kernels);
    assert!(text.starts_with("the largest kernel is many (matmul) with 57.1 %"), "{text}");
    assert!(next.ends_with("`xscope analyze made.pb kernels --name many`"), "{next}");
}

#[test]
fn copies_that_nothing_hides_are_on_the_first_page() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let (text, _) = headline(&trace, Section::Devices);
    assert!(text.starts_with("83.6 % of the window is copies that nothing hides"), "{text}");
}

#[test]
fn clocks_that_disagree_name_no_code() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let ops = [(("dot", 0, 10), 1), (("dot", 110, 10), 2)];
    track(&mut trace, TrackKind::Ops, Some(cpu), None, &ops);
    track(&mut trace, TrackKind::HostThread, None, None, &[(("code", 0, 120), 0)]);
    assert!(headline(&trace, Section::Idle).0.ends_with("(most of it, 100.0 %, in `code`)"));
    trace.findings.push(Finding::new(Code::ClockInverted, "clocks"));
    let (text, _) = headline(&trace, Section::Idle);
    assert!(text.ends_with("the host was not ready (doubtful: clock.inverted)"), "{text}");
}

#[test]
fn a_load_of_which_nothing_was_answered_says_so_first() {
    let mut trace = Trace::default();
    for end in [10, 20] {
        trace.client.push(xscope_trace::model::ClientRequest {
            id: format!("xs-{end}"),
            source: SourceId(0),
            point: String::new(),
            phase: Phase::Measure,
            ok: false,
            items: 1,
            labels: 2,
            intended: us(0),
            sent: None,
            end: us(end),
        });
    }
    let first = &analyze(&trace).headlines[0];
    assert_eq!(first.text, "no request was answered right: 2 requests failed");
}

#[test]
fn the_cost_of_an_operation_is_given_to_no_kernel_of_several() {
    let mut trace = Trace::default();
    let gpu = device(&mut trace, "/device:GPU:0");
    trace.devices[DeviceId(0)].kind = xscope_trace::model::DeviceKind::Gpu;
    let rows = [made("dot.1", "dot", "", 1000), made("call.2", "custom-call", "", 1000)];
    let id = program(&mut trace, &rows, 0..2);
    let ops = [(("gemm", 0, 10), 1), (("memset", 20, 10), 1), (("fmha", 40, 10), 1)];
    track(&mut trace, TrackKind::Ops, Some(gpu), Some(id), &ops);
    for (meta, op) in ["dot.1", "call.2", "call.2"].into_iter().enumerate() {
        let op = trace.strings.intern(op);
        trace.metas[xscope_trace::model::MetaId(u32::try_from(meta).unwrap())].op = op;
    }
    let report = analyze(&trace);
    for (name, flops) in [("gemm", Some(1000.0)), ("memset", None), ("fmha", None)] {
        let kernel = report.kernels.iter().find(|kernel| kernel.name == name).unwrap();
        assert_eq!(kernel.flops.value, flops, "{name}");
        let reason = kernel.roofline.flops_per_sec.reason.as_deref().unwrap_or_default();
        assert_eq!(reason.starts_with("one of several kernels"), flops.is_none(), "{reason}");
    }
}

#[test]
fn what_nccl_sends_is_read_from_the_events_of_pytorch() {
    let Some(trace) = case("ranks") else { return };
    let report = analyze(&trace);
    let rows = report.collectives.iter().map(|row| (row.group_size, row.bytes.value, row.total_us));
    let bytes = f64::from(1 << 22);
    assert_eq!(rows.collect::<Vec<_>>(), [(2, Some(bytes), 1100.0)]);
    let row = &report.collectives[0];
    for rate in [&row.bytes_per_sec, &row.bus_bytes_per_sec] {
        assert!((rate.value.unwrap() - bytes / 100e-6).abs() < 1.0, "{rate:?}");
    }
    let file = xscope_testing::cases().unwrap().join("ranks/rank0.json");
    let report = analyze(&xscope_trace::read_paths(&[file]).unwrap());
    let rate = &report.collectives[0].bytes_per_sec;
    assert!(rate.reason.as_deref().unwrap().starts_with("at least"), "{rate:?}");
    let Some(trace) = real("gpu_nvidia/b200_gpt_oss_eager.json.gz") else { return };
    let report = analyze(&trace);
    let gather = report.collectives.iter().find(|row| row.name.contains("AllGather")).unwrap();
    assert_eq!((gather.group_size, gather.bytes.value), (8, Some(402_176.0)));
    let ratio = gather.bus_bytes_per_sec.value.unwrap() / gather.bytes_per_sec.value.unwrap();
    assert!((ratio - 0.875).abs() < 1e-9, "{ratio}");
}
