//! The model that every format is read into: columns, not objects.
//!
//! A trace has tens of millions of slices, so a slice is a row in the columns of its [`Track`],
//! and what the rows have in common (name, scope, program, cost) is stored once as an
//! [`EventMeta`]. Each track owns its columns, so tracks decode in parallel and are never copied
//! together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::args::{ArgCell, ArgStore};
use crate::ids::{IdVec, ids};
use crate::quality::Finding;
use crate::server_log::LogEvent;
use crate::span::Recorded;
use crate::strings::{StrId, Strings};
use crate::time::{Bytes, Nanos, Picos};

ids! {
    /// A [`Source`] of [`Trace::sources`].
    SourceId;
    /// A [`Device`] of [`Trace::devices`].
    DeviceId;
    /// A [`Track`] of [`Trace::tracks`].
    TrackId;
    /// An [`EventMeta`] of [`Trace::metas`].
    MetaId;
    /// A [`Program`] of [`Trace::programs`].
    ProgramId;
}

/// A device's name without what recorders put before it: `TPU:0` of `/device:TPU:0`.
pub fn short_device(name: &str) -> &str {
    let name = name.strip_prefix("/device:").unwrap_or(name);
    name.strip_prefix("CUSTOM:").unwrap_or(name)
}

/// Everything that was read, from one file or many, on one time axis.
#[derive(Debug, Default)]
pub struct Trace {
    pub strings: Strings,
    pub sources: IdVec<SourceId, Source>,
    pub devices: IdVec<DeviceId, Device>,
    pub tracks: IdVec<TrackId, Track>,
    pub metas: IdVec<MetaId, EventMeta>,
    pub counters: Vec<Counter>,
    pub processes: Vec<Process>,
    pub flows: Vec<Flow>,
    pub programs: IdVec<ProgramId, Program>,
    pub spans: Vec<RequestSpan>,
    pub client: Vec<ClientRequest>,
    /// Samples of stacks: what allocated, what ran.
    pub profiles: Vec<StackProfile>,
    /// What sglang-jax says of the tensors of its stages.
    pub memory_reports: Vec<MemoryReport>,
    /// What servers' logs say of their batches and compilations, in the order of the files.
    pub log: Vec<LogRow>,
    /// What `.xspan` files hold, and what recording it took.
    pub recorded: Vec<(SourceId, Recorded)>,
    /// Slices that were counted but not kept, because the caller has no use for them.
    pub dropped: Vec<Dropped>,
    /// What is wrong with the input, found while reading, in the order of finding.
    pub findings: Vec<Finding>,
}

/// Slices of one track that were counted but not kept (see
/// [`LoadOptions`](crate::load::LoadOptions)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The track that holds those that were kept.
    pub track: TrackId,
    /// Start of the first and end of the last.
    pub first: Picos,
    pub last: Picos,
    /// How many of each kind, ordered by kind.
    pub counts: Vec<(MetaId, u64)>,
}

impl Dropped {
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&(_, count)| count).sum()
    }
}

/// One file that went into a trace.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: String,
    pub format: Format,
    pub size: Bytes,
    pub host: StrId,
    pub clock: Clock,
    /// Facts that the file states of itself: versions, options, flags; sorted by key.
    pub facts: Vec<(String, String)>,
}

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    XPlane,
    ChromeJson,
    XSpan,
    /// `requests.jsonl`, the client's side of a run.
    Requests,
    /// pprof: device memory or CPU time by stack.
    Pprof,
    /// `memory_report_*.json` of sglang-jax.
    MemoryReport,
    /// The log of a server, text.
    ServerLog,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::XPlane => "xplane",
            Self::ChromeJson => "chrome_json",
            Self::XSpan => "xspan",
            Self::Requests => "requests",
            Self::Pprof => "pprof",
            Self::MemoryReport => "memory_report",
            Self::ServerLog => "server_log",
        }
    }

    /// Whether what such a file holds lies on the time axis.
    pub fn has_times(self) -> bool {
        !matches!(self, Self::Pprof | Self::MemoryReport)
    }
}

