//! The layer tree.

use xscope_analysis::analyze;
use xscope_analysis::kernels::row::Filter;
use xscope_analysis::layers::{LayerNode, layer_tree};
use xscope_analysis::reports::analyze::{Options, analyze_with};
use xscope_analysis::reports::analyze_report::AnalyzeReport;
use xscope_analysis::reports::grouping::{GroupBy, grouped};
use xscope_trace::model::{Flow, SliceRef, TrackId, TrackKind};
use xscope_trace::quality::Code;
use xscope_trace::{Picos, Trace, read_paths};

use crate::build::{Made, device, made, program, track};
use crate::real;

/// Time of a path in microseconds; 0 if it is not in the tree.
fn time(node: &LayerNode, path: &str) -> f64 {
    let found = path
        .split('/')
        .try_fold(node, |node, part| node.children.iter().find(|child| child.name == part));
    found.map_or(0.0, |node| node.total_us)
}

fn check(trace: &Trace, expected: &[(&str, f64)]) {
    let report = layer_tree(trace);
    for &(path, micros) in expected {
        let found = time(&report.root, path);
        assert!((found - micros).abs() < 1e-6, "{path}: {found}, expected {micros}\n{report:?}");
    }
}

#[test]
fn a_fusion_is_split_by_the_cost_of_its_members() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let fusion = Made { members: Some(0..5), ..made("fusion", "fusion", "jit(f)/add", 0) };
    let rows = [
        made("dot", "dot", "jit(f)/layer_1/mlp/dot_general", 899),
        made("mul", "multiply", "jit(f)/layer_1/attention/mul", 99),
        made("add", "add", "jit(f)/add", 999),
        made("constant", "constant", "jit(f)/layer_0/mlp/jit(silu)", 0),
        made("broadcast", "broadcast", "jit(f)/layer_0/x/broadcast_in_dim", 5),
        fusion,
    ];
    let id = program(&mut trace, &rows, 5..6);
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &[(("fusion", 0, 998), 1)]);
    check(&trace, &[("layer_1/mlp", 899.0), ("layer_1/attention", 99.0), ("layer_0", 0.0)]);
    let report = layer_tree(&trace);
    assert!((report.ambiguous_us - 99.0).abs() < 1e-6 && (report.split_us - 998.0).abs() < 1e-6);
}

#[test]
fn jax_0_12_names_the_body_of_a_loop_anew() {
    let trace = read_paths(&[xscope_testing::fixture("jax_cpu_0.12/excerpt.xplane.pb")]);
    let tree = layer_tree(&trace.unwrap()).root;
    let names: Vec<&str> = tree.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["layer_0", "layer_1", "layer_2", "layer"]);
    let attention = time(&tree, "layer_1/attention");
    assert!(attention > 0.0 && time(&tree, "layer_1/mlp") > attention);
}

#[test]
fn kernels_of_command_buffers_are_joined_by_their_names() {
    let Some(trace) = crate::case("gpu_cmdbuf_hlo.xplane.pb") else { return };
    let report = analyze(&trace);
    let rows =
        report.kernels.iter().map(|it| (it.name.as_str(), it.layer_path.as_str(), it.self_us));
    let expected = [
        ("gemm_fusion_dot_1", "layer_0/attention", 10.0),
        ("input_reduce_fusion_3", "layer_0/norm", 6.0),
        ("loop_add_fusion_2", "layer_0/mlp", 5.0),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    assert!(report.quality.iter().all(|it| it.code != Code::GpuCommandBuffers));
}

#[test]
fn iterations_of_a_loop_over_layers_are_its_layers() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let scan = "jit(f)/while/body/closed_call/layer";
    let (attention, mlp) = (format!("{scan}/attention/dot"), format!("{scan}/mlp/dot"));
    let rows = [
        made("attn", "dot", &attention, 10),
        made("ffn", "dot", &mlp, 10),
        Made { members: Some(0..2), trips: Some(3), ..made("while", "while", "jit(f)/while", 0) },
    ];
    let id = program(&mut trace, &rows, 2..3);
    let mut slices = vec![(("while", 0, 60), 1)];
    for layer in 0..3 {
        slices.push((("attn", layer * 20, 5 + layer), 1));
        slices.push((("ffn", layer * 20 + 10, 10), 1));
    }
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &slices);
    check(
        &trace,
        &[
            ("layer_0/attention", 5.0),
            ("layer_1/attention", 6.0),
            ("layer_2/attention", 7.0),
            ("layer_2/mlp", 10.0),
        ],
    );
}

