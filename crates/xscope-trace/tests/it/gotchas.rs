//! What bites readers of XPlane, each as a small file: the list of the format's known gotchas.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use xscope_trace::error::Error;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{
    DeviceId, DeviceKind, Program, Slices, SourceId, Trace, Track, TrackKind,
};
use xscope_trace::quality::Severity;
use xscope_trace::read::{ReadOptions, read_bytes, read_paths_with};
use xscope_trace::{Bytes, Picos};

/// 2026-09-21, in nanoseconds since the Unix epoch.
const START: u64 = 1_790_000_000_000_000_000;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

fn int(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

fn message(field: u64, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [varint(field << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

/// A plane of these parts; a file is planes one after the other.
fn plane(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    message(1, [message(2, name), parts.concat()].concat())
}

fn stat_name(id: i64, name: &str) -> Vec<u8> {
    message(5, [int(1, id), message(2, [int(1, id), message(2, name)].concat())].concat())
}

/// Event metadata of this name; `more` are further fields.
fn event_name(id: i64, name: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let meta = [int(1, id), message(2, name), more.concat()].concat();
    message(4, [int(1, id), message(2, meta)].concat())
}

fn line(id: i64, name: &str, timestamp: i64, events: &[Vec<u8>]) -> Vec<u8> {
    message(3, [int(1, id), message(2, name), int(3, timestamp), events.concat()].concat())
}

/// An event at `start`, in picoseconds after its line.
fn event(id: i64, start: i64, dur: i64, stats: &[Vec<u8>]) -> Vec<u8> {
    let stats: Vec<u8> = stats.iter().flat_map(|stat| message(4, stat)).collect();
    message(4, [int(1, id), int(2, start), int(3, dur), stats].concat())
}

fn stat(id: i64, field: u64, value: i64) -> Vec<u8> {
    [int(1, id), int(field, value)].concat()
}

fn text_stat(id: i64, field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    [int(1, id), message(field, value)].concat()
}

/// When the session began and ended.
fn environment() -> Vec<u8> {
    session_at(START)
}

/// The same of a session that begins then, in nanoseconds of wall time.
fn session_at(begin: u64) -> Vec<u8> {
    let start = stat(1, 3, begin.cast_signed());
    let stop = stat(2, 3, (begin + 5_000_000).cast_signed());
    let names = [stat_name(1, "profile_start_time"), stat_name(2, "profile_stop_time")].concat();
    plane("Task Environment", &[names, message(6, start), message(6, stop)])
}

fn read(planes: &[Vec<u8>]) -> Trace {
    read_bytes("host.xplane.pb", planes.concat()).unwrap()
}

fn track<'a>(trace: &'a Trace, name: &str) -> &'a Track {
    let named = |track: &&Track| trace.strings.get(track.name) == name;
    let mut tracks = trace.tracks.iter().filter(named);
    let track = tracks.next().unwrap_or_else(|| panic!("no track {name}"));
    assert!(tracks.next().is_none(), "several tracks {name}");
    track
}

fn starts(slices: &Slices) -> Vec<i64> {
    slices.start.iter().map(|start| start.0).collect()
}

fn codes(trace: &Trace) -> Vec<(&str, u64)> {
    trace.findings.iter().map(|finding| (finding.code.as_str(), finding.count)).collect()
}

/// The stats that operations of the CPU backend have, with ids from 1.
fn cpu_stats() -> Vec<u8> {
    let names = ["hlo_op", "hlo_module", "program_id", "run_id", "device_ordinal"];
    (1..).zip(names).flat_map(|(id, name)| stat_name(id, name)).collect()
}

/// 3.8.1: what is larger than 2 GiB is written as no bytes at all.
#[test]
fn an_empty_file_says_why_it_is_empty() {
    let error = read_bytes("host.xplane.pb", Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Empty { .. }));
    assert!(error.to_string().contains("2 GiB"), "{error}");
}

/// 3.1 and 3.3: chunked captures repeat planes and lines, with their metadata.
#[test]
fn chunks_of_planes_and_lines_are_one_track() {
    let chunk = |timestamp, stats: &[Vec<u8>]| {
        let note = stat_name(7, "note");
        let parts = [
            line(-3, "python", timestamp, &[event(1, 5_000, 10, stats)]),
            event_name(1, "step", &[]),
            note,
        ];
        plane("/host:CPU", &parts)
    };
    let one_plane = plane(
        "/device:TPU:0",
        &[
            line(1, "XLA Ops", 0, &[event(1, 0, 10, &[])]),
            line(1, "XLA Ops", 1, &[event(1, 0, 10, &[])]),
            event_name(1, "dot", &[]),
        ],
    );
    let late = chunk(2_000, &[text_stat(7, 5, "late")]);
    let trace = read(&[late, one_plane, chunk(1_000, &[text_stat(7, 5, "early")])]);
    let host = track(&trace, "python");
    assert_eq!((host.tid, starts(&host.slices)), (-3, vec![1_005_000, 2_005_000]));
    for (row, note) in ["early", "late"].into_iter().enumerate() {
        let found = host.slices.args.find(row, "note", &trace.strings);
        assert_eq!(found, Some(ArgValue::Text(note.to_owned())));
    }
    assert_eq!(starts(&track(&trace, "XLA Ops").slices), [0, 1_000]);
    assert_eq!(trace.devices.len(), 1);
}

/// 3.1: metadata may come after the lines, and the plane's name after both.
#[test]
fn metadata_may_follow_the_lines_that_use_it() {
    let parts = [
        line(1, "XLA Ops", 0, &[event(4, 0, 10, &[stat(9, 4, 77)])]),
        event_name(4, "dot.1", &[]),
        stat_name(9, "run_id"),
        message(2, "/device:TPU:3"),
    ];
    let trace = read(&[message(1, parts.concat())]);
    let ops = track(&trace, "XLA Ops");
    assert_eq!(trace.label(ops.slices.meta[0]), "dot.1");
    assert_eq!(ops.slices.run_of(0), Some(77));
    assert_eq!((ops.kind, trace.devices[DeviceId(0)].ordinal), (TrackKind::Ops, 3));
}

/// 3.1: a `ref_value` is the name of a stat metadata; compressed text is gzip; numbers may be of
/// either sign or floating; a stat of no known name is left out.
#[test]
fn stats_of_every_kind_of_value_are_read() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"a long text").unwrap();
    let packed = encoder.finish().unwrap();
    let double = [int(1, 1), vec![2 << 3 | 1], 2.5_f64.to_bits().to_le_bytes().to_vec()].concat();
    let stats = [
        double,
        stat(2, 3, -1),
        stat(3, 4, -1),
        text_stat(4, 5, "text"),
        text_stat(5, 6, [1, 2, 3]),
        stat(6, 7, 8),
        text_stat(7, 8, packed),
        stat(99, 4, 5),
    ];
    let names = ["double", "uint", "int", "str", "bytes", "ref", "compressed", "what it refers to"];
    let names: Vec<u8> = (1..).zip(names).flat_map(|(id, name)| stat_name(id, name)).collect();
    let line = line(1, "python", 0, &[event(1, 0, 1, &stats)]);
    let trace = read(&[plane("/host:CPU", &[line, event_name(1, "f", &[]), names])]);
    let args = track(&trace, "python").slices.args.get(0, &trace.strings);
    let expected = [
        ("double", ArgValue::Float(2.5)),
        ("uint", ArgValue::Uint(u64::MAX)),
        ("int", ArgValue::Int(-1)),
        ("str", ArgValue::Text("text".to_owned())),
        ("bytes", ArgValue::Bytes(3)),
        ("ref", ArgValue::Text("what it refers to".to_owned())),
        ("compressed", ArgValue::Text("a long text".to_owned())),
    ];
    assert_eq!(args, expected);
}

