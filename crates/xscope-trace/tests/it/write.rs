//! What is written is read back as it was, and opens in the programs that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use xscope_testing::{fixture, traces};
use xscope_trace::model::{DeviceId, Format, SliceRef, SourceId, Trace, Track, TrackKind};
use xscope_trace::read::read_bytes;
use xscope_trace::read_paths;
use xscope_trace::time::Picos;
use xscope_trace::trim::xplane::trim_bytes;
use xscope_trace::trim::{Cut, Noise, around, step_numbers, steps, trim};
use xscope_trace::write::{Joins, Written, chrome, folded, perfetto, pprof, speedscope, xplane};

/// Profiles of one kind below the fixtures and, if they are there, the real traces.
fn files(suffix: &str, limit: u64) -> Vec<PathBuf> {
    let folders = [fixture("")].into_iter().chain(traces());
    let all = folders.flat_map(|folder| xscope_testing::files(&folder));
    let is_wanted = |path: &PathBuf| {
        let name = path.display().to_string();
        let length = fs::metadata(path).unwrap().len();
        name.ends_with(suffix) && !name.contains("damaged") && length <= limit
    };
    all.filter(is_wanted).collect()
}

/// A row as text: everything that a consumer sees of it.
fn row(trace: &Trace, track: &Track, row: usize) -> String {
    let slices = &track.slices;
    let meta = trace.meta(slices.meta[row]);
    let text = |id| trace.strings.get(id);
    let mut args: Vec<String> = slices
        .args
        .get(row, &trace.strings)
        .iter()
        .filter(|(_, value)| !matches!(value, xscope_trace::model::ArgValue::Bytes(_)))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    args.sort();
    format!(
        "{:?}+{:?} {} [{}] {} {:?} {:?} {:?} run {:?} {args:?}",
        slices.start[row],
        slices.dur[row],
        text(meta.name),
        text(meta.display),
        text(trace.scope_of(slices.meta[row])),
        text(meta.category),
        meta.flops,
        meta.bytes,
        slices.run_of(row),
    )
}

/// A track's place, as far as a format keeps it: what overlaps can be on a further thread of the name.
fn place(trace: &Trace, track: &Track) -> String {
    let text = |id| trace.strings.get(id);
    let device = track.device.map(|id| text(trace.devices[id].name));
    format!("{} {} {:?} {device:?}", text(track.process), text(track.name), track.kind)
}

/// The numbers of all threads that have slices.
fn threads(trace: &Trace) -> BTreeSet<i64> {
    let is_thread = |track: &&Track| track.kind != TrackKind::Other && !track.slices.is_empty();
    trace.tracks.iter().filter(is_thread).map(|track| track.tid).collect()
}

/// All rows of a trace, by their places.
fn rows(trace: &Trace) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for track in &trace.tracks {
        let rows = (0..track.slices.len()).map(|index| row(trace, track, index));
        all.entry(place(trace, track)).or_default().extend(rows);
    }
    all.values_mut().for_each(|rows| rows.sort());
    all.retain(|_, rows| !rows.is_empty());
    all
}

fn check_rows(name: &str, before: &Trace, after: &Trace) {
    assert!(threads(before).is_subset(&threads(after)), "{name}: the threads");
    let (before, after) = (rows(before), rows(after));
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>(),
        "{name}: the tracks"
    );
    for (place, expected) in &before {
        let found = &after[place];
        let differs = expected.iter().zip(found).find(|(a, b)| a != b);
        assert_eq!(differs, None, "{name}: {place}");
        assert_eq!(expected.len(), found.len(), "{name}: {place}");
    }
}

fn flows(trace: &Trace) -> Vec<(String, String)> {
    let end = |end: SliceRef| {
        let track = &trace.tracks[end.track];
        format!("{} {}", place(trace, track), row(trace, track, end.row as usize))
    };
    let mut flows: Vec<_> = trace.flows.iter().map(|flow| (end(flow.from), end(flow.to))).collect();
    flows.sort();
    flows
}

fn counters(trace: &Trace) -> Vec<String> {
    let mut all: Vec<String> = trace
        .counters
        .iter()
        .map(|it| format!("{} {:?} {:?}", trace.strings.get(it.name), it.at, it.value))
        .collect();
    all.sort();
    all
}

/// Files up to this size are read in an unoptimised build.
const LIMIT: u64 = 4 << 20;

