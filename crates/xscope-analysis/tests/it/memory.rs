//! Memory: what compilers planned, and what grew between snapshots.

use std::collections::BTreeMap;

use xscope_analysis::analyze;
use xscope_analysis::from_disk::memory_reports::memory_files;
use xscope_trace::memory_report::{Report, SUMMARY, Summary, Tensor};
use xscope_trace::metric::Status;
use xscope_trace::model::{Held, ProgramMemory};
use xscope_trace::strings::StrId;
use xscope_trace::{Bytes, Trace, read_paths};

use crate::build::{device, made, program};
use crate::real;

#[test]
fn a_plan_is_counted_by_layer() {
    let mut trace = Trace::default();
    device(&mut trace, "cpu:0");
    let rows = [
        made("w", "parameter", "w", 0),
        made("q", "dot", "jit(f)/layer_0/attention/dot", 10),
        made("m", "dot", "jit(f)/layer_0/mlp/up/dot", 10),
    ];
    let id = program(&mut trace, &rows, 0..3);
    let held = |instruction, bytes| Held {
        instruction: Some(instruction),
        shape: StrId::EMPTY,
        bytes: Bytes(bytes),
    };
    trace.programs[id].memory = Some(ProgramMemory {
        arguments: Bytes(100),
        outputs: Bytes(20),
        constants: Bytes(3),
        temporary: Bytes(50),
        live: Bytes(40),
        place: Bytes(50),
        at_peak: vec![held(2, 30), held(1, 10)],
    });
    let memory = analyze(&trace).memory;
    let row = &memory.programs[0];
    assert_eq!((row.total_bytes, memory.planned_peak.value), (Bytes(173), Some(173e-6)));
    assert!((row.fragmentation.unwrap() - 0.2).abs() < 1e-12);
    let layers: Vec<_> = row
        .layers
        .iter()
        .map(|layer| (&*layer.scope, &*layer.component, layer.live_bytes.unwrap().0))
        .collect();
    assert_eq!(layers, [("layer_0/mlp", "mlp", 30), ("layer_0/attention", "attention", 10)]);
    // Where nothing is in use, nothing is lost to fragmentation.
    let plan = trace.programs[id].memory.as_mut().unwrap();
    (plan.temporary, plan.live) = (Bytes(0), Bytes(0));
    let row = &analyze(&trace).memory.programs[0];
    assert_eq!((row.live_bytes, row.fragmentation), (Some(Bytes(0)), None));
    trace.programs[id].memory = None;
    assert_eq!(analyze(&trace).memory.planned_peak.status, Status::Unavailable);
}

#[test]
fn the_plan_of_a_real_program_adds_up() {
    let Some(trace) = real("jax_cpu/fsdp2_tp4_train") else { return };
    let memory = analyze(&trace).memory;
    let [row] = memory.programs.as_slice() else {
        panic!("one program ran: {:?}", memory.programs)
    };
    let live: u64 = row.layers.iter().map(|layer| layer.live_bytes.unwrap().0).sum();
    assert_eq!(Some(Bytes(live)), row.live_bytes);
    let arguments: u64 = row.layers.iter().map(|layer| layer.argument_bytes.0).sum();
    assert_eq!(Bytes(arguments), row.argument_bytes);
    // A replica of the profile taken beside the trace: 8 devices hold each argument.
    let Some(profile) = real("jax_cpu/fsdp2_tp4_train.memory.prof") else { return };
    let held: i64 = analyze(&profile).allocations.iter().map(|row| row.bytes).sum();
    let arguments = i64::try_from(8 * arguments).unwrap();
    assert!(
        (held - 2 * arguments).abs() < held / 100,
        "parameters and their update: {held}, {arguments}"
    );
    for layer in 0..4 {
        let name = format!("train_step/layer_{layer}");
        assert!(row.layers.iter().any(|layer| layer.scope == name), "{name}");
    }
}

fn report(stage: &str, at_nanos: i64, tensors: &[(&str, f64)]) -> Report {
    let tensor = |&(name, memory_mb): &(&str, f64)| {
        (name.to_owned(), Tensor { memory_mb, ..Tensor::default() })
    };
    let tensors: BTreeMap<_, _> = tensors.iter().map(tensor).collect();
    Report { at_nanos: Some(at_nanos), ..Report::of("device", None, stage, tensors) }
}

#[test]
fn what_grows_between_snapshots_is_found_by_their_time() {
    let folder = tempfile::tempdir().unwrap();
    // Their names are in another order than their times.
    for report in [
        report("c_first", 1, &[("cache x1", 1.0), ("weights x9", 8.0)]),
        report("a_then", 2, &[("cache x2", 2.0), ("weights x9", 8.0)]),
        report("b_last", 3, &[("cache x3", 3.0), ("weights x9", 7.0), ("new x1", 0.5)]),
    ] {
        let json = serde_json::to_vec(&report).unwrap();
        std::fs::write(folder.path().join(report.file_name()), json).unwrap();
    }
    let trace = read_paths(&[folder.path().to_owned()]).unwrap();
    let growth = analyze(&trace).memory.growth;
    let rows: Vec<_> =
        growth.iter().map(|row| (&*row.name, row.growth_bytes, row.always_grew)).collect();
    assert_eq!(rows, [("cache", 2 << 20, true), ("new", 1 << 19, false)]);
}

#[test]
fn all_that_grew_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..60).map(|n| format!("tensor{n}")).collect();
    for (file, at, mb) in [("a", 1, 1.0), ("b", 2, 2.0)] {
        let tensors: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), mb)).collect();
        let report = report(file, at, &tensors);
        let json = serde_json::to_vec(&report).unwrap();
        std::fs::write(folder.path().join(report.file_name()), json).unwrap();
    }
    let trace = read_paths(&[folder.path().to_owned()]).unwrap();
    assert_eq!(analyze(&trace).memory.growth.len(), 60);
}

#[test]
fn reports_and_their_summary_are_written_as_they_are_read() {
    let Some(trace) = real("sglang_jax_cpu/mem/out") else { return };
    let files = memory_files(&analyze(&trace));
    let folder = tempfile::tempdir().unwrap();
    for file in &files {
        let json = serde_json::to_vec(file).unwrap();
        std::fs::write(folder.path().join(file.file_name()), json).unwrap();
    }
    let summary = Summary::of(&files);
    assert_eq!(summary.layer_analysis["2"]["before_attn"], 0.125);
    std::fs::write(folder.path().join(SUMMARY), serde_json::to_vec(&summary).unwrap()).unwrap();
    let again = read_paths(&[folder.path().to_owned()]).unwrap();
    assert_eq!(memory_files(&analyze(&again)), files, "the summary adds nothing to its reports");
    let alone = read_paths(&[folder.path().join(SUMMARY)]).unwrap();
    assert_eq!(Summary::of(&memory_files(&analyze(&alone))), summary);
}

#[test]
fn a_plan_that_every_host_carries_is_one() {
    let Some(trace) = real("jax_cpu/multihost2x4") else { return };
    let programs = analyze(&trace).memory.programs;
    let names: Vec<_> = programs.iter().map(|row| &*row.program).collect();
    assert_eq!(names, ["jit__lambda(4)"]);
}

#[test]
fn allocators_of_tpus_are_named_by_their_device() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let names: Vec<_> = analyze(&trace).allocators.into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["device 0", "device 1", "device 2", "device 3"]);
}