/// 3.8.7: an event may carry a stat twice.
#[test]
fn a_stat_that_occurs_twice_is_kept_twice() {
    let stats = [text_stat(1, 5, "a.py:1"), text_stat(1, 5, "b.py:2")];
    let line = line(1, "python", 0, &[event(1, 0, 1, &stats)]);
    let parts = [line, event_name(1, "f", &[]), stat_name(1, "_src")];
    let trace = read(&[plane("/host:CPU", &parts)]);
    let args = track(&trace, "python").slices.args.get(0, &trace.strings);
    assert_eq!(args.len(), 2);
    assert!(args.iter().all(|(key, _)| *key == "_src") && args[0] != args[1]);
}

/// 3.1, 3.8.12: runs and programs may be negative or above 2^63, as either kind of integer.
#[test]
fn ids_of_either_sign_and_kind_are_the_same_number() {
    let op = |start, field, run| event(1, start, 5, &[stat(4, field, run)]);
    let ops = [op(0, 4, -7), op(10, 3, -7), op(20, 4, i64::MIN)];
    let parts = [line(-1, "XLA Ops", 0, &ops), event_name(1, "dot", &[]), cpu_stats()];
    let trace = read(&[plane("/device:TPU:0", &parts)]);
    assert_eq!(track(&trace, "XLA Ops").slices.run, [-7, -7, i64::MIN]);
}

/// 3.1: `child_id` may be packed or not; unknown fields and stats are skipped.
#[test]
fn repeated_numbers_may_be_packed_and_unknown_fields_are_skipped() {
    let packed = message(6, [varint(2), varint(300)].concat());
    let unpacked = [int(6, 2), int(6, 300)].concat();
    let unknown = [message(77, "?"), int(78, 1), vec![0xfd, 0x04, 0, 0, 0, 0]].concat();
    let odd = message(4, [int(1, 2), int(2, 20), int(3, 1), unknown.clone()].concat());
    let line = line(1, "XLA Ops", 0, &[event(1, 0, 10, &[]), odd, unknown]);
    let metas = [event_name(1, "fusion.1", &[packed]), event_name(2, "fusion.2", &[unpacked])];
    let trace = read(&[plane("/device:TPU:0", &[line, metas.concat()])]);
    let ops = track(&trace, "XLA Ops");
    let names: Vec<&str> = ops.slices.meta.iter().map(|&meta| trace.label(meta)).collect();
    assert_eq!((names, codes(&trace)), (vec!["fusion.1", "fusion.2"], vec![]));
}