#[test]
fn xplane_is_written_as_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.xplane.pb");
    for file in files(".xplane.pb", LIMIT) {
        let before = read_paths(std::slice::from_ref(&file)).unwrap();
        let written = xplane::write_file(&before, &path).unwrap();
        assert_eq!(written.slices, before.slice_count() as u64);
        let after = read_paths(std::slice::from_ref(&path)).unwrap();
        check_rows(&file.display().to_string(), &before, &after);
        let clock = |trace: &Trace| {
            (trace.sources[SourceId(0)].clock, trace.sources[SourceId(0)].host.is_empty())
        };
        assert_eq!(clock(&before), clock(&after), "{}", file.display());
        assert_eq!(before.programs.len(), after.programs.len(), "{}", file.display());
        let device = |trace: &Trace| {
            let text = |id| trace.strings.get(id).to_owned();
            let all = trace.devices.iter();
            all.map(|it| (text(it.name), text(it.model), it.ordinal)).collect::<Vec<_>>()
        };
        assert_eq!(device(&before), device(&after), "{}", file.display());
    }
}

#[test]
fn chrome_json_is_written_as_it_was_read() {
    let mut all = files(".json", LIMIT);
    all.extend(files(".json.gz", LIMIT));
    for file in all {
        let Ok(before) = read_paths(std::slice::from_ref(&file)) else { continue };
        if before.sources[SourceId(0)].format != Format::ChromeJson {
            continue;
        }
        let mut bytes = Vec::new();
        chrome::write(&before, &mut bytes).unwrap();
        let after = read_bytes("written.trace.json", bytes).unwrap();
        let name = file.display().to_string();
        check_rows(&name, &before, &after);
        assert_eq!(flows(&before), flows(&after), "{name}");
        assert_eq!(counters(&before), counters(&after), "{name}");
        let names = |trace: &Trace| {
            let text = |id| trace.strings.get(id).to_owned();
            let named = trace.processes.iter().map(|it| (it.pid, text(it.name), text(it.labels)));
            let named = named.filter(|(_, name, labels)| !name.is_empty() || !labels.is_empty());
            named.collect::<Vec<_>>()
        };
        let (before, after) = (names(&before), names(&after));
        assert_eq!(before.len(), after.len(), "{name}: {before:?} {after:?}");
        for (pid, process, labels) in before {
            // A process that had a name for its number is written with a number.
            let is_same = |it: &&(i64, String, String)| {
                (it.0 == pid || pid < 0) && (&it.1, &it.2) == (&process, &labels)
            };
            let same = after.iter().filter(is_same).count();
            assert_eq!(same, 1, "{name}: {pid} {process} {labels} in {after:?}");
        }
    }
}

/// Of slices of one thread, how many lie across the end of one that began before: those Perfetto drops.
fn crossing(json: &[u8]) -> usize {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let mut threads: BTreeMap<(String, String), Vec<(f64, f64)>> = BTreeMap::new();
    for event in json["traceEvents"].as_array().unwrap().iter().filter(|it| it["ph"] == "X") {
        let at = |key: &str| event[key].as_f64().unwrap();
        let thread = (event["pid"].to_string(), event["tid"].to_string());
        threads.entry(thread).or_default().push((at("ts"), at("ts") + at("dur")));
    }
    let mut found = 0;
    for slices in threads.values_mut() {
        slices.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut open: Vec<f64> = Vec::new();
        for &(start, end) in slices.iter() {
            // Microseconds since 1970 do not fit the numbers of JSON.
            let inexact = end * f64::EPSILON + 1e-5;
            open.retain(|&until| until > start + inexact);
            found += usize::from(open.last().is_some_and(|&until| until + inexact < end));
            open.push(end);
        }
    }
    found
}

#[test]
fn slices_of_one_thread_nest_in_what_is_written_for_perfetto() {
    let cases = xscope_testing::cases().map(|cases| cases.join("p4280.json"));
    let real = traces().map(|traces| traces.join("kineto/h100_bert.json.gz"));
    let fixtures = ["kineto/excerpt.json.gz", "tpu_v6e/excerpt.xplane.pb"].map(fixture);
    for file in fixtures.into_iter().chain(cases).chain(real) {
        let trace = read_paths(std::slice::from_ref(&file)).unwrap();
        let mut json = Vec::new();
        chrome::write(&trace, &mut json).unwrap();
        assert_eq!(crossing(&json), 0, "{}", file.display());
    }
}

/// Sums by device and kind: what must survive a change of format.
fn sums(trace: &Trace) -> BTreeMap<(String, TrackKind), (usize, i64)> {
    let mut sums = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| !track.slices.is_empty()) {
        let device = track.device.map(|id| trace.strings.get(trace.devices[id].name));
        let key = (device.unwrap_or_default().to_owned(), track.kind);
        let sum: &mut (usize, i64) = sums.entry(key).or_default();
        sum.0 += track.slices.len();
        sum.1 += track.slices.dur.iter().map(|dur| dur.0).sum::<i64>();
    }
    sums
}

