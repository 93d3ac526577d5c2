//! Reads XPlane (`*.xplane.pb`), the format of JAX's and TensorFlow's profilers.
//!
//! Two passes over mapped bytes: the first finds planes, lines and metadata tables by skipping
//! from field to field; the second decodes lines in parallel straight into columns. The
//! arguments of an event stay in the file and are decoded when asked for.
//!
//! What is decided here, because no consumer can decide it later: which slices are device
//! operations (on the CPU backend they sit on host threads), which program and execution they
//! belong to, and where time zero is.

mod hlo;
mod line;
mod plane;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::args::{ArgStore, ArgValue, LazyArgs, StatNames};
use crate::error::{Error, Result};
use crate::model::{
    Clock, Device, DeviceId, DeviceKind, EventMeta, Format, MetaId, ProgramId, SharedBytes, Slices,
    Source, SourceId, Trace, Track,
};
use crate::naming::{PlaneKind, host_from_path, track_kind};
use crate::quality::{Finding, Severity};
use crate::strings::{StrId, Strings};
use crate::time::{Bytes, Nanos, Picos};
use crate::wire::{Message, WireError};

use line::{DecodedLine, LocalMeta, OpRef, Rows};
use plane::PlaneTables;

/// Reads one XPlane file into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if nothing can be saved; lesser damage is a finding.
pub(crate) fn read(path: &str, bytes: &SharedBytes, trace: &mut Trace) -> Result<()> {
    let source = SourceId(u32::try_from(trace.sources.len()).unwrap_or(u32::MAX));
    let space = scan_space(bytes);
    let planes: Vec<PlaneTables<'_>> =
        space.planes.iter().map(|&message| plane::scan(message, &mut trace.strings)).collect();
    if planes.iter().all(|plane| plane.name.is_empty()) {
        return Err(refuse(path, bytes, &space, &planes));
    }
    if let Some(error) = text_damage(path, bytes, &space, &planes) {
        return Err(error);
    }
    let described = describe(path, bytes, &space, &planes, trace);
    trace.sources.push(described);
    report_damage(&space, &planes, trace);
    let programs = read_programs(source, &planes, trace);
    let epoch = planes.iter().find_map(|plane| plane.session_start).unwrap_or(0);
    let lines: Vec<DecodedLine<'_>> = planes
        .par_iter()
        .enumerate()
        .flat_map_iter(|(index, plane)| plane.lines.iter().map(move |&line| (index, line)))
        .map(|(index, message)| line::decode(index, message, &planes[index], epoch))
        .collect();
    Assembly { source, bytes, planes: &planes, programs: &programs, trace }.assemble(lines);
    Ok(())
}

/// Decodes the arguments of the event message at `at`.
pub(crate) fn event_args<'a>(
    bytes: &[u8],
    at: u64,
    names: &FxHashMap<i64, StrId>,
    strings: &'a Strings,
) -> Vec<(&'a str, ArgValue)> {
    line::event_at(bytes, at)
        .map(|event| plane::decode_stats(event, 4, names, strings))
        .unwrap_or_default()
}

/// The top level of a file.
#[derive(Default)]
struct Space<'a> {
    planes: Vec<Message<'a>>,
    errors: Vec<String>,
    warnings: Vec<String>,
    hostnames: Vec<String>,
    damage: Option<WireError>,
}

fn scan_space(bytes: &[u8]) -> Space<'_> {
    let mut space = Space::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for field in (Message { bytes, offset: 0 }).fields() {
        match field {
            Ok((1, value)) => space.planes.extend(value.message()),
            Ok((2, value)) => space.errors.push(text(value.bytes())),
            Ok((3, value)) => space.warnings.push(text(value.bytes())),
            Ok((4, value)) => space.hostnames.push(text(value.bytes())),
            Ok(_) => {}
            Err(error) => space.damage = Some(error),
        }
    }
    if let Some(error) = space.damage {
        space.planes.extend(cut_plane(bytes, error.offset));
    }
    space
}

/// The plane that a truncated file ends in: its length points past the end, but what is there of
/// it can be read.
fn cut_plane(bytes: &[u8], offset: u64) -> Option<Message<'_>> {
    let start = usize::try_from(offset).ok()?;
    let rest = bytes.get(start..)?;
    if *rest.first()? != 0x0a {
        return None;
    }
    let len = rest.iter().skip(1).take(10).position(|&byte| byte < 0x80)? + 2;
    Some(Message { bytes: rest.get(len..)?, offset: offset + len as u64 })
}

