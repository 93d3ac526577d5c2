//! Steps: what they are made of, and that prefill and decode are told apart.

use xscope_analysis::analyze;
use xscope_analysis::devices::steps::{extent, steps};
use xscope_trace::Trace;
use xscope_trace::model::{DeviceId, Parameter, ProgramId, SourceId, TrackKind};
use xscope_trace::quality::Code;

use crate::build::{device, made, program, track, us};
use crate::{case, real};

/// Adds a program of one operation that has its name and takes `inputs` of these shapes.
fn named(trace: &mut Trace, name: &str, inputs: &[(&str, &str)]) -> ProgramId {
    let id = program(trace, &[made(name, "dot", "", 1)], 0..1);
    let inputs = inputs.iter().map(|&(name, shape)| Parameter {
        name: trace.strings.intern(name),
        shape: trace.strings.intern(shape),
        instruction: None,
    });
    let inputs = inputs.collect();
    let name = trace.strings.intern(name);
    let program = &mut trace.programs[id];
    (program.name, program.parameters) = (name, inputs);
    id
}

/// Two devices that run a prefill of 10 us with its sampler, then a decode of 4 us with its own;
/// `swapped` exchanges the order of the tracks.
fn serving(swapped: bool) -> Trace {
    let mut trace = Trace::default();
    let (tokens, rows) = ("forward_batch[0]", "forward_batch[2]");
    let prefill = [(tokens, "s32[64]"), (rows, "s32[4]"), ("forward_batch[7]", "s32[4]")];
    let prefill = named(&mut trace, "jit_run_model(1)", &prefill);
    let decode = named(&mut trace, "jit_run_model(2)", &[(tokens, "s32[4]"), (rows, "s32[4]")]);
    let sampler = named(&mut trace, "jit_sampler(3)", &[]);
    let other = named(&mut trace, "jit_sampler(4)", &[]);
    let devices = [device(&mut trace, "cpu:0"), device(&mut trace, "cpu:1")];
    let order = if swapped { [1, 0] } else { [0, 1] };
    for index in order {
        let (on, late) = (Some(devices[index]), i64::try_from(index).unwrap());
        let mut add = |id, name, start, dur, run| {
            let row = ((name, start + late, dur), run);
            track(&mut trace, TrackKind::Ops, on, Some(id), &[row]);
        };
        add(prefill, "jit_run_model(1)", 0, 10, 7);
        add(sampler, "jit_sampler(3)", 12, 3, 8);
        add(decode, "jit_run_model(2)", 20, 4, 9);
        add(other, "jit_sampler(4)", 25, 1, 10);
    }
    trace
}

#[test]
fn a_pass_and_what_follows_it_are_a_step_over_all_devices() {
    let report = steps(&serving(false));
    assert_eq!(report.made_of, Some("pass"));
    let rows: Vec<_> = report
        .steps
        .iter()
        .map(|row| (row.number, row.stage, row.end - row.start, row.devices, row.executions))
        .collect();
    assert_eq!(rows, [(0, "prefill", us(16), 2, 2), (1, "decode", us(7), 2, 2)]);
    assert!(
        report.steps.iter().zip([13.0, 5.0]).all(|(row, busy)| (row.busy_us - busy).abs() < 1e-9)
    );
    assert_eq!(report, steps(&serving(true)), "the order of tracks does not matter");
    assert_eq!(extent(&serving(false), 1, 1).unwrap(), (us(20), us(27)));
    let error = extent(&serving(false), 2, 9).unwrap_err().to_string();
    assert_eq!(error, "there is no step 2: they are numbered 0 to 1");
}

#[test]
fn steps_of_several_servers_are_told_apart() {
    let mut trace = serving(false);
    // The second device is another server's.
    trace.sources.push(trace.sources[SourceId(0)].clone());
    trace.devices[DeviceId(1)].source = SourceId(1);
    for (source, name) in [(SourceId(0), "prefill"), (SourceId(1), "decode")] {
        trace.sources[source].server = trace.strings.intern(name);
    }
    let report = steps(&trace);
    let rows: Vec<_> = report
        .steps
        .iter()
        .map(|row| (&*row.server, row.stage, row.devices, row.executions))
        .collect();
    assert_eq!(
        rows,
        [
            ("prefill", "prefill", 1, 2),
            ("decode", "prefill", 1, 2),
            ("prefill", "decode", 1, 2),
            ("decode", "decode", 1, 2),
        ]
    );
    assert_eq!(report.groups.len(), 4);
}