/// How a source's own clock relates to the trace's time axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// When the source's time zero was, in nanoseconds since the Unix epoch, if it says so.
    pub unix_epoch: Option<Nanos>,
    /// When the source's time zero was on its machine's monotonic clock, if it says so.
    pub monotonic_epoch: Option<Nanos>,
    /// What was subtracted from the times in the file, because picoseconds since the zero that
    /// they count from do not fit an `i64`; 0 for most sources.
    pub base: Nanos,
    /// When the profiler session ended, on the source's own axis, if it says so.
    pub session: Option<Picos>,
    /// What was added to the source's times to reach the trace's axis.
    pub offset: Picos,
    /// How far off `offset` may be; `None` if nothing is known of it.
    pub error: Option<Picos>,
}

/// One device that ran work.
#[derive(Debug, Clone)]
pub struct Device {
    pub name: StrId,
    /// How reports call it where devices of several sources have one name; else empty.
    pub label: StrId,
    pub kind: DeviceKind,
    pub ordinal: i64,
    pub source: SourceId,
    /// What the device says it is, for example `TPU v6 Lite`; empty if it does not say.
    pub model: StrId,
    /// Peak arithmetic rate in FLOP/s, as stated by the trace.
    pub peak_flops: Option<f64>,
    /// Peak bandwidth of the main memory in bytes/s, as stated by the trace.
    pub peak_bytes: Option<f64>,
}

/// The kind of a [`Device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    Tpu,
    /// A SparseCore of a TPU chip: not a chip of its own.
    SparseCore,
    Gpu,
    /// A CPU that executes compiled programs (JAX's CPU backend, the built-in engine).
    Cpu,
    Custom,
}

impl DeviceKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tpu => "tpu",
            Self::SparseCore => "sparse_core",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
            Self::Custom => "custom",
        }
    }
}

/// What the slices of a track are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackKind {
    /// Operations as the device measured them: what busy time and kernel figures are made of.
    Ops,
    /// Operations in flight that overlap others (DMA, asynchronous copies); never summed.
    AsyncOps,
    /// Executions of whole programs.
    Modules,
    /// Training or serving steps.
    Steps,
    /// Slices that a tool or a recorder derived from others (scopes, framework names): to be
    /// looked at, never summed with operations.
    Derived,
    /// A thread of a host process.
    HostThread,
    /// A named track that is no thread (async slices of Chrome JSON, for example).
    Other,
}

/// A row of slices: a thread, a stream, a line of a device.
#[derive(Debug)]
pub struct Track {
    pub kind: TrackKind,
    pub name: StrId,
    pub source: SourceId,
    /// The plane or process that the track belongs to.
    pub process: StrId,
    /// Process id where the format has one; [`Track::NO_PROCESS`] for a track of no process.
    pub pid: i64,
    /// The line or thread id; may be negative, and is unique only within its process.
    pub tid: i64,
    pub device: Option<DeviceId>,
    pub slices: Slices,
}

impl Track {
    /// The process id of a track that belongs to the whole trace.
    pub const NO_PROCESS: i64 = -1;
}

/// A process, as a source describes it; those that the format does not describe are not listed.
#[derive(Debug, Clone)]
pub struct Process {
    pub source: SourceId,
    pub pid: i64,
    pub name: StrId,
    /// What the recorder says of it besides its name, for example `GPU 0`; else empty.
    pub labels: StrId,
}

/// A slice, by its track in [`Trace::tracks`] and its row there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceRef {
    pub track: TrackId,
    pub row: u32,
}

/// A cause and its effect: a launch and the kernel that it started, for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub from: SliceRef,
    pub to: SliceRef,
}

/// The columns of one track, ordered by start, then by descending duration (so a parent comes
/// before its children).
#[derive(Debug, Default)]
pub struct Slices {
    pub start: Vec<Picos>,
    /// Durations; [`Picos::UNFINISHED`] for a slice whose end was never seen, so that whoever sums
    /// them leaves out what is negative.
    pub dur: Vec<Picos>,
    pub meta: Vec<MetaId>,
    /// Execution (`run_id`) that each slice belongs to, 0 where it has none; empty if no slice
    /// of the track has one.
    pub run: Vec<i64>,
    pub args: ArgStore,
}

impl Slices {
    #[inline]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// End of row `row`, saturating; an unfinished slice ends where it starts.
    #[inline]
    pub fn end(&self, row: usize) -> Picos {
        end_of(self.start[row], self.dur[row])
    }

    /// Start and [end](Self::end) of each row.
    #[inline]
    pub fn times(&self) -> impl Iterator<Item = (Picos, Picos)> {
        self.start.iter().zip(&self.dur).map(|(&start, &dur)| (start, end_of(start, dur)))
    }

