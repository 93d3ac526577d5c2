use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use proptest::prelude::*;
use xscope_testing::{python, repository};
use xscope_trace::write::xplane::{
    ChunkWriter, Event, EventId, EventMeta, LineKey, MONOTONIC_START, PlaneBuilder, START_TIME,
    STOP_TIME, StatId, StatValue, TASK_ENVIRONMENT, compact, compact_file,
};
use xscope_trace::{Nanos, Picos, Trace, read_paths};

const START_NANOS: u64 = 1_790_000_000_000_000_000;

/// A CPU "device" as the engine writes it: steps that hold a module, which holds ops.
struct Engine {
    environment: PlaneBuilder,
    device: PlaneBuilder,
    host: PlaneBuilder,
    ops: Vec<EventId>,
    module: EventId,
    score: EventId,
    forward: EventId,
    run_id: StatId,
}

impl Engine {
    fn new() -> Self {
        let mut environment = PlaneBuilder::new(0, TASK_ENVIRONMENT);
        let start = environment.stat_id(START_TIME);
        environment.plane_stat(start, StatValue::U64(START_NANOS));
        let monotonic = environment.stat_id(MONOTONIC_START);
        environment.plane_stat(monotonic, StatValue::I64(5_000_000_000));
        let mut device = PlaneBuilder::new(1, "/device:CUSTOM:xscope-cpu:0");
        let run_id = device.stat_id("run_id");
        let program = (device.stat_id("program_id"), StatValue::U64(7));
        let module =
            device.event(EventMeta { name: "score(7)", stats: &[program], ..EventMeta::default() });
        let category = device.stat_id("hlo_category");
        let scope = device.stat_id("tf_op");
        let flops = device.stat_id("flops");
        let symbol = device.stat_id("symbol_id");
        let accessed = device.stat_id("bytes_accessed");
        let ops = (0..3)
            .map(|op| {
                let name = format!("%dot.{op} = f32[8,8] dot(f32[8,8] %a, f32[8,8] %b)");
                let path = device.stat_id(&format!("layer_{op}/attention/qkv_proj:"));
                let dot = device.stat_id("convolution");
                device.event(EventMeta {
                    name: &name,
                    display_name: &format!("dot.{op}"),
                    stats: &[
                        (category, StatValue::Ref(dot)),
                        (scope, StatValue::Ref(path)),
                        (flops, StatValue::U64(1 << 20)),
                        (accessed, StatValue::U64(4096)),
                        (symbol, StatValue::U64(op + 1)),
                        program,
                    ],
                })
            })
            .collect();
        let mut host = PlaneBuilder::new(2, "/host:CPU");
        let score = host.event(EventMeta { name: "score", ..EventMeta::default() });
        let forward = host.event(EventMeta { name: "forward", ..EventMeta::default() });
        Self { environment, device, host, ops, module, score, forward, run_id }
    }

    /// One batch of 1 ms.
    fn batch(&mut self, index: u32) {
        let start = Picos(i64::from(index) * 1_500_000_000);
        let run = (self.run_id, StatValue::I64(i64::from(index) + 1));
        let device = &mut self.device;
        let steps = device.line(1, "Steps", Nanos(1_000));
        let modules = device.line(2, "XLA Modules", Nanos(1_000));
        let ops = device.line(3, "XLA Ops", Nanos(1_000));
        let step_name = index.to_string();
        let step = device.event(EventMeta { name: &step_name, ..EventMeta::default() });
        let mut push = |line: LineKey, id, offset: i64, dur| {
            let offset = Picos(start.0 + offset);
            device.push(line, &Event { id, offset, dur: Picos(dur), stats: &[run] });
        };
        push(steps, step, 0, 1_000_000_000);
        push(modules, self.module, 0, 1_000_000_000);
        for (index, &op) in (0..).zip(&self.ops) {
            push(ops, op, index * 300_000_000, 250_000_000);
        }
        let thread = self.host.line(4711, "engine", Nanos(1_000));
        // The root of a group: XProf makes a step of it.
        let root = [(self.host.stat_id("_r"), StatValue::I64(1))];
        let (id, dur) = (self.score, Picos(1_200_000_000));
        self.host.push(thread, &Event { id, offset: start, dur, stats: &root });
        let (id, offset, dur) = (self.forward, Picos(start.0 + 1_000), Picos(1_100_000_000));
        // XProf's framework op table has a row for each host event with this stat (on the event
        // itself, not on its metadata).
        let op = self.host.stat_id("forward:Forward");
        let op = [(self.host.stat_id("tf_op"), StatValue::Ref(op))];
        self.host.push(thread, &Event { id, offset, dur, stats: &op });
    }

    fn planes(&mut self) -> [&mut PlaneBuilder; 3] {
        [&mut self.environment, &mut self.device, &mut self.host]
    }