/// Whether the bytes went through something that decodes text: every byte that is no UTF-8 became
/// U+FFFD, so all numbers in the file are wrong even where its framing holds.
fn text_damage(
    path: &str,
    bytes: &[u8],
    space: &Space<'_>,
    planes: &[PlaneTables<'_>],
) -> Option<Error> {
    let damage = space.damage.or_else(|| planes.iter().find_map(|plane| plane.damage))?;
    let replaced = bytes.windows(3).filter(|window| *window == [0xef, 0xbf, 0xbd]).count();
    (replaced > 16 && replaced * 1000 > bytes.len()).then(|| Error::Damaged {
        path: path.into(),
        offset: damage.offset,
        what: format!("{} ({replaced} bytes sequences in it are U+FFFD)", damage.what),
        hint: "the file was copied as text; copy it again in binary mode".to_owned(),
    })
}

fn refuse(path: &str, bytes: &[u8], space: &Space<'_>, planes: &[PlaneTables<'_>]) -> Error {
    if let Some(error) = text_damage(path, bytes, space, planes) {
        return error;
    }
    let damage = space.damage.or_else(|| planes.iter().find_map(|plane| plane.damage));
    match damage {
        Some(damage) => Error::Damaged {
            path: path.into(),
            offset: damage.offset,
            what: damage.what.to_owned(),
            hint: "no plane could be read; capture or copy the file again".to_owned(),
        },
        None => Error::UnknownFormat {
            path: path.into(),
            found: "a protobuf message without planes".to_owned(),
        },
    }
}

fn describe(
    path: &str,
    bytes: &[u8],
    space: &Space<'_>,
    planes: &[PlaneTables<'_>],
    trace: &mut Trace,
) -> Source {
    let host = space.hostnames.first().map(String::as_str).unwrap_or_default();
    let host = if host.is_empty() { host_from_path(path, ".xplane.pb") } else { host };
    let find = |get: fn(&PlaneTables<'_>) -> Option<i64>| planes.iter().find_map(get);
    let start = find(|plane| plane.session_start);
    let session = start
        .zip(find(|plane| plane.session_stop))
        .map(|(start, stop)| Picos::from(Nanos(stop.saturating_sub(start))));
    let mut facts: Vec<(String, String)> =
        planes.iter().flat_map(|plane| plane.facts.iter().cloned()).collect();
    facts.sort();
    facts.dedup();
    Source {
        path: path.to_owned(),
        format: Format::XPlane,
        size: Bytes(bytes.len() as u64),
        host: trace.strings.intern(host),
        clock: Clock {
            unix_epoch: start.map(Nanos),
            monotonic_epoch: find(|plane| plane.monotonic_start).map(Nanos),
            session,
            ..Clock::default()
        },
        facts,
    }
}

fn report_damage(space: &Space<'_>, planes: &[PlaneTables<'_>], trace: &mut Trace) {
    if let Some(damage) = space.damage {
        trace.findings.push(Finding::new(
            "xplane.truncated",
            Severity::Error,
            format!(
                "the file is damaged or cut off at byte {}: {}; what lies before it was read; \
                 capture again, for a shorter time if the file was too large",
                damage.offset, damage.what
            ),
        ));
    }
    for damage in planes.iter().filter_map(|plane| plane.damage) {
        trace.findings.push(Finding::new(
            "xplane.damaged_plane",
            Severity::Error,
            format!("a plane is damaged at byte {}: {}", damage.offset, damage.what),
        ));
    }
    for (code, severity, texts) in [
        ("xplane.profiler_error", Severity::Error, &space.errors),
        ("xplane.profiler_warning", Severity::Warning, &space.warnings),
    ] {
        trace.findings.extend(
            texts
                .iter()
                .map(|text| Finding::new(code, severity, format!("the profiler says: {text}"))),
        );
    }
}

/// Reads the programs that the file carries; the map is from the id that events use.
fn read_programs(
    source: SourceId,
    planes: &[PlaneTables<'_>],
    trace: &mut Trace,
) -> FxHashMap<i64, ProgramId> {
    let protos: Vec<_> = planes.iter().flat_map(|plane| &plane.programs).collect();
    let decoded: Vec<_> = protos.par_iter().map(|proto| hlo::decode(proto.hlo)).collect();
    let mut ids = FxHashMap::default();
    let mut damaged = 0;
    for (proto, module) in protos.iter().zip(decoded) {
        damaged += u64::from(module.damaged);
        let Ok(index) = u32::try_from(trace.programs.len()) else { break };
        let mut program = module.into_program(&mut trace.strings);
        program.id = proto.id;
        program.source = Some(source);
        if !proto.name.is_empty() {
            program.name = proto.name;
        }
        trace.programs.push(program);
        ids.insert(proto.id, ProgramId(index));
    }
    if damaged > 0 {
        trace.findings.push(
            Finding::new(
                "xplane.damaged_hlo",
                Severity::Warning,
                "HLO protos could not be read whole; some operations have no scope",
            )
            .times(damaged),
        );
    }
    ids
}

/// Puts decoded lines together into tracks, merging the chunks of one line.
struct Assembly<'a, 'b> {
    source: SourceId,
    bytes: &'a SharedBytes,
    planes: &'a [PlaneTables<'b>],
    programs: &'a FxHashMap<i64, ProgramId>,
    trace: &'a mut Trace,
}

/// What makes two decoded pieces parts of one track.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct TrackKey {
    plane: StrId,
    line: i64,
    name: StrId,
    device: Option<DeviceId>,
}