/// One kernel that several modules launched, and some of whose executions nothing is known of.
fn launched() -> Trace {
    let mut trace = Trace::default();
    let gpus = ["gpu:0", "gpu:1"].map(|name| device(&mut trace, name));
    let host = [
        (("nn.Module: Model_0", 0, 100), 0),
        (("nn.Module: Layer_0", 10, 20), 0),
        (("launch", 12, 5), 0),
        (("nn.Module: Layer_1", 30, 20), 0),
        (("launch", 30, 5), 0),
        (("launch", 60, 5), 0),
        (("launch", 100, 5), 0),
    ];
    track(&mut trace, TrackKind::HostThread, None, None, &host);
    // Of one kernel on one device, what no module launched, and what nothing says the launch of.
    let first =
        [(("gemm", 20, 7), 0), (("gemm", 40, 11), 0), (("gemm", 105, 1), 0), (("gemm", 110, 2), 0)];
    track(&mut trace, TrackKind::Ops, Some(gpus[0]), None, &first);
    track(&mut trace, TrackKind::Ops, Some(gpus[1]), None, &[(("gemm", 70, 13), 0)]);
    let at = |track, row| SliceRef { track: TrackId(track), row };
    let launches = [(2, at(1, 0)), (4, at(1, 1)), (6, at(1, 2)), (5, at(2, 0))];
    trace.flows = launches.map(|(row, to)| Flow { from: at(0, row), to }).into();
    trace
}

#[test]
fn an_operation_belongs_to_the_modules_that_launched_it() {
    let report = layer_tree(&launched());
    let path = |path: &str| time(&report.root, path);
    let found = ["Model_0", "Model_0/Layer_0", "Model_0/Layer_1", "(no scope)"].map(path);
    assert_eq!(found, [31.0, 7.0, 11.0, 3.0]);
    assert_eq!((report.root.total_us, report.ambiguous_us), (34.0, 0.0));
}

#[test]
fn a_kernel_of_several_modules_is_split_among_them() {
    let report = analyze(&launched());
    let groups = grouped(&report, GroupBy::Scope).groups;
    let groups: Vec<_> = groups
        .iter()
        .map(|row| (row.group.as_str(), row.self_us, row.total_us, row.count))
        .collect();
    let expected = [
        ("Model_0", 13.0, 13.0, 1),
        ("Model_0/Layer_1", 11.0, 11.0, 1),
        ("Model_0/Layer_0", 7.0, 7.0, 1),
        ("(no scope)", 3.0, 3.0, 2),
    ];
    assert_eq!(groups, expected);
    assert_eq!(report.kernels[0].layer_path, "Model_0");
}

#[test]
fn a_scope_that_the_tree_shows_can_be_asked_for() {
    let filter = Filter { scope: Some("Layer_1".to_owned()), ..Filter::default() };
    let report = analyze_with(&launched(), &Options { filter, ..Options::default() });
    let [kernel] = &report.kernels[..] else { panic!("{:?}", report.kernels) };
    assert_eq!((kernel.self_us, kernel.total_us, kernel.count), (11.0, 11.0, 1));
    assert_eq!(report.layers.root.total_us, 11.0);
    assert_eq!(report.categories[0].self_us, 11.0);
}

#[test]
fn scopes_that_are_guessed_or_are_none_are_counted_apart() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let rows = [
        made("dot", "dot", "jit(f)/layer_0/mlp/dot_general", 10),
        made("copy", "copy", "", 10),
        made("mul", "multiply", "jit(f)/transpose(jvp())/mul", 10),
        made("rng", "rng", "", 10),
    ];
    let id = program(&mut trace, &rows, 0..4);
    // The copy reads the product.
    trace.programs[id].operands = vec![0];
    trace.programs[id].instructions[1].operands = 0..1;
    let slices = ["dot", "copy", "mul", "rng"].map(|name| (name, 0, 10));
    let slices: Vec<_> =
        (0..).zip(slices).map(|(at, (name, _, dur))| ((name, at * 10, dur), 1)).collect();
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &slices);
    let report = layer_tree(&trace);
    let shares = (report.scoped_share, report.guessed_share, report.pseudo_share);
    assert_eq!(shares, (0.25, 0.25, 0.25), "{report:?}");
}

