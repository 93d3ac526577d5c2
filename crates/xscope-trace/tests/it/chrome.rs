use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{DeviceId, DeviceKind, SliceRef, SourceId, Track, TrackId, TrackKind};
use xscope_trace::quality::Code;
use xscope_trace::read::chrome;
use xscope_trace::{Nanos, Picos, Trace, read_paths};

use xscope_testing::{fixture, traces};

fn read(json: impl AsRef<[u8]>) -> Trace {
    let mut trace = Trace::default();
    chrome::read("test.trace.json", || json.as_ref(), &mut trace).unwrap();
    trace
}

fn codes(trace: &Trace) -> Vec<(&str, u64)> {
    trace.findings.iter().map(|finding| (finding.code.as_str(), finding.count)).collect()
}

/// One row of Perfetto's answer: the cells of the columns that were asked for.
type Row = Vec<String>;

/// The rows of a CSV file whose quoted cells have no line breaks.
fn csv(path: &Path) -> (Row, Vec<Row>) {
    let text = fs::read_to_string(path).unwrap();
    let mut rows = text.lines().map(cells);
    (rows.next().unwrap(), rows.collect())
}

fn cells(line: &str) -> Row {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

/// A slice with one of its arguments.
struct Answer<'a> {
    trace: &'a Trace,
    track: &'a Track,
    row: usize,
    arg: Option<(&'a str, ArgValue)>,
}

impl Answer<'_> {
    fn name(&self) -> &str {
        self.trace.label(self.track.slices.meta[self.row])
    }

    /// The cell of one column as Perfetto prints it.
    fn cell(&self, column: &str) -> String {
        let null = || "[NULL]".to_owned();
        let text = |id| match self.trace.strings.get(id) {
            "" => null(),
            text => text.to_owned(),
        };
        let slices = &self.track.slices;
        let key = || self.arg.as_ref().map_or_else(null, |(key, _)| format!("args.{key}"));
        match (column, self.arg.as_ref().map(|(_, value)| value)) {
            ("ts", _) => {
                let base = self.trace.sources[self.track.source].clock.base;
                (base.0 + slices.start[self.row].0 / 1000).to_string()
            }
            ("dur", _) => match slices.dur[self.row] {
                Picos::UNFINISHED => "-1".to_owned(),
                dur => (dur.0 / 1000).to_string(),
            },
            ("name", _) => self.name().to_owned(),
            ("thread_name" | "track_name", _) => text(self.track.name),
            ("process_name", _) => text(self.track.process),
            ("pid", _) => self.track.pid.to_string(),
            ("tid", _) => self.track.tid.to_string(),
            ("track_type", _) => match self.track.pid {
                Track::NO_PROCESS => "legacy_async_global_slice".to_owned(),
                _ => "legacy_async_process_slice".to_owned(),
            },
            ("flat_key" | "key", _) => key(),
            ("string_value", Some(ArgValue::Text(text))) => text.clone(),
            ("int_value", Some(ArgValue::Int(value))) => value.to_string(),
            ("string_value" | "int_value", _) => null(),
            (column, _) => panic!("unknown column {column}"),
        }
    }
}

/// All slices with each of their arguments, or once if they have none.
fn slices(trace: &Trace) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    for track in &trace.tracks {
        for row in 0..track.slices.len() {
            let args = track.slices.args.get(row, &trace.strings);
            if args.is_empty() {
                answers.push(Answer { trace, track, row, arg: None });
            }
            let args = args.into_iter().map(Some);
            answers.extend(args.map(|arg| Answer { trace, track, row, arg }));
        }
    }
    answers
}

/// What this crate answers to the query that made the rows of `case`.
fn answer(case: &str, header: &[String], trace: &Trace) -> Vec<Row> {
    let text = |id| match trace.strings.get(id) {
        "" => "[NULL]".to_owned(),
        text => text.to_owned(),
    };
    let rows = slices(trace);
    let all =
        |answer: &Answer<'_>| -> Row { header.iter().map(|column| answer.cell(column)).collect() };
    match case {
        "json_counter_args" => {
            let row = |counter: &xscope_trace::model::Counter| {
                let process = trace.processes.iter().find(|process| process.pid == counter.pid);
                let process = process.map_or_else(|| "[NULL]".to_owned(), |p| text(p.name));
                let value = format!("{:.6}", counter.value[0]);
                vec![counter.pid.to_string(), process, text(counter.name), value]
            };
            trace.counters.iter().map(row).collect()
        }
        "json_metadata_missing_or_invalid_ts" => {
            let processes = trace.processes.iter();
            processes.map(|process| vec![process.pid.to_string(), text(process.name)]).collect()
        }
        // The query counts over all slices, so that it answers with the first one alone.
        "json_flow" => {
            let first = rows.iter().find(|answer| answer.track.tid == 11).unwrap();
            let flows = trace.flows.len().to_string();
            let mut row: Row = header[..3].iter().map(|column| first.cell(column)).collect();
            row.extend([flows.clone(), flows]);
            vec![row]
        }
        "args_ordered" => rows.iter().map(all).collect(),
        case if case.starts_with("json_id2_") => {
            let mut rows: Vec<Row> = rows.iter().map(all).collect();
            rows.dedup();
            rows
        }
        _ => {
            // Slices of threads and processes.
            let own = rows.iter().filter(|answer| answer.track.pid != Track::NO_PROCESS);
            own.map(all).collect()
        }
    }
}

