//! What no sentence of a first page may break, on every trace.

use proptest::prelude::{Strategy, any, proptest};
use xscope_analysis::AnalyzeReport;
use xscope_analysis::framework::Framework;
use xscope_analysis::reports::claim::{Basis, ClaimFigure};
use xscope_analysis::section::Section;
use xscope_analysis::{analyze, words::percent};
use xscope_trace::Trace;
use xscope_trace::read::read_paths;
use xscope_view::{Style, section_report, section_text};

/// The numbers with units of a text, each as it stands there.
fn numbers(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let pairs = words.windows(2).filter(|pair| is_number(pair[0].trim_start_matches('(')));
    let with_unit = pairs.filter_map(|pair| {
        let unit = pair[1].trim_end_matches([',', ';', ')', ':', '.']);
        let number = pair[0].trim_start_matches('(');
        ["%", "s", "ms", "us", "ns"].contains(&unit).then(|| format!("{number} {unit}"))
    });
    with_unit.collect()
}

/// The words of another framework than that of the profile.
fn foreign(framework: Option<Framework>) -> Vec<&'static str> {
    let of = [
        (Framework::Jax, &["jax.", "JAX", "XLA_FLAGS"][..]),
        (Framework::PyTorch, &["with_stack", "PyTorch", "CUDA"][..]),
        (Framework::TensorFlow, &["tf.name_scope", "TensorFlow"][..]),
    ];
    let others = of.into_iter().filter(|(of, _)| Some(*of) != framework);
    let tracer = ["enable_hlo_proto", "host_tracer_level", "python_tracer_level"];
    let has_tracer = matches!(framework, Some(Framework::Jax | Framework::TensorFlow));
    let tracer = tracer.into_iter().filter(|_| !has_tracer);
    others.flat_map(|(_, words)| words.iter().copied()).chain(tracer).collect()
}

/// What a figure is, added up from the rows that it names.
fn recomputed(report: &AnalyzeReport, section: Section, figure: &ClaimFigure) -> Option<f64> {
    let windows: f64 = report.devices.iter().map(|device| device.window_us).sum();
    let idle: f64 = report.idle.iter().map(|row| row.idle_us).sum();
    let sum = |rows: &mut dyn Iterator<Item = f64>| rows.sum::<f64>();
    let first = figure.rows.first();
    match (section, figure.of) {
        (Section::Idle, Basis::Window) => Some(idle / windows),
        (Section::Idle, Basis::Idle) => {
            let causes = report.idle.iter().flat_map(|row| &row.causes);
            let same = causes.filter(|row| Some(row.cause) == first.map(String::as_str));
            Some(sum(&mut same.map(|row| row.us)) / idle)
        }
        (Section::Collectives, Basis::Window) => {
            let rows = report.timeline.iter();
            Some(sum(&mut rows.map(|row| row.exposed_communication_us)) / windows)
        }
        (Section::Devices, Basis::Window) => {
            Some(sum(&mut report.timeline.iter().map(|row| row.exposed_copy_us)) / windows)
        }
        (Section::Layers, Basis::Operations) => {
            let mut components = report.layers.components.iter();
            components.find(|row| Some(&row.name) == first).map(|row| row.share)
        }
        (Section::Compiles, Basis::Capture) => {
            let measured = report.compiles.iter().filter(|row| row.in_window);
            Some(sum(&mut measured.map(|row| row.duration_us)) / report.window_us)
        }
        _ => None,
    }
}