/// Time of each component in the layers, and in the kernels.
fn check_components(name: &str, report: &AnalyzeReport) {
    let layers = report.layers.components.iter().map(|row| (row.name.as_str(), row.self_us));
    let groups = grouped(report, GroupBy::Component).groups;
    let kernels: Vec<_> = groups.iter().map(|row| (row.group.as_str(), row.self_us)).collect();
    assert_eq!(layers.collect::<Vec<_>>(), kernels, "{name}");
}

#[test]
fn layers_and_kernels_agree_on_every_component() {
    if let Some(cases) = xscope_testing::cases() {
        let trace = read_paths(&[cases.join("modules.json")]).unwrap();
        let report = analyze(&trace);
        check_components("modules", &report);
        // Of the attention a quarter is in a `RotaryEmbedding`, which embeds nothing.
        let components = report.layers.components.iter();
        let components: Vec<_> = components.map(|row| (row.name.as_str(), row.share)).collect();
        assert_eq!(components, [("mlp", 0.6), ("attention", 0.4)]);
        let scopes = grouped(&report, GroupBy::Scope).groups;
        assert_eq!(scopes.iter().map(|row| row.share).collect::<Vec<_>>(), [0.6, 0.3, 0.1]);
    }
    for name in [
        "sglang_gpu/sglang_Qwen3-8B_prefilldecode.json.gz",
        "gpu_nvidia/b200_gpt_oss_eager.json.gz",
        "kineto/h100_bert.json.gz",
        "jax_cpu/fsdp2_tp4_train",
        "sglang_jax_cpu/basic",
    ] {
        let Some(trace) = real(name) else { return };
        check_components(name, &analyze(&trace));
    }
}

#[test]
fn communication_and_products_of_a_real_b200_are_known() {
    let Some(trace) = real("gpu_nvidia/b200_gpt_oss_eager.json.gz") else { return };
    let report = analyze(&trace);
    let share = |name: &str| {
        let row = report.categories.iter().find(|row| row.name == name);
        row.map_or(0.0, |row| row.share)
    };
    let (collective, matmul) = (share("collective"), share("matmul"));
    assert!((0.18..0.19).contains(&collective) && matmul >= 0.51, "{:?}", report.categories);
    assert!(share("unknown") < 0.001, "{:?}", report.categories);
}

#[test]
fn modules_that_call_themselves_for_ever_are_followed_only_so_far() {
    let mut trace = Trace::default();
    let gpu = device(&mut trace, "gpu:0");
    let mut host: Vec<_> =
        (0..50_000).map(|at| (("nn.Module: Self_0", at, 100_000 - at), 0)).collect();
    host.push((("launch", 50_000, 1), 0));
    track(&mut trace, TrackKind::HostThread, None, None, &host);
    track(&mut trace, TrackKind::Ops, Some(gpu), None, &[(("gemm", 50_001, 7), 0)]);
    let at = |track, row| SliceRef { track: TrackId(track), row };
    trace.flows = vec![Flow { from: at(0, 50_000), to: at(1, 0) }];
    assert_eq!(time(&layer_tree(&trace).root, &["Self_0"; 32].join("/")), 7.0);
}

#[test]
fn modules_of_real_models_are_layers() {
    for (name, layer, layers) in [
        (
            "h100_timesformer",
            "TimesformerForVideoClassification_0/TimesformerModel_0/TimesformerEncoder_0/TimesformerLayer",
            12,
        ),
        ("mi300_bert", "BertLMHeadModel_0/BertModel_0/BertEncoder_0/BertLayer", 4),
        ("mi300_nsfw_image_detection", "ViTModel_0/ViTEncoder_0/ViTLayer", 12),
    ] {
        let Some(trace) = real(&format!("kineto/{name}.json.gz")) else { return };
        let report = layer_tree(&trace);
        assert!(report.scoped_share > 0.97, "{name}: {}", report.scoped_share);
        for layer in (0..layers).map(|number| format!("{layer}_{number}")) {
            assert!(time(&report.root, &layer) > 0.0, "{name}: {layer}");
        }
        let unknown = report.components.iter().find(|row| row.name == "unknown");
        assert!(unknown.is_none_or(|row| row.share < 0.1), "{name}: {:?}", report.components);
    }
}

/// A model of two layers whose scopes carry no number, in the order of `names`.
fn unnumbered(names: &[(&str, &str)]) -> Trace {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let rows: Vec<Made<'_>> =
        names.iter().map(|&(name, op_name)| made(name, "dot", op_name, 10)).collect();
    let end = u32::try_from(rows.len()).unwrap();
    let id = program(&mut trace, &rows, 0..end);
    let slices: Vec<_> =
        (0..).zip(names).map(|(at, &(name, _))| ((name, at * 10, 1 + at), 1)).collect();
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &slices);
    trace
}

