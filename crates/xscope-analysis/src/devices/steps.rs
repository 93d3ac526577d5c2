//! Steps: passes of training or serving, how long each took and what the devices did in it.
//!
//! A step is an annotation with a number (`jax.profiler.StepTraceAnnotation`, PyTorch's
//! `ProfilerStep#5`) or one that names a stage as SGLang and vLLM do, if the trace has any; else a
//! slice of the devices' line of steps; else a pass through the model with what runs on the device
//! until the next one, so that a sampler is part of its prefill. Passes of several devices are one
//! step if they are the same execution; what several servers did never is. In a trace without passes (a kernel benchmark) the program
//! that takes most of the time makes the steps.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{DeviceId, MetaId, SourceId, Track, TrackKind};
use xscope_trace::stats::{Percentile, mean_micros, sum};
use xscope_trace::strings::StrId;
use xscope_trace::{Metric, Picos, Trace};

use crate::devices::busy;
use crate::devices::programs::{Execution, ProgramStage, executions, stage_by_name};
use crate::error::{Error, Result};
use crate::intervals::Intervals;

/// The stat of an annotation that is a step.
const STEP_NUMBER: &str = "step_num";

/// The steps of a trace.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepsReport {
    /// What a step is: `annotation`, `device_line`, `pass` or `program`; absent without steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_of: Option<&'static str>,
    /// Steps of one name, stage and server together, by total time.
    pub groups: Vec<StepGroup>,
    /// By start.
    #[serde(rename = "rows")]
    pub steps: Vec<StepRow>,
}

/// All steps of one name and stage of a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepGroup {
    /// The name of the steps.
    pub name: String,
    /// As of programs: `prefill`, `decode`, `train` or `unknown`.
    pub stage: &'static str,
    /// Of a run with several servers, which of them; else empty.
    pub server: String,
    /// How many there are.
    pub count: u64,
    /// Their time together.
    pub total_us: f64,
    /// Mean duration.
    pub mean_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 99 % are not longer (nearest rank).
    pub p99_us: Metric,
    /// The longest.
    pub max_us: f64,
    /// Share of the steps' time in which their devices were busy.
    pub busy_share: f64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepRow {
    /// What `--step` takes: the annotation's own number, else counted from 0.
    pub number: i64,
    /// What it is a step of.
    pub name: String,
    /// As of its group.
    pub stage: &'static str,
    /// As of its group.
    pub server: String,
    /// From the start of the trace.
    pub start_us: f64,
    /// How long it took.
    pub duration_us: f64,
    /// Devices that ran something in it.
    #[serde(rename = "device_count")]
    pub devices: u64,
    /// Mean busy time of those devices.
    pub busy_us: f64,
    /// Executions of programs that began in it, those of several devices counted once.
    pub executions: u64,
    #[serde(skip)]
    pub start: Picos,
    #[serde(skip)]
    pub end: Picos,
}

/// A step before the devices are looked at.
#[derive(Debug, Clone, Copy)]
struct Step<'t> {
    number: i64,
    name: &'t str,
    stage: ProgramStage,
    server: StrId,
    start: Picos,
    end: Picos,
}

/// The steps of a trace.
pub fn steps(trace: &Trace) -> StepsReport {
    steps_of(trace, &executions(trace), &busy(trace))
}

/// When the steps `first` to `last` began and ended, for a window of time.
///
/// # Errors
///
/// There are no such steps.
pub fn extent(trace: &Trace, first: i64, last: i64) -> Result<(Picos, Picos)> {
    let steps = steps(trace).steps;
    let wanted = steps.iter().filter(|step| (first..=last).contains(&step.number));
    let extents = wanted.map(|step| (step.start, step.end));
    let numbers = || steps.iter().map(|step| step.number);
    extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).ok_or_else(|| {
        match numbers().min().zip(numbers().max()) {
            Some((least, most)) => Error::NoStep { first, least, most },
            None => Error::NoSteps,
        }
    })
}