fn check_perfetto_cases(folder: &Path) {
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    cases.sort();
    assert_eq!(cases.len(), 15);
    for path in cases {
        let case = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (header, mut expected) = csv(&path.with_extension("expected.csv"));
        let trace = read_paths(&[path]).unwrap();
        let mut rows = answer(&case, &header, &trace);
        if case != "args_ordered" {
            rows.sort();
            expected.sort();
        }
        assert_eq!(rows, expected, "{case}");
    }
}

#[test]
fn corner_cases_answer_as_perfetto_does() {
    check_perfetto_cases(&fixture("chrome_json"));
    if let Some(traces) = traces() {
        check_perfetto_cases(&traces.join("chrome_json"));
    }
}

/// Count and summed picoseconds by name.
type Sums = BTreeMap<String, (usize, i64)>;

fn add(sums: &mut Sums, name: &str, dur: i64) {
    let sum = sums.entry(name.to_owned()).or_default();
    sum.0 += 1;
    sum.1 += dur;
}

/// Rows of the tracks of measured operations: track, start, end, name, category.
fn ops(trace: &Trace) -> impl Iterator<Item = (&Track, Picos, Picos, &str, &str)> {
    let tracks = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    tracks.flat_map(move |track| {
        let slices = &track.slices;
        (0..slices.len()).map(move |row| {
            let meta = trace.meta(slices.meta[row]);
            let text = |id| trace.strings.get(id);
            (track, slices.start[row], slices.end(row), text(meta.name), text(meta.category))
        })
    })
}

