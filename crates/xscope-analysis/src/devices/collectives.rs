//! Operations among devices: how much they moved, how fast, what hid them, and who kept whom
//! waiting.
//!
//! JAX's CPU backend records how long each device waits in the rendezvous of a collective, for the
//! devices of its own replica group. Elsewhere the devices of one file share a clock, so the
//! executions of one collective on all of them tell who came last: until then the others wait, and
//! only from then on data can move. Bandwidth is that of the algorithm: the bytes of the result over
//! the time after the last arrival. What TPUs split into a start and a done is one operation, in flight
//! from the one to the other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, EventMeta, MetaId, Slices, SourceId, Track, TrackKind};
use xscope_trace::stats::{as_f64, sum};
use xscope_trace::{Metric, Picos, Trace};

use crate::devices::messages::{Message, bus_factor, message};
use crate::devices::timeline::{Class, Classes};
use crate::intervals::{Intervals, Merged, ahead};
use crate::kernels::by_meta::ByMeta;
use crate::kernels::row::{KernelRow, program_name};

/// One collective over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CollectiveRow {
    /// The operation's name.
    pub name: String,
    /// HLO's category, or what the recorder calls it.
    pub category: String,
    /// The program that it belongs to; empty if unknown.
    pub program: String,
    /// How often it ran, counted once for all devices that take part.
    pub count: u64,
    /// Devices that take part.
    #[serde(rename = "device_count")]
    pub devices: u64,
    /// Their names.
    pub on: Vec<String>,
    /// Devices that exchange data with each other; 0 if the trace does not say.
    pub group_size: u32,
    /// Bytes of the result on one device.
    #[serde(rename = "result_bytes")]
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
    /// Bytes of the result over the mean time after the last arrival; degraded, as the least that it can
    /// be, where it is not known when that was.
    pub bytes_per_sec: Metric,
    /// The same of the bytes that pass a device's link, as NCCL's benchmarks count them: comparable with
    /// what the link can do, whatever the operation.
    pub bus_bytes_per_sec: Metric,
    /// Of `total_us`, what other operations of the same device hide.
    pub hidden_us: f64,
    /// The device that came last most often, and how often.
    pub last: String,
    /// How often that was.
    pub last_count: u64,
    #[serde(skip)]
    meta: MetaId,
    #[serde(skip)]
    pub total: Picos,
    #[serde(skip)]
    pub wait: Picos,
}

/// One execution on one device.
#[derive(Debug, Clone, Copy)]
struct CollectiveRun {
    /// The module execution.
    execution: i64,
    /// How often the device ran the collective before in that.
    number: u32,
    device: DeviceId,
    start: Picos,
    dur: Picos,
    /// Waiting that the runtime recorded in it.
    waited: Option<Picos>,
    /// What other operations of the device hide of it.
    hidden: Picos,
    /// What it exchanged, if its event says it.
    message: Option<Message>,
}

impl CollectiveRun {
    fn end(&self) -> Picos {
        self.start.saturating_add(self.dur)
    }
}

/// The executions of the collectives on one device, those of one together and in order.
#[derive(Debug)]
pub(crate) struct CollectiveRuns {
    device: DeviceId,
    /// Where those of each are.
    ranges: Vec<(MetaId, Range<usize>)>,
    runs: Vec<CollectiveRun>,
}

/// What identifies a collective: its file, name and program's name.
type Key<'a> = (SourceId, Cow<'a, str>, &'a str);

/// All collectives, by total time, from what ran of them on all devices.
pub(crate) fn collectives(
    trace: &Trace,
    kernels: &[KernelRow],
    devices: &[CollectiveRuns],
) -> Vec<CollectiveRow> {
    let categories: FxHashMap<MetaId, &str> =
        kernels.iter().map(|kernel| (kernel.meta, kernel.category.as_str())).collect();
    let row = |((_, name, program), (meta, runs)): (Key<'_>, (MetaId, Vec<&[CollectiveRun]>))| {
        let mut runs = runs.concat();
        // Those of one device are in order, which makes this little work.
        runs.sort_by_key(|run| (run.execution, run.number, run.device));
        let mut row = summarise(trace, meta, &runs);
        row.name = name.into_owned();
        program.clone_into(&mut row.program);
        row
    };
    let mut rows: Vec<CollectiveRow> =
        by_collective(trace, devices).into_par_iter().map(row).collect();
    for row in &mut rows {
        row.category = categories.get(&row.meta).map_or_else(String::new, |&name| {
            half(name).map_or(Cow::Borrowed(name), |(whole, _)| whole).into_owned()
        });
    }
    rows.sort_by(|a, b| (b.total, &a.name, &a.program).cmp(&(a.total, &b.name, &b.program)));
    rows
}