/// 3.2: an event with a count instead of a time is not at time 0.
#[test]
fn aggregated_events_are_counted_and_not_placed() {
    let counted = message(4, [int(1, 1), int(5, 1000), int(3, 50)].concat());
    let line = line(1, "python", 0, &[event(1, 7, 1, &[]), counted]);
    let trace = read(&[plane("/host:CPU", &[line, event_name(1, "f", &[])])]);
    assert_eq!(starts(&track(&trace, "python").slices), [7]);
    assert_eq!(codes(&trace), [("xplane.aggregated_events", 1)]);
}

/// 3.2: line times count from the session's start or from the epoch, whichever the writer chose.
#[test]
fn absolute_and_relative_times_meet() {
    let start = START.cast_signed();
    let lines = [
        line(1, "relative", 4_677, &[event(1, 5, 1, &[])]),
        line(2, "absolute", start + 4_677, &[event(1, 5, 1, &[])]),
        line(3, "before", start - 10, &[event(1, 0, 1, &[])]),
    ];
    let host = plane("/host:CPU", &[lines.concat(), event_name(1, "f", &[])]);
    let trace = read(&[host, environment()]);
    assert_eq!(starts(&track(&trace, "relative").slices), [4_677_005]);
    assert_eq!(starts(&track(&trace, "absolute").slices), [4_677_005]);
    assert_eq!(starts(&track(&trace, "before").slices), [-10_000]);
    assert_eq!(trace.sources[SourceId(0)].clock.session, Some(Picos(5_000_000_000)));
}

/// 3.3: SparseCores share the prefix of the chip they are in and are no chips.
#[test]
fn sparse_cores_are_no_chips() {
    let part = |name: &str, line_name: &str| {
        let ops = line(1, line_name, 0, &[event(1, 0, 1, &[])]);
        plane(name, &[ops, event_name(1, "op", &[])])
    };
    let trace = read(&[
        part("/device:TPU:1 SparseCore 0", "Sparse Core Ops"),
        part("/device:TPU:1", "XLA Ops"),
        part("#Chip TPU Non-Core HBM", "bandwidth"),
    ]);
    let kinds: Vec<(DeviceKind, i64)> =
        trace.devices.iter().map(|device| (device.kind, device.ordinal)).collect();
    assert_eq!(kinds, [(DeviceKind::Tpu, 1), (DeviceKind::SparseCore, 0)]);
}

/// 3.3: planes of a merged sub-process have its id in their name.
#[test]
fn planes_of_sub_processes_are_told_apart() {
    let host = |name: &str, pid: i64| {
        let python = line(1, "python", 0, &[event(1, pid, 1, &[])]);
        let id = [stat_name(1, "process_id"), message(6, stat(1, 4, pid))].concat();
        plane(name, &[python, event_name(1, "f", &[]), id])
    };
    let trace = read(&[host("/host:CPU", 10), host("/host:CPU [4711]", 4711)]);
    let tracks: Vec<_> =
        trace.tracks.iter().map(|track| (track.kind, track.pid, track.slices.len())).collect();
    assert_eq!(tracks, [(TrackKind::HostThread, 10, 1), (TrackKind::HostThread, 4711, 1)]);
}

/// 3.4: only measured lines are operations; what is derived or overlaps is never summed.
#[test]
fn derived_and_asynchronous_lines_are_no_operations() {
    let check = |device: &str, expected: &[(&str, TrackKind)]| {
        let lines: Vec<u8> = (1..)
            .zip(expected)
            .flat_map(|(id, (name, _))| line(id, name, 0, &[event(1, 0, 1, &[])]))
            .collect();
        let trace = read(&[plane(device, &[lines, event_name(1, "op", &[])])]);
        for (name, kind) in expected {
            assert_eq!(track(&trace, name).kind, *kind, "{device} {name}");
        }
    };
    check(
        "/device:TPU:0",
        &[
            ("Steps", TrackKind::Steps),
            ("XLA Modules", TrackKind::Modules),
            ("XLA Ops", TrackKind::Ops),
            ("Async XLA Ops", TrackKind::AsyncOps),
            ("XLA TraceMe", TrackKind::Derived),
            ("Framework Ops", TrackKind::Derived),
            ("Framework Name Scope", TrackKind::Derived),
            ("Source code", TrackKind::Derived),
        ],
    );
    check(
        "/device:GPU:0",
        &[
            ("Stream #13(Compute)", TrackKind::Ops),
            ("XLA Ops", TrackKind::Derived),
            ("XLA Modules", TrackKind::Modules),
            ("Framework Ops", TrackKind::Derived),
        ],
    );
}

