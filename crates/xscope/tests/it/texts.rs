//! What is printed, as its readers see it: reports on small files, and what is said of wrong usage
//! and of broken input.

use std::path::Path;
use std::process::Output;

use crate::{fixture, xscope};

/// What a command printed, with its exit code, and with folders by name.
fn told(directory: &Path, args: &[&str]) -> String {
    let output: Output = xscope(directory, args).output().unwrap();
    let code = output.status.code().unwrap();
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let fixtures = fixture("");
        text.replace(&fixtures, "FIXTURES/").replace(directory.to_str().unwrap(), "HERE")
    };
    let shown: Vec<_> = args.iter().map(|arg| plain(arg.as_bytes())).collect();
    let (out, err) = (plain(&output.stdout), plain(&output.stderr));
    format!("$ xscope {}\n{out}{err}exit {code}\n", shown.join(" "))
}

fn check(name: &str, directory: &Path, commands: &[&[&str]]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let texts: Vec<String> = commands.iter().map(|args| told(directory, args)).collect();
    settings.bind(|| insta::assert_snapshot!(name, texts.join("\n")));
}

#[test]
fn reports_on_small_files() {
    let directory = tempfile::tempdir().unwrap();
    let [tpu, memory] = ["tpu_v6e/excerpt.xplane.pb", "memory_report"].map(fixture);
    for (name, commands) in [
        ("report-tpu", &[&["analyze", &tpu][..], &["analyze", &tpu, "programs"]][..]),
        ("report-kernels", &[&["analyze", &tpu, "kernels", "--iterations", "fusion"]]),
        ("report-memory", &[&["analyze", &memory], &["analyze", &memory, "quality"]]),
    ] {
        check(name, directory.path(), commands);
    }
}

/// Every real trace; their first pages were read against what is in the files.
const REAL: [&str; 48] = [
    "chrome_json/args_ordered.json",
    "chrome_json/invalid_string_ts_and_dur.json",
    "chrome_json/json_all_slice_types.json",
    "chrome_json/json_async.json",
    "chrome_json/json_counter_args.json",
    "chrome_json/json_extreme_vals.json",
    "chrome_json/json_flow.json",
    "chrome_json/json_id2.json",
    "chrome_json/json_id2_global_int_id.json",
    "chrome_json/json_id2_global_string_id.json",
    "chrome_json/json_id2_local_int_id.json",
    "chrome_json/json_id2_local_string_id.json",
    "chrome_json/json_incomplete.json",
    "chrome_json/json_metadata.json",
    "chrome_json/json_metadata_missing_or_invalid_ts.json",
    "gpu_amd/jax_conv.xplane.pb",
    "gpu_amd/jax_gemm.xplane.pb",
    "gpu_nvidia/b200_gpt_oss_eager.json.gz",
    "jax_cpu/fsdp2_tp4_train",
    "jax_cpu/fsdp2_tp4_train.memory.prof",
    "jax_cpu/fsdp2_tp4_train_160steps.xplane.pb.xz",
    "jax_cpu/multihost2x4",
    "jax_cpu/pytrace_100k",
    "jax_cpu/tp8_forward",
    "jax_cpu/tp8_forward.memory.prof",
    "kineto/h100_bert.json.gz",
    "kineto/h100_nsfw_image_detection.json.gz",
    "kineto/h100_timesformer.json.gz",
    "kineto/mi300_bert.json.gz",
    "kineto/mi300_nsfw_image_detection.json.gz",
    "kineto/mi300_timesformer.json.gz",
    "kineto_old/resnet50_num_workers_0.pt.trace.json.gz",
    "pprof/cppbench.cpu.pb",
    "pprof/go.crc32.cpu.pb",
    "pprof/gobench.cpu.pb",
    "pprof/java.cpu.pb",
    "ranks_dlrm",
    "sglang_gpu/graph_capture_bs_32_rank0.json.gz",
    "sglang_gpu/sglang_Qwen3-8B_prefilldecode.json.gz",
    "sglang_jax_cpu/basic",
    "sglang_jax_cpu/mem/out",
    "sglang_jax_cpu/mem/srv",
    "sglang_jax_cpu/n3",
    "sglang_jax_cpu/single_py0",
    "sglang_jax_cpu/single_py1",
    "sglang_jax_cpu/stage",
    "tpu_v6e/damaged.xplane.pb",
    "tpu_v6e/tpu_inference.xplane.pb",
];

#[test]
fn first_pages_of_real_traces() {
    let Some(folder) = xscope_testing::traces() else { return };
    let first_page = |name: &&str| {
        let path = folder.join(name).to_str().unwrap().to_owned();
        let text = told(&folder, &["analyze", &path]);
        let lines = text.lines().filter(|line| !line.starts_with("more: "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let pages: Vec<String> = REAL.iter().map(first_page).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("first-pages", pages.join("\n")));
}

#[test]
fn wrong_usage_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let tpu = fixture("tpu_v6e/excerpt.xplane.pb");
    let usages: &[&[&str]] = &[
        &["analyse"],
        &["analyze"],
        &["analyze", &tpu, "--step", "5..3"],
        &["analyze", &tpu, "--step", "100000"],
        &["analyze", &tpu, "--from", "1"],
        &["analyze", &tpu, "--from", "2s", "--to", "1s"],
        &["analyze", &tpu, "--chip", "abacus"],
        &["analyze", &tpu, "layers", "--by", "layer"],
        &["analyze", &tpu, "layers", "--iterations", "x"],
        &["analyze", &tpu, "--iterations", "("],
        &["profile", "--requests", "many"],
        &["profile", "--concurrency", "4", "--arrivals", "closed:4"],
        &["bench", "score", "--find-max"],
        &["bench", "serving"],
        &["bench", "engine", "kernel", "matmul:x=1"],
        &["bench", "ab", "--a", "serve", "--b", "serve --port {port}"],
        &["capture", "--profile-name", "../up"],
        &["compare", "a"],
        &["compare", "--a", "a", "--b", "b", "--html", "page.html"],
        &["export", &tpu],
        &["export", &tpu, "--chrome", "-", "--folded", "-"],
        &["export", &tpu, "--chrome", "o.json", "--around", "no such slice"],
        &["trim", &tpu, "-o", "part.txt"],
        &["baseline", "save", "../up", "a.json"],
        &["run"],
    ];
    check("usage", directory.path(), usages);
}

#[test]
fn broken_input_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    write("empty.xplane.pb", b"");
    write("text.txt", b"no profile\n");
    write("cut.trace.json", b"{\"traceEvents\": [");
    write("list.json", b"[1, 2]");
    write("workload.toml", b"[score]\nitems = -1\n");
    write("rules.toml", b"p50_ms = 1\n");
    write("a.json", b"{\"results\": []}");
    let inputs: &[&[&str]] = &[
        &["analyze", "missing"],
        &["analyze", "empty.xplane.pb"],
        &["analyze", "text.txt"],
        &["analyze", "cut.trace.json", "quality"],
        &["analyze", "."],
        &["report", "text.txt"],
        &["compare", "missing", "a.json"],
        &["compare", "list.json", "list.json"],
        &["compare", "a.json", "a.json"],
        &["compare", "a.json", "a.json", "--rules", "rules.toml"],
        &["baseline", "show", "main"],
        &["baseline", "save", "main", "a.json"],
        &["bench", "score", "--url", "http://127.0.0.1:1", "--workload", "workload.toml"],
        &["bench", "score", "--url", "https://h:1"],
        &["export", "text.txt", "--csv", "tables"],
    ];
    check("input", directory.path(), inputs);
}
