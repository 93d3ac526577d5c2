//! Executions of whole programs, and what part of serving each is.
//!
//! An execution is a slice of the device's line of modules, or where it has none what it ran under
//! one `run_id`. GPUs have neither: there it is the operations of one program in a row, until the
//! one that the program begins with comes again. The stage is told by names where they say it, else by what the program takes: of
//! sglang-jax's forward passes, which all have one name, only a prefill takes the lengths of what is
//! new in each sequence. A sampler belongs to the forward pass before it on the same device.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::model::{DeviceId, DeviceKind, MetaId, Program, ProgramId, Track, TrackKind};
use xscope_trace::stats::{Percentile, mean_micros, sum};
use xscope_trace::strings::StrId;
use xscope_trace::{Metric, Picos, Trace};

/// A program that ran just before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Followed {
    /// The program.
    pub name: String,
    /// How often it did.
    pub count: u64,
}

/// All executions of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProgramRow {
    /// The program's name.
    pub name: String,
    /// Devices that it ran on.
    #[serde(rename = "device_count")]
    pub devices: u64,
    /// Executions, each device's counted for itself.
    pub count: u64,
    /// From the first operation of an execution to the end of its last.
    pub total_us: f64,
    /// Mean duration.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 99 % are not longer (nearest rank).
    pub p99_us: Metric,
    /// `prefill`, `decode`, `sampler` or `train` if its name or its inputs say so, else `unknown`.
    pub stage: &'static str,
    /// For a sampler: the stage of the passes that it follows, if it is the same for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_of: Option<&'static str>,
    /// For a sampler: the programs that ran just before it, with how often.
    pub follows: Vec<Followed>,
    #[serde(skip)]
    pub total: Picos,
}

/// One execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Execution {
    pub device: DeviceId,
    pub start: Picos,
    pub end: Picos,
    /// The name of the program, with its id: unique in a source.
    pub program: StrId,
    pub stage: ProgramStage,
    /// The same for the executions of the program that other devices took part in: the `run_id` on a
    /// host's CPU devices, else how often the device had run the program before.
    pub number: i64,
}

/// What part of serving or training a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProgramStage {
    Prefill,
    Decode,
    Train,
    /// A forward pass of either kind.
    Forward,
    Sampler,
    Unknown,
}

impl ProgramStage {
    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Train => "train",
            Self::Sampler => "sampler",
            Self::Forward | Self::Unknown => "unknown",
        }
    }

    /// Whether it is a pass through the model, and not one of the helpers between passes.
    pub(crate) fn is_pass(self) -> bool {
        !matches!(self, Self::Sampler | Self::Unknown)
    }
}

/// Inputs that only a prefill of sglang-jax has: the lengths that are new in each sequence. JAX
/// numbers the fields of `ForwardBatch` and `LogitsMetadata`.
const PREFILL_INPUTS: [&str; 3] = ["forward_batch[7]", "forward_batch[8]", "logits_metadata[2]"];

/// The tokens of a forward pass of sglang-jax, and the lengths of its sequences.
const TOKENS: &str = "forward_batch[0]";
const SEQUENCES: &str = "forward_batch[2]";