/// 3.8.8: on the CPU backend operations sit on host threads and name their device; each has a twin
/// `end: <op>` that is none, and what they wait for is none either.
#[test]
fn operations_of_the_cpu_backend_leave_their_twins_behind() {
    let stats = |run, device| {
        [text_stat(1, 5, "dot.1"), stat(3, 3, 6), stat(4, 4, run), stat(5, 4, device)]
    };
    let events = [
        event(1, 0, 100, &stats(-9, 1)),
        event(2, 100, 1, &[]),
        event(3, 10, 50, &[]),
        event(1, 200, 100, &stats(5, 0)),
    ];
    let names = ["dot.1", "end: dot.1", "Wait: pending_threads=1/2"]
        .into_iter()
        .zip(1..)
        .flat_map(|(name, id)| event_name(id, name, &[]));
    let thread = line(-5, "tf_XLAEigen/1", 0, &events);
    let trace = read(&[plane("/host:CPU", &[thread, names.collect(), cpu_stats()])]);
    let rows = |kind| {
        let of_kind = trace.tracks.iter().filter(move |track| track.kind == kind);
        of_kind.map(|track| (track.device.map(|device| device.0), starts(&track.slices)))
    };
    let ops: Vec<_> = rows(TrackKind::Ops).collect();
    assert_eq!(ops, [(Some(1), vec![0]), (Some(0), vec![200])]);
    let rest: Vec<_> = rows(TrackKind::HostThread).collect();
    assert_eq!(rest, [(None, vec![10, 100])]);
    let devices: Vec<_> = trace.devices.iter().map(|d| (d.kind, d.ordinal)).collect();
    assert_eq!(devices, [(DeviceKind::Cpu, 0), (DeviceKind::Cpu, 1)]);
}

/// An HLO proto of one computation whose only instruction has this name and id.
fn hlo(module: &str, op: &str, id: i64) -> Vec<u8> {
    let metadata = message(7, message(2, "jit(f)/mlp/dot"));
    let instruction = [message(1, op), message(2, "dot"), metadata, int(35, id)].concat();
    let computation = [message(1, "main"), message(2, instruction), int(5, id >> 32)].concat();
    message(1, [message(1, module), message(3, computation)].concat())
}

fn program_of<'a>(trace: &'a Trace, track_name: &str, row: usize) -> Option<&'a Program> {
    let meta = trace.meta(track(trace, track_name).slices.meta[row]);
    meta.program.map(|program| &trace.programs[program])
}

/// 3.6: libtpu 0.0.37 spells the stat otherwise and fills the map's key with something else;
/// instruction ids do not fit 32 bits.
#[test]
fn programs_are_found_by_their_id_and_not_by_their_key() {
    let entry = |key, name: &str, stat_id: i64, id: Option<i64>, op: &str| {
        let proto = text_stat(stat_id, 6, hlo("jit_f", op, (3 << 32) + 1));
        let id = id.map_or(Vec::new(), |id| message(5, stat(3, 3, id)));
        event_name(key, name, &[message(5, proto), id])
    };
    let names = [stat_name(1, "Hlo Proto"), stat_name(2, "HLO Proto"), stat_name(3, "program_id")];
    let metadata = plane(
        "/host:metadata",
        &[
            entry(1, "jit_f(42)", 2, None, "dot.42"),
            entry(42, "jit_f", 1, Some(-6), "dot.6"),
            entry(8, "jit_f", 1, None, "dot.8"),
            names.concat(),
        ],
    );
    let op = |id, start, program| event(id, start, 1, &[stat(3, 3, program)]);
    let ops = line(1, "XLA Ops", 0, &[op(1, 0, 42), op(2, 10, -6), op(3, 20, 8)]);
    let metas = [(1, "dot.42"), (2, "dot.6"), (3, "dot.8")];
    let metas = metas.into_iter().flat_map(|(id, name)| event_name(id, name, &[])).collect();
    let trace = read(&[plane("/device:TPU:0", &[ops, metas, cpu_stats()]), metadata]);
    for row in 0..3 {
        assert!(program_of(&trace, "XLA Ops", row).is_some(), "row {row}");
        let scope = trace.scope_of(track(&trace, "XLA Ops").slices.meta[row]);
        assert_eq!(trace.strings.get(scope), "jit(f)/mlp/dot", "row {row}");
    }
    assert!(!codes(&trace).iter().any(|(code, _)| *code == "xplane.damaged_hlo"));
}