#[test]
fn no_section_depends_on_the_order_of_tracks() {
    let json = |swapped| serde_json::to_value(analyze(&serving(swapped))).unwrap();
    assert_eq!(json(false), json(true));
}

#[test]
fn a_sampler_is_part_of_the_stage_of_its_pass() {
    let rows = analyze(&serving(false)).programs;
    let part_of = |name: &str| rows.iter().find(|row| row.name == name).unwrap().part_of;
    assert_eq!(part_of("jit_sampler(3)"), Some("prefill"));
    assert_eq!(part_of("jit_sampler(4)"), Some("decode"));
}

#[test]
fn prefill_and_decode_of_a_real_server_are_told_apart_exactly() {
    let Some(trace) = real("sglang_jax_cpu/basic") else { return };
    let report = analyze(&trace);
    // Five requests, one after the other: a prefill and the decode that is wasted on scoring.
    let stages: Vec<&str> = report.steps.steps.iter().map(|row| row.stage).collect();
    assert_eq!(stages, ["prefill", "decode"].repeat(5));
    let samplers = report.programs.iter().filter(|row| row.stage == "sampler");
    let parts: Vec<_> = samplers.map(|row| (row.part_of, row.count)).collect();
    assert_eq!(parts, [(Some("prefill"), 5), (Some("decode"), 5)]);
}

#[test]
fn numbered_annotations_are_steps_whatever_their_name() {
    for (name, stage) in [("jax_cpu/tp8_forward", "decode"), ("jax_cpu/fsdp2_tp4_train", "train")] {
        let Some(trace) = real(name) else { return };
        let report = steps(&trace);
        assert_eq!(report.made_of, Some("annotation"), "{name}");
        let rows: Vec<_> = report.steps.iter().map(|row| (row.number, row.stage)).collect();
        assert_eq!(rows, (0..4).map(|number| (number, stage)).collect::<Vec<_>>(), "{name}");
        assert!(report.steps.iter().all(|row| row.devices == 8 && row.executions == 1), "{name}");
    }
}

#[test]
fn modules_of_a_tpu_are_executions() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let rows = analyze(&trace).programs;
    let of = |name: &str| rows.iter().find(|row| row.name.starts_with(name)).unwrap();
    assert_eq!((of("jit_f(").count, of("jit_f(").devices), (400, 4));
    assert_eq!((of("jit__psum(").count, of("jit__psum(").devices), (12, 4));
}

#[test]
fn steps_that_are_called_by_their_number_are_of_one_kind() {
    let mut trace = Trace::default();
    let on = Some(device(&mut trace, "TPU:0"));
    let rows = [(("7", 0, 10), 0), (("8", 20, 30), 0), (("warm up", 60, 5), 0)];
    track(&mut trace, TrackKind::Steps, on, None, &rows);
    let report = steps(&trace);
    let groups: Vec<_> = report.groups.iter().map(|group| (&*group.name, group.count)).collect();
    // The line is called so.
    assert_eq!(groups, [("made", 2), ("warm up", 1)]);
    let numbers: Vec<i64> = report.steps.iter().map(|step| step.number).collect();
    assert_eq!(numbers, [7, 8, 2]);
}

#[test]
fn steps_of_captures_that_lie_in_one_directory_are_apart() {
    let Some(trace) = case("sess3") else { return };
    let report = analyze(&trace);
    let took: Vec<f64> = report.steps.steps.iter().map(|step| step.duration_us).collect();
    assert_eq!(took, [[50.0; 5], [60.0; 5]].concat());
    let found = report.quality.iter().find(|found| found.code == Code::HostsSessions).unwrap();
    let folders = "2026_11_01_00_00_00 and 2026_11_01_00_20_00";
    assert!(found.message.contains(folders), "{}", found.message);
}

#[test]
fn a_step_that_several_hosts_annotate_is_one() {
    let Some(trace) = real("jax_cpu/multihost2x4") else { return };
    let report = steps(&trace);
    let rows: Vec<_> = report.steps.iter().map(|row| (row.number, row.devices)).collect();
    assert_eq!(rows, (0..5).map(|number| (number, 8)).collect::<Vec<_>>());
}