/// All programs that ran, by total time.
pub(crate) fn programs(trace: &Trace, executions: &[Execution]) -> Vec<ProgramRow> {
    let mut runs: BTreeMap<StrId, Vec<&Execution>> = BTreeMap::new();
    let mut before: BTreeMap<StrId, BTreeMap<(StrId, ProgramStage), u64>> = BTreeMap::new();
    let mut pass: Option<&Execution> = None;
    for execution in executions {
        runs.entry(execution.program).or_default().push(execution);
        if execution.stage.is_pass() {
            pass = Some(execution);
        } else if execution.stage == ProgramStage::Sampler
            && let Some(pass) = pass.filter(|pass| pass.device == execution.device)
        {
            let counts = before.entry(execution.program).or_default();
            *counts.entry((pass.program, pass.stage)).or_default() += 1;
        }
    }
    let row = |(program, runs): (StrId, Vec<&Execution>)| {
        let mut times: Vec<Picos> = runs.iter().map(|run| run.end - run.start).collect();
        times.sort_unstable();
        let (total, count) = (sum(&times), times.len() as u64);
        let devices: BTreeSet<DeviceId> = runs.iter().map(|run| run.device).collect();
        let follows = before.get(&program).into_iter().flatten();
        let stages: BTreeSet<ProgramStage> =
            follows.clone().map(|(&(_, stage), _)| stage).collect();
        let name = |id| trace.strings.get(id).to_owned();
        ProgramRow {
            name: name(program),
            devices: devices.len() as u64,
            count,
            total_us: total.as_micros(),
            mean_us: mean_micros(total, count),
            p50_us: Percentile::P50.of(&times).unwrap_or_default().as_micros(),
            p99_us: Percentile::P99.micros(&times),
            stage: runs[0].stage.name(),
            part_of: stages
                .first()
                .filter(|stage| stages.len() == 1 && **stage != ProgramStage::Forward)
                .map(|stage| stage.name()),
            follows: follows.map(|(&(id, _), &count)| Followed { name: name(id), count }).collect(),
            total,
        }
    };
    let mut rows: Vec<ProgramRow> = runs.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// All executions, by device and start.
pub(crate) fn executions(trace: &Trace) -> Vec<Execution> {
    let has_modules = |track: &&Track| track.kind == TrackKind::Modules && track.device.is_some();
    let modules: Vec<&Track> = trace.tracks.iter().filter(has_modules).collect();
    let listed = |device| modules.iter().any(|track| track.device == Some(device));
    let mut all = by_run(trace, |device| !listed(device));
    for (id, device) in (0_u32..).zip(&trace.devices) {
        let id = DeviceId(id);
        let is_known = listed(id) || all.iter().any(|run| run.device == id);
        if device.kind == DeviceKind::Gpu && !is_known {
            all.extend(by_order(trace, id));
        }
    }
    for track in &modules {
        let Some(device) = track.device else { continue };
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            let program = trace.meta(meta).program.map(|id| trace.programs[id].name);
            let program = program.unwrap_or(trace.meta(meta).name);
            let (start, end) = (track.slices.start[row], track.slices.end(row));
            let stage = ProgramStage::Unknown;
            all.push(Execution { device, start, end, program, stage, number: 0 });
        }
    }
    all.sort_by_key(|execution| (execution.device, execution.start, execution.program));
    let mut stages: BTreeMap<StrId, ProgramStage> = BTreeMap::new();
    let mut counts: BTreeMap<(DeviceId, StrId), i64> = BTreeMap::new();
    for execution in &mut all {
        let program = execution.program;
        execution.stage = *stages.entry(program).or_insert_with(|| stage(trace, program));
        if trace.devices[execution.device].kind != DeviceKind::Cpu {
            let count = counts.entry((execution.device, program)).or_default();
            execution.number = *count;
            *count += 1;
        }
    }
    all
}

/// Executions of devices whose operations carry a `run_id`.
fn by_run(trace: &Trace, wanted: impl Fn(DeviceId) -> bool) -> Vec<Execution> {
    let mut spans: BTreeMap<(DeviceId, StrId, i64), (Picos, Picos)> = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        let Some(device) = track.device.filter(|&device| wanted(device)) else { continue };
        let mut last: Option<((ProgramId, i64), (Picos, Picos))> = None;
        let mut close = |((program, run), span): ((ProgramId, i64), (Picos, Picos))| {
            let name = trace.programs[program].name;
            let whole = spans.entry((device, name, run)).or_insert(span);
            *whole = (whole.0.min(span.0), whole.1.max(span.1));
        };
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            let run = track.slices.run_of(row);
            let Some(key) = trace.meta(meta).program.zip(run) else { continue };
            let (start, end) = (track.slices.start[row], track.slices.end(row));
            match &mut last {
                Some((known, span)) if *known == key => span.1 = span.1.max(end),
                _ => {
                    if let Some(ended) = last.replace((key, (start, end))) {
                        close(ended);
                    }
                }
            }
        }
        if let Some(ended) = last {
            close(ended);
        }
    }
    let spans = spans.into_iter();
    spans
        .map(|((device, program, number), (start, end))| Execution {
            device,
            start,
            end,
            program,
            stage: ProgramStage::Unknown,
            number,
        })
        .collect()
}

/// An operation on a stream: start, end, what it is and of which program.
type StreamOp = (Picos, Picos, MetaId, ProgramId);

/// Executions on a GPU, whose operations name their program and no more, by what comes after what on
/// all of its streams. The first and the last may be cut.
fn by_order(trace: &Trace, device: DeviceId) -> Vec<Execution> {
    let mut ops: Vec<StreamOp> = Vec::new();
    for track in trace.device_tracks(device, TrackKind::Ops) {
        let slices = &track.slices;
        for (row, &meta) in slices.meta.iter().enumerate() {
            if let Some(program) = trace.meta(meta).program {
                ops.push((slices.start[row], slices.end(row), meta, program));
            }
        }
    }
    ops.sort_unstable();
    let firsts = firsts(trace, &ops);
    let mut all: Vec<Execution> = Vec::new();
    let mut last: Option<(ProgramId, MetaId)> = None;
    for &(start, end, meta, program) in &ops {
        let first = firsts.get(&program);
        let is_first = first.is_some_and(|first| first.meta == meta);
        // A sort launches one kernel many times in a row.
        let again = first.is_some_and(|first| first.has_others) && last == Some((program, meta));
        let goes_on = last.is_some_and(|(running, _)| running == program) && (!is_first || again);
        match all.last_mut().filter(|_| goes_on) {
            Some(running) => running.end = running.end.max(end),
            None => {
                let name = trace.programs[program].name;
                let stage = ProgramStage::Unknown;
                all.push(Execution { device, start, end, program: name, stage, number: 0 });
            }
        }
        last = Some((program, meta));
    }
    all
}