/// What ran of each collective, by its key, from one device after the other.
fn by_collective<'a>(
    trace: &'a Trace,
    devices: &'a [CollectiveRuns],
) -> BTreeMap<Key<'a>, (MetaId, Vec<&'a [CollectiveRun]>)> {
    let key = |device: DeviceId, meta: MetaId| -> Key<'a> {
        let source = trace.devices[device].source;
        let name = trace.label(meta);
        let whole = half(name).map_or(Cow::Borrowed(name), |(whole, _)| whole);
        (source, whole, program_name(trace, meta))
    };
    let mut groups: BTreeMap<Key<'a>, (MetaId, Vec<&[CollectiveRun]>)> = BTreeMap::new();
    for CollectiveRuns { device, ranges, runs } in devices {
        for (meta, range) in ranges {
            let group = groups.entry(key(*device, *meta)).or_insert((*meta, Vec::new()));
            group.1.push(&runs[range.clone()]);
        }
    }
    groups
}

/// What ran of collectives on a device, which computed at some times.
pub(crate) fn runs<'t>(
    trace: &'t Trace,
    device: DeviceId,
    classes: &Classes,
    rendezvous: &'t Rendezvous<'_>,
    computation: &Intervals,
) -> CollectiveRuns {
    let is_wanted = |meta: MetaId| classes[meta] == Some(Class::Communication);
    let tracks = || trace.device_tracks(device, TrackKind::Ops);
    let metas = tracks().flat_map(|track| track.slices.meta.iter().copied());
    let mut by_meta = ByMeta::of(trace, metas.filter(|&meta| is_wanted(meta)));
    let none = CollectiveRun {
        execution: 0,
        number: 0,
        device,
        start: Picos::ZERO,
        dur: Picos::ZERO,
        waited: None,
        hidden: Picos::ZERO,
        message: None,
    };
    let of_track = |track: &'t Track| {
        let (slices, host) = (&track.slices, rendezvous.on(track));
        let mut met = 0;
        let rows = slices.meta.iter().copied().enumerate();
        rows.filter(|&(_, meta)| is_wanted(meta)).map(move |(row, meta)| {
            let (start, end) = (slices.start[row], slices.end(row));
            let waited = host.and_then(|host| rendezvous.waited(host, &mut met, start, end));
            let execution = slices.run_of(row).unwrap_or(0);
            let message = message(trace, track, row);
            (meta, CollectiveRun { execution, start, dur: end - start, waited, message, ..none })
        })
    };
    let mut runs = vec![none; by_meta.rows()];
    let mut computed = 0;
    for (meta, run) in Merged::of(tracks().map(of_track).collect(), |(_, run)| run.start) {
        let hidden = computation.within_from(&mut computed, run.start, run.end());
        runs[by_meta.put(meta).1] = CollectiveRun { hidden, ..run };
    }
    for (_, range) in &by_meta.ranges {
        number(&mut runs[range.clone()]);
    }
    let runs = CollectiveRuns { device, ranges: by_meta.ranges, runs };
    runs.with_whole_operations(trace, computation)
}

/// Which half of an operation that runs beside others its name says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Start,
    Done,
}

/// The name of the whole operation (`all-reduce.1`) whose half (`all-reduce-start.1`) a name is.
fn half(name: &str) -> Option<(Cow<'_, str>, Half)> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let halves = [("-start", Half::Start), ("-done", Half::Done)];
    let (whole, half) =
        halves.into_iter().find_map(|(end, half)| Some((stem.strip_suffix(end)?, half)))?;
    Some((Cow::Owned(format!("{whole}{}", &name[stem.len()..])), half))
}

impl CollectiveRuns {
    /// The same with one run, from start to end, for each two that are its halves.
    fn with_whole_operations(self, trace: &Trace, computation: &Intervals) -> Self {
        let Self { device, ranges, runs } = self;
        let mut halves: BTreeMap<_, Vec<(Half, usize)>> = BTreeMap::new();
        for (place, &(meta, _)) in ranges.iter().enumerate() {
            if let Some((whole, half)) = half(trace.label(meta)) {
                let key = (whole, program_name(trace, meta));
                halves.entry(key).or_default().push((half, place));
            }
        }
        let mut done: FxHashMap<usize, usize> = FxHashMap::default();
        for mut pair in halves.into_values() {
            pair.sort_unstable();
            if let &[(Half::Start, start), (Half::Done, end)] = pair.as_slice() {
                done.insert(start, end);
            }
        }
        let ends: BTreeSet<usize> = done.values().copied().collect();
        let (mut whole, mut places) = (Vec::with_capacity(runs.len()), Vec::new());
        for (place, (meta, range)) in ranges.iter().enumerate().filter(|it| !ends.contains(&it.0)) {
            let from = whole.len();
            let starts = &runs[range.clone()];
            match done.get(&place) {
                Some(&end) => {
                    whole.extend(joined(starts, &runs[ranges[end].1.clone()], computation));
                }
                None => whole.extend_from_slice(starts),
            }
            places.push((*meta, from..whole.len()));
        }
        Self { device, ranges: places, runs: whole }
    }
}

