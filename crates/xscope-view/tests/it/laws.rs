//! What no sentence of a first page may break, on every trace.

use proptest::prelude::{Strategy, any, proptest};
use xscope_analysis::AnalyzeReport;
use xscope_analysis::framework::Framework;
use xscope_analysis::from_disk::read;
use xscope_analysis::reports::claim::{Basis, ClaimFigure};
use xscope_analysis::section::Section;
use xscope_analysis::{analyze, words::percent};
use xscope_trace::Trace;
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
    check_shares(name, &report);
    let empty = check_empty(name, &report);
    for word in foreign(report.framework) {
        let findings = report.quality.iter().map(|finding| &finding.message);
        let said = findings.chain(headlines.iter().flat_map(|it| [&it.text, &it.next]));
        for said in said.chain(&empty) {
            assert!(!said.contains(word), "{name} ({:?}): {word} in {said}", report.framework);
        }
    }
}

/// The sections that say why they are empty: that nothing is recorded, where nothing is.
fn check_empty(name: &str, report: &AnalyzeReport) -> Vec<String> {
    const OF_DEVICES: [Section; 7] = [
        Section::Layers,
        Section::Kernels,
        Section::Devices,
        Section::Idle,
        Section::Collectives,
        Section::Programs,
        Section::Steps,
    ];
    let mut empty = Vec::new();
    for &section in Section::ALL {
        let shown = section_text(report, section, Style::Markdown).to_string();
        let is_recorded = !shown.contains("not recorded");
        if OF_DEVICES.contains(&section) && report.kernels.is_empty() && report.devices.is_empty() {
            let has_steps = section == Section::Steps && !report.steps.steps.is_empty();
            assert!(!is_recorded || has_steps, "{name}: {shown}");
        }
        if !is_recorded {
            empty.push(shown);
        }
    }
    empty
}

/// A share is a part of a whole, and those of a table are the whole.
fn check_shares(name: &str, report: &AnalyzeReport) {
    let json = serde_json::to_value(report).unwrap();
    each_share("", &json, &mut |place, share| {
        assert!((-1e-9..=1.0 + 1e-9).contains(&share), "{name}: {place} is {share}");
    });
    let near = |sum: f64, whole: f64| (sum - whole).abs() <= 1e-6 * whole.abs().max(1.0);
    let busy = report.kernels.iter().any(|kernel| kernel.self_us > 0.0);
    for (what, shares) in [
        ("categories", report.categories.iter().map(|row| row.share).collect::<Vec<_>>()),
        ("components", report.layers.components.iter().map(|row| row.share).collect()),
    ] {
        let sum: f64 = shares.iter().sum();
        assert!(!busy || near(sum, 1.0), "{name}: shares of {what} add up to {sum}");
    }
    for row in report.idle.iter().filter(|row| row.idle_us > 0.0) {
        let sum: f64 = row.causes.iter().map(|cause| cause.us).sum();
        assert!(near(sum, row.idle_us), "{name}: {sum} of {}", row.idle_us);
    }
    for row in &report.timeline {
        let parts =
            [row.computation_us, row.exposed_communication_us, row.exposed_copy_us, row.idle_us];
        assert!(near(parts.iter().sum(), row.window_us), "{name}: {row:?}");
    }
    for row in &report.collectives {
        let wait = row.wait_us.value.unwrap_or_default();
        let (inside, most) = (wait - row.barrier_us, row.total_us * (1.0 + 1e-9) + 1e-6);
        assert!(inside <= most && inside >= -1e-6, "{name}: {row:?}");
        let moving = row.transfer_us.value.unwrap_or_default();
        assert!(inside + moving <= most && moving >= 0.0, "{name}: {row:?}");
        let caused: f64 = row.late.iter().map(|late| late.caused_us).sum();
        assert!(caused <= wait * (1.0 + 1e-9) + 1e-3, "{name}: {row:?}");
        assert!(row.late.iter().all(|late| late.count <= row.count), "{name}: {row:?}");
        assert!(row.hidden_us <= row.total_us * (1.0 + 1e-9), "{name}: {row:?}");
    }
}