    /// The execution of row `row`, if it belongs to one.
    #[inline]
    pub fn run_of(&self, row: usize) -> Option<i64> {
        self.run.get(row).copied().filter(|&run| run != 0)
    }

    /// Start of the first and end of the last slice.
    pub fn extent(&self) -> Option<(Picos, Picos)> {
        let first = *self.start.first()?;
        let last = self.times().map(|(_, end)| end).max()?;
        Some((first, last))
    }

    /// Makes row `order[i]` the `i`-th.
    pub(crate) fn permute(&mut self, order: &[usize]) {
        self.start = order.iter().map(|&row| self.start[row]).collect();
        self.dur = order.iter().map(|&row| self.dur[row]).collect();
        self.meta = order.iter().map(|&row| self.meta[row]).collect();
        if !self.run.is_empty() {
            self.run = order.iter().map(|&row| self.run[row]).collect();
        }
        self.args.reorder(order.iter().copied());
    }

    /// Brings the rows into the order that the type promises; a no-op if they are in it.
    pub(crate) fn sort(&mut self) {
        // What never ended encloses whatever starts with it.
        let length = |dur: Picos| if dur < Picos::ZERO { Picos(i64::MAX) } else { dur };
        let ordered = self.start.windows(2).zip(self.dur.windows(2)).all(|(start, dur)| {
            start[0] < start[1] || (start[0] == start[1] && length(dur[0]) >= length(dur[1]))
        });
        if ordered {
            return;
        }
        // Rows are counted in 32 bits, as in a `SliceRef`: it halves what sorting needs.
        let Ok(rows) = u32::try_from(self.len()) else { return };
        let mut order: Vec<u32> = (0..rows).collect();
        order.sort_by_key(|&row| {
            let row = row as usize;
            (self.start[row], std::cmp::Reverse(length(self.dur[row])))
        });
        reorder(&mut self.start, &order);
        reorder(&mut self.dur, &order);
        reorder(&mut self.meta, &order);
        if !self.run.is_empty() {
            reorder(&mut self.run, &order);
        }
        self.args.reorder(order.iter().map(|&row| row as usize));
    }
}

/// Brings `column[order[i]]` to place `i`, in place: a second column of a large track would be the
/// most memory that reading a file takes.
fn reorder<T: Copy>(column: &mut [T], order: &[u32]) {
    let mut is_placed = vec![false; column.len()];
    for start in 0..column.len() {
        if is_placed[start] {
            continue;
        }
        let first = column[start];
        let mut at = start;
        loop {
            is_placed[at] = true;
            let from = order[at] as usize;
            if from == start {
                column[at] = first;
                break;
            }
            column[at] = column[from];
            at = from;
        }
    }
}

/// What all slices of one kind of event have in common.
#[derive(Debug, Clone, Default)]
pub struct EventMeta {
    /// The name as recorded (on TPU the whole HLO text).
    pub name: StrId,
    /// A short name to show, if the format has one; else empty.
    pub display: StrId,
    /// The category that the recorder gave (`hlo_category`, Chrome's `cat`); else empty.
    pub category: StrId,
    /// The program that the operation belongs to.
    pub program: Option<ProgramId>,
    /// The operation of that program, if it is not the name itself (GPU kernels).
    pub op: StrId,
    /// Scope path (the op name of HLO metadata), if the recorder gave one; else empty. Use
    /// [`Trace::scope_of`], which also asks the program.
    pub scope: StrId,
    /// Floating-point operations per execution, as recorded.
    pub flops: Option<u64>,
    /// Bytes read and written per execution, as recorded.
    pub bytes: Option<u64>,
}

/// A compiled program (an HLO module), as far as the trace carries it.
#[derive(Debug, Default)]
pub struct Program {
    pub name: StrId,
    /// The id that events of the same source refer to it by.
    pub id: i64,
    pub source: Option<SourceId>,
    /// Instructions of all computations; names are unique within a program.
    pub instructions: Vec<Instruction>,
    pub by_name: FxHashMap<StrId, u32>,
    /// Its computations, each as a range of instructions; callees come first.
    pub computations: Vec<Range<u32>>,
    /// The computation that an execution starts with.
    pub entry: Range<u32>,
    /// Operands of all instructions, as indices of instructions.
    pub operands: Vec<u32>,
    /// What an execution takes, in order.
    pub parameters: Vec<Parameter>,
    /// How the compiler laid out its memory, if the trace says.
    pub memory: Option<ProgramMemory>,
}