/// Runs from their starts to their ends, which are in the same order; what lacks its other half stands alone.
fn joined(
    starts: &[CollectiveRun],
    ends: &[CollectiveRun],
    computation: &Intervals,
) -> Vec<CollectiveRun> {
    let key = |run: &CollectiveRun| (run.execution, run.number);
    let mut ends: BTreeMap<(i64, u32), CollectiveRun> =
        ends.iter().map(|run| (key(run), *run)).collect();
    let mut runs: Vec<CollectiveRun> = Vec::with_capacity(starts.len());
    for &start in starts {
        let end = ends.remove(&key(&start)).filter(|end| end.end() >= start.end());
        runs.push(end.map_or(start, |end| CollectiveRun {
            dur: end.end() - start.start,
            hidden: computation.within(start.start, end.end()),
            ..start
        }));
    }
    runs.extend(ends.into_values());
    runs.sort_by_key(|run| (key(run), run.start));
    runs
}

/// Brings the executions of a collective on one device in order and counts them in each module
/// execution.
fn number(runs: &mut [CollectiveRun]) {
    runs.sort_unstable_by_key(|run| (run.execution, run.start, run.dur));
    for same in runs.chunk_by_mut(|a, b| a.execution == b.execution) {
        for (number, run) in (0..).zip(same) {
            run.number = number;
        }
    }
}

/// What JAX's CPU backend records of the rendezvous of collectives, by thread.
pub(crate) struct Rendezvous<'a> {
    threads: FxHashMap<(SourceId, i64), &'a Slices>,
    /// By meta: whether it is a rendezvous, and whether it is waiting for devices in one.
    kinds: IdVec<MetaId, (bool, bool)>,
}

const RENDEZVOUS: &str = "Rendezvous";
const WAITS: &str = "Wait: pending_threads=";

/// Whether a host event tells how long a collective waited.
pub(crate) fn is_rendezvous(name: &str) -> bool {
    name == RENDEZVOUS || name.starts_with(WAITS)
}