/// Every number of a document that is called a share, with its place.
fn each_share(place: &str, json: &serde_json::Value, visit: &mut impl FnMut(&str, f64)) {
    let of = |key: &str| format!("{place}.{key}");
    match json {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                let number = value.as_f64().or_else(|| value["value"].as_f64());
                match number.filter(|_| key == "share" || key.ends_with("_share")) {
                    Some(number) => visit(&of(key), number),
                    None => each_share(&of(key), value, visit),
                }
            }
        }
        serde_json::Value::Array(rows) => rows.iter().for_each(|row| each_share(place, row, visit)),
        _ => {}
    }
}

#[test]
fn sentences_do_not_outrun_their_rows_on_real_traces() {
    let (Some(traces), Some(cases)) = (xscope_testing::traces(), xscope_testing::cases()) else {
        return;
    };
    let mut checked = 0;
    for folder in [traces, cases] {
        let files = xscope_testing::files(&folder);
        // What takes a debug build a minute.
        let slow = std::env::var_os("XSCOPE_SLOW_TESTS").is_some();
        for path in files.iter().filter(|path| slow || path.extension().is_none_or(|it| it != "xz"))
        {
            if let Ok(trace) = read(std::slice::from_ref(path)) {
                check(&path.display().to_string(), &trace);
                checked += 1;
            }
        }
        for together in ["ranks_dlrm", "jax_cpu/multihost2x4", "ranks", "mh"] {
            if let Ok(trace) = read(&[folder.join(together)]) {
                check(together, &trace);
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

/// An event of a trace: what it is of, its name, start and duration.
type Made = (usize, usize, u32, u32);

/// A trace as PyTorch's profiler writes it, or as JAX's does.
fn chrome(events: &[Made], is_jax: bool) -> String {
    const OF_JAX: [&str; 6] = [
        "PjitFunction(f)",
        "$socket.py:961 recv_pyobj",
        "BufferFromHostBuffer",
        "XlaCompile",
        "$array.py:615 _value",
        "block_until_ready",
    ];
    const OPS: [&str; 7] = [
        "fusion.1",
        "all-reduce-start.1",
        "all-reduce-done.1",
        "copy-start.2",
        "copy-done.2",
        "dot.3",
        "all-gather.4",
    ];
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
        0 if is_jax => format!(
            r#"{{"ph":"X","name":"{}","pid":9,"tid":1,"ts":{ts},"dur":{dur}}}"#,
            OF_JAX[name % OF_JAX.len()]
        ),
        device if is_jax => format!(
            r#"{{"ph":"X","name":"{}","pid":{device},"tid":7,"ts":{ts},"dur":{dur},"args":{{"hlo_category":"{}","run_id":"{}"}}}}"#,
            OPS[name % OPS.len()],
            OPS[name % OPS.len()].split('.').next().unwrap(),
            name % 3 + 1
        ),
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
    let named = |pid: usize| {
        let name =
            if pid == 9 { "/host:CPU".to_owned() } else { format!("/device:TPU:{}", pid - 1) };
        let process =
            format!(r#"{{"ph":"M","name":"process_name","pid":{pid},"args":{{"name":"{name}"}}}}"#);
        let thread =
            r#"{"ph":"M","name":"thread_name","pid":PID,"tid":7,"args":{"name":"XLA Ops"}}"#;
        format!("{process},{}", thread.replace("PID", &pid.to_string()))
    };
    let names = if is_jax { [1, 2, 3, 9].map(named).into() } else { Vec::new() };
    let events: Vec<String> = names.into_iter().chain(events.iter().map(event)).collect();
    format!(r#"{{"traceEvents":[{}]}}"#, events.join(","))
}

fn events() -> impl Strategy<Value = Vec<Made>> {
    proptest::collection::vec((0_usize..4, any::<usize>(), 0_u32..100_000, 0_u32..20_000), 1..60)
}

/// Two kernels at once on one stream: their times are twice the window.
#[test]
fn sentences_do_not_outrun_their_rows_where_kernels_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.json");
    std::fs::write(&path, chrome(&[(2, 5, 0, 9320), (2, 5, 1, 9320)], false)).unwrap();
    check("made", &read(&[path]).unwrap());
}

proptest! {
    #[test]
    fn sentences_do_not_outrun_their_rows_on_any_trace(events in events(), is_jax in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.json");
        std::fs::write(&path, chrome(&events, is_jax)).unwrap();
        check("made", &read(&[path]).unwrap());
    }
}
