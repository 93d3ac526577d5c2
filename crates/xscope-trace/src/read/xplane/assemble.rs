//! Puts decoded lines together into the tracks, metas and devices of a trace.

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::line::{DecodedLine, Rows, Tally};
use super::local_meta::{LocalMeta, OpRef};
use super::plane::PlaneTables;
use super::programs::Programs;
use crate::bytes::SharedBytes;
use crate::model::{ArgStore, LazyArgs};
use crate::model::{
    Device, DeviceId, DeviceKind, Dropped, EventMeta, MetaId, Slices, SourceId, Trace, Track,
    TrackId,
};
use crate::naming::{PlaneKind, strip_op_type, track_kind};
use crate::quality::{Code, Finding};
use crate::read::xplane::args::event_args;
use crate::strings::{StrId, Strings};
use crate::wire::WireError;

/// Rows of a track that is sorted on its own.
const LARGE_TRACK: usize = 1 << 20;

/// Puts decoded lines together into tracks, merging the chunks of one line.
pub(super) struct Assembly<'a, 'b> {
    source: SourceId,
    bytes: &'a SharedBytes,
    planes: &'a [PlaneTables<'b>],
    programs: &'a Programs,
    trace: &'a mut Trace,
    /// Devices of this source by their name.
    devices: FxHashMap<StrId, DeviceId>,
}

/// What makes two decoded pieces parts of one track.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct TrackKey {
    plane: StrId,
    line: i64,
    name: StrId,
    device: Option<DeviceId>,
}

impl<'a, 'b> Assembly<'a, 'b> {
    pub(super) fn new(
        source: SourceId,
        bytes: &'a SharedBytes,
        planes: &'a [PlaneTables<'b>],
        programs: &'a Programs,
        trace: &'a mut Trace,
    ) -> Self {
        Self { source, bytes, planes, programs, trace, devices: FxHashMap::default() }
    }
}

impl Assembly<'_, '_> {
    pub(super) fn assemble(mut self, lines: Vec<DecodedLine<'_>>) {
        let mut tracks: FxHashMap<TrackKey, TrackId> = FxHashMap::default();
        let mut metas: FxHashMap<(usize, LocalMeta), MetaId> = FxHashMap::default();
        let first = self.trace.tracks.len();
        let (mut aggregated, mut damaged) = (0, Vec::new());
        for line in lines {
            let plane = &self.planes[line.plane];
            aggregated += line.aggregated;
            damaged.extend(line.damage);
            let map = self.resolve_metas(plane, &line, &mut metas);
            let name = self.trace.strings.intern_bytes(line.name);
            for (ordinal, rows) in line.rows {
                let device = self.device_for(plane, ordinal);
                let key = TrackKey { plane: plane.name, line: line.id, name, device };
                let index = *tracks.entry(key).or_insert_with(|| {
                    self.trace.tracks.push(empty_track(
                        self.source,
                        plane,
                        &key,
                        ordinal,
                        self.trace.strings.get(name),
                    ))
                });
                if ordinal.is_none() {
                    self.count_dropped(index, &line.dropped, &map);
                }
                let slices = &mut self.trace.tracks[index].slices;
                append(slices, rows, &map, (&line.place, plane), self.bytes);
            }
        }
        // Sorting takes half as much again as a column, so large tracks take turns.
        let (_, tracks) = self.trace.tracks.split_at_mut(first);
        let large = tracks.iter_mut().filter(|track| track.slices.len() > LARGE_TRACK);
        large.for_each(|track| track.slices.sort());
        tracks.par_iter_mut().for_each(|track| track.slices.sort());
        self.report(aggregated, &damaged);
    }

    /// Adds what was left out of a line to what was left out of its track.
    fn count_dropped(&mut self, track: TrackId, tally: &Tally, map: &[MetaId]) {
        let Some((first, last)) = tally.extent else { return };
        let counts = map.iter().zip(&tally.counts).filter(|(_, count)| **count > 0);
        let mut counts: Vec<(MetaId, u64)> = counts.map(|(&meta, &count)| (meta, count)).collect();
        counts.sort_unstable_by_key(|(meta, _)| *meta);
        self.trace.dropped.push(Dropped { track, first, last, counts });
    }

    fn report(self, aggregated: u64, damaged: &[WireError]) {
        if aggregated > 0 {
            self.trace.findings.push(
                Finding::new(
                    Code::XplaneAggregatedEvents,
                    "events carry a count instead of a time and are not on the time line",
                )
                .times(aggregated),
            );
        }
        if let Some(first) = damaged.first() {
            self.trace.findings.push(
                Finding::new(
                    Code::XplaneDamagedLine,
                    format!(
                        "lines are damaged, the first at byte {}: {}; their later events are lost",
                        first.offset, first.what
                    ),
                )
                .times(damaged.len() as u64),
            );
        }
    }