/// What an execution of a [`Program`] needs in the memory of one device, as its compiler planned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramMemory {
    /// What it is given; an output that takes the place of an argument counts here only.
    pub arguments: Bytes,
    pub outputs: Bytes,
    pub constants: Bytes,
    /// What it needs besides, while it runs.
    pub temporary: Bytes,
    /// Of the buffers that were laid out over time, the most that is in use at once, and the size of
    /// the place that they share.
    pub live: Bytes,
    pub place: Bytes,
    /// What is in use then, largest first.
    pub at_peak: Vec<Held>,
}

/// A buffer in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The instruction that makes it, if it is known.
    pub instruction: Option<u32>,
    /// The shape of that instruction's result; empty if it is not known.
    pub shape: StrId,
    pub bytes: Bytes,
}

/// An input of a [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameter {
    /// What the user's code calls it; empty if unknown.
    pub name: StrId,
    /// Its shape as HLO text writes it, for example `bf16[8,128]`.
    pub shape: StrId,
    /// Its instruction in [`Program::instructions`].
    pub instruction: Option<u32>,
}

impl Program {
    /// The instructions whose results `instruction` takes.
    pub fn operands_of(&self, instruction: &Instruction) -> impl Iterator<Item = &Instruction> {
        let range = instruction.operands.start as usize..instruction.operands.end as usize;
        let indices = self.operands.get(range).unwrap_or_default();
        indices.iter().filter_map(|&index| self.instructions.get(index as usize))
    }

    /// Bytes that an execution of `instruction` reads and writes if it reads its operands whole
    /// and once.
    pub fn bytes_of(&self, instruction: &Instruction) -> Bytes {
        let read = self.operands_of(instruction).map(|operand| operand.result_bytes.0);
        Bytes(read.fold(instruction.result_bytes.0, u64::saturating_add))
    }

    pub fn instruction(&self, name: StrId) -> Option<&Instruction> {
        self.by_name.get(&name).and_then(|&index| self.instructions.get(index as usize))
    }
}

/// One instruction of a [`Program`].
#[derive(Debug, Clone, Default)]
pub struct Instruction {
    pub name: StrId,
    pub opcode: StrId,
    /// The op name of its metadata: the scope path with the primitive at the end.
    pub op_name: StrId,
    /// Source file and line of the code that it came from, `file:line`; empty if unknown.
    pub source: StrId,
    /// The computations that it calls (a fusion's members, a loop's body and condition), each as
    /// a range of instructions of the program.
    pub members: Vec<Range<u32>>,
    /// What it takes, as a range of [`Program::operands`].
    pub operands: Range<u32>,
    /// Size of its result, all parts of a tuple together.
    pub elements: u64,
    pub result_bytes: Bytes,
    /// Floating-point operations of one execution, estimated from shapes, what it calls included;
    /// `None` where that cannot be told (custom calls).
    pub flops: Option<u64>,
    /// How often a loop runs, where the compiler knows it.
    pub trip_count: Option<u64>,
    /// Devices that take part in a collective together; 0 if it is none or does not say.
    pub group_size: u32,
    /// Whether its result is that of its computation.
    pub is_root: bool,
}

/// A value over time.
#[derive(Debug, Clone)]
pub struct Counter {
    pub name: StrId,
    /// What it is counted in, for example `bytes`; empty if unknown.
    pub unit: StrId,
    pub source: SourceId,
    /// Process id where the format has one, else [`Track::NO_PROCESS`].
    pub pid: i64,
    /// Samples ordered by time.
    pub at: Vec<Picos>,
    pub value: Vec<f64>,
}

/// The identity of a request or a batch, as its recorder wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKey {
    Number(i64),
    Text(StrId),
}

/// A span that carries the identity of requests or batches: what joins processes and devices.
#[derive(Debug, Clone)]
pub struct RequestSpan {
    pub name: StrId,
    pub source: SourceId,
    pub start: Picos,
    pub dur: Picos,
    /// The thread that it ran on.
    pub tid: u32,
    pub request: Option<SpanKey>,
    /// The batch; its device work carries the same number as `run_id`.
    pub batch: Option<SpanKey>,
    pub args: Vec<(StrId, ArgCell)>,
}

