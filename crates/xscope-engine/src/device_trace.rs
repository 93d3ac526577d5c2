//! The XPlane file of a capture: the model's work, as XProf shows that of a device.
//!
//! A forward pass is not compiled, so there is no HLO; what XProf and the readers above want of
//! it is written as XLA would: a *program* per shape of batch (as a compiler makes one), in it
//! one instruction per operation, with its scope as the op name. Times count from the start of
//! the capture, whose monotonic clock stands on the plane `Task Environment` as
//! [`MONOTONIC_START`], beside the wall times that XProf reads.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;
use xscope_model::{Family, OpRecord, OpRecorder, Owner};
use xscope_trace::{
    Nanos, Picos, clock,
    span::ThreadId,
    write::xplane::{
        ChunkWriter, Compacted, Event, EventId, EventMeta, LineKey, MONOTONIC_START, PlaneBuilder,
        START_TIME, STOP_TIME, StatId, StatValue, TASK_ENVIRONMENT, XPlaneWriteError,
    },
};

use crate::records::{BatchDone, THREAD_NAME};

/// The plane of what the model does. XProf shows planes of this prefix as devices.
pub(crate) const DEVICE_PLANE: &str = "/device:CUSTOM:xscope-cpu:0";

/// Which parts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planes {
    /// The scheduler's thread.
    pub(crate) host: bool,
    /// Steps, modules, scopes and ops.
    pub(crate) device: bool,
}

#[derive(Debug)]
pub(crate) struct DeviceTrace {
    path: PathBuf,
    file: ChunkWriter,
    origin: Nanos,
    family: Family,
    planes: Planes,
    environment: PlaneBuilder,
    host: Host,
    device: Device,
}

#[derive(Debug)]
struct Host {
    plane: PlaneBuilder,
    line: LineKey,
    batch: EventId,
    batch_forward: EventId,
    stats: [StatId; 5],
}

#[derive(Debug)]
struct Device {
    plane: PlaneBuilder,
    steps: LineKey,
    modules: LineKey,
    scopes: LineKey,
    ops: LineKey,
    stats: DeviceStats,
    /// By rows and longest prompt.
    programs: FxHashMap<(u64, u64), Program>,
    /// By the recorder's scope index.
    scope_events: Vec<Option<EventId>>,
}

#[derive(Debug)]
struct DeviceStats {
    run_id: StatId,
    program_id: StatId,
    hlo_category: StatId,
    tf_op: StatId,
    flops: StatId,
    bytes_accessed: StatId,
    live_bytes: [StatId; Owner::COUNT],
}

/// The operations of a shape come in the same order each time.
#[derive(Debug)]
struct Program {
    id: u64,
    module: EventId,
    ops: Vec<(OpKey, EventId)>,
}