    /// The metas of one line, by their local index. Planes of one name, the chunks of a capture, may
    /// number them differently.
    fn resolve_metas(
        &mut self,
        plane: &PlaneTables<'_>,
        line: &DecodedLine<'_>,
        known: &mut FxHashMap<(usize, LocalMeta), MetaId>,
    ) -> Vec<MetaId> {
        let mut map = Vec::with_capacity(line.metas.len());
        for &local in &line.metas {
            let key = local.is_shared().then_some((line.plane, local));
            if let Some(&meta) = key.and_then(|key| known.get(&key)) {
                map.push(meta);
                continue;
            }
            let described = self.describe_meta(plane, line, local);
            let meta = self.trace.metas.push(described);
            if let Some(key) = key {
                known.insert(key, meta);
            }
            map.push(meta);
        }
        map
    }

    fn describe_meta(
        &mut self,
        plane: &PlaneTables<'_>,
        line: &DecodedLine<'_>,
        local: LocalMeta,
    ) -> EventMeta {
        let mut meta = match plane.events.get(&local.event) {
            Some(event) => event.meta.clone(),
            None => {
                let name = self.trace.strings.intern(&format!("event {}", local.event));
                EventMeta { name, ..EventMeta::default() }
            }
        };
        let program = plane.program_of(local);
        let module = line.resolve(local.module, plane, &mut self.trace.strings);
        meta.program = self.programs.find(program, module);
        meta.op = line.resolve(local.op, plane, &mut self.trace.strings);
        if local.annotation != OpRef::None {
            let annotation = line.resolve(local.annotation, plane, &mut self.trace.strings);
            meta.scope = annotated_scope(annotation, &mut self.trace.strings);
        }
        meta
    }

    /// The device that rows of a plane belong to: the plane's own, or on the CPU backend the one
    /// that the operations name.
    fn device_for(&mut self, plane: &PlaneTables<'_>, ordinal: Option<i64>) -> Option<DeviceId> {
        let (kind, number, name) = match (plane.kind, ordinal) {
            (PlaneKind::Device(kind), _) => (kind, plane.ordinal, plane.name),
            (_, Some(ordinal)) => {
                let name = self.trace.strings.intern(&format!("cpu:{ordinal}"));
                (DeviceKind::Cpu, ordinal, name)
            }
            _ => return None,
        };
        let (source, devices) = (self.source, &mut self.trace.devices);
        let device = *self.devices.entry(name).or_insert_with(|| {
            devices.push(Device {
                name,
                label: StrId::EMPTY,
                kind,
                ordinal: number,
                source,
                model: plane.device_model,
                peak_flops: plane.peak_flops,
                peak_bytes: plane.peak_bytes,
            });
            DeviceId(u32::try_from(devices.len() - 1).unwrap_or(u32::MAX))
        });
        Some(device)
    }
}

/// The scope that an annotation of a kernel names, if it is one of TensorFlow's: the path and type of an
/// operation, before those that it calls. XLA's are lists of keys.
fn annotated_scope(annotation: StrId, strings: &mut Strings) -> StrId {
    let text = strings.get(annotation);
    let path = text.split("::").next().unwrap_or(text);
    if path.contains('#') || !path.contains('/') {
        return StrId::EMPTY;
    }
    let path = path.to_owned();
    let path = strings.intern(&path);
    strip_op_type(path, strings)
}

fn empty_track(
    source: SourceId,
    plane: &PlaneTables<'_>,
    key: &TrackKey,
    ordinal: Option<i64>,
    line_name: &str,
) -> Track {
    Track {
        kind: track_kind(plane.kind, ordinal.is_some(), line_name),
        name: key.name,
        source,
        process: plane.name,
        pid: plane.process_id,
        tid: key.line,
        device: key.device,
        slices: Slices::default(),
    }
}

/// Appends decoded rows of the line at `place` to the columns of a track.
fn append(
    slices: &mut Slices,
    mut rows: Rows,
    map: &[MetaId],
    (place, plane): (&Range<u64>, &PlaneTables<'_>),
    bytes: &SharedBytes,
) {
    let before = slices.len();
    if matches!(slices.args, ArgStore::None) {
        slices.args = ArgStore::XPlane(LazyArgs::new(SharedBytes::clone(bytes), event_args));
    }
    if let ArgStore::XPlane(lazy) = &mut slices.args {
        lazy.append(before, rows.at, place.clone(), &plane.stat_names);
    }
    if !rows.run.is_empty() || !slices.run.is_empty() {
        rows.run.resize(rows.start.len(), 0);
        slices.run.resize(before, 0);
        put(&mut slices.run, rows.run);
    }
    for meta in &mut rows.meta {
        *meta = map[meta.0 as usize];
    }
    put(&mut slices.meta, rows.meta);
    put(&mut slices.start, rows.start);
    put(&mut slices.dur, rows.dur);
}

/// Appends a column to another, which takes it over if it has no rows yet.
fn put<T>(column: &mut Vec<T>, mut rows: Vec<T>) {
    match column.is_empty() {
        true => *column = rows,
        false => column.append(&mut rows),
    }
}