/// Programs that come out of JAX's compilation cache are listed under other ids than their events
/// use, at no fixed distance, and two modules may have one id.
#[test]
fn programs_that_a_cache_renumbered_are_joined_by_module_operations_and_order() {
    let entry = |key: i64, module: &str, op: &str| {
        let proto = message(5, text_stat(1, 6, hlo(module, op, 1)));
        event_name(key, &format!("{module}({key})"), &[proto])
    };
    let listed = [
        entry(101, "jit_run", "dot.1"),
        entry(119, "jit_run", "dot.1"),
        entry(131, "jit_small", "dot.2"),
        entry(212, "jit_run", "dot.3"),
        entry(222, "jit_run", "dot.1"),
    ];
    let metadata = plane("/host:metadata", &[listed.concat(), stat_name(1, "Hlo Proto")]);
    let events = [
        (1, "jit_run", 99, "dot.1", Some(101)),
        (1, "jit_run", 117, "dot.1", Some(119)),
        (2, "jit_small", 117, "dot.2", Some(131)),
        (3, "jit_run", 204, "dot.3", Some(212)),
        (1, "jit_run", 222, "dot.1", Some(222)),
        // The file says nothing of it but what its events call it.
        (4, "jit_other", 300, "dot.4", Some(300)),
        // Two that were listed before fit, which are the same.
        (1, "jit_run", 400, "dot.1", Some(222)),
    ];
    let rows = (0..).zip(&events).map(|(start, &(id, module, program, op, _))| {
        let stats =
            [text_stat(1, 5, op), text_stat(2, 5, module), stat(3, 3, program), stat(5, 4, 0)];
        event(id, start, 1, &stats)
    });
    let thread = line(1, "tf_XLAEigen/1", 0, &rows.collect::<Vec<_>>());
    let names = (1..).zip(["dot.1", "dot.2", "dot.3", "dot.4"]);
    let names = names.flat_map(|(id, name)| event_name(id, name, &[])).collect();
    let trace = read(&[plane("/host:CPU", &[thread, names, cpu_stats()]), metadata]);
    for (row, (_, module, program, _, expected)) in events.iter().enumerate() {
        let found = program_of(&trace, "tf_XLAEigen/1", row).map(|program| program.id);
        assert_eq!(found, *expected, "{module}, {program}");
    }
    assert!(codes(&trace).contains(&("hlo.rejoined", 5)), "{:?}", codes(&trace));
    let other = program_of(&trace, "tf_XLAEigen/1", 5).unwrap();
    assert_eq!(trace.strings.get(other.name), "jit_other(300)");
    assert!(other.instructions.is_empty());
}

/// 3.8.15: programs are numbered by each run for itself.
#[test]
fn programs_of_two_files_with_one_number_stay_apart() {
    let file = |op: &str| {
        let proto = message(5, text_stat(1, 6, hlo("jit_f", op, 1)));
        let parts = [event_name(7, "jit_f(7)", &[proto]), stat_name(1, "Hlo Proto")];
        let ops = line(1, "XLA Ops", 0, &[event(1, 0, 1, &[stat(3, 3, 7)])]);
        let device = plane("/device:TPU:0", &[ops, event_name(1, op, &[]), cpu_stats()]);
        [device, plane("/host:metadata", &parts)].concat()
    };
    let folder = tempfile::tempdir().unwrap();
    let paths = [("a", "dot.1"), ("b", "dot.2")].map(|(host, op)| {
        let path = folder.path().join(format!("{host}.xplane.pb"));
        std::fs::write(&path, file(op)).unwrap();
        path
    });
    let trace = xscope_trace::read_paths(&paths).unwrap();
    let ops = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    for (track, op) in ops.zip(["dot.1", "dot.2"]) {
        let program = trace.meta(track.slices.meta[0]).program.unwrap();
        let program = &trace.programs[program];
        assert_eq!(program.source, Some(track.source));
        assert!(program.instruction(trace.strings.find(op).unwrap()).is_some(), "{op}");
    }
    assert_eq!(trace.devices.len(), 2);
}

/// 3.8.13 and 3.8.14: a file may name no host; what the profiler complains of is said.
#[test]
fn hosts_errors_and_warnings_of_the_file_are_said() {
    let host = |hostname: &str, path: &str| {
        let file = [environment(), message(2, "dropped"), message(3, "slow"), message(4, hostname)];
        let trace = read_bytes(path, file.concat()).unwrap();
        let said: Vec<_> = trace
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.message.clone()))
            .collect();
        assert_eq!(
            said,
            [
                (Severity::Error, "the profiler says: dropped".to_owned()),
                (Severity::Warning, "the profiler says: slow".to_owned()),
            ]
        );
        trace.strings.get(trace.sources[SourceId(0)].host).to_owned()
    };
    assert_eq!(host("tpu-vm-1", "x/other.xplane.pb"), "tpu-vm-1");
    assert_eq!(host("", "x/named.xplane.pb"), "named");
    assert_eq!(host("", "profile.pb"), "", "it names none");
}

/// A host thread of Python calls, a compilation and an operation of the CPU backend.
fn python_host(calls: i64) -> Vec<u8> {
    let mut events: Vec<Vec<u8>> = (0..calls).map(|n| event(1, n * 10, 5, &[])).collect();
    events.push(event(2, 3, 4, &[]));
    events.push(event(3, 2, 9, &[text_stat(1, 5, "dot.1"), stat(5, 4, 0)]));
    let names = [(1, "$a.py:1 f"), (2, "backend_compile"), (3, "dot.1")];
    let names = names.into_iter().flat_map(|(id, name)| event_name(id, name, &[])).collect();
    plane("/host:CPU", &[line(1, "python", 1, &events), names, cpu_stats()])
}