const ATTENTION: &str = "jit(f)/Attention/q_proj/dot_general";
const MLP: &str = "jit(f)/Mlp/dot_general";

#[test]
fn repeated_scopes_without_number_are_layers_by_order() {
    let trace = unnumbered(&[
        ("q.0", ATTENTION),
        ("m.0", MLP),
        ("q.1", ATTENTION),
        ("m.1", MLP),
        ("head", "jit(f)/Head/dot_general"),
    ]);
    check(
        &trace,
        &[
            ("layer_0/Attention/q_proj", 1.0),
            ("layer_0/Mlp", 2.0),
            ("layer_1/Attention/q_proj", 3.0),
            ("layer_1/Mlp", 4.0),
            ("Head", 5.0),
        ],
    );
}

#[test]
fn groups_that_overlap_are_not_numbered() {
    let trace = unnumbered(&[("q.0", ATTENTION), ("q.1", ATTENTION), ("m.0", MLP), ("m.1", MLP)]);
    check(&trace, &[("Attention/q_proj", 3.0), ("Mlp", 7.0), ("layer_0", 0.0)]);
}

#[test]
fn a_combined_collective_belongs_to_all_that_it_combines() {
    let mut trace = Trace::default();
    let cpu = device(&mut trace, "cpu:0");
    let name = "jit(t)/step/(transpose(jvp(layer_0))/mlp/dot:transpose(jvp(layer_1))/mlp/dot)";
    let id = program(&mut trace, &[made("all-reduce", "all-reduce", name, 0)], 0..1);
    track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &[(("all-reduce", 0, 10), 1)]);
    check(&trace, &[("step/layer_0/backward/mlp", 5.0), ("step/layer_1/backward/mlp", 5.0)]);
}

#[test]
fn real_models_are_accounted_for_with_every_layer() {
    for (name, prefix, layers) in [
        ("jax_cpu/tp8_forward", "", 4),
        ("jax_cpu/fsdp2_tp4_train", "train_step/", 4),
        ("sglang_jax_cpu/basic", "", 2),
    ] {
        let Some(trace) = real(name) else { return };
        let report = layer_tree(&trace);
        assert!(report.in_scopes() >= 0.97, "{name}: {}", report.in_scopes());
        for layer in 0..layers {
            let path = format!("{prefix}layer_{layer}");
            let share = time(&report.root, &path) / report.root.total_us;
            assert!(share > 0.1, "{name}: {path} has {share} of the time");
        }
        let unknown = report.components.iter().find(|row| row.name == "unknown");
        let unknown = unknown.map_or(0.0, |row| row.share);
        assert!(unknown < 0.03, "{name}: {unknown} of the time is of no component");
    }
}

#[test]
fn a_program_under_another_id_takes_the_scopes_of_its_variants() {
    for name in ["sglang_jax_cpu/single_py0", "sglang_jax_cpu/single_py1"] {
        let Some(trace) = real(name) else { return };
        let report = analyze(&trace);
        let layers = &report.layers;
        assert!(layers.in_scopes() >= 0.97, "{name}: {}", layers.in_scopes());
        for layer in ["layer_0", "layer_1"] {
            let share = time(&layers.root, layer) / layers.root.total_us;
            assert!(share > 0.1, "{name}: {layer} has {share} of the time");
        }
        // Which of them ran is not known, so neither is what it cost.
        assert!(report.degraded.iter().any(|row| row.code == Code::HloVariants), "{name}");
        let prefills = report.programs.iter().filter(|row| row.stage == "prefill");
        assert_eq!(prefills.map(|row| row.count).sum::<u64>(), 4, "{name}");
    }
}

