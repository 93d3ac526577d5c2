//! Small inputs whose right answers are known, each as a reader sees it.

use xscope_analysis::analyze;
use xscope_analysis::section::Section;
use xscope_trace::read::read_paths;
use xscope_view::{Style, section_text};

/// An input, where to look, and what stands there, word for word.
const CASES: &[(&str, Section, &[&str])] = &[
    (
        "blocking_copy.json",
        Section::Idle,
        &[
            "blocked 99.978 ms (99.9 %), unknown 50.00 us (0.0 %), host 20.00 us (0.0 %)",
            "of `blocked`: cudaMemcpyAsync 100.0 %",
        ],
    ),
    ("most_of_it.json", Section::Idle, &["of `host`: work_0 10.0 %, work_1 10.0 %, work_2 10.0 %"]),
    ("two_clocks.json", Section::Kernels, &["matmul       50   3.000 ms  100.0 %"]),
    (
        "two_clocks.json",
        Section::Quality,
        &["error: 10 events, the first at byte 17, are on another"],
    ),
    ("k109_first.json", Section::Kernels, &["matmul       20   1.000 ms  100.0 %"]),
    (
        "k109_first.json",
        Section::Quality,
        &["warning: events were left out, the first at byte 122: a"],
    ),
    (
        "cut.trace.json",
        Section::Kernels,
        &["degraded: counts and times of operations [chrome.truncated]"],
    ),
    ("tv145_truncated.json", Section::Idle, &["[chrome.truncated]"]),
    ("tl669_overflow.json", Section::Devices, &["[device.overlap]"]),
    ("tl669_overflow.json", Section::Quality, &["the longest fmha_bwd with 1.600 s"]),
    (
        "pt192021_lost.json",
        Section::Quality,
        &["error: 30 of 50 launches have no kernel in the trace"],
    ),
    (
        "tpu_arstart.xplane.pb",
        Section::Collectives,
        &["all-reduce.1  TPU:0 … TPU:1      1        2      -  102.00 us  0.00 us  102.00 us"],
    ),
    ("tpu_arstart.xplane.pb", Section::Collectives, &["  40.00 us"]),
    (
        "merged_two_nodes.json",
        Section::Devices,
        &[
            "gpu:0 of [TP00-DP00] 0  AMD Instinct MI355X  950.00 us  500.00 us",
            "gpu:0 of [TP01-DP00] 0  AMD Instinct MI355X  950.00 us  500.00 us",
        ],
    ),
    ("profiler_steps.json", Section::Steps, &["ProfilerStep  unknown      4  3.600 ms  900.00 us"]),
    (
        "profiler_steps.json",
        Section::Steps,
        &["     3  ProfilerStep  unknown   0.00 us  900.00 us"],
    ),
    ("torch_steps.json", Section::Steps, &["ProfilerStep  unknown      4  3.960 ms  990.00 us"]),
    (
        "fleet/vllm_steps/dp0_pp0_tp0.1795.pt.trace.json.gz",
        Section::Steps,
        &["execute  prefill      2  8.700 ms", "execute  decode       4  3.700 ms"],
    ),
    (
        "tpu_counters.xplane.pb",
        Section::Kernels,
        &["ep_wait_in         1   80.00 us         80.0 %", "MXU         2        14.4 %"],
    ),
    ("tpu_counters.xplane.pb", Section::Kernels, &["  dma       -"]),
    ("gpu_cmdbuf_hlo.xplane.pb", Section::Layers, &["attention  10.00 us  10.00 us   47.6 %"]),
    (
        "riegeli/jax0.12_cpu.xplane.riegeli",
        Section::Kernels,
        &["ynn_fusion  unknown         1           50   34.295 ms"],
    ),
    ("ranks", Section::Collectives, &["1.100 ms  900.00 us", "gpu:1 (1x, 900.00 us)"]),
    ("mh", Section::Collectives, &["2.200 ms  800.00 us?  1.400 ms?", "TPU:1 (4x, 800.00 us)"]),
    (
        "mh_one.xplane.pb",
        Section::Collectives,
        &["2.200 ms  800.00 us  1.400 ms", "TPU:1 (4x, 800.00 us)"],
    ),
    (
        "modules.json",
        Section::Layers,
        &[
            "mlp        600.00 us  60.0 %",
            "Attention_0        300.00 us",
            "RotaryEmbedding_0  100.00 us",
        ],
    ),
    (
        "old_categories.json",
        Section::Kernels,
        &[
            "matmul        1   90.00 us  78.3 %",
            "copy          1   20.00 us",
            "memset        1    5.00 us",
        ],
    ),
    ("sess3", Section::Steps, &["Steps  unknown     10  550.00 us  55.00 us  50.00 us"]),
    (
        "jaxdir",
        Section::Devices,
        &["TPU:0   TPU v6 Lite  100.00 us  82.00 us  18.00 us      82.0 %"],
    ),
    (
        "gpu_cmdbuf_hlo.xplane.pb",
        Section::Layers,
        &["attention   10.00 us  47.6 %", "norm         6.00 us", "mlp          5.00 us"],
    ),
    (
        "faults/empty_run/20261130T234945Z-score-xscope_preset-cpu",
        Section::Quality,
        &["warning: the run was interrupted before its first request was answered"],
    ),
    ("faults/abs_timestamp.xplane.pb", Section::Devices, &["1.000 ms  999.00 us"]),
    (
        "faults/rel_timestamp.xplane.pb",
        Section::Devices,
        &["TPU:0          1.999 ms  1.000 ms  999.00 us"],
    ),
];

#[test]
fn inputs_of_known_answers_get_them() {
    let Some(cases) = xscope_testing::cases() else { return };
    for (name, section, lines) in CASES {
        let report = analyze(&read_paths(&[cases.join(name)]).unwrap());
        let shown = section_text(&report, *section, Style::Terminal).to_string();
        assert!(!shown.contains("2 GiB"), "{name}: {shown}");
        for line in *lines {
            assert!(shown.contains(line), "{name}: no `{line}` in\n{shown}");
        }
    }
}