pub(crate) fn steps_of(
    trace: &Trace,
    executions: &[Execution],
    busy: &IdVec<DeviceId, Intervals>,
) -> StepsReport {
    let (made_of, mut found) = find(trace, executions);
    found.sort_by_key(|step| (step.start, step.end, step.number));
    let zero = trace.start();
    let mut begun: Vec<(Picos, StrId, i64, StrId)> = executions
        .iter()
        .map(|run| (run.start, run.program, run.number, server_of(trace, run.device)))
        .collect();
    begun.sort_unstable();
    let row = |step: &Step<'_>| {
        let own = busy.iter_ids().filter(|(id, _)| server_of(trace, *id) == step.server);
        let times = own.map(|(_, busy)| busy.within(step.start, step.end));
        let times: Vec<Picos> = times.filter(|time| *time > Picos::ZERO).collect();
        let from = begun.partition_point(|run| run.0 < step.start);
        let inside = begun[from..].iter().take_while(|run| run.0 < step.end);
        let own = inside.filter(|run| run.3 == step.server);
        let executions: BTreeSet<(StrId, i64)> = own.map(|run| (run.1, run.2)).collect();
        StepRow {
            number: step.number,
            name: step.name.to_owned(),
            stage: step.stage.name(),
            server: trace.strings.get(step.server).to_owned(),
            start_us: (step.start - zero).as_micros(),
            duration_us: (step.end - step.start).as_micros(),
            devices: times.len() as u64,
            busy_us: mean_micros(sum(&times), times.len() as u64),
            executions: executions.len() as u64,
            start: step.start,
            end: step.end,
        }
    };
    let steps: Vec<StepRow> = found.par_iter().map(row).collect();
    let groups = groups(&steps);
    StepsReport { made_of: (!steps.is_empty()).then_some(made_of), groups, steps }
}

/// The server of a run with several that a device is of.
fn server_of(trace: &Trace, device: DeviceId) -> StrId {
    trace.sources[trace.devices[device].source].server
}

fn find<'t>(trace: &'t Trace, executions: &[Execution]) -> (&'static str, Vec<Step<'t>>) {
    let annotated = annotations(trace, executions);
    if !annotated.is_empty() {
        return ("annotation", annotated);
    }
    let mut listed = device_lines(trace);
    if !listed.is_empty() {
        listed.iter_mut().for_each(|step| tell_stage(trace, step, executions));
        return ("device_line", listed);
    }
    let by_stage = passes(trace, executions, |run| run.stage.is_pass());
    if !by_stage.is_empty() {
        return ("pass", by_stage);
    }
    let mut times: BTreeMap<StrId, Picos> = BTreeMap::new();
    for run in executions {
        let time = times.entry(run.program).or_default();
        *time = time.saturating_add(run.end - run.start);
    }
    let largest = times.iter().max_by_key(|&(name, time)| (time, std::cmp::Reverse(name)));
    let largest = largest.map(|(&name, _)| name);
    ("program", passes(trace, executions, |run| Some(run.program) == largest))
}

/// Slices of host threads that say that they are steps.
fn annotations<'t>(trace: &'t Trace, executions: &[Execution]) -> Vec<Step<'t>> {
    let mut found = of_all_hosts([numbered(trace), staged(trace)].concat());
    for step in &mut found {
        tell_stage(trace, step, executions);
    }
    found
}

/// The metas of host threads whose slices carry the number of a step: marks around code, no code.
/// Only slices of one name are steps or none is, so one of each name is asked.
pub(super) fn numbered_metas(trace: &Trace) -> FxHashSet<MetaId> {
    let has_argument = trace.strings.find(STEP_NUMBER).is_some();
    let is_step = |name: StrId| of_profiler(trace.strings.get(name)).is_some();
    if !has_argument && !trace.metas.iter().any(|meta| is_step(meta.name)) {
        return FxHashSet::default();
    }
    let mut found = FxHashSet::default();
    for track in on_hosts(trace) {
        let mut seen: FxHashSet<MetaId> = FxHashSet::default();
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            if seen.insert(meta) && step_of(trace, track, row).is_some() {
                found.insert(meta);
            }
        }
    }
    found
}

/// What a slice is a step of, and which, if it carries the number of one.
fn step_of<'t>(trace: &'t Trace, track: &Track, row: usize) -> Option<(&'t str, i64)> {
    let name = trace.strings.get(trace.meta(track.slices.meta[row]).name);
    if let Some(number) = of_profiler(name) {
        return Some((PROFILER_STEP, number));
    }
    let number = match track.slices.args.find(row, STEP_NUMBER, &trace.strings)? {
        ArgValue::Text(text) => text.parse().ok(),
        number => number.as_i64(),
    };
    Some((name, number?))
}

/// Gives a step the stage of what ran longest in it, if that is known.
fn tell_stage(trace: &Trace, step: &mut Step<'_>, executions: &[Execution]) {
    let inside = executions.iter().filter(|run| (step.start..step.end).contains(&run.start));
    let own = inside.filter(|run| server_of(trace, run.device) == step.server);
    let longest = own.max_by_key(|run| (run.end - run.start, std::cmp::Reverse(run.device)));
    match longest.map(|run| run.stage) {
        None | Some(ProgramStage::Unknown | ProgramStage::Forward) => {}
        Some(stage) => step.stage = stage,
    }
}