/// Above a memory limit what is not needed is counted and not kept, and this is said.
#[test]
fn what_a_memory_limit_leaves_out_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.xplane.pb");
    std::fs::write(&path, [python_host(1000), environment()].concat()).unwrap();
    let needed: fn(&str) -> bool = |name| name == "backend_compile";
    let read = |limit| {
        let options = ReadOptions { memory_limit: Some(Bytes(limit)), needed };
        read_paths_with(std::slice::from_ref(&path), options).unwrap()
    };
    let (all, lean) = (read(1 << 20), read(10_000));
    assert_eq!((all.slice_count(), codes(&all)), (1002, vec![]));
    assert_eq!((lean.slice_count(), codes(&lean)), (1002, vec![("load.dropped", 1000)]));
    assert_eq!(lean.extent(), all.extent());
    let kept = |kind| lean.tracks.iter().filter(move |track| track.kind == kind);
    assert_eq!(kept(TrackKind::Ops).map(|track| track.slices.len()).sum::<usize>(), 1);
    assert_eq!(kept(TrackKind::HostThread).map(|track| track.slices.len()).sum::<usize>(), 1);
    let [dropped] = lean.dropped.as_slice() else { panic!("one track lost slices") };
    assert_eq!((dropped.first, dropped.last), (Picos(1000), Picos(10_995)));
    let [(meta, 1000)] = dropped.counts[..] else { panic!("{:?}", dropped.counts) };
    assert_eq!(lean.label(meta), "$a.py:1 f");
}

/// 3.8.5: a program's execution and the host's call that enqueued it share a number and a device.
#[test]
fn executions_and_their_enqueueing_share_a_number() {
    let names = [stat_name(1, "run_id"), stat_name(2, "device_ordinal")].concat();
    let call = event(1, 0, 10, &[stat(1, 3, 7), stat(2, 3, 0)]);
    let host = plane(
        "/host:CPU",
        &[line(1, "main", 5, &[call]), event_name(1, "DoEnqueueProgram", &[]), names.clone()],
    );
    let execution = event(1, 0, 10, &[stat(1, 3, 7)]);
    let chip = plane(
        "/device:TPU:0",
        &[line(1, "XLA Modules", 4, &[execution]), event_name(1, "jit_f(9)", &[]), names],
    );
    let trace = read(&[host, chip]);
    let (main, modules) = (track(&trace, "main"), track(&trace, "XLA Modules"));
    assert_eq!((main.slices.run_of(0), modules.slices.run_of(0)), (Some(7), Some(7)));
    let ordinal = main.slices.args.find(0, "device_ordinal", &trace.strings);
    assert_eq!(ordinal, Some(ArgValue::Uint(0)));
}

/// TensorFlow's kernels name their operation in an annotation, XLA's there a list of keys.
#[test]
fn annotations_of_kernels_are_their_scopes() {
    let names =
        [stat_name(1, "annotation"), stat_name(2, "tower/layer_5/query/MatMul:MatMul")].concat();
    let annotated = |start: i64, text: &str| event(1, start, 5, &[text_stat(1, 5, text)]);
    let events = [
        annotated(0, "tower/layer_4/query/MatMul:MatMul"),
        event(1, 10, 5, &[stat(1, 7, 2)]),
        annotated(20, "tower/layer_4/query/MatMul:MatMul::cast"),
        annotated(30, "Thunk:#hlo_op=a/b#"),
        annotated(40, "group_1"),
        event(1, 50, 5, &[]),
    ];
    let stream =
        [line(1, "Stream #7(Compute)", 0, &events), event_name(1, "gemm", &[]), names].concat();
    let trace = read(&[plane("/device:GPU:0", &[stream])]);
    let slices = &track(&trace, "Stream #7(Compute)").slices;
    let scopes: Vec<&str> =
        slices.meta.iter().map(|&meta| trace.strings.get(trace.scope_of(meta))).collect();
    let of = |layer: u8| format!("tower/layer_{layer}/query/MatMul");
    assert_eq!(scopes, [&*of(4), &of(5), &of(4), "", "", ""]);
}

/// 3.8.6: hosts write into folders a second apart; and newer files may be Riegeli's.
#[test]
fn folders_of_hosts_are_one_trace() {
    let folder = tempfile::tempdir().unwrap();
    let put = |stamp: &str, name: &str, bytes: &[u8]| {
        let session = folder.path().join("plugins/profile").join(stamp);
        std::fs::create_dir_all(&session).unwrap();
        std::fs::write(session.join(name), bytes).unwrap();
    };
    put("2026_11_24_10_00_00", "host0.xplane.pb", &python_host(3));
    put("2026_11_24_10_00_01", "host1.xplane.pb", &python_host(4));
    let load = || read_paths_with(&[folder.path().to_owned()], ReadOptions::default()).unwrap();
    let trace = load();
    let hosts: Vec<&str> = trace.sources.iter().map(|s| trace.strings.get(s.host)).collect();
    assert_eq!(hosts, ["host0", "host1"]);
    assert_eq!(trace.devices.len(), 2, "each host has its own device 0");
    // An XPlane file in Riegeli's form, which ends after its first header.
    let riegeli = &crate::feed::riegeli_file::begin()[..24];
    put("2026_11_24_10_00_01", "host2.xplane.riegeli", riegeli);
    let trace = load();
    // None of these files says when it began.
    let expected = vec![("source.unreadable", 1), ("clock.unknown", 2)];
    assert_eq!((trace.sources.len(), codes(&trace)), (2, expected));
    assert!(trace.findings[0].message.contains("cut off"), "{:?}", trace.findings);
    put(
        "2026_11_24_10_00_01",
        "host2.xplane.riegeli",
        &crate::feed::riegeli_file::of(&[&python_host(5)]),
    );
    put("2026_11_24_10_00_01", "host2.trace.json.gz", b"a copy");
    assert_eq!((load().sources.len(), codes(&load())), (3, vec![("clock.unknown", 3)]));
}

