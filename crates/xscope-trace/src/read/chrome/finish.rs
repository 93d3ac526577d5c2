//! Turns filled columns into the tracks of a trace.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::build::Builder;
use super::columns::{Binding, Class, FlowEnd, FlowPoint, Mark, Place, ProcessEntry, Rows, Thread};
use super::header::Header;
use crate::model::{ArgStore, ArgTable};
use crate::model::{
    Counter, Device, DeviceId, DeviceKind, Flow, Process, SliceRef, Slices, SourceId, Trace, Track,
    TrackId, TrackKind,
};
use crate::naming::{PlaneKind, track_kind};
use crate::strings::StrId;
use crate::time::Picos;

/// How far down a stack of open slices the one that an end belongs to is looked for.
const MATCH_DEPTH: usize = 1024;

/// How many slices that start at one time are looked at for the one that a flow names.
const OWN_SEARCH: usize = 64;

/// Processes of Kineto that are none: they hold spans of the profiler itself.
const PSEUDO_PROCESSES: [&str; 2] = ["Spans", "Traces"];

/// Begins without an end, and ends without a begin.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Unmatched {
    pub begins: u64,
    pub ends: u64,
}

/// Moves everything that was read into `trace`, whose strings the builder holds.
pub(super) fn finish(builder: Builder, header: &Header, trace: &mut Trace) -> Unmatched {
    let Builder { strings, source, metas, programs, processes, process_ids, threads, .. } = builder;
    let (mut rows, series, flows) = (builder.rows, builder.series, builder.flows);
    trace.strings = strings;
    trace.metas.extend(metas);
    trace.programs.extend(programs);
    let unmatched = rows
        .par_iter_mut()
        .map(|rows| {
            let unmatched = match_marks(rows);
            if !rows.args.keys.is_empty() {
                rows.slices.args = ArgStore::Table(std::mem::take(&mut rows.args));
            }
            rows.slices.sort();
            unmatched
        })
        .reduce(Unmatched::default, |a, b| Unmatched {
            begins: a.begins + b.begins,
            ends: a.ends + b.ends,
        });
    let first_track = trace.tracks.next_id();
    let links = bind_flows(flows, &rows, &threads, first_track);
    trace.flows.extend(links);
    trace.counters.extend(series.into_iter().map(|mut series| {
        series.samples.sort_by_key(|(at, _)| *at);
        let (at, value) = series.samples.into_iter().unzip();
        let unit = StrId::EMPTY;
        Counter { name: series.name, unit, source, pid: series.pid, at, value }
    }));
    let devices = FxHashMap::default();
    let known =
        Known { processes: &processes, process_ids: &process_ids, threads: &threads, header };
    Tracks { source, known, devices, trace }.add(rows);
    trace.processes.extend(processes.into_iter().map(|process| {
        let ProcessEntry { pid, name, labels, .. } = process;
        Process { source, pid, name, labels }
    }));
    unmatched
}

/// Gives begins their ends: the innermost open slice whose name and category are the end's, where
/// it states them.
fn match_marks(rows: &mut Rows) -> Unmatched {
    let mut marks = std::mem::take(&mut rows.marks);
    marks.sort_by_key(|mark| (mark.stack, mark.at));
    let mut unmatched = Unmatched::default();
    let mut open: Vec<Mark> = Vec::new();
    let mut stack = 0;
    for mark in marks {
        if mark.stack != stack {
            unmatched.begins += open.len() as u64;
            open.clear();
            stack = mark.stack;
        }
        if mark.row.is_some() {
            open.push(mark);
            continue;
        }
        let fits = |begin: &Mark| {
            (mark.name.is_empty() || mark.name == begin.name)
                && (mark.category.is_empty() || mark.category == begin.category)
        };
        let found = open.iter().enumerate().rev().take(MATCH_DEPTH).find(|(_, begin)| fits(begin));
        let Some((index, row)) = found.and_then(|(index, begin)| Some((index, begin.row?))) else {
            unmatched.ends += 1;
            continue;
        };
        let begin = open.remove(index);
        let row = row as usize;
        rows.slices.dur[row] = Picos(mark.at.0.saturating_sub(begin.at.0));
        append_args(&mut rows.args, row, mark.args);
    }
    unmatched.begins += open.len() as u64;
    unmatched
}