impl RequestSpan {
    pub fn end(&self) -> Picos {
        self.start.saturating_add(self.dur)
    }
}

/// What the client of a run saw of one request.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// The id that joins it to the server's spans.
    pub id: String,
    pub source: SourceId,
    /// Whether it was sent to warm the server up: in no figure.
    pub is_warmup: bool,
    pub ok: bool,
    pub items: u64,
    pub labels: u64,
    pub intended: Picos,
    pub sent: Option<Picos>,
    pub end: Picos,
}

/// Samples of stacks, as pprof has them: columns, with what repeats stored once.
#[derive(Debug, Clone, Default)]
pub struct StackProfile {
    pub source: Option<SourceId>,
    /// What each sample has values of, for example `space` in `bytes`; never empty.
    pub types: Vec<StackValue>,
    /// Index of the type that is meant if none is named.
    pub default_type: usize,
    pub frames: Vec<StackFrame>,
    /// The frames of each place in the code: several where calls were inlined, innermost first.
    pub locations: Vec<Range<u32>>,
    /// Locations of the samples, innermost first, one sample after the other.
    pub stack: Vec<u32>,
    /// Where each sample's stack ends.
    pub stack_ends: Vec<u32>,
    /// As many values for each sample as there are types.
    pub values: Vec<i64>,
    pub labels: Vec<StackLabel>,
    /// Where each sample's labels end.
    pub label_ends: Vec<u32>,
}

/// A kind of value, and what it is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackValue {
    pub name: StrId,
    pub unit: StrId,
}

/// A function and a line in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StackFrame {
    pub function: StrId,
    pub file: StrId,
    /// 0 if unknown.
    pub line: i64,
}

/// What a sample says of itself besides its stack: JAX's `kind` (`buffer`, `executable`) and
/// `device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackLabel {
    pub key: StrId,
    /// Empty if it is a number.
    pub text: StrId,
    pub number: i64,
}

impl StackProfile {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.stack_ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.stack_ends.is_empty()
    }

    /// The value of a sample of one type; 0 if there is none.
    pub fn value(&self, sample: usize, kind: usize) -> i64 {
        self.values.get(sample * self.types.len() + kind).copied().unwrap_or(0)
    }

    /// The frames of a sample, innermost first.
    pub fn frames_of(&self, sample: usize) -> impl Iterator<Item = &StackFrame> {
        let locations = self.stack.get(range_of(&self.stack_ends, sample)).unwrap_or_default();
        let frames = locations.iter().filter_map(|&location| {
            let range = self.locations.get(location as usize)?;
            self.frames.get(range.start as usize..range.end as usize)
        });
        frames.flatten()
    }

    pub fn labels_of(&self, sample: usize) -> &[StackLabel] {
        self.labels.get(range_of(&self.label_ends, sample)).unwrap_or_default()
    }
}

/// When a slice ends; one that never did, where it starts.
#[inline]
fn end_of(start: Picos, dur: Picos) -> Picos {
    start.saturating_add(dur.max(Picos::ZERO))
}

/// Where row `row` of a column lies whose rows end at `ends`.
fn range_of(ends: &[u32], row: usize) -> Range<usize> {
    let end = ends.get(row).map_or(0, |&end| end as usize);
    let start = row.checked_sub(1).and_then(|row| ends.get(row)).map_or(0, |&end| end as usize);
    start..end
}

/// One report of sglang-jax's memory profiler: the tensors at one point of a forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryReport {
    pub source: SourceId,
    /// `general`, `attention`, `mlp` and others.
    pub report_type: StrId,
    pub stage: StrId,
    pub layer: Option<i64>,
    /// As the report states it, in its MB.
    pub total_memory_mb: f64,
    /// The device's own peak until then, in the same MB, if it counts one.
    pub peak_memory_mb: Option<f64>,
    /// When it was made, on its machine's monotonic clock, if it says.
    pub at: Option<Nanos>,
    pub tensors: Vec<ReportedTensor>,
}

/// A tensor of a [`MemoryReport`].
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedTensor {
    pub name: StrId,
    pub memory_mb: f64,
    pub shape: Vec<i64>,
    pub dtype: StrId,
}

/// A line of a server's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRow {
    pub source: SourceId,
    /// When the line was written, to the second; `None` if it does not say.
    pub at: Option<Picos>,
    pub event: LogEvent,
}