fn check(name: &str, trace: &Trace) {
    let report = analyze(trace);
    let headlines = &report.headlines;
    assert!(headlines.len() <= 3, "{name}: {headlines:#?}");
    for headline in headlines {
        let (text, section) = (&headline.text, headline.section);
        assert!(headline.share >= 0.01, "{name}: what nobody needs to know: {text}");
        let shown = section_text(&report, section, Style::Markdown).to_string();
        let shares: Vec<String> = headline
            .figures
            .iter()
            .filter(|figure| figure.unit == "1")
            .map(|figure| percent(figure.value))
            .collect();
        // A finding's own words are in its section as they are.
        if section == Section::Quality {
            assert!(shown.contains(text.as_str()), "{name}: {text}");
            continue;
        }
        for number in numbers(text) {
            assert!(shown.contains(&number), "{name}: {number} of `{text}` is not in {shown}");
            assert!(
                !number.ends_with('%') || shares.contains(&number),
                "{name}: {number} of {text}"
            );
        }
        for (most, above) in
            [("most of it, ", true), ("for most of that, ", true), ("largest part, ", false)]
        {
            for share in text.split(most).skip(1).filter_map(|rest| rest.split(' ').next()) {
                let share: f64 = share.parse().unwrap();
                assert!((share >= 50.0) == above || share == 50.0, "{name}: {text}");
            }
        }
        let json = serde_json::to_string(&section_report(&report, section)).unwrap();
        for figure in &headline.figures {
            if let Some(value) = recomputed(&report, section, figure) {
                assert!((value - figure.value).abs() < 1e-9, "{name}: {value} is not {figure:?}");
            }
            for row in figure.rows.iter().filter(|row| !row.is_empty()) {
                let quoted = serde_json::to_string(row).unwrap();
                assert!(json.contains(quoted.trim_matches('"')), "{name}: no {row} for {text}");
            }
        }
    }
    for word in foreign(report.framework) {
        let findings = report.quality.iter().map(|finding| &finding.message);
        for said in findings.chain(headlines.iter().flat_map(|it| [&it.text, &it.next])) {
            assert!(!said.contains(word), "{name} ({:?}): {word} in {said}", report.framework);
        }
    }
}

#[test]
fn sentences_do_not_outrun_their_rows_on_real_traces() {
    let (Some(traces), Some(cases)) = (xscope_testing::traces(), xscope_testing::cases()) else {
        return;
    };
    let mut read = 0;
    for folder in [traces, cases] {
        let files = xscope_testing::files(&folder);
        // What takes a debug build a minute.
        let slow = std::env::var_os("XSCOPE_SLOW_TESTS").is_some();
        for path in files.iter().filter(|path| slow || path.extension().is_none_or(|it| it != "xz"))
        {
            if let Ok(trace) = read_paths(std::slice::from_ref(path)) {
                check(&path.display().to_string(), &trace);
                read += 1;
            }
        }
        for together in ["ranks_dlrm", "jax_cpu/multihost2x4", "ranks", "mh"] {
            if let Ok(trace) = read_paths(&[folder.join(together)]) {
                check(together, &trace);
            }
        }
    }
    assert!(read > 40, "{read}");
}

/// An event of a trace: what it is of, its name, start and duration.
type Made = (usize, usize, u32, u32);

fn chrome(events: &[Made]) -> String {
    const HOST: [&str; 8] = [
        "aten::mm",
        "cudaMemcpyAsync",
        "queue.py(171): get",
        "cudaLaunchKernel",
        "ProfilerStep#1",
        "cudaDeviceSynchronize",
        "nn.Module: Attention_0",
        "cudaGraphLaunch",
    ];
    const DEVICE: [&str; 6] =
        ["gemm", "ncclDevKernel_AllReduce", "Memcpy HtoD", "softmax", "layer_norm", "fmha"];
    let event = |&(on, name, ts, dur): &Made| match on {
        0 => format!(
            r#"{{"ph":"X","cat":"cpu_op","name":"{}","pid":9,"tid":1,"ts":{ts},"dur":{dur}}}"#,
            HOST[name % HOST.len()]
        ),
        device => format!(
            r#"{{"ph":"X","cat":"{}","name":"{}","pid":{device},"tid":7,"ts":{ts},"dur":{dur},"args":{{"device":{device},"stream":7}}}}"#,
            if name % DEVICE.len() == 2 { "gpu_memcpy" } else { "kernel" },
            DEVICE[name % DEVICE.len()]
        ),
    };
    let events: Vec<String> = events.iter().map(event).collect();
    format!(r#"{{"traceEvents":[{}]}}"#, events.join(","))
}

fn events() -> impl Strategy<Value = Vec<Made>> {
    proptest::collection::vec((0_usize..4, any::<usize>(), 0_u32..100_000, 0_u32..20_000), 1..60)
}

proptest! {
    #[test]
    fn sentences_do_not_outrun_their_rows_on_any_trace(events in events()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.json");
        std::fs::write(&path, chrome(&events)).unwrap();
        check("made", &read_paths(&[path]).unwrap());
    }
}