/// What makes an operation the one that was there before.
type OpKey = (usize, &'static str, u64, u64);

impl DeviceTrace {
    /// Makes the file, whose origin is `origin` on the monotonic clock.
    pub(crate) fn create(
        path: &Path,
        origin: Nanos,
        planes: Planes,
        (thread, family): (ThreadId, Family),
    ) -> Result<Self, XPlaneWriteError> {
        let file = ChunkWriter::create(path, &hostname())?;
        let mut environment = PlaneBuilder::new(3, TASK_ENVIRONMENT);
        let (wall_offset, _) = clock::wall_offset();
        let start = environment.stat_id(START_TIME);
        environment.plane_stat(start, StatValue::U64(unsigned(origin + wall_offset)));
        let monotonic = environment.stat_id(MONOTONIC_START);
        environment.plane_stat(monotonic, StatValue::I64(origin.0));
        let mut trace = Self {
            path: path.to_owned(),
            file,
            origin,
            family,
            planes,
            environment,
            host: Host::new(thread),
            device: Device::new(),
        };
        trace.append()?;
        Ok(trace)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a batch as one chunk.
    pub(crate) fn batch(
        &mut self,
        done: &BatchDone,
        recorder: &OpRecorder,
    ) -> Result<(), XPlaneWriteError> {
        let origin = self.origin;
        if self.planes.host {
            self.host.batch(done, origin);
        }
        if self.planes.device {
            self.device.batch(done, recorder, (origin, self.family));
        }
        self.append()
    }

    /// Writes the end of the capture and merges the chunks.
    pub(crate) fn finish(mut self, end: Nanos) -> Result<Compacted, XPlaneWriteError> {
        let (wall_offset, _) = clock::wall_offset();
        let stop = self.environment.stat_id(STOP_TIME);
        self.environment.plane_stat(stop, StatValue::U64(unsigned(end + wall_offset)));
        self.append()?;
        self.file.finish()
    }

    fn append(&mut self) -> Result<(), XPlaneWriteError> {
        self.file.append([&mut self.environment, &mut self.host.plane, &mut self.device.plane])
    }
}

impl Host {
    fn new(thread: ThreadId) -> Self {
        let mut plane = PlaneBuilder::new(2, "/host:CPU");
        let line = plane.line(i64::from(thread.0), THREAD_NAME, Nanos::ZERO);
        let batch = plane.event(EventMeta { name: "batch", ..EventMeta::default() });
        let batch_forward =
            plane.event(EventMeta { name: "batch.forward", ..EventMeta::default() });
        // XProf makes a step of each event with `_r` = 1.
        let stats =
            ["run_id", "rows", "tokens", "padded_tokens", "_r"].map(|name| plane.stat_id(name));
        Self { plane, line, batch, batch_forward, stats }
    }

    fn batch(&mut self, done: &BatchDone, origin: Nanos) {
        let [run_id, rows, tokens, padded_tokens, root] = self.stats;
        let run_id = (run_id, StatValue::U64(done.batch));
        let stats = [
            run_id,
            (rows, StatValue::U64(done.size.rows)),
            (tokens, StatValue::U64(done.size.tokens)),
            (padded_tokens, StatValue::U64(done.size.padded_tokens)),
            (root, StatValue::I64(1)),
        ];
        let event = |id, start, end, stats| Event {
            id,
            offset: Picos::from(start - origin),
            dur: Picos::from(end - start),
            stats,
        };
        self.plane.push(self.line, &event(self.batch, done.schedule, done.end, &stats));
        let forward = event(self.batch_forward, done.forward, done.extract, &stats[..1]);
        self.plane.push(self.line, &forward);
    }
}

impl Device {
    fn new() -> Self {
        let mut plane = PlaneBuilder::new(1, DEVICE_PLANE);
        let stats = DeviceStats {
            run_id: plane.stat_id("run_id"),
            program_id: plane.stat_id("program_id"),
            hlo_category: plane.stat_id("hlo_category"),
            tf_op: plane.stat_id("tf_op"),
            flops: plane.stat_id("flops"),
            bytes_accessed: plane.stat_id("bytes_accessed"),
            live_bytes: Owner::ALL
                .map(|owner| plane.stat_id(&format!("live_{}_bytes", owner.as_str()))),
        };
        Self {
            steps: plane.line(1, "Steps", Nanos::ZERO),
            modules: plane.line(2, "XLA Modules", Nanos::ZERO),
            scopes: plane.line(3, "Framework Name Scope", Nanos::ZERO),
            ops: plane.line(4, "XLA Ops", Nanos::ZERO),
            plane,
            stats,
            programs: FxHashMap::default(),
            scope_events: Vec::new(),
        }
    }

    fn batch(
        &mut self,
        done: &BatchDone,
        recorder: &OpRecorder,
        (origin, family): (Nanos, Family),
    ) {
        let run_id = [(self.stats.run_id, StatValue::U64(done.batch))];
        let offset = Picos::from(done.forward - origin);
        let dur = Picos::from(done.extract - done.forward);
        let name = done.batch.to_string();
        let step = self.plane.event(EventMeta { name: &name, ..EventMeta::default() });
        self.plane.push(self.steps, &Event { id: step, offset, dur, stats: &run_id });

        let mut program = self.program(done, family);
        let module = Event { id: program.module, offset, dur, stats: &run_id };
        self.plane.push(self.modules, &module);
        for record in recorder.scopes() {
            let id = self.scope_event(record.scope.index(), recorder.scope_path(record.scope));
            let offset = Picos::from(record.start - origin);
            let dur = Picos::from(record.dur);
            self.plane.push(self.scopes, &Event { id, offset, dur, stats: &run_id });
        }
        for (ordinal, op) in recorder.ops().iter().enumerate() {
            let id = self.op_event(&mut program, ordinal, (op, recorder.scope_path(op.scope)));
            self.push_op(id, op, (origin, done.batch));
        }
        let shape = shape(done);
        self.programs.insert(shape, program);
    }

    /// Takes the program of the batch's shape out of the table, or makes it.
    fn program(&mut self, done: &BatchDone, family: Family) -> Program {
        if let Some(program) = self.programs.remove(&shape(done)) {
            return program;
        }
        // A score is all prefill; the name tells whoever reads the profile.
        // Programs are only ever put back, so their number is that of those made before.
        let id = u64::try_from(self.programs.len()).unwrap_or(u64::MAX).saturating_add(1);
        let name = format!("prefill_{}({id})", family_name(family));
        let stats = [(self.stats.program_id, StatValue::U64(id))];
        let module = self.plane.event(EventMeta { name: &name, display_name: "", stats: &stats });
        Program { id, module, ops: Vec::new() }
    }

    fn scope_event(&mut self, scope: usize, path: &str) -> EventId {
        if self.scope_events.len() <= scope {
            self.scope_events.resize(scope + 1, None);
        }
        if let Some(event) = self.scope_events[scope] {
            return event;
        }
        let tf_op = format!("forward/{path}");
        let stats = [(self.stats.tf_op, StatValue::Str(&tf_op))];
        let name = path.rsplit('/').next().unwrap_or(path);
        let event = self.plane.event(EventMeta { name, display_name: "", stats: &stats });
        self.scope_events[scope] = Some(event);
        event
    }

    fn op_event(
        &mut self,
        program: &mut Program,
        ordinal: usize,
        (op, scope): (&OpRecord, &str),
    ) -> EventId {
        let key = (op.scope.index(), op.op, op.flops, op.bytes.0);
        match program.ops.get(ordinal) {
            Some(&(known, event)) if known == key => return event,
            // A pass that broke off, or took another way: its instructions are new ones.
            Some(_) => program.ops.truncate(ordinal),
            None => {}
        }
        let short = format!("{}.{ordinal}", op.op);
        let name = format!("%{short}");
        let slash = if scope.is_empty() { "" } else { "/" };
        let tf_op = format!("forward/{scope}{slash}{}", op.op);
        let stats = [
            (self.stats.hlo_category, StatValue::Str(op.category)),
            (self.stats.tf_op, StatValue::Str(&tf_op)),
            (self.stats.flops, StatValue::U64(op.flops)),
            (self.stats.bytes_accessed, StatValue::U64(op.bytes.0)),
            (self.stats.program_id, StatValue::U64(program.id)),
        ];
        let event =
            self.plane.event(EventMeta { name: &name, display_name: &short, stats: &stats });
        program.ops.push((key, event));
        event
    }

    fn push_op(&mut self, id: EventId, op: &OpRecord, (origin, batch): (Nanos, u64)) {
        let run_id = (self.stats.run_id, StatValue::U64(batch));
        let event = |stats| Event {
            id,
            offset: Picos::from(op.start - origin),
            dur: Picos::from(op.dur),
            stats,
        };
        match op.live_bytes {
            None => self.plane.push(self.ops, &event(&[run_id])),
            Some(live) => {
                let mut stats = [run_id; 1 + Owner::COUNT];
                for (stat, (&id, live)) in
                    stats[1..].iter_mut().zip(self.stats.live_bytes.iter().zip(live))
                {
                    *stat = (id, StatValue::U64(live));
                }
                self.plane.push(self.ops, &event(&stats));
            }
        }
    }
}

fn shape(done: &BatchDone) -> (u64, u64) {
    (done.size.rows, done.size.padded_tokens)
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Llama => "llama",
        Family::Qwen3 => "qwen3",
    }
}

/// The name of this machine; part of the file's name.
pub(crate) fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().replace('/', "_");
    if name.is_empty() { "localhost".to_owned() } else { name }
}

fn unsigned(time: Nanos) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}