/// What a program begins with.
struct First {
    meta: MetaId,
    /// What speaks for it: how often it came after another program, for how long the device had been
    /// idle before it, and that it was seen first.
    evidence: (u64, Picos, std::cmp::Reverse<usize>),
    /// Whether the program has any other operation.
    has_others: bool,
}

/// The operation that each program begins with. The order of its instructions is not that of their
/// execution, so it is told by what came before: another program, else the longest idle time. What
/// is in a loop begins none.
fn firsts(trace: &Trace, ops: &[StreamOp]) -> BTreeMap<ProgramId, First> {
    let mut known: BTreeMap<(ProgramId, MetaId), (u64, Picos, usize)> = BTreeMap::new();
    let (mut before, mut until) = (None, Picos(i64::MAX));
    for (at, &(start, end, meta, id)) in ops.iter().enumerate() {
        let evidence = known.entry((id, meta)).or_insert((0, Picos::ZERO, at));
        evidence.0 += u64::from(before.is_some_and(|before| before != id));
        evidence.1 = evidence.1.saturating_add((start - until).max(Picos::ZERO));
        before = Some(id);
        until = if until == Picos(i64::MAX) { end } else { until.max(end) };
    }
    let mut firsts: BTreeMap<ProgramId, First> = BTreeMap::new();
    for ((id, meta), (after, idle, at)) in known {
        let evidence = (after, idle, std::cmp::Reverse(at));
        if let Some(first) = firsts.get_mut(&id) {
            first.has_others = true;
            if is_once(trace, meta, id) && evidence > first.evidence {
                (first.meta, first.evidence) = (meta, evidence);
            }
        } else if is_once(trace, meta, id) {
            firsts.insert(id, First { meta, evidence, has_others: false });
        }
    }
    firsts
}

/// Whether an operation runs once in each execution, as far as the trace carries its program.
fn is_once(trace: &Trace, meta: MetaId, id: ProgramId) -> bool {
    let program = &trace.programs[id];
    let event = trace.meta(meta);
    let op = if event.op.is_empty() { event.name } else { event.op };
    match program.by_name.get(&op) {
        Some(place) => program.entry.contains(place),
        None => program.instructions.is_empty(),
    }
}

/// What part of serving or training the program of this name is.
fn stage(trace: &Trace, name: StrId) -> ProgramStage {
    match trace.programs.iter_ids().find(|(_, program)| program.name == name) {
        Some((id, _)) => program_stage(trace, id),
        None => stage_by_name(trace.strings.get(name)),
    }
}

/// What part of serving or training a program is.
pub(crate) fn program_stage(trace: &Trace, id: ProgramId) -> ProgramStage {
    let program = &trace.programs[id];
    match stage_by_name(trace.strings.get(program.name)) {
        ProgramStage::Forward => stage_by_inputs(trace, program),
        known => known,
    }
}

/// What part of serving or training a name stands for.
pub(crate) fn stage_by_name(name: &str) -> ProgramStage {
    let lower = name.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    match () {
        () if has(&["sampl"]) => ProgramStage::Sampler,
        () if has(&["prefill", "extend"]) => ProgramStage::Prefill,
        () if has(&["decode", "generate"]) => ProgramStage::Decode,
        () if has(&["train"]) => ProgramStage::Train,
        () if has(&["model", "forward", "fwd"]) => ProgramStage::Forward,
        () => ProgramStage::Unknown,
    }
}

fn stage_by_inputs(trace: &Trace, program: &Program) -> ProgramStage {
    let text = |id| trace.strings.get(id);
    let shape = |program: &Program, input: &str| {
        let found = program.parameters.iter().find(|taken| text(taken.name) == input);
        found.map(|taken| text(taken.shape))
    };
    let is_prefill =
        |program: &Program| PREFILL_INPUTS.iter().any(|input| shape(program, input).is_some());
    if is_prefill(program) {
        return ProgramStage::Prefill;
    }
    match (shape(program, TOKENS), shape(program, SEQUENCES)) {
        (Some(tokens), Some(sequences)) if tokens != sequences => ProgramStage::Prefill,
        // One token for each sequence; where prefills are known by their inputs, this is none.
        (Some(_), _) if trace.programs.iter().any(is_prefill) => ProgramStage::Decode,
        _ => ProgramStage::Forward,
    }
}