/// Gives a row the arguments of its end besides its own.
fn append_args(table: &mut ArgTable, row: usize, (first, count): (u32, u32)) {
    let (own_first, own_count) = table.rows[row];
    if count == 0 {
        return;
    }
    if own_count == 0 {
        table.rows[row] = (first, count);
        return;
    }
    let range = |first: u32, count: u32| first as usize..first as usize + count as usize;
    let (Ok(joined), Some(both)) = (u32::try_from(table.keys.len()), own_count.checked_add(count))
    else {
        return;
    };
    for (first, count) in [(own_first, own_count), (first, count)] {
        table.keys.extend_from_within(range(first, count));
        table.values.extend_from_within(range(first, count));
    }
    table.rows[row] = (joined, both);
}

/// Links the points of flows: each step and end with the point before it.
fn bind_flows(
    mut points: Vec<FlowPoint>,
    rows: &[Rows],
    threads: &[Thread],
    first_track: TrackId,
) -> Vec<Flow> {
    // Per thread and in the order of time, so that one sweep over its slices serves all points.
    points.sort_by_key(|point| (point.thread, point.at));
    let mut bound: Vec<Option<SliceRef>> = vec![None; points.len()];
    let mut from = 0;
    for group in points.chunk_by(|a, b| a.thread == b.thread) {
        let slots = &mut bound[from..from + group.len()];
        from += group.len();
        for &track in &tracks_by_precedence(&threads[group[0].thread as usize]) {
            let id = TrackId(first_track.0.saturating_add(track));
            bind_on_track(group, slots, &rows[track as usize].slices, id);
        }
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&index| (points[index].key, points[index].at, points[index].end));
    let mut links = Vec::new();
    for flow in order.chunk_by(|&a, &b| points[a].key == points[b].key) {
        let mut origin = None;
        for &index in flow {
            let slice = bound[index];
            if points[index].end != FlowEnd::Start {
                links.extend(origin.zip(slice).map(|(from, to)| Flow { from, to }));
            }
            if points[index].end != FlowEnd::Finish {
                origin = slice;
            }
        }
    }
    links
}

/// The tracks of a thread, those first that a flow more likely means.
fn tracks_by_precedence(thread: &Thread) -> Vec<u32> {
    let rank = |class: Class| match class {
        Class::GpuOps(_) | Class::CpuOps(_) => 0,
        Class::Plain => 1,
        Class::GpuDerived(_) => 2,
    };
    let mut tracks = thread.tracks.clone();
    tracks.sort_by_key(|(class, _)| rank(*class));
    tracks.into_iter().map(|(_, track)| track).collect()
}

/// Binds those points that are not yet bound and fall on a slice of this track.
fn bind_on_track(
    points: &[FlowPoint],
    bound: &mut [Option<SliceRef>],
    slices: &Slices,
    track: TrackId,
) {
    let end = |row: usize| match slices.dur[row] {
        Picos::UNFINISHED => Picos(i64::MAX),
        _ => slices.end(row),
    };
    let (mut next, mut open) = (0, Vec::new());
    for (point, slot) in points.iter().zip(bound) {
        while next < slices.len() && slices.start[next] <= point.at {
            while open.last().is_some_and(|&row| end(row) <= slices.start[next]) {
                open.pop();
            }
            open.push(next);
            next += 1;
        }
        while open.last().is_some_and(|&row| end(row) < point.at) {
            open.pop();
        }
        if slot.is_some() {
            continue;
        }
        let row = match point.binding {
            Binding::Enclosing => open.last().copied(),
            Binding::Next => {
                let at = slices.start.partition_point(|&start| start < point.at);
                (at < slices.len()).then_some(at)
            }
            Binding::Own(meta) => {
                let at = slices.start.partition_point(|&start| start < point.at);
                let same = (at..slices.len()).take(OWN_SEARCH);
                same.take_while(|&row| slices.start[row] == point.at)
                    .find(|&row| slices.meta[row] == meta)
            }
        };
        let row = row.and_then(|row| u32::try_from(row).ok());
        *slot = row.map(|row| SliceRef { track, row });
    }
}