#[test]
fn xplane_becomes_chrome_json_without_loss_of_time() {
    for file in files("excerpt.xplane.pb", LIMIT) {
        let before = read_paths(std::slice::from_ref(&file)).unwrap();
        let mut bytes = Vec::new();
        chrome::write(&before, &mut bytes).unwrap();
        let after = read_bytes("written.trace.json", bytes).unwrap();
        let kinds = |trace: &Trace| {
            let mut sums = sums(trace);
            // JSON has no word for a plane that is neither a host's nor a device's.
            sums.retain(|(_, kind), _| !matches!(kind, TrackKind::Other | TrackKind::HostThread));
            sums
        };
        assert_eq!(kinds(&before), kinds(&after), "{}", file.display());
        assert_eq!(before.slice_count(), after.slice_count(), "{}", file.display());
        let zero = |trace: &Trace| trace.sources[SourceId(0)].clock.unix_epoch;
        assert_eq!(zero(&before), zero(&after));
    }
}

fn text_of(
    trace: &Trace,
    write: impl Fn(&Trace, &mut Vec<u8>) -> std::io::Result<Written>,
) -> String {
    let mut bytes = Vec::new();
    write(trace, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn folded_stacks_add_up_to_the_busy_time_of_operations() {
    for file in files("excerpt.xplane.pb", LIMIT) {
        let trace = read_paths(std::slice::from_ref(&file)).unwrap();
        let text = text_of(&trace, folded::write);
        let device = trace.strings.get(trace.devices[DeviceId(0)].name);
        let mut sum = 0;
        let mut lines = 0;
        for line in text.lines().filter(|line| line.starts_with(&format!("{device};"))) {
            let (stack, weight) = line.rsplit_once(' ').unwrap();
            assert!(stack.contains(';'), "{line}");
            sum += weight.parse::<i64>().unwrap();
            lines += 1;
        }
        let mut busy = 0;
        let ops = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
        for track in ops.filter(|track| track.device == Some(DeviceId(0))) {
            let mut end = Picos(i64::MIN);
            for row in 0..track.slices.len() {
                let start = track.slices.start[row].max(end);
                busy += (track.slices.end(row).0 - start.0).max(0);
                end = end.max(track.slices.end(row));
            }
        }
        // Each line is rounded down to a nanosecond.
        let lost = busy / 1000 - sum;
        assert!((0..=2 * lines + 1).contains(&lost), "{}: {busy} {sum}", file.display());
    }
}

#[test]
fn speedscope_profiles_are_balanced() {
    for file in
        [fixture("tpu_v6e/excerpt.xplane.pb"), fixture("run"), fixture("kineto/excerpt.json.gz")]
    {
        let trace = read_paths(std::slice::from_ref(&file)).unwrap();
        let text = text_of(&trace, speedscope::write);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let frames = json["shared"]["frames"].as_array().unwrap().len() as u64;
        let profiles = json["profiles"].as_array().unwrap();
        assert!(profiles.len() > 1);
        for profile in profiles {
            let at = |key: &str| profile[key].as_f64().unwrap();
            if profile["type"] == "sampled" {
                let samples = profile["samples"].as_array().unwrap();
                assert_eq!(samples.len(), profile["weights"].as_array().unwrap().len());
                continue;
            }
            let (mut open, mut last) = (Vec::new(), at("startValue"));
            for event in profile["events"].as_array().unwrap() {
                let (frame, at) = (event["frame"].as_u64().unwrap(), event["at"].as_f64().unwrap());
                assert!(frame < frames && at >= last, "{event}");
                last = at;
                match event["type"].as_str() {
                    Some("O") => open.push(frame),
                    _ => assert_eq!(open.pop(), Some(frame)),
                }
            }
            assert!(open.is_empty() && last <= at("endValue"));
        }
    }
}

#[test]
fn perfetto_takes_every_trace() {
    let mut all = files("excerpt.xplane.pb", LIMIT);
    all.extend(files(".json", LIMIT));
    all.extend([fixture("run"), fixture("kineto/excerpt.json.gz")]);
    for file in all {
        let Ok(trace) = read_paths(std::slice::from_ref(&file)) else { continue };
        let mut bytes = Vec::new();
        let written = perfetto::write(&trace, &Joins::by_id(&trace), &mut bytes).unwrap();
        assert!(written.slices >= trace.slice_count() as u64, "{}: {written:?}", file.display());
        assert_eq!(written.clipped, 0, "{}", file.display());
    }
}

#[test]
fn an_xplane_file_is_of_one_host() {
    let folder = tempfile::tempdir().unwrap();
    for host in ["a", "b"] {
        let copy = folder.path().join(format!("{host}.trace.json"));
        fs::write(copy, r#"[{"ph":"X","pid":1,"tid":1,"ts":1,"dur":2,"name":"x"}]"#).unwrap();
    }
    let trace = read_paths(&[folder.path().to_owned()]).unwrap();
    let error = xplane::write(&trace, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("one host, but the trace is of a, b"), "{error}");
    let mut bytes = Vec::new();
    perfetto::write(&trace, &Joins::by_id(&trace), &mut bytes).unwrap();
    // Field 98: the machine of the second host.
    assert!(bytes.windows(3).any(|bytes| bytes == [0x90, 0x06, 0x01]));
}

#[test]
fn a_cut_of_the_file_is_a_cut_of_the_trace() {
    for file in files("excerpt.xplane.pb", LIMIT) {
        let bytes = fs::read(&file).unwrap();
        let mut trace = read_bytes("a.xplane.pb", bytes.clone()).unwrap();
        let (first, last) = trace.extent().unwrap();
        let third = Picos((last.0 - first.0) / 3);
        let window = Some((first.saturating_add(third), last - third));
        let noise = vec![Noise::Python, Noise::IdlePolls];
        for drop in [vec![], noise, vec![Noise::Host]] {
            let cut = Cut { window, drop };
            let mut out = Vec::new();
            let of_file = trim_bytes(&bytes, &mut out, &cut).unwrap();
            let of_trace = trim(&mut trace, &cut);
            let after = read_bytes("a.xplane.pb", out).unwrap();
            check_rows(&file.display().to_string(), &trace, &after);
            assert_eq!(of_file.kept, of_trace.kept, "{}", file.display());
            assert_eq!(after.programs.len(), trace.programs.len());
            assert!(after.findings.is_empty() || trace.findings.len() >= after.findings.len());
        }
    }
}

#[test]
fn windows_are_found_by_name_and_by_step() {
    let trace = read_paths(&[fixture("run")]).unwrap();
    let (first, _) = step_numbers(&trace).unwrap();
    let (from, to) = steps(&trace, first, first).unwrap();
    assert!(from < to);
    assert_eq!(steps(&trace, 1_000_000, 1_000_001), None);
    assert!(around(&trace, "forward").is_some() && around(&trace, "no such slice").is_none());
    let mut cut = read_paths(&[fixture("run")]).unwrap();
    let trimmed = trim(&mut cut, &Cut { window: Some((from, to)), drop: Vec::new() });
    assert!(trimmed.kept > 0 && trimmed.dropped > 0, "{trimmed:?}");
    perfetto::write(&cut, &Joins::by_id(&cut), &mut Vec::new()).unwrap();
}

#[test]
fn what_is_damaged_is_trimmed_and_written_too() {
    for file in files("excerpt.xplane.pb", LIMIT) {
        let bytes = fs::read(&file).unwrap();
        for seed in 0..40_usize {
            let mut flipped = bytes.clone();
            for flip in 0..1 << (seed % 6) {
                // Any numbers do, if they are the same on every machine.
                let at = (seed + 1) * 0x9e37_79b9 * (flip + 1) % flipped.len();
                flipped[at] = flipped[at].wrapping_add(1 + (seed * 37 % 255).to_le_bytes()[0]);
            }
            crate::feed::write(&flipped);
            crate::feed::write(&bytes[..bytes.len() * seed / 40]);
        }
    }
}

#[test]
fn pprof_has_the_device_time_of_folded_stacks_and_the_bytes_of_memory_profiles() {
    let paths = [fixture("tpu_v6e/excerpt.xplane.pb"), fixture("pprof/device_memory.prof")];
    let trace = read_paths(&paths).unwrap();
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    pprof::write(&trace, &mut bytes).unwrap();
    folded::write(&trace, &mut lines).unwrap();
    let written = read_bytes("x.pprof", bytes).unwrap();
    assert_eq!(written.findings, []);
    let [profile] = written.profiles.as_slice() else { panic!("one profile") };
    let text = |id| written.strings.get(id);
    let kinds: Vec<_> = profile.types.iter().map(|it| (text(it.name), text(it.unit))).collect();
    assert_eq!(kinds, [("device_time", "nanoseconds"), ("space", "bytes")]);
    assert_eq!(profile.default_type, 0);
    let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
    for sample in (0..profile.len()).filter(|&sample| profile.value(sample, 0) > 0) {
        let frames: Vec<_> = profile.frames_of(sample).map(|it| text(it.function)).collect();
        let stack = frames.into_iter().rev().collect::<Vec<_>>().join(";");
        stacks.insert(stack, profile.value(sample, 0));
    }
    let lines = String::from_utf8(lines).unwrap();
    let expected = lines.lines().filter(|line| line.starts_with("/device:"));
    let expected: BTreeMap<String, i64> = expected
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(stack, nanos)| (stack.to_owned(), nanos.parse().unwrap()))
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(stacks, expected);
    let space = |profile: &xscope_trace::model::StackProfile| -> i64 {
        (0..profile.len()).map(|sample| profile.value(sample, 1)).sum()
    };
    assert_eq!(space(profile), space(&trace.profiles[0]));
    assert!(space(profile) > 0);
}