    fn stop(&mut self) {
        let stop = self.environment.stat_id(STOP_TIME);
        self.environment.plane_stat(stop, StatValue::U64(START_NANOS + 100_000_000));
    }
}

/// Writes ten batches, each a chunk, and does not merge them.
fn write_chunks(path: &Path) {
    let mut engine = Engine::new();
    let mut writer = ChunkWriter::create(path, "host-1").unwrap();
    for batch in 0..10 {
        engine.batch(batch);
        writer.append(engine.planes()).unwrap();
    }
    engine.stop();
    writer.append(engine.planes()).unwrap();
}

/// All slices as text, in the order of the trace's tracks.
fn slices(trace: &Trace) -> Vec<String> {
    let text = |id| trace.strings.get(id).to_owned();
    let mut lines = Vec::new();
    for track in &trace.tracks {
        for row in 0..track.slices.len() {
            let meta = trace.meta(track.slices.meta[row]);
            lines.push(format!(
                "{} {} {} {:?}+{:?} {} {:?} {:?}",
                text(track.process),
                text(track.name),
                text(meta.name),
                track.slices.start[row].0,
                track.slices.dur[row].0,
                text(meta.scope),
                meta.flops,
                track.slices.run_of(row),
            ));
        }
    }
    lines
}

fn file_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("host-1.xplane.pb")
}

#[test]
fn chunks_and_their_merger_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    write_chunks(&path);
    let chunked = read_paths(slice::from_ref(&path)).unwrap();
    let compacted = compact_file(&path).unwrap();
    assert_eq!((compacted.planes, compacted.chunks, compacted.damaged_at), (3, 22, None));
    assert_eq!(fs::metadata(&path).unwrap().len(), compacted.bytes.0);
    let merged = read_paths(slice::from_ref(&path)).unwrap();
    let read = slices(&merged);
    assert_eq!(read.len(), 10 * 7);
    assert_eq!(slices(&chunked), read);
    let op = "/device:CUSTOM:xscope-cpu:0 XLA Ops %dot.1 = f32[8,8] dot(f32[8,8] %a, f32[8,8] %b) \
              1801000000+250000000 layer_1/attention/qkv_proj Some(1048576) Some(2)";
    assert!(read.iter().any(|line| line == op), "{read:#?}");
    let before = fs::read(&path).unwrap();
    let again = compact_file(&path).unwrap();
    assert_eq!((again.planes, again.chunks), (3, 3));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_killed_writer_leaves_whole_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    write_chunks(&path);
    let bytes = fs::read(&path).unwrap();
    let mut merged = Vec::new();
    let compacted = compact(&bytes[..bytes.len() * 6 / 10], &mut merged).unwrap();
    assert!(compacted.damaged_at.is_some_and(|at| at < bytes.len() as u64));
    fs::write(&path, &merged).unwrap();
    let read = slices(&read_paths(&[path]).unwrap());
    assert!((25..70).contains(&read.len()), "{read:#?}");
}

#[test]
fn planes_that_number_differently_stay_apart() {
    let mut bytes = Vec::new();
    for names in [["a", "b"], ["b", "a"]] {
        let mut plane = PlaneBuilder::new(1, "/host:CPU");
        let line = plane.line(1, "main", Nanos(0));
        for name in names {
            let id = plane.event(EventMeta { name, ..EventMeta::default() });
            plane.push(line, &Event { id, offset: Picos(-1), dur: Picos(1), stats: &[] });
        }
        plane.encode_into(&mut bytes);
    }
    let compacted = compact(&bytes, &mut Vec::new()).unwrap();
    assert_eq!((compacted.planes, compacted.chunks), (2, 2));
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    fs::write(&path, "precious").unwrap();
    let error = ChunkWriter::create(&path, "h").unwrap_err();
    assert!(error.to_string().contains("host-1.xplane.pb"), "{error}");
}

#[test]
fn xprof_shows_what_was_written() {
    let Some(python) = python("import xprof") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    write_chunks(&path);
    compact_file(&path).unwrap();
    let script = repository().join("crates/xscope-trace/tests/xprof_check.py");
    let mut check = Command::new(python);
    check.arg(script).arg(&path).args(["--expect-event", "forward"]);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

proptest! {
    #[test]
    fn any_damage_gives_an_answer(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut engine = Engine::new();
        let mut bytes = Vec::new();
        for batch in 0..3 {
            engine.batch(batch);
            for plane in engine.planes() {
                plane.encode_into(&mut bytes);
            }
        }
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut once = Vec::new();
        let compacted = compact(&bytes, &mut once).unwrap();
        prop_assert_eq!(once.len() as u64, compacted.bytes.0);
        // What comes out is whole, and merging it again changes nothing.
        let mut twice = Vec::new();
        let again = compact(&once, &mut twice).unwrap();
        prop_assert_eq!(again.damaged_at, None);
        prop_assert_eq!(twice, once);
    }
}