/// A mapped or owned file, shared by the readers and by what is decoded on demand.
pub type SharedBytes = Arc<crate::bytes::FileBytes>;

impl Trace {
    /// The name of an event to show: the short one if there is one.
    pub fn label(&self, meta: MetaId) -> &str {
        let meta = &self.metas[meta];
        self.strings.get(if meta.display.is_empty() { meta.name } else { meta.display })
    }

    pub fn meta(&self, meta: MetaId) -> &EventMeta {
        &self.metas[meta]
    }

    /// The name of a device as reports show it, no two alike: `TPU:0` of `/device:TPU:0`, or
    /// `TPU:0 of host-1`.
    pub fn device_label(&self, device: DeviceId) -> &str {
        let device = &self.devices[device];
        match self.strings.get(device.label) {
            "" => short_device(self.strings.get(device.name)),
            label => label,
        }
    }

    /// The instruction behind an event, if the trace carries its program.
    pub fn instruction(&self, meta: MetaId) -> Option<&Instruction> {
        let meta = self.meta(meta);
        let program = &self.programs[meta.program?];
        let op = if !meta.op.is_empty() {
            meta.op
        } else if !meta.display.is_empty() {
            meta.display
        } else {
            meta.name
        };
        program.instruction(op)
    }

    /// The scope path of an event: what the recorder says, else what the program says.
    pub fn scope_of(&self, meta: MetaId) -> StrId {
        let recorded = self.meta(meta).scope;
        if !recorded.is_empty() {
            return recorded;
        }
        self.instruction(meta).map_or(StrId::EMPTY, |instruction| instruction.op_name)
    }

    /// Tracks of one kind that belong to `device`.
    pub fn device_tracks(&self, device: DeviceId, kind: TrackKind) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(move |track| track.device == Some(device) && track.kind == kind)
    }

    /// Number of slices in all tracks, those that were not kept included.
    pub fn slice_count(&self) -> usize {
        let kept: usize = self.tracks.iter().map(|track| track.slices.len()).sum();
        let dropped: u64 = self.dropped.iter().map(Dropped::count).sum();
        kept.saturating_add(usize::try_from(dropped).unwrap_or(usize::MAX))
    }

    /// What each device ran first for each execution: its program, or the first operation where the
    /// trace has no programs.
    pub fn first_of_runs(&self) -> BTreeMap<i64, Vec<SliceRef>> {
        let mut found: BTreeMap<(i64, Option<DeviceId>), (bool, Picos, SliceRef)> = BTreeMap::new();
        for (id, track) in self.tracks.iter_ids().filter(|(_, it)| !it.slices.run.is_empty()) {
            let is_detail = match track.kind {
                TrackKind::Modules => false,
                TrackKind::Ops => true,
                _ => continue,
            };
            for (row, &start) in (0_u32..).zip(&track.slices.start) {
                let Some(run) = track.slices.run_of(row as usize) else { continue };
                let this = (is_detail, start, SliceRef { track: id, row });
                let known = found.entry((run, track.device)).or_insert(this);
                *known = (*known).min(this);
            }
        }
        let mut rows: BTreeMap<i64, Vec<SliceRef>> = BTreeMap::new();
        for ((run, _), (_, _, slice)) in found {
            rows.entry(run).or_default().push(slice);
        }
        rows
    }

    /// Start of the first slice or span, whether they were kept or not, which is where reports count
    /// from; zero if there is none. Unlike [`extent`](Self::extent) it looks at no more than one row
    /// of each track.
    pub fn start(&self) -> Picos {
        let tracks = self.tracks.iter().filter_map(|track| track.slices.start.first().copied());
        let spans = self.spans.iter().map(|span| span.start);
        let client = self.client.iter().map(|request| request.intended);
        let dropped = self.dropped.iter().map(|dropped| dropped.first);
        tracks.chain(dropped).chain(spans).chain(client).min().unwrap_or_default()
    }

    /// Start of the first and end of the last slice or span, whether they were kept or not.
    pub fn extent(&self) -> Option<(Picos, Picos)> {
        let tracks = self.tracks.iter().filter_map(|track| track.slices.extent());
        let spans = self.spans.iter().map(|span| (span.start, span.end()));
        let client = self.client.iter().map(|request| (request.intended, request.end));
        let dropped = self.dropped.iter().map(|dropped| (dropped.first, dropped.last));
        tracks.chain(dropped).chain(spans).chain(client).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