impl Assembly<'_, '_> {
    fn assemble(mut self, lines: Vec<DecodedLine<'_>>) {
        let mut tracks: FxHashMap<TrackKey, usize> = FxHashMap::default();
        let mut metas: FxHashMap<(StrId, LocalMeta), MetaId> = FxHashMap::default();
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
                    ));
                    self.trace.tracks.len() - 1
                });
                append(&mut self.trace.tracks[index].slices, rows, &map, plane, self.bytes);
            }
        }
        self.trace.tracks[first..].par_iter_mut().for_each(|track| track.slices.sort());
        self.report(aggregated, &damaged);
    }

    fn report(self, aggregated: u64, damaged: &[WireError]) {
        if aggregated > 0 {
            self.trace.findings.push(
                Finding::new(
                    "xplane.aggregated_events",
                    Severity::Info,
                    "events carry a count instead of a time and are not on the time line",
                )
                .times(aggregated),
            );
        }
        if let Some(first) = damaged.first() {
            self.trace.findings.push(
                Finding::new(
                    "xplane.damaged_line",
                    Severity::Error,
                    format!(
                        "lines are damaged, the first at byte {}: {}; their later events are lost",
                        first.offset, first.what
                    ),
                )
                .times(damaged.len() as u64),
            );
        }
    }

    /// The metas of one line, by their local index.
    fn resolve_metas(
        &mut self,
        plane: &PlaneTables<'_>,
        line: &DecodedLine<'_>,
        known: &mut FxHashMap<(StrId, LocalMeta), MetaId>,
    ) -> Vec<MetaId> {
        let mut map = Vec::with_capacity(line.metas.len());
        for &local in &line.metas {
            let key = match local.op {
                // Text is numbered per line, so it cannot be shared between lines by number.
                OpRef::Text(_) => None,
                OpRef::None | OpRef::Stat(_) => Some((plane.name, local)),
            };
            if let Some(&meta) = key.and_then(|key| known.get(&key)) {
                map.push(meta);
                continue;
            }
            let meta = MetaId(u32::try_from(self.trace.metas.len()).unwrap_or(u32::MAX));
            let described = self.describe_meta(plane, line, local);
            self.trace.metas.push(described);
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
        let program = match local.program {
            0 => plane.events.get(&local.event).map_or(0, |event| event.program),
            program => program,
        };
        meta.program = self.programs.get(&program).copied();
        meta.op = match local.op {
            OpRef::None => StrId::EMPTY,
            OpRef::Stat(id) => plane.stat_names.get(&id).copied().unwrap_or_default(),
            OpRef::Text(index) => self.trace.strings.intern_bytes(line.texts[index as usize]),
        };
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
        let source = self.source;
        let found = self
            .trace
            .devices
            .iter()
            .position(|device| device.source == source && device.name == name);
        let index = found.unwrap_or_else(|| {
            self.trace.devices.push(Device {
                name,
                kind,
                ordinal: number,
                source,
                model: plane.device_model,
                peak_flops: plane.peak_flops,
                peak_bytes: plane.peak_bytes,
            });
            self.trace.devices.len() - 1
        });
        u32::try_from(index).ok().map(DeviceId)
    }
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

/// Appends decoded rows to the columns of a track.
fn append(
    slices: &mut Slices,
    rows: Rows,
    map: &[MetaId],
    plane: &PlaneTables<'_>,
    bytes: &SharedBytes,
) {
    let before = slices.len();
    if rows.has_runs && slices.run.is_empty() {
        slices.run.resize(before, 0);
    }
    if rows.has_runs || !slices.run.is_empty() {
        slices.run.extend(&rows.run);
    }
    let metas = rows.meta.iter().map(|&local| map[local as usize]);
    if before == 0 {
        slices.meta = metas.collect();
        slices.start = rows.start;
        slices.dur = rows.dur;
    } else {
        slices.meta.extend(metas);
        slices.start.extend(rows.start);
        slices.dur.extend(rows.dur);
    }
    let names = (plane.offset, StatNames::clone(&plane.stat_names));
    match &mut slices.args {
        ArgStore::XPlane(lazy) => {
            lazy.at.extend(rows.at);
            if lazy.planes.last().is_some_and(|(offset, _)| *offset < plane.offset) {
                lazy.planes.push(names);
            }
        }
        args => {
            *args = ArgStore::XPlane(LazyArgs {
                bytes: SharedBytes::clone(bytes),
                at: rows.at,
                planes: vec![names],
            });
        }
    }
}