/// A Kineto trace and the figures of TraceLens for it: kernels and GPU time line.
fn check_kineto(folder: &Path, name: &str, model: &str, flows: usize) {
    let trace = read_paths(&[folder.join(format!("{name}.json.gz"))]).unwrap();
    assert_eq!(codes(&trace), [], "{name}");
    assert_eq!(trace.devices.len(), 1, "{name}");
    assert_eq!(trace.strings.get(trace.devices[DeviceId(0)].model), model, "{name}");
    let expected = folder.join(format!("{name}_expected"));

    let mut kernels = Sums::new();
    for (_, start, end, kernel, category) in ops(&trace) {
        if category == "kernel" {
            add(&mut kernels, kernel, (end - start).0);
        }
    }
    let (header, rows) = csv(&expected.join("kernel_summary.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (kernel, sum, count) = (
        column("Kernel name"),
        column("Kernel duration (µs)_sum"),
        column("Kernel duration (µs)_count"),
    );
    // One row for each operation that launches a kernel.
    let mut theirs: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for row in &rows {
        let entry = theirs.entry(row[kernel].clone()).or_default();
        entry.0 += row[count].parse::<usize>().unwrap();
        entry.1 += row[sum].parse::<f64>().unwrap();
    }
    assert_eq!(kernels.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
    for (kernel, (count, sum)) in &kernels {
        let (their_count, their_sum) = theirs[kernel];
        assert_eq!(*count, their_count, "{name}: {kernel}");
        assert!((Picos(*sum).as_micros() - their_sum).abs() < 0.0005, "{name}: {kernel}");
    }

    // Busy is the union of kernels, copies and fills; total is from the start of the first of
    // them to the end of the last. TraceLens adds in `f64` microseconds since the boot of the
    // machine and is up to 5 ns off per file for it.
    let mut intervals: Vec<(Picos, Picos)> =
        ops(&trace).map(|(_, start, end, ..)| (start, end)).collect();
    intervals.sort();
    let (mut busy, mut until) = (0, Picos(i64::MIN));
    for &(start, end) in &intervals {
        busy += (end.0 - start.max(until).0).max(0);
        until = until.max(end);
    }
    let total = until - intervals[0].0;
    let (_, rows) = csv(&expected.join("gpu_timeline.csv"));
    let millis =
        |name: &str| -> f64 { rows.iter().find(|row| row[0] == name).unwrap()[1].parse().unwrap() };
    assert!((Picos(busy).as_micros() / 1e3 - millis("busy_time")).abs() < 6e-6, "{name}");
    assert!((total.as_micros() / 1e3 - millis("total_time")).abs() < 6e-6, "{name}");

    // Each flow leads from a call on the host to an operation on the GPU, not back in time.
    assert_eq!(trace.flows.len(), flows, "{name}");
    for flow in &trace.flows {
        let [from, to] = [flow.from, flow.to].map(|at| (&trace.tracks[at.track], at.row));
        assert_eq!((from.0.kind, to.0.kind), (TrackKind::HostThread, TrackKind::Ops));
        let arg = |(track, row): (&Track, u32)| {
            track.slices.args.find(row as usize, "correlation", &trace.strings)
        };
        assert_eq!(arg(from), arg(to));
    }
}

#[test]
fn kineto_agrees_with_published_figures() {
    let Some(traces) = traces() else { return };
    let folder = traces.join("kineto");
    let (h100, mi300) = ("NVIDIA H100 80GB HBM3", "AMD Instinct MI300X VF");
    check_kineto(&folder, "h100_bert", h100, 61);
    check_kineto(&folder, "h100_nsfw_image_detection", h100, 156);
    check_kineto(&folder, "h100_timesformer", h100, 534);
    check_kineto(&folder, "mi300_bert", mi300, 61);
    check_kineto(&folder, "mi300_nsfw_image_detection", mi300, 155);
    check_kineto(&folder, "mi300_timesformer", mi300, 449);
}

#[test]
fn unix_time_gets_a_base() {
    let Some(traces) = traces() else { return };
    for (rank, kernels) in [(0, 261), (1, 326), (2, 262), (3, 337)] {
        let path = traces.join(format!("ranks_dlrm/rank{rank}.pt.trace.json.gz"));
        let trace = read_paths(&[path]).unwrap();
        assert_eq!(codes(&trace), []);
        let source = &trace.sources[SourceId(0)];
        assert_eq!(source.clock.base.0, 1_694_128_201_000_000_000);
        assert_eq!(source.clock.unix_epoch, Some(source.clock.base));
        let fact = source.facts.iter().find(|(key, _)| key == "distributedInfo.rank");
        assert_eq!(fact.unwrap().1, rank.to_string());
        assert_eq!(ops(&trace).count(), kernels, "{rank}");
        assert_eq!(trace.devices[DeviceId(0)].ordinal, rank);
    }
}

/// Operations by device and name; host slices by name.
fn jax_sums(trace: &Trace) -> (Sums, Sums) {
    let mut devices = Sums::new();
    for (track, start, end, name, _) in ops(trace) {
        let device = &trace.devices[track.device.unwrap()];
        let name = format!("{} {name}", trace.strings.get(device.name));
        add(&mut devices, &name, (end - start).0);
    }
    let mut host = Sums::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread) {
        for row in 0..track.slices.len() {
            let name = trace.label(track.slices.meta[row]);
            add(&mut host, name, (track.slices.end(row) - track.slices.start[row]).0);
        }
    }
    (devices, host)
}

#[test]
fn jax_json_has_the_operations_of_its_xplane() {
    let Some(traces) = traces() else { return };
    let folder = traces.join("jax_cpu/tp8_forward/plugins/profile/2026_11_24_04_22_14");
    let json = read_paths(&[folder.join("vm.trace.json.gz")]).unwrap();
    let xplane = read_paths(&[folder.join("vm.xplane.pb")]).unwrap();
    let (ours, host) = jax_sums(&json);
    let (theirs, their_host) = jax_sums(&xplane);
    assert_eq!(ours.values().map(|sum| sum.0).sum::<usize>(), 3808);
    assert_eq!(ours, theirs);
    // The exporter writes 1 ps where an event takes no time.
    let listener = |name: &str| name.starts_with("ThreadpoolListener::");
    assert_eq!(host.len(), 166);
    for (name, (count, dur)) in &host {
        let expected = (*count, if listener(name) { 0 } else { *dur });
        assert_eq!(their_host.get(name), Some(&expected), "{name}");
    }
    // Each execution of each program on each device, too.
    let runs = |trace: &Trace| {
        let mut runs: Vec<_> = Vec::new();
        for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
            for row in 0..track.slices.len() {
                let meta = trace.meta(track.slices.meta[row]);
                let program = meta.program.map(|id| trace.programs[id].name);
                // XPlane numbers them: `jit_fwd(6)`.
                let program = trace.strings.get(program.unwrap()).split('(').next().unwrap();
                let program = program.to_owned();
                let device = trace.devices[track.device.unwrap()].ordinal;
                runs.push((track.slices.start[row], device, track.slices.run_of(row), program));
            }
        }
        runs.sort();
        runs
    };
    let (ours, theirs) = (runs(&json), runs(&xplane));
    assert_eq!(ours, theirs);
}