/// A profile of graphs that ran some kernels each, 10 us a kernel, beside the profile of their capture: each
/// was captured in a layer of its own.
fn replayed(captured: &[&[&str]], ran: &[&[&str]]) -> Trace {
    let call = |name: &str, at: usize, args: String| {
        format!(
            r#"{{"ph":"X","cat":"cuda_runtime","name":"{name}","pid":1,"tid":1,"ts":{at},"dur":1,"args":{{{args}}}}}"#
        )
    };
    let module = |name: &str, at: usize, dur: usize| {
        format!(
            r#"{{"ph":"X","cat":"python_function","name":"nn.Module: {name}","pid":1,"tid":1,"ts":{at},"dur":{dur}}}"#
        )
    };
    let kernel = |name: &str, at: usize, id: usize| {
        let cat = if name.starts_with("Memcpy") { "gpu_memcpy" } else { "kernel" };
        format!(
            r#"{{"ph":"X","cat":"{cat}","name":"{name}","pid":0,"tid":7,"ts":{at},"dur":10,"args":{{"device":0,"correlation":{id}}}}}"#
        )
    };
    let mut capture = vec![module("Model_0", 0, 9000), kernel("fill", 9500, 1)];
    for (layer, kernels) in captured.iter().enumerate() {
        let at = layer * 100 + 10;
        capture.push(module(&format!("Layer_{layer}"), at, 90));
        capture.push(call("hipStreamBeginCapture", at + 1, String::new()));
        for (place, name) in kernels.iter().enumerate() {
            let (call_name, args) = match name.starts_with("Memcpy") {
                true => ("hipMemcpyAsync", String::new()),
                false => ("hipLaunchKernel", format!(r#""kernel":"{name}""#)),
            };
            capture.push(call(call_name, at + 3 + place, args));
        }
        capture.push(call("hipStreamEndCapture", at + 80, String::new()));
    }
    let mut work = Vec::new();
    for (id, kernels) in ran.iter().enumerate() {
        let at = 1_000_000 + id * 1000;
        work.push(call("hipGraphLaunch", at, format!(r#""correlation":{}"#, id + 1)));
        let kernels = kernels.iter().enumerate();
        work.extend(kernels.map(|(place, name)| kernel(name, at + 100 + place * 10, id + 1)));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, events: Vec<String>| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!(r#"{{"traceEvents":[{}]}}"#, events.join(","))).unwrap();
    };
    file("capture_traces/bs_32.json", capture);
    file("work.json", work);
    read_paths(&[directory.path().to_owned()]).unwrap()
}

#[test]
fn kernels_of_a_graph_have_the_modules_of_its_capture() {
    let graph = ["gemm", "Memcpy DtoD (Device -> Device)", "norm"];
    let trace = replayed(&[&["embed"], &graph, &graph], &[&["embed"], &graph, &graph, &graph]);
    let layers = [
        ("Model_0", 100.0),
        ("Model_0/Layer_0", 10.0),
        ("Model_0/Layer_1", 30.0),
        ("Model_0/Layer_2", 30.0),
        // Whether that was layer 1 or 2 once more is not known.
        ("fill", 0.0),
    ];
    check(&trace, &layers);
    let report = analyze(&trace);
    let shares = (report.layers.scoped_share, report.layers.captured_share);
    assert_eq!((shares, report.devices.len()), ((0.0, 1.0), 1));
    let said = report.quality.iter().find(|it| it.code == Code::GraphsCaptured).unwrap();
    assert!(said.message.starts_with("4 of 4 replays of graphs"), "{}", said.message);
    assert!(said.message.contains("what bs_32.json ran itself is in no figure"));
    // A window has those in it.
    let mut cut = trace;
    let from = cut.start();
    xscope_trace::trim::clip(&mut cut, from, from + Picos(1_000_000_000));
    check(&cut, &[("Model_0", 10.0), ("Model_0/Layer_0", 10.0)]);
}

#[test]
fn kernels_of_a_graph_that_was_not_captured_have_no_modules() {
    let trace = replayed(&[&["gemm", "norm"]], &[&["norm", "gemm"], &["gemm"]]);
    let report = analyze(&trace);
    assert_eq!((report.layers.captured_share, report.layers.in_scopes()), (0.0, 0.0));
    assert_eq!((report.layers.root.total_us, report.devices.len()), (30.0, 1));
    let said = report.quality.iter().find(|it| it.code == Code::GraphsUnlike).unwrap();
    assert!(said.message.starts_with("2 of 2 replays of graphs run other"), "{}", said.message);
    assert!(report.quality.iter().all(|it| it.code != Code::GraphsCaptured));
}

#[test]
fn a_real_capture_beside_a_profile_is_no_part_of_its_work() {
    let names = ["sglang_gpu", "sglang_gpu/sglang_Qwen3-8B_prefilldecode.json.gz"];
    let [Some(both), Some(alone)] = names.map(real) else { return };
    let (both, alone) = (analyze(&both), analyze(&alone));
    assert_eq!((&both.layers.root, &both.devices), (&alone.layers.root, &alone.devices));
    assert!(both.quality.iter().any(|it| it.code == Code::GraphsCaptured));
}