/// What the file says of processes, threads and devices.
struct Known<'a> {
    processes: &'a [ProcessEntry],
    process_ids: &'a FxHashMap<i64, usize>,
    threads: &'a [Thread],
    header: &'a Header,
}

/// Adds tracks and the devices that they belong to.
struct Tracks<'a> {
    source: SourceId,
    known: Known<'a>,
    /// By name and, for GPUs, process: a file that was merged of several ranks numbers each from 0.
    devices: FxHashMap<(StrId, i64), DeviceId>,
    trace: &'a mut Trace,
}

impl Tracks<'_> {
    fn add(mut self, rows: Vec<Rows>) {
        let mut pending = Vec::with_capacity(rows.len());
        for rows in rows {
            let pid = rows.place.pid(self.known.threads);
            let process =
                self.known.process_ids.get(&pid).and_then(|&index| self.known.processes.get(index));
            let (tid, name) = match rows.place {
                Place::Thread(thread) => {
                    let thread = &self.known.threads[thread as usize];
                    (thread.tid, thread.name)
                }
                Place::Async(_, name) => (pending.len().try_into().unwrap_or(i64::MAX), name),
                Place::Process(_) | Place::Global => (0, StrId::EMPTY),
            };
            let (kind, device) = self.kind_and_device(&rows, process, name);
            pending.push(Track {
                kind,
                name,
                source: self.source,
                process: process.map_or(StrId::EMPTY, |process| process.name),
                pid,
                tid,
                device,
                slices: rows.slices,
            });
        }
        self.trace.tracks.extend(pending);
    }

    fn kind_and_device(
        &mut self,
        rows: &Rows,
        process: Option<&ProcessEntry>,
        thread: StrId,
    ) -> (TrackKind, Option<DeviceId>) {
        if !matches!(rows.place, Place::Thread(_)) {
            return (TrackKind::Other, None);
        }
        let pid = rows.place.pid(self.known.threads);
        match rows.class {
            Class::GpuOps(ordinal) => {
                (TrackKind::Ops, self.numbered("gpu", DeviceKind::Gpu, ordinal, pid))
            }
            Class::GpuDerived(ordinal) => {
                (TrackKind::Derived, self.numbered("gpu", DeviceKind::Gpu, ordinal, pid))
            }
            Class::CpuOps(ordinal) => (
                track_kind(PlaneKind::Host, true, ""),
                self.numbered("cpu", DeviceKind::Cpu, ordinal, 0),
            ),
            Class::Plain => {
                let Some(process) = process else { return (TrackKind::HostThread, None) };
                match process.plane {
                    PlaneKind::Device(kind) => {
                        let line = self.trace.strings.get(thread);
                        let track = track_kind(process.plane, false, line);
                        (track, self.device((process.name, 0), kind, process.ordinal))
                    }
                    _ if PSEUDO_PROCESSES.contains(&self.trace.strings.get(process.name)) => {
                        (TrackKind::Other, None)
                    }
                    PlaneKind::Host | PlaneKind::Other => (TrackKind::HostThread, None),
                }
            }
        }
    }

    fn numbered(
        &mut self,
        prefix: &str,
        kind: DeviceKind,
        ordinal: i64,
        pid: i64,
    ) -> Option<DeviceId> {
        let name = self.trace.strings.intern(&format!("{prefix}:{ordinal}"));
        self.device((name, pid), kind, ordinal)
    }

    fn device(
        &mut self,
        (name, pid): (StrId, i64),
        kind: DeviceKind,
        ordinal: i64,
    ) -> Option<DeviceId> {
        if let Some(&device) = self.devices.get(&(name, pid)) {
            return Some(device);
        }
        let id = self.trace.devices.next_id();
        let source = self.source;
        let model = match kind {
            DeviceKind::Gpu => self.trace.strings.intern(self.known.header.model_of(ordinal)),
            _ => StrId::EMPTY,
        };
        let (peak_flops, peak_bytes) = (None, None);
        let label = StrId::EMPTY;
        let device = Device { name, label, kind, ordinal, source, model, peak_flops, peak_bytes };
        self.trace.devices.push(device);
        self.devices.insert((name, pid), id);
        Some(id)
    }
}
