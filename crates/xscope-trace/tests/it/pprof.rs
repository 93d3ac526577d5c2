//! pprof profiles and sglang-jax's memory reports.

use xscope_trace::model::{Format, SourceId, StackProfile, Trace};
use xscope_trace::quality::Code;
use xscope_trace::read::read_bytes;
use xscope_trace::{Error, read_paths};

use xscope_testing::{fixture, traces};

fn total(profile: &StackProfile, kind: usize) -> i64 {
    (0..profile.len()).map(|sample| profile.value(sample, kind)).sum()
}

fn text(trace: &Trace, id: xscope_trace::strings::StrId) -> &str {
    trace.strings.get(id)
}

#[test]
fn a_device_memory_profile_has_its_stacks_and_labels() {
    let trace = read_paths(&[fixture("pprof/device_memory.prof")]).unwrap();
    let profile = &trace.profiles[0];
    let kinds: Vec<_> =
        profile.types.iter().map(|it| (text(&trace, it.name), text(&trace, it.unit))).collect();
    assert_eq!(kinds, [("allocations", "count"), ("space", "bytes")]);
    assert_eq!(profile.default_type, 1);
    assert_eq!(trace.sources[SourceId(0)].format, Format::Pprof);
    assert!(profile.len() > 1 && total(profile, 1) > 0, "{}", total(profile, 1));
    let kind = |sample: usize| {
        let label = profile.labels_of(sample).iter().find(|it| text(&trace, it.key) == "kind");
        label.map(|label| text(&trace, label.text))
    };
    assert!((0..profile.len()).all(|sample| matches!(kind(sample), Some("buffer" | "executable"))));
    let buffer = (0..profile.len()).find(|&sample| kind(sample) == Some("buffer")).unwrap();
    let mut frames = profile.frames_of(buffer);
    assert!(frames.all(|frame| !frame.function.is_empty()));
    assert!(trace.findings.is_empty(), "{:?}", trace.findings);
}

#[test]
fn all_memory_profiles_of_jax_are_read() {
    let Some(folder) = traces() else { return };
    let sizes = [("fsdp2_tp4_train", true), ("tp8_forward", true)];
    for (name, has_samples) in sizes {
        let trace = read_paths(&[folder.join(format!("jax_cpu/{name}.memory.prof"))]).unwrap();
        assert_eq!(!trace.profiles[0].is_empty(), has_samples, "{name}");
    }
    let trace = read_paths(&[folder.join("sglang_jax_cpu/mem/out")]).unwrap();
    assert_eq!((trace.profiles.len(), trace.memory_reports.len()), (3, 3));
    let layer = trace.memory_reports.iter().find(|report| report.layer == Some(2)).unwrap();
    assert_eq!(text(&trace, layer.report_type), "attention");
    assert_eq!(text(&trace, layer.stage), "before_attn");
    let shapes: Vec<_> =
        layer.tensors.iter().map(|it| (text(&trace, it.name), &it.shape)).collect();
    assert_eq!(shapes, [("k", &vec![64, 2, 128]), ("q", &vec![64, 4, 128])]);
}

#[test]
fn profiles_of_the_older_kind_are_named() {
    let words: Vec<u8> = [0_u64, 3, 0, 10_000, 0].iter().flat_map(|it| it.to_le_bytes()).collect();
    let error = read_bytes("old.cpu.pb", words).unwrap_err();
    assert!(error.to_string().contains("pprof -proto"), "{error}");
    let Some(folder) = traces() else { return };
    for name in ["cppbench", "go.crc32", "gobench", "java"] {
        let error = read_paths(&[folder.join(format!("pprof/{name}.cpu.pb"))]).unwrap_err();
        assert!(error.to_string().contains("gperftools"), "{error}");
    }
}

fn field(number: u8, body: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat()
}

#[test]
fn references_that_lead_nowhere_are_counted() {
    let bytes = [
        field(1, &[8, 1, 16, 2]),
        // A sample at locations 1 and 9, of which only 1 exists, with two values for one type.
        field(2, &[10, 2, 1, 9, 18, 2, 7, 8]),
        field(4, &[8, 1, 34, 2, 8, 5]),
        field(6, b""),
        field(6, b"space"),
    ]
    .concat();
    let trace = read_bytes("small.prof", bytes).unwrap();
    let profile = &trace.profiles[0];
    assert_eq!((profile.len(), profile.value(0, 0), profile.frames_of(0).count()), (1, 7, 1));
    let finding =
        trace.findings.iter().find(|finding| finding.code == Code::PprofDangling).unwrap();
    // The unit, the location, the function.
    assert_eq!(finding.count, 3);
}

#[test]
fn memory_reports_say_what_is_wrong_with_them() {
    let read = |text: &str| read_bytes("memory_report_a.json", text.as_bytes().to_vec());
    let whole = r#"{"report_type":"mlp","layer_id":4,"stage":"ffn","total_memory_mb":2.0,
        "tensors":{"x":{"memory_mb":2.0,"shape":[4],"dtype":"bfloat16"}}}"#;
    let trace = read(whole).unwrap();
    assert_eq!(trace.memory_reports[0].layer, Some(4));
    assert!(trace.findings.is_empty());
    let trace = read(&whole.replace("2.0,\n", "3.0,\n")).unwrap();
    assert_eq!(trace.findings[0].code, Code::MemoryReportSum);
    let error = read(&whole[..60]).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let other = read_bytes("stats.json", br#"{"a":1}"#.to_vec()).unwrap_err();
    assert!(other.to_string().contains("stats.json"), "{other}");
}