/// Sessions of different months have no common axis: 64 bits of picoseconds are 106 days.
#[test]
fn sessions_that_are_months_apart_begin_together_and_are_told() {
    const DAY: u64 = 86_400_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let load = |days: u64| {
        for (name, begin) in [("a", START), ("b", START + days * DAY)] {
            let bytes = [python_host(3), session_at(begin)].concat();
            std::fs::write(folder.path().join(format!("{name}.xplane.pb")), bytes).unwrap();
        }
        read_paths_with(&[folder.path().to_owned()], ReadOptions::default()).unwrap()
    };
    let offset = |trace: &Trace| trace.sources[SourceId(1)].clock.offset;
    let trace = load(2);
    assert_eq!((offset(&trace).0, codes(&trace)), (2 * 86_400 * 1_000_000_000_000, vec![]));
    let trace = load(200);
    assert_eq!((offset(&trace).0, codes(&trace)), (0, vec![("clock.far_apart", 1)]));
}

/// Kineto names its files as it likes; a run's own JSON beside them is no profile.
#[test]
fn profiles_without_a_name_of_their_own_are_found_in_folders() {
    let folder = tempfile::tempdir().unwrap();
    let event = r#"{"ph":"X","name":"op","ts":1,"dur":2,"pid":1,"tid":1}"#;
    let put = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let load = || read_paths_with(&[folder.path().to_owned()], ReadOptions::default());
    put("results.json", r#"{"schema":"xscope/results/1","results":[]}"#.to_owned());
    let error = load().unwrap_err().to_string();
    assert!(error.contains("no profile in it"), "{error}");
    put("rank0.json", format!(r#"{{"deviceProperties":[],"traceEvents":[{event}]}}"#));
    put("list.json", format!("[{event}]"));
    assert_eq!(load().unwrap().sources.len(), 2);
}

/// 3.8.11: how much a copy moved is text on its event.
#[test]
fn details_of_copies_are_arguments() {
    let details = text_stat(1, 5, "kind_src:device kind_dst:device size:655360 dest:2 async:1");
    let parts = [
        line(1, "Stream #8(MemcpyOther)", 0, &[event(1, 0, 10, &[details])]),
        event_name(1, "CopyDeviceToDevice", &[]),
        stat_name(1, "memcpy_details"),
    ];
    let trace = read(&[plane("/device:GPU:0", &parts)]);
    let copies = trace.tracks.iter().find(|track| track.kind == TrackKind::Ops).unwrap();
    let found = copies.slices.args.find(0, "memcpy_details", &trace.strings);
    let Some(ArgValue::Text(text)) = found else { panic!("{found:?}") };
    assert!(text.contains("size:655360"));
}

/// Packed files are read as if they were not, whatever their size.
#[test]
fn a_packed_file_reads_like_itself() {
    let folder = tempfile::tempdir().unwrap();
    for calls in [10, 300_000] {
        let plain = [python_host(calls), environment()].concat();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain).unwrap();
        let path = folder.path().join("host.xplane.pb.gz");
        std::fs::write(&path, packed.finish().unwrap()).unwrap();
        let (packed, plain) = (
            read_paths_with(&[path], ReadOptions::default()).unwrap(),
            read_bytes("host.xplane.pb", plain).unwrap(),
        );
        let rows = |trace: &Trace| -> Vec<Vec<i64>> {
            trace.tracks.iter().map(|track| starts(&track.slices)).collect()
        };
        assert_eq!(rows(&packed), rows(&plain));
    }
}

/// The host's calls to a GPU name the operation that they launch, as operations of the CPU backend
/// do, and only calls have a `correlation_id`.
#[test]
fn calls_that_launch_kernels_are_no_operations() {
    let op = |id| [text_stat(1, 5, "dot.1"), stat(id, 4, 9)];
    let thread = line(1, "python", 0, &[event(1, 0, 5, &op(6)), event(2, 9, 5, &op(4))]);
    let names = [event_name(1, "hipModuleLaunchKernel", &[]), event_name(2, "dot.1", &[])].concat();
    let stats = [cpu_stats(), stat_name(6, "correlation_id")].concat();
    let trace = read(&[plane("/host:CPU", &[thread, names, stats])]);
    let kinds: Vec<_> = trace.tracks.iter().map(|track| (track.kind, track.slices.len())).collect();
    assert_eq!(kinds, [(TrackKind::HostThread, 1), (TrackKind::Ops, 1)]);
}

/// Without HLO the number of a program is all that operations say of it; the line of modules names
/// it. Numbers are of 64 bits without a sign.
#[test]
fn programs_without_hlo_are_called_as_the_line_of_modules_does() {
    let number = 12_190_760_917_235_803_885_u64;
    let ops = line(1, "XLA Ops", 0, &[event(1, 0, 1, &[])]);
    let modules = line(2, "XLA Modules", 0, &[event(2, 0, 1, &[])]);
    let program = message(5, stat(3, 3, number.cast_signed()));
    let names =
        [event_name(1, "fusion.1", &[program]), event_name(2, &format!("jit_f({number})"), &[])];
    let trace = read(&[plane("/device:TPU:0", &[ops, modules, names.concat(), cpu_stats()])]);
    let program = program_of(&trace, "XLA Ops", 0).unwrap();
    assert_eq!(trace.strings.get(program.name), "jit_f(12190760917235803885)");
}

/// AMD's planes name no chip, but say enough of it.
#[test]
fn an_amd_gpu_is_told_by_its_figures() {
    let folder = xscope_testing::fixture("gpu_amd");
    let trace = read_paths_with(&[folder], ReadOptions::default()).unwrap();
    let models = trace.devices.iter().map(|device| trace.strings.get(device.model));
    assert_eq!(models.collect::<Vec<_>>(), ["AMD Instinct MI300X"]);
}

/// Profiles of one server's stages, or of hosts of one name, have devices of one name.
#[test]
fn devices_of_one_name_are_told_apart_by_host_folder_or_number() {
    let device = |host: &str| {
        let parts = [line(1, "XLA Ops", 0, &[event(1, 0, 1, &[])]), event_name(1, "dot", &[])];
        [plane("/device:TPU:0", &parts), message(4, host)].concat()
    };
    let labels = |files: &[(&str, &str)]| -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, host) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, device(host)).unwrap();
        }
        let trace = read_paths_with(&[folder.path().to_owned()], ReadOptions::default()).unwrap();
        (0..)
            .take(trace.devices.len())
            .map(|id| trace.device_label(DeviceId(id)).to_owned())
            .collect()
    };
    assert_eq!(labels(&[("a.xplane.pb", "h")]), ["TPU:0"]);
    let stages = [("decode/x/h.xplane.pb", "h"), ("prefill/x/h.xplane.pb", "h")];
    assert_eq!(labels(&stages), ["TPU:0 of decode", "TPU:0 of prefill"]);
    let hosts = [("x/h.xplane.pb", "h"), ("x/i.xplane.pb", "i")];
    assert_eq!(labels(&hosts), ["TPU:0 of h", "TPU:0 of i"]);
    let none = [("x/a/h.xplane.pb", "h"), ("x/b/h.xplane.pb", "h"), ("y/h.xplane.pb", "i")];
    assert_eq!(labels(&none), ["TPU:0 of 1", "TPU:0 of 2", "TPU:0 of 3"]);
}