/// The slices of host threads.
fn on_hosts(trace: &Trace) -> impl Iterator<Item = &Track> {
    trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread)
}

/// Those that have a number, as an argument or in their name.
fn numbered(trace: &Trace) -> Vec<(SourceId, Step<'_>)> {
    let metas = numbered_metas(trace);
    if metas.is_empty() {
        return Vec::new();
    }
    let of_track = |track: &'_ Track| {
        let rows = track.slices.meta.iter().enumerate();
        let rows = rows.filter(|(_, meta)| metas.contains(meta));
        let step = |(row, _): (usize, &MetaId)| {
            let (name, number) = step_of(trace, track, row)?;
            let (start, end) = (track.slices.start[row], track.slices.end(row));
            let server = trace.sources[track.source].server;
            let stage = stage_by_name(name);
            Some((track.source, Step { number, name, stage, server, start, end }))
        };
        rows.filter_map(step).collect::<Vec<_>>()
    };
    on_hosts(trace).collect::<Vec<_>>().into_par_iter().flat_map_iter(of_track).collect()
}

/// What PyTorch's profiler calls its steps, before `#` and their number.
const PROFILER_STEP: &str = "ProfilerStep";

/// The number of a step of PyTorch's profiler.
fn of_profiler(name: &str) -> Option<i64> {
    name.strip_prefix(PROFILER_STEP)?.strip_prefix('#')?.parse().ok()
}

type StageOf = fn(&str) -> ProgramStage;

/// How servers begin the names of their passes, and what tells a pass's stage.
const PASSES: [(&str, StageOf); 2] = [("step[", stage_by_name), ("execute_", stage_by_context)];

/// The stage of `execute_context_1(512)_generation_0(0)`: how many prompts and how many decodes.
fn stage_by_context(name: &str) -> ProgramStage {
    let count = |what: &str| {
        let rest = name.split_once(what)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    match (count("context_"), count("generation_")) {
        (Some(1..), _) => ProgramStage::Prefill,
        (_, Some(1..)) => ProgramStage::Decode,
        _ => ProgramStage::Unknown,
    }
}

/// Those whose names tell the stage of a server's pass; of several names for it the first counts.
fn staged(trace: &Trace) -> Vec<(SourceId, Step<'_>)> {
    let named = |prefix: &'static str, stage: fn(&str) -> ProgramStage| {
        let stages: IdVec<MetaId, ProgramStage> = trace
            .metas
            .iter()
            .map(|meta| trace.strings.get(meta.name))
            .map(|name| match name.starts_with(prefix) {
                true => stage(name),
                false => ProgramStage::Unknown,
            })
            .collect::<Vec<_>>()
            .into();
        let of_track = |track: &'_ Track| {
            let rows = track.slices.meta.iter().zip(track.slices.times());
            let rows = rows.filter(|&(&meta, _)| stages[meta] != ProgramStage::Unknown);
            let name = prefix.trim_end_matches(['[', '_']);
            let server = trace.sources[track.source].server;
            let step = |(&meta, (start, end)): (&MetaId, (Picos, Picos))| {
                (track.source, Step { number: 0, name, stage: stages[meta], server, start, end })
            };
            rows.map(step).collect::<Vec<_>>()
        };
        let mut found: Vec<(SourceId, Step<'_>)> = on_hosts(trace).flat_map(of_track).collect();
        found.sort_by_key(|(source, step)| (*source, step.start));
        for same in found.chunk_by_mut(|a, b| a.0 == b.0) {
            (0..).zip(same).for_each(|(number, (_, step))| step.number = number);
        }
        found
    };
    let all = PASSES.iter().map(|&(prefix, stage)| named(prefix, stage));
    all.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

/// Takes the steps together that several hosts annotated at the same time by one name and number.
fn of_all_hosts<'t>(mut found: Vec<(SourceId, Step<'t>)>) -> Vec<Step<'t>> {
    found.sort_by_key(|(source, step)| (step.name, step.number, step.server, step.start, *source));
    let mut whole: Vec<(SourceId, Step<'t>)> = Vec::new();
    for (source, step) in found {
        match whole.last_mut() {
            Some((first, last))
                if (last.name, last.number, last.server)
                    == (step.name, step.number, step.server)
                    && *first != source
                    && step.start < last.end =>
            {
                last.end = last.end.max(step.end);
            }
            _ => whole.push((source, step)),
        }
    }
    whole.into_iter().map(|(_, step)| step).collect()
}

