//! Operations among devices: how much they moved, how fast, what hid them, and who kept whom
//! waiting.
//!
//! JAX's CPU backend records how long each device waits in the rendezvous of a collective, for the
//! devices of its own replica group. Elsewhere the devices of one file share a clock, so the
//! executions of one collective on all of them tell who came last: until then the others wait, and
//! only from then on data can move. Bandwidth is that of the algorithm: the bytes of the result over
//! the time after the last arrival.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::{DeviceId, EventMeta, MetaId, Slices, SourceId, Track, TrackKind};
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
    /// Of that, waiting for other devices to arrive.
    pub wait_us: Metric,
    /// Where that is from: `rendezvous` (recorded by the runtime), `arrivals` (until the last
    /// device of all began, which with several replica groups is an upper bound) or `unknown`.
    pub wait_from: &'static str,
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
    /// Waiting that the runtime recorded in it.
    waited: Option<Picos>,
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
    let rendezvous = Rendezvous::of(trace);
    // Keys are compared by their numbers: there are as many operations as comparisons of names are slow.
    let mut numbers: FxHashMap<Key<'a>, usize> = FxHashMap::default();
    let mut keys: Vec<Key<'a>> = Vec::new();
    let mut all: Vec<(usize, i64, Run)> = Vec::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        let Some(device) = track.device else { continue };
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            if classes.get(&meta) != Some(&Class::Communication) {
                continue;
            }
            let program = trace.meta(meta).program;
            let program =
                program.map_or("", |id| trace.strings.get(trace.programs[id.0 as usize].name));
            let (start, end) = (track.slices.start[row], track.slices.end(row));
            let waited = rendezvous.waited(track, start, end);
            let run = Run { device, meta, start, end, waited };
            let key = (track.source, trace.label(meta), program);
            let number = *numbers.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            });
            all.push((number, track.slices.run_of(row).unwrap_or(0), run));
        }
    }
    all.sort_by_key(|(key, run, at)| (*key, *run, at.device, at.start));
    let mut groups: Vec<BTreeMap<(i64, u32), Vec<Run>>> =
        keys.iter().map(|_| BTreeMap::new()).collect();
    let mut before: Option<(usize, i64, DeviceId)> = None;
    let mut number = 0;
    for (key, run, at) in all {
        let this = (key, run, at.device);
        number = if before == Some(this) { number + 1 } else { 0 };
        before = Some(this);
        groups[key].entry((run, number)).or_default().push(at);
    }
    keys.into_iter().zip(groups).collect()
}

/// What JAX's CPU backend records of the rendezvous of collectives, by thread.
struct Rendezvous<'a> {
    threads: FxHashMap<(SourceId, i64), &'a Slices>,
    /// By meta: whether it is a rendezvous, and whether it is waiting for devices in one.
    kinds: Vec<(bool, bool)>,
}

const RENDEZVOUS: &str = "Rendezvous";
const WAITS: &str = "Wait: pending_threads=";

/// Whether a host event tells how long a collective waited.
pub(crate) fn is_rendezvous(name: &str) -> bool {
    name == RENDEZVOUS || name.starts_with(WAITS)
}

impl<'a> Rendezvous<'a> {
    fn of(trace: &'a Trace) -> Self {
        if trace.strings.find(RENDEZVOUS).is_none() {
            return Self { threads: FxHashMap::default(), kinds: Vec::new() };
        }
        let hosts = trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread);
        let name = |meta: &EventMeta| trace.strings.get(meta.name);
        Self {
            threads: hosts.map(|track| ((track.source, track.tid), &track.slices)).collect(),
            kinds: trace
                .metas
                .iter()
                .map(|meta| (name(meta) == RENDEZVOUS, name(meta).starts_with(WAITS)))
                .collect(),
        }
    }

    /// How long the thread of `track` waited between two times; `None` if it met nobody.
    fn waited(&self, track: &Track, start: Picos, end: Picos) -> Option<Picos> {
        let slices = self.threads.get(&(track.source, track.tid))?;
        let first = slices.start.partition_point(|&at| at < start);
        let rows = (first..slices.len()).take_while(|&row| slices.start[row] < end);
        let (mut met, mut waited) = (false, Picos::ZERO);
        for row in rows {
            let (is_rendezvous, is_wait) = self.kinds[slices.meta[row].0 as usize];
            met |= is_rendezvous;
            if is_wait {
                waited = waited.saturating_add(slices.end(row).min(end) - slices.start[row]);
            }
        }
        met.then_some(waited)
    }
}

/// How long each device waited in one execution, and who came last.
fn waits(execution: &[Run]) -> (Vec<Picos>, Vec<DeviceId>) {
    if let Some(waited) = execution.iter().map(|run| run.waited).collect::<Option<Vec<Picos>>>() {
        // Each replica group has a last device, which finds all others there.
        let late = execution.iter().filter(|run| run.waited == Some(Picos::ZERO));
        return (waited, late.map(|run| run.device).collect());
    }
    let Some(arrival) = execution.iter().max_by_key(|run| run.start) else {
        return (Vec::new(), Vec::new());
    };
    let waited = execution
        .iter()
        .map(|run| arrival.start.clamp(run.start, run.end.max(run.start)) - run.start);
    (waited.collect(), vec![arrival.device])
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
    let mut recorded = true;
    for execution in executions.values().filter(|execution| execution.len() > 1) {
        recorded &= execution.iter().all(|run| run.waited.is_some());
        let (waited, late) = waits(execution);
        for device in late {
            *last.entry(device).or_default() += 1;
        }
        for (run, waited) in execution.iter().zip(waited) {
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
    let group = instruction.map_or(0, |found| found.group_size as usize);
    let several = group > 0 && group < devices.len();
    CollectiveRow {
        name: String::new(),
        category: String::new(),
        program: String::new(),
        count: executions.len() as u64,
        devices: devices.len() as u64,
        group_size: instruction.map_or(0, |found| found.group_size),
        bytes: Metric::known(bytes, "B", "the trace does not carry its shape"),
        total_us: total.as_micros(),
        wait_us: match known && !recorded && several {
            true => Metric::degraded(
                wait.as_micros(),
                "us",
                "until the last device of all groups began, so it is an upper bound",
            ),
            false => Metric::known(known.then(|| wait.as_micros()), "us", alone),
        },
        wait_from: match (known, recorded) {
            (false, _) => "unknown",
            (true, true) => "rendezvous",
            (true, false) => "arrivals",
        },
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