#[test]
fn lines_that_count_from_1970_are_as_those_that_count_from_the_session() {
    let Some(cases) = xscope_testing::cases() else { return };
    let times = |name: &str| {
        let trace = xscope_trace::read_paths(&[cases.join(name)]).unwrap();
        let (first, _) = trace.extent().unwrap();
        let tracks = trace.tracks.iter().flat_map(|track| track.slices.times());
        let times = tracks.map(|(start, end)| (start - first, end - first)).collect::<Vec<_>>();
        assert_eq!(times.len(), 1000);
        times
    };
    let absolute = times("faults/abs_timestamp.xplane.pb");
    assert_eq!(absolute, times("faults/rel_timestamp.xplane.pb"));
    assert!(absolute.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn copies_of_what_lies_beside_them_are_left_out() {
    let Some(cases) = xscope_testing::cases() else { return };
    let trace = xscope_trace::read_paths(&[cases.join("jaxdir")]).unwrap();
    assert_eq!((trace.sources.len(), trace.devices.len()), (1, 1));
    // Named, it is read.
    let copy = "jaxdir/plugins/profile/2026_11_01_00_00_00/perfetto_trace.json.gz";
    assert!(xscope_trace::read_paths(&[cases.join(copy)]).unwrap().slice_count() > 0);
    // Ranks and what they were merged into; alone, that is all there is.
    let folder = tempfile::tempdir().unwrap();
    let one = r#"[{"ph":"X","name":"a","ts":1,"dur":1}]"#;
    let sources = |names: &[&str]| {
        let folder = folder.path().join(names.len().to_string());
        std::fs::create_dir(&folder).unwrap();
        names.iter().for_each(|name| std::fs::write(folder.join(name), one).unwrap());
        xscope_trace::read_paths(&[folder]).unwrap().sources.len()
    };
    assert_eq!(sources(&["a-TP-0.trace.json", "a-TP-1.trace.json", "merged-a.trace.json"]), 2);
    assert_eq!(sources(&["merged-a.trace.json"]), 1);
}