/// Slices of the devices' lines of steps; those of one name on several devices are one step where
/// they overlap: of two captures that lie in one directory each has its own.
fn device_lines(trace: &Trace) -> Vec<Step<'_>> {
    // By name, how often it was there before, and server; each with its line.
    type Extents = Vec<(StrId, Picos, Picos)>;
    let mut found: BTreeMap<(StrId, u64, StrId), Extents> = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Steps) {
        let server = trace.sources[track.source].server;
        let mut seen: BTreeMap<StrId, u64> = BTreeMap::new();
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            let name = trace.meta(meta).name;
            let times = seen.entry(name).or_default();
            let (start, end) = (track.slices.start[row], track.slices.end(row));
            let known = found.entry((name, *times, server)).or_default();
            match known.iter_mut().find(|(_, from, to)| start <= *to && *from <= end) {
                Some((_, from, to)) => (*from, *to) = (start.min(*from), end.max(*to)),
                None => known.push((track.name, start, end)),
            }
            *times += 1;
        }
    }
    let each = |((name, _, server), extents): ((StrId, u64, StrId), Extents)| {
        extents.into_iter().map(move |(line, start, end)| (start, name, line, end, server))
    };
    let mut steps: Vec<_> = found.into_iter().flat_map(each).collect();
    steps.sort_unstable();
    let mut listed = Vec::with_capacity(steps.len());
    for (index, (start, name, line, end, server)) in (0..).zip(steps) {
        // What is called by its number is a step like all others of its line.
        let (name, number) = match trace.strings.get(name).parse() {
            Ok(number) => (trace.strings.get(line), number),
            Err(_) => (trace.strings.get(name), index),
        };
        let stage = stage_by_name(name);
        listed.push(Step { number, name, stage, server, start, end });
    }
    listed
}

/// Executions that `begins` accepts, each with what runs on its device before the next.
fn passes<'t>(
    trace: &'t Trace,
    executions: &[Execution],
    begins: impl Fn(&Execution) -> bool,
) -> Vec<Step<'t>> {
    type Key = (StrId, i64, StrId);
    let mut found: BTreeMap<Key, (ProgramStage, Picos, Picos)> = BTreeMap::new();
    let mut current: Option<(DeviceId, Key)> = None;
    for run in executions {
        if begins(run) {
            let server = server_of(trace, run.device);
            current = Some((run.device, (run.program, run.number, server)));
        }
        let Some((_, key)) = current.filter(|&(device, _)| device == run.device) else { continue };
        let whole = found.entry(key).or_insert((run.stage, run.start, run.end));
        whole.1 = whole.1.min(run.start);
        whole.2 = whole.2.max(run.end);
    }
    let mut steps: Vec<_> = found.into_iter().collect();
    steps.sort_by_key(|&(key, (_, start, _))| (start, key));
    let step = |(number, ((name, _, server), (stage, start, end)))| Step {
        number,
        name: trace.strings.get(name),
        stage,
        server,
        start,
        end,
    };
    (0..).zip(steps).map(step).collect()
}

fn groups(steps: &[StepRow]) -> Vec<StepGroup> {
    type Key<'s> = (&'s str, &'static str, &'s str);
    let mut groups: BTreeMap<Key<'_>, Vec<&StepRow>> = BTreeMap::new();
    for step in steps {
        groups.entry((&step.name, step.stage, &step.server)).or_default().push(step);
    }
    let group = |((name, stage, server), rows): (Key<'_>, Vec<&StepRow>)| {
        let mut times: Vec<Picos> = rows.iter().map(|row| row.end - row.start).collect();
        times.sort_unstable();
        let (total, count) = (sum(&times), times.len() as u64);
        let busy: f64 = rows.iter().map(|row| row.busy_us).sum();
        StepGroup {
            name: name.to_owned(),
            stage,
            server: server.to_owned(),
            count,
            total_us: total.as_micros(),
            mean_us: mean_micros(total, count),
            min_us: times.first().map_or(0.0, |time| time.as_micros()),
            p50_us: Percentile::P50.of(&times).unwrap_or_default().as_micros(),
            p99_us: Percentile::P99.micros(&times),
            max_us: times.last().map_or(0.0, |time| time.as_micros()),
            busy_share: if total > Picos::ZERO { busy / total.as_micros() } else { 0.0 },
        }
    };
    let mut groups: Vec<StepGroup> = groups.into_iter().map(group).collect();
    groups.sort_by(|a, b| b.total_us.total_cmp(&a.total_us).then_with(|| a.name.cmp(&b.name)));
    groups
}
