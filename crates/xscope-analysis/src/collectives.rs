//! Operations among devices: how much they moved, how fast, what hid them, and who kept whom
//! waiting.
//!
//! Devices of one file share a clock, so the executions of one collective on all of them tell who
//! came last: until then the others wait, and only from then on data can move. Bandwidth is that of
//! the algorithm: the bytes of the result over the time after the last arrival.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, SourceId, TrackKind};
use xscope_trace::{Metric, Picos, Trace};

use crate::intervals::Intervals;
use crate::kernels::KernelRow;
use crate::stats::{as_f64, sum};
use crate::timeline::{Class, class, covered};

/// One collective over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CollectiveRow {
    pub name: String,
    pub category: String,
    pub program: String,
    /// How often it ran, counted once for all devices that take part.
    pub count: u64,
    pub devices: u64,
    /// Devices that exchange data with each other; 0 if the trace does not say.
    pub group_size: u32,
    /// Bytes of the result on one device.
    pub bytes: Metric,
    /// Time in it, added up over devices.
    pub total_us: f64,
    /// Of that, waiting for the last device to arrive.
    pub wait_us: Metric,
    /// `total_us` without waiting.
    pub transfer_us: Metric,
    /// Bytes of the result over the mean time after the last arrival.
    pub bytes_per_sec: Metric,
    /// Of `total_us`, what other operations of the same device hide.
    pub hidden_us: f64,
    /// The device that came last most often, and how often.
    pub last: String,
    pub last_count: u64,
    #[serde(skip)]
    pub total: Picos,
    #[serde(skip)]
    pub wait: Picos,
}

/// One execution on one device.
#[derive(Debug, Clone, Copy)]
struct Run {
    device: DeviceId,
    meta: MetaId,
    start: Picos,
    end: Picos,
}

/// What identifies a collective: its file, name and program's name.
type Key<'a> = (SourceId, &'a str, &'a str);

/// All collectives, by total time.
pub(crate) fn collectives(trace: &Trace, kernels: &[KernelRow]) -> Vec<CollectiveRow> {
    let classes: FxHashMap<MetaId, Class> =
        kernels.iter().map(|kernel| (kernel.meta, class(&kernel.category))).collect();
    let categories: FxHashMap<MetaId, &str> =
        kernels.iter().map(|kernel| (kernel.meta, kernel.category.as_str())).collect();
    let groups = executions(trace, &classes);
    if groups.is_empty() {
        return Vec::new();
    }
    let computing: Vec<Intervals> = (0..trace.devices.len())
        .map(|id| {
            let id = DeviceId(u32::try_from(id).unwrap_or(u32::MAX));
            covered(trace, id, &classes, Class::Computation)
        })
        .collect();
    let mut rows: Vec<CollectiveRow> = groups
        .into_iter()
        .map(|((_, name, program), executions)| {
            let mut row = summarise(trace, &executions, &computing);
            let meta = executions.values().flatten().next().map(|run| run.meta);
            name.clone_into(&mut row.name);
            program.clone_into(&mut row.program);
            row.category = meta.map_or_else(String::new, |meta| categories[&meta].to_owned());
            row
        })
        .collect();
    rows.sort_by(|a, b| (b.total, &a.name, &a.program).cmp(&(a.total, &b.name, &b.program)));
    rows
}

/// The executions of each collective, by their number: the module execution and how often the
/// device ran it before in that.
fn executions<'a>(
    trace: &'a Trace,
    classes: &FxHashMap<MetaId, Class>,
) -> BTreeMap<Key<'a>, BTreeMap<(i64, u32), Vec<Run>>> {
    let mut all: Vec<(Key<'a>, i64, Run)> = Vec::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        let Some(device) = track.device else { continue };
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            if classes.get(&meta) != Some(&Class::Communication) {
                continue;
            }
            let program = trace.meta(meta).program;
            let program =
                program.map_or("", |id| trace.strings.get(trace.programs[id.0 as usize].name));
            let run =
                Run { device, meta, start: track.slices.start[row], end: track.slices.end(row) };
            let key = (track.source, trace.label(meta), program);
            all.push((key, track.slices.run_of(row).unwrap_or(0), run));
        }
    }
    all.sort_by_key(|(key, run, at)| (*key, *run, at.device, at.start));
    let mut groups: BTreeMap<Key<'a>, BTreeMap<(i64, u32), Vec<Run>>> = BTreeMap::new();
    let mut before: Option<(Key<'a>, i64, DeviceId)> = None;
    let mut number = 0;
    for (key, run, at) in all {
        let this = (key, run, at.device);
        number = if before == Some(this) { number + 1 } else { 0 };
        before = Some(this);
        groups.entry(key).or_default().entry((run, number)).or_default().push(at);
    }
    groups
}

fn summarise(
    trace: &Trace,
    executions: &BTreeMap<(i64, u32), Vec<Run>>,
    computing: &[Intervals],
) -> CollectiveRow {
    let runs = || executions.values().flatten();
    let total = sum(&runs().map(|run| run.end - run.start).collect::<Vec<_>>());
    let mut wait = Picos::ZERO;
    let mut moving = Vec::new();
    let mut last: BTreeMap<DeviceId, u64> = BTreeMap::new();
    for execution in executions.values().filter(|execution| execution.len() > 1) {
        let Some(arrival) = execution.iter().max_by_key(|run| run.start) else { continue };
        *last.entry(arrival.device).or_default() += 1;
        for run in execution {
            let waited = arrival.start.clamp(run.start, run.end.max(run.start)) - run.start;
            wait = wait.saturating_add(waited);
            moving.push(run.end - run.start - waited);
        }
    }
    let hidden = runs()
        .filter_map(|run| Some(computing.get(run.device.0 as usize)?.within(run.start, run.end)));
    let hidden = hidden.fold(Picos::ZERO, Picos::saturating_add);
    let meta = runs().next().map(|run| run.meta);
    let instruction = meta.and_then(|meta| trace.instruction(meta));
    let bytes = instruction.map(|found| as_f64(found.result_bytes.0)).filter(|bytes| *bytes > 0.0);
    let secs = sum(&moving).as_micros() / 1e6 / as_f64(moving.len().max(1) as u64);
    let devices: std::collections::BTreeSet<DeviceId> = runs().map(|run| run.device).collect();
    let (late, times) =
        last.iter().max_by_key(|(_, count)| **count).map_or((None, 0), |(d, c)| (Some(*d), *c));
    let alone = "it ran on one device of this trace only";
    let known = !moving.is_empty();
    CollectiveRow {
        name: String::new(),
        category: String::new(),
        program: String::new(),
        count: executions.len() as u64,
        devices: devices.len() as u64,
        group_size: instruction.map_or(0, |found| found.group_size),
        bytes: Metric::known(bytes, "B", "the trace does not carry its shape"),
        total_us: total.as_micros(),
        wait_us: Metric::known(known.then(|| wait.as_micros()), "us", alone),
        transfer_us: Metric::known(known.then(|| (total - wait).as_micros()), "us", alone),
        bytes_per_sec: Metric::known(
            bytes.filter(|_| secs > 0.0).map(|bytes| bytes / secs),
            "B/s",
            "its bytes or its time after the last arrival are not known",
        ),
        hidden_us: hidden.as_micros(),
        last: late.map_or_else(String::new, |device| {
            trace.strings.get(trace.devices[device.0 as usize].name).to_owned()
        }),
        last_count: times,
        total,
        wait,
    }
}