/// Slices as `track name: event name start+dur`, times in nanoseconds, in the order of the trace.
fn listing(trace: &Trace) -> Vec<String> {
    let mut lines = Vec::new();
    for track in &trace.tracks {
        let slices = &track.slices;
        for row in 0..slices.len() {
            lines.push(format!(
                "{}/{}: {} {}+{}",
                track.pid,
                track.tid,
                trace.label(slices.meta[row]),
                slices.start[row].0 / 1000,
                slices.dur[row].0 / if slices.dur[row].0 < 0 { 1 } else { 1000 },
            ));
        }
    }
    lines
}

fn check(json: &str, expected: &[&str], findings: &[(&str, u64)]) {
    let trace = read(json);
    assert_eq!(listing(&trace), expected, "{json}");
    assert_eq!(codes(&trace), findings, "{json}");
}

const A: &str = r#"{"ph":"X","name":"a","ts":1,"dur":2,"pid":1,"tid":1}"#;
const B: &str = r#"{"ph":"X","name":"b","ts":5,"dur":1,"pid":1,"tid":1}"#;

#[test]
fn the_outside_comes_in_many_forms() {
    let both = &["1/1: a 1000+2000", "1/1: b 5000+1000"];
    check(&format!("[{A},{B}]"), both, &[]);
    check(&format!("\u{feff} \n[{A}\n{B}]\n"), both, &[]);
    check(&format!("[{A},,{B},]"), both, &[]);
    check(&format!("[{A},{B}"), both, &[("chrome.unterminated", 1)]);
    check(&format!(r#"{{"traceEvents":[{A},{B},{{}}]}}"#), both, &[]);
    check(&format!(r#"{{"a":{{"traceEvents":[1]}},"traceEvents":[{A},{B}],"z":[]}}"#), both, &[]);
    check(&format!(r#"{{"traceEvents":[{A}],"traceEvents":[{B}]}}"#), both, &[]);
    check(&format!(r#"{{"traceEvents":[{A},{B}],"z":"#), both, &[("chrome.truncated", 1)]);
    check(&format!(r#"{{"traceEvents":[{A},{B},{{"ph":"X","na"#), both, &[("chrome.truncated", 1)]);
    check(r#"{"traceEvents":[]}"#, &[], &[("chrome.no_events", 1)]);
    check("[]", &[], &[("chrome.no_events", 1)]);
}

#[test]
fn other_json_is_refused_by_name() {
    let check = |json: &str, expected: &str| {
        let mut trace = Trace::default();
        let error = chrome::read("x.json", || json.as_bytes(), &mut trace).unwrap_err();
        assert!(error.to_string().contains(expected), "{json}: {error}");
        assert!(trace.sources.is_empty() && trace.tracks.is_empty() && trace.findings.is_empty());
    };
    check(r#"{"loss": 1, "steps": [1]}"#, "a JSON object of loss, steps, without `traceEvents`");
    check("{}", "an empty JSON object");
    check("[1, 2]", "a JSON array, but not of events");
    check(r#"[{"a":1}]"#, "a JSON array, but not of events");
    check(r#"{"traceEvents": 7}"#, "of traceEvents, without `traceEvents`");
    check(r#"{"traceEvents": ["#, "damaged at byte 17");
    check(r#"[{"ph": "X", "ts"#, "damaged at byte 1");
    check(r#"{"a" 1}"#, "damaged at byte");
}

#[test]
fn categories_of_older_writers_are_those_of_today() {
    let event = |(cat, ts): (&str, u32)| {
        format!(r#"{{"ph":"X","cat":"{cat}","name":"x","ts":{ts},"dur":1,"args":{{"device":0}}}}"#)
    };
    let of = |cats: [&'static str; 4]| {
        let events: Vec<String> = cats.into_iter().zip(1..).map(event).collect();
        let trace = read(format!("[{}]", events.join(",")));
        let kinds = trace.tracks.iter().map(|track| (track.kind, track.slices.len()));
        let categories = trace.metas.iter().map(|meta| trace.strings.get(meta.category).to_owned());
        (kinds.collect::<Vec<_>>(), categories.collect::<Vec<_>>())
    };
    let old = of(["Kernel", "Memcpy", "Memset", "Runtime"]);
    assert_eq!(old, of(["kernel", "gpu_memcpy", "gpu_memset", "cuda_runtime"]));
    assert!(old.0.iter().any(|(kind, count)| *kind == TrackKind::Ops && *count == 3));
}

#[test]
fn damage_costs_the_damaged_events() {
    // The quote that is missing swallows the next event.
    let json = format!(r#"[{A},{{"ph":"X","name":"x,"ts":1}},{B},{A}]"#);
    let trace = read(&json);
    assert_eq!(codes(&trace), [("chrome.bad_event", 1)]);
    assert!(trace.findings[0].message.contains("first at byte 54"), "{:?}", trace.findings);
    assert_eq!(trace.slice_count(), 3);
    // What is no JSON costs its own event, and what comes behind the events is read.
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    for inside in ["no", r#""a" 1"#, "\"args\":{]", &format!(r#""args":{{"a":{deep}}}"#)] {
        let json =
            format!(r#"{{"traceEvents":[{A},{{"ph":"X",{inside}}}],"baseTimeNanoseconds":5}}"#);
        let trace = read(&json);
        assert_eq!(codes(&trace), [("chrome.bad_event", 1)], "{json}");
        assert_eq!(trace.sources[SourceId(0)].clock.unix_epoch, Some(Nanos(5)));
        assert_eq!(trace.slice_count(), 1);
    }
    let bad = [
        r#"{"ph":"X","name":"x","ts":"invalid","dur":1}"#,
        r#"{"ph":"X","name":"x","ts":1}"#,
        r#"{"ph":"X","name":"x","ts":1,"dur":-1}"#,
        r#"{"ph":"X","name":"x","ts":1e30,"dur":1}"#,
        r#"{"ph":"B","name":"x"}"#,
        r#"{"ph":"b","name":"x","ts":1}"#,
        r#"{"ph":"C","name":"x","ts":1}"#,
        r#"{"ph":"i","s":"q","name":"x","ts":1}"#,
        r#"{"ph":"s","name":"x","ts":1}"#,
        r#"{"name":"no phase"}"#,
        "17",
    ];
    let json = format!("[{A},{},{B}]", bad.join(","));
    check(&json, &["1/1: a 1000+2000", "1/1: b 5000+1000"], &[("chrome.bad_event", 11)]);
}

#[test]
fn text_that_json_forbids_is_read() {
    let mut json = br#"[{"ph":"X","name":"tab"#.to_vec();
    json.extend_from_slice(b"\t\x01 \xff\",\"ts\":1,\"dur\":NaN,\"dur\":1,");
    json.extend_from_slice(br#""args":{"bw":inf,"n":-Infinity,"id":18446744073709551615,"deep":{"a":{"b":[1, [2]]}}}}]"#);
    let trace = read(&json);
    assert_eq!(listing(&trace), ["0/0: tab\t\u{1} \u{fffd} 1000+1000"]);
    let args = trace.tracks[TrackId(0)].slices.args.get(0, &trace.strings);
    let text = |text: &str| ArgValue::Text(text.to_owned());
    assert_eq!(
        args,
        [
            ("bw", ArgValue::Float(f64::INFINITY)),
            ("n", ArgValue::Float(f64::NEG_INFINITY)),
            ("id", text("18446744073709551615")),
            ("deep.a.b", text("[1,[2]]")),
        ]
    );
}

#[test]
fn begins_meet_their_ends_in_any_order() {
    let events = |list: &[(&str, &str, u32)]| {
        let event = |(ph, name, ts): &(&str, &str, u32)| {
            format!(
                r#"{{"ph":"{ph}","name":"{name}","ts":{ts},"pid":1,"tid":1,"id":"0x1","cat":"c"}}"#
            )
        };
        format!("[{}]", list.iter().map(event).collect::<Vec<_>>().join(","))
    };
    check(
        &events(&[("B", "a", 1), ("B", "b", 2), ("E", "b", 3), ("E", "a", 4)]),
        &["1/1: a 1000+3000", "1/1: b 2000+1000"],
        &[],
    );
    // Buffers of several threads are written one after the other.
    check(
        &events(&[("E", "b", 3), ("E", "a", 4), ("B", "b", 2), ("B", "a", 1)]),
        &["1/1: a 1000+3000", "1/1: b 2000+1000"],
        &[],
    );
    check(
        &events(&[("E", "a", 0), ("B", "a", 1), ("B", "b", 1), ("E", "c", 2), ("E", "a", 5)]),
        &["1/1: b 1000+-1", "1/1: a 1000+4000"],
        &[("chrome.unmatched_end", 2), ("chrome.unfinished", 1)],
    );
    check(
        &events(&[("b", "a", 1), ("n", "i", 2), ("b", "b", 3), ("e", "b", 4), ("e", "a", 9)]),
        &["-1/0: a 1000+8000", "-1/0: i 2000+0", "-1/0: b 3000+1000"],
        &[],
    );
    check(
        &events(&[("S", "a", 1), ("S", "b", 2), ("T", "a", 3), ("F", "a", 4), ("F", "b", 6)]),
        &["-1/0: a 1000+3000", "-1/0: a 3000+0", "-1/1: b 2000+4000"],
        &[],
    );
    check(&events(&[("P", "a", 1), ("N", "b", 2)]), &[], &[("chrome.ignored_event", 2)]);
}

#[test]
fn an_end_adds_its_arguments() {
    let trace = read(
        r#"[{"ph":"B","name":"a","ts":1,"args":{"x":1}},{"ph":"B","name":"b","ts":2},
            {"ph":"E","ts":3,"args":{"y":2}},{"ph":"E","ts":4,"args":{"z":3}}]"#,
    );
    let slices = &trace.tracks[TrackId(0)].slices;
    let int = ArgValue::Int;
    assert_eq!(slices.args.get(0, &trace.strings), [("x", int(1)), ("z", int(3))]);
    assert_eq!(slices.args.get(1, &trace.strings), [("y", int(2))]);
}

#[test]
fn names_may_stand_for_numbers_and_come_last() {
    let trace = read(
        r#"[{"ph":"XXX","name":"x","ts":5.1,"dur":500.1,"pid":"foo","tid":"bar"},
            {"ph":"X","name":"y","ts":6,"dur":1,"pid":7.0,"tid":8},
            {"ph":"M","name":"process_name","pid":7,"args":{"name":"seven"}},
            {"ph":"M","name":"process_labels","pid":7,"args":{"labels":"lucky"}},
            {"ph":"M","name":"thread_name","pid":7,"tid":8,"args":{"name":"eight"}}]"#,
    );
    let names: Vec<_> = trace
        .tracks
        .iter()
        .map(|track| (trace.strings.get(track.process), trace.strings.get(track.name)))
        .collect();
    assert_eq!(names, [("foo", "bar"), ("seven", "eight")]);
    assert_eq!(trace.tracks[TrackId(0)].slices.dur[0], Picos(500_100_000));
    assert_eq!(trace.strings.get(trace.processes[1].labels), "lucky");
}

#[test]
fn flows_bind_to_the_slices_around_them() {
    let trace = read(
        r#"[{"ph":"X","name":"outer","ts":0,"dur":100,"pid":1,"tid":1},
            {"ph":"X","name":"launch","ts":10,"dur":5,"pid":1,"tid":1},
            {"ph":"X","name":"before","ts":0,"dur":20,"pid":1,"tid":2},
            {"ph":"X","name":"kernel","ts":20,"dur":30,"pid":1,"tid":2},
            {"ph":"s","id":1,"name":"f","cat":"c","ts":10,"pid":1,"tid":1},
            {"ph":"f","id":"0x1","name":"f","cat":"c","ts":20,"pid":1,"tid":2,"bp":"e"},
            {"ph":"s","id":2,"name":"f","cat":"c","ts":60,"pid":1,"tid":1},
            {"ph":"f","id":2,"name":"f","cat":"c","ts":15,"pid":1,"tid":2},
            {"ph":"X","name":"p","ts":70,"dur":5,"pid":1,"tid":1,"bind_id":"0x9","flow_out":true},
            {"ph":"X","name":"q","ts":80,"dur":5,"pid":1,"tid":2,"bind_id":"0x9","flow_in":true}]"#,
    );
    let name = |at: SliceRef| trace.label(trace.tracks[at.track].slices.meta[at.row as usize]);
    let flows: Vec<_> = trace.flows.iter().map(|flow| (name(flow.from), name(flow.to))).collect();
    // The second `f` lies before its `s` and links nothing.
    assert_eq!(flows, [("launch", "kernel"), ("p", "q")]);
}

#[test]
fn jax_devices_are_those_of_the_xplane() {
    let trace = read(
        r#"{"displayTimeUnit":"ns","traceEvents":[
            {"ph":"M","pid":3,"name":"process_name","args":{"name":"/device:TPU:1"}},
            {"ph":"M","pid":3,"tid":1,"name":"thread_name","args":{"name":"XLA Modules"}},
            {"ph":"M","pid":3,"tid":2,"name":"thread_name","args":{"name":"XLA Ops"}},
            {"ph":"M","pid":3,"tid":3,"name":"thread_name","args":{"name":"Steps"}},
            {"ph":"M","pid":4,"name":"process_name","args":{"name":"/device:GPU:0"}},
            {"ph":"M","pid":4,"tid":1,"name":"thread_name","args":{"name":"Stream #14(Compute)"}},
            {"ph":"X","pid":3,"tid":1,"ts":1,"dur":9,"name":"jit_f(1)","args":{"run_id":"7"}},
            {"ph":"X","pid":3,"tid":2,"ts":2,"dur":1,"name":"fusion.1","args":{
                "hlo_category":"loop fusion","tf_op":"jit(f)/add:","bytes_accessed":"64"}},
            {"ph":"X","pid":3,"tid":3,"ts":0,"dur":10,"name":"3"},
            {"ph":"X","pid":4,"tid":1,"ts":0,"dur":10,"name":"gemm_kernel","args":{
                "hlo_op":"dot.3","hlo_module":"jit_f"}},
            {}]}"#,
    );
    let kinds: Vec<_> = trace
        .tracks
        .iter()
        .map(|track| {
            let device = &trace.devices[track.device.unwrap()];
            (trace.strings.get(device.name), device.kind, device.ordinal, track.kind)
        })
        .collect();
    let tpu = |kind| ("/device:TPU:1", DeviceKind::Tpu, 1, kind);
    assert_eq!(
        kinds,
        [
            tpu(TrackKind::Modules),
            tpu(TrackKind::Ops),
            tpu(TrackKind::Steps),
            ("/device:GPU:0", DeviceKind::Gpu, 0, TrackKind::Ops),
        ]
    );
    assert_eq!(trace.tracks[TrackId(0)].slices.run_of(0), Some(7));
    let fusion = trace.meta(trace.tracks[TrackId(1)].slices.meta[0]);
    assert_eq!(trace.strings.get(fusion.category), "loop fusion");
    assert_eq!(trace.strings.get(fusion.scope), "jit(f)/add");
    assert_eq!(fusion.bytes, Some(64));
    let kernel = trace.meta(trace.tracks[TrackId(3)].slices.meta[0]);
    assert_eq!(trace.strings.get(kernel.op), "dot.3");
    let program = &trace.programs[kernel.program.unwrap()];
    assert_eq!(trace.strings.get(program.name), "jit_f");
}

#[test]
fn the_environment_of_the_recorder_is_not_kept() {
    let trace = read(
        r#"{"metadata":{"system":{"env":{"HF_TOKEN":"x"}},"api_token":"x","os":"linux"},
            "traceEvents":[]}"#,
    );
    assert_eq!(trace.sources[SourceId(0)].facts, [("metadata.os".to_owned(), "linux".to_owned())]);
    assert_eq!(trace.strings.find("HF_TOKEN"), None);
}

/// A stream that hands out a few bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl std::io::Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.1.min(self.0.len()).min(buffer.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

#[test]
fn pieces_of_any_size_give_the_same_trace() {
    let json = fs::read(fixture("chrome_json/json_metadata.json")).unwrap();
    let whole = listing(&read(&json));
    for size in [1, 2, 3, 7, 100] {
        let mut trace = Trace::default();
        chrome::read("x", || Trickle(&json, size), &mut trace).unwrap();
        assert_eq!(listing(&trace), whole);
    }
    let long = format!(
        r#"{{"stacks":[{}0],"text":"{}","traceEvents":[{A}]}}"#,
        "0,".repeat(3 << 20),
        "\\\"".repeat(3 << 20)
    );
    check(&long, &["1/1: a 1000+2000"], &[]);
}

#[test]
fn a_cut_gzip_gives_what_came_before() {
    let mut json = String::from("[");
    for ts in 0..100_000 {
        json.push_str(&format!(r#"{{"ph":"X","name":"a{ts}","ts":{ts},"dur":1}},"#));
    }
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(json.as_bytes(), flate2::Compression::fast());
    std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.trace.json.gz");
    fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let trace = read_paths(&[path]).unwrap();
    assert!(trace.slice_count() > 20_000, "{}", trace.slice_count());
    assert!(trace.findings.iter().any(|f| f.code == Code::ChromeTruncated), "{:?}", trace.findings);
}

#[test]
fn jax_cuts_at_a_million_events() {
    let mut json = String::from(r#"{"traceEvents":["#);
    for ts in 0..1_000_000 {
        json.push_str(&format!(r#"{{"ph":"X","name":"a","ts":{ts},"dur":1}},"#));
    }
    json.push_str("{}]}");
    assert_eq!(codes(&read(json)), [("chrome.event_cap", 1)]);
}

fn fixtures() -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(fixture("chrome_json")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Whatever the bytes are, reading ends, and what it gives is in order.
fn survives(bytes: &[u8]) {
    let mut trace = Trace::default();
    if chrome::read("x.json", || bytes, &mut trace).is_err() {
        assert!(trace.tracks.is_empty());
        return;
    }
    for track in &trace.tracks {
        let slices = &track.slices;
        assert!(slices.start.is_sorted());
        assert_eq!(slices.start.len(), slices.dur.len());
        assert_eq!(slices.start.len(), slices.meta.len());
        for row in 0..slices.len() {
            assert!(slices.end(row) >= slices.start[row]);
            slices.args.get(row, &trace.strings);
            trace.label(slices.meta[row]);
        }
    }
    assert!(trace.flows.iter().all(|flow| trace.tracks.get(flow.to.track).is_some()));
}

/// Pieces that JSON is made of, right and wrong.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"ph\":",
        "\"X\"",
        "\"B\"",
        "\"E\"",
        "\"b\"",
        "\"s\"",
        "\"f\"",
        "\"ts\":1",
        "\"dur\":2",
        "\"args\":",
        "\"id\":3",
        "{\"ph\":\"X\",",
        "\"traceEvents\":[",
        "\"pid\":1",
        "1e9",
        "-",
        "null",
        "NaN",
        " ",
        "\n",
        "\"\\ud800\"",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn random_json_never_panics(text in pieces()) {
        survives(text.as_bytes());
        survives(format!("[{A},{text}").as_bytes());
        survives(format!("{{\"traceEvents\":[{A},{text}]}}").as_bytes());
    }

    #[test]
    fn damaged_files_never_panic(
        file in 0..15_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = fixtures().swap_remove(file);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        survives(&bytes);
    }
}

#[test]
fn hostile_nesting_ends() {
    for unit in ["[", "{\"a\":", ",{", ",{\"a\":[", "{\"ph\":\"X\",\"args\":{\"a\":"] {
        survives(unit.repeat(300_000).as_bytes());
        survives(format!("[{A},{}", unit.repeat(300_000)).as_bytes());
    }
    let ends = r#"{"ph":"E","name":"x","ts":9},"#.repeat(20_000);
    let begins = r#"{"ph":"B","name":"y","ts":1},"#.repeat(20_000);
    survives(format!("[{begins}{ends}").as_bytes());
}

/// Events of a clock: this many kernels from `ts` microseconds on.
fn kernels_from(ts: f64, count: usize) -> String {
    let kernel = |index: usize| {
        let at = ts + 10.0 * f64::from(u32::try_from(index).unwrap());
        format!(
            r#"{{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":{at:?},"dur":5,"args":{{"device":0}}}}"#
        )
    };
    (0..count).map(kernel).collect::<Vec<_>>().join(",")
}

#[test]
fn times_that_are_on_no_clock_cost_only_their_events() {
    let wall = 1_700_000_000_000_000.0;
    // What is wrong, and where; what is kept; what is said of the rest.
    for (first, second, kept, code, lost) in [
        ((0.0, 1), (wall, 20), 20, Code::ChromeBadEvent, 1),
        ((wall, 20), (0.0, 1), 20, Code::ChromeBadEvent, 1),
        ((5.0, 10), (wall, 50), 50, Code::ChromeTwoClocks, 10),
        ((wall, 50), (5.0, 10), 50, Code::ChromeTwoClocks, 10),
    ] {
        let trace = read(format!(
            "[{},{}]",
            kernels_from(first.0, first.1),
            kernels_from(second.0, second.1)
        ));
        assert_eq!(trace.slice_count(), kept);
        let found: Vec<_> = trace.findings.iter().map(|it| (it.code, it.count)).collect();
        assert_eq!(found, [(code, lost)], "{:?}", trace.findings);
    }
}

#[test]
fn gpus_of_one_number_in_several_processes_are_several() {
    let event = |pid: &str| {
        format!(
            r#"{{"ph":"X","cat":"kernel","name":"k","pid":{pid},"tid":7,"ts":1,"dur":5,"args":{{"device":0}}}}"#
        )
    };
    for (pids, labels) in [
        ([r#""[TP00] 0""#, r#""[TP01] 0""#], ["gpu:0 of [TP00] 0", "gpu:0 of [TP01] 0"]),
        (["0", "1000"], ["gpu:0 of 1", "gpu:0 of 2"]),
    ] {
        let json = format!("[{},{}]", event(pids[0]), event(pids[1]));
        let trace = xscope_trace::read::read_bytes("merged.json", json.into_bytes()).unwrap();
        let found: Vec<&str> = trace.devices.ids().map(|id| trace.device_label(id)).collect();
        assert_eq!(found, labels);
    }
}

#[test]
fn flows_are_told_apart_by_all_64_bits_of_their_ids() {
    let Some(cases) = xscope_testing::cases() else { return };
    let trace = read_paths(&[cases.join("flow_u64.json")]).unwrap();
    assert_eq!((trace.flows.len(), trace.findings.len()), (1, 0), "{:?}", trace.findings);
    let arrow = |phase: &str, tid: u64, id: u64| {
        format!(
            r#"{{"ph":"{phase}","name":"f","pid":1,"tid":{tid},"ts":{tid},"id":{id},"bp":"e"}}"#
        )
    };
    let slice =
        |tid: u64| format!(r#"{{"ph":"X","name":"a","pid":1,"tid":{tid},"ts":{tid},"dur":1}}"#);
    let mut events: Vec<String> = (1..=4).map(slice).collect();
    for (from, to, id) in [(1, 3, u64::MAX), (2, 4, u64::MAX - 1)] {
        events.extend([arrow("s", from, id), arrow("f", to, id)]);
    }
    let json = format!("[{}]", events.join(",")).into_bytes();
    assert_eq!(xscope_trace::read::read_bytes("flows.json", json).unwrap().flows.len(), 2);
}