impl<'a> Rendezvous<'a> {
    pub(crate) fn of(trace: &'a Trace) -> Self {
        if trace.strings.find(RENDEZVOUS).is_none() {
            return Self { threads: FxHashMap::default(), kinds: IdVec::default() };
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

    /// What the thread of `track` did as a thread of the host.
    fn on(&self, track: &Track) -> Option<&'a Slices> {
        self.threads.get(&(track.source, track.tid)).copied()
    }

    /// How long a thread waited between two times; `None` if it met nobody. Its slices from `first`
    /// on may count; for questions in order of their start, which move `first` on.
    fn waited(
        &self,
        slices: &Slices,
        first: &mut usize,
        start: Picos,
        end: Picos,
    ) -> Option<Picos> {
        *first += ahead(&slices.start[*first..], |&at| at < start);
        let rows = (*first..slices.len()).take_while(|&row| slices.start[row] < end);
        let (mut met, mut waited) = (false, Picos::ZERO);
        for row in rows {
            let (is_rendezvous, is_wait) = self.kinds[slices.meta[row]];
            met |= is_rendezvous;
            if is_wait {
                waited = waited.saturating_add(slices.end(row).min(end) - slices.start[row]);
            }
        }
        met.then_some(waited)
    }
}

/// How long each device waited in one execution, and who came last.
fn waits(execution: &[CollectiveRun]) -> (Vec<Picos>, Vec<DeviceId>) {
    if let Some(waited) = execution.iter().map(|run| run.waited).collect::<Option<Vec<Picos>>>() {
        // Each replica group has a last device, which finds all others there.
        let late = execution.iter().filter(|run| run.waited == Some(Picos::ZERO));
        return (waited, late.map(|run| run.device).collect());
    }
    let arrival = execution.iter().map(|run| run.start).max().unwrap_or_default();
    let waited = execution.iter().map(|run| arrival.clamp(run.start, run.end()) - run.start);
    let waited: Vec<Picos> = waited.collect();
    // Who came at the same time as all others is not late.
    let somebody_waited = waited.iter().any(|&waited| waited > Picos::ZERO);
    let late = execution.iter().filter(|run| somebody_waited && run.start == arrival);
    (waited, late.map(|run| run.device).collect())
}

/// What the executions of one collective say, those of one execution together.
fn summarise(trace: &Trace, meta: MetaId, runs: &[CollectiveRun]) -> CollectiveRow {
    let total = runs.iter().fold(Picos::ZERO, |sum, run| sum.saturating_add(run.dur));
    let hidden = runs.iter().fold(Picos::ZERO, |sum, run| sum.saturating_add(run.hidden));
    let executions = || runs.chunk_by(|a, b| (a.execution, a.number) == (b.execution, b.number));
    let mut wait = Picos::ZERO;
    let mut moving = Vec::new();
    let mut last: BTreeMap<DeviceId, u64> = BTreeMap::new();
    let mut recorded = true;
    for execution in executions().filter(|execution| execution.len() > 1) {
        recorded &= execution.iter().all(|run| run.waited.is_some());
        let (waited, late) = waits(execution);
        for device in late {
            *last.entry(device).or_default() += 1;
        }
        for (run, waited) in execution.iter().zip(waited) {
            wait = wait.saturating_add(waited);
            moving.push(run.dur - waited);
        }
    }
    let sent = Sent::of(trace, meta, runs);
    let secs = sum(&moving).as_micros() / 1e6 / as_f64(moving.len().max(1) as u64);
    let devices: BTreeSet<DeviceId> = runs.iter().map(|run| run.device).collect();
    let (late, times) =
        last.iter().max_by_key(|(_, count)| **count).map_or((None, 0), |(d, c)| (Some(*d), *c));
    let alone = "it ran on one device of this trace only";
    let known = !moving.is_empty();
    let several = sent.group_size > 0 && (sent.group_size as usize) < devices.len();
    let rate = |bytes: Option<f64>| match bytes {
        Some(bytes) if known && secs > 0.0 => Metric::valid(bytes / secs, "B/s"),
        Some(bytes) if !known && total > Picos::ZERO => {
            const WHY: &str =
                "at least: its time has waiting for devices in it that are not in the trace";
            let secs = total.as_micros() / 1e6 / as_f64(runs.len() as u64);
            Metric::degraded(bytes / secs, "B/s", WHY)
        }
        _ => {
            Metric::unavailable("B/s", "its bytes or its time after the last arrival are not known")
        }
    };
    CollectiveRow {
        name: String::new(),
        category: String::new(),
        program: String::new(),
        count: executions().count() as u64,
        devices: devices.len() as u64,
        on: devices.iter().map(|&device| trace.device_label(device).to_owned()).collect(),
        group_size: sent.group_size,
        bytes: sent.bytes(),
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
        bytes_per_sec: rate(sent.mean),
        bus_bytes_per_sec: rate(sent.bus_mean),
        hidden_us: hidden.as_micros(),
        last: late.map_or_else(String::new, |device| trace.device_label(device).to_owned()),
        last_count: times,
        meta,
        total,
        wait,
    }
}

/// What the executions of a collective exchange.
struct Sent {
    /// Bytes of the result on one device, the mean of all executions.
    mean: Option<f64>,
    /// Bytes that pass a device's link.
    bus_mean: Option<f64>,
    group_size: u32,
    /// Whether all executions exchange as much.
    is_even: bool,
}

impl Sent {
    /// From what the program says, else from what each execution says.
    fn of(trace: &Trace, meta: MetaId, runs: &[CollectiveRun]) -> Self {
        if let Some(found) = trace.instruction(meta) {
            let mean = Some(as_f64(found.result_bytes.0)).filter(|bytes| *bytes > 0.0);
            let factor = bus_factor(trace.strings.get(found.opcode), found.group_size);
            let bus_mean = mean.zip(factor).map(|(bytes, factor)| bytes * factor);
            return Self { mean, bus_mean, group_size: found.group_size, is_even: true };
        }
        let messages: Option<Vec<Message>> = runs.iter().map(|run| run.message).collect();
        let messages = messages.unwrap_or_default();
        let Some(&first) = messages.first() else {
            return Self { mean: None, bus_mean: None, group_size: 0, is_even: true };
        };
        let count = as_f64(messages.len() as u64);
        let bus: Option<f64> = messages.iter().map(|message| message.bus_bytes).sum();
        let is_one_group = messages.iter().all(|message| message.group_size == first.group_size);
        Self {
            mean: Some(messages.iter().map(|message| as_f64(message.bytes)).sum::<f64>() / count),
            bus_mean: bus.map(|bytes| bytes / count),
            group_size: if is_one_group { first.group_size } else { 0 },
            is_even: messages.iter().all(|message| message.bytes == first.bytes),
        }
    }

    fn bytes(&self) -> Metric {
        let mut bytes = Metric::known(self.mean, "B", "the trace does not carry its shape");
        if !self.is_even {
            bytes.degrade("the mean of executions of several sizes");
        }
        bytes
    }
}
