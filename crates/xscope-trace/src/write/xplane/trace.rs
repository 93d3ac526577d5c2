//! Writes a whole trace.
//!
//! Every recorded process or device is a plane and every track a line, with its rows to the
//! picosecond. The programs of a trace that was read from XPlane are copied as they lie in its
//! file; the scope of an operation also stands on it (`tf_op`), so that it survives where the
//! program does not. Flows and requests are not in it: the format has no place for them.
//!
//! An XPlane file is one host's. The file is a list of chunks while it is written;
//! [`write_file`] merges them, as XProf wants each plane once.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use rustc_hash::FxHashMap;

use crate::bytes::SharedBytes;
use crate::error::{Error, Result};
use crate::model::{ArgStore, ArgValue};
use crate::model::{
    DeviceId, DeviceKind, Format, MetaId, SourceId, Trace, Track, TrackId, TrackKind,
};
use crate::time::{Nanos, Picos};
use crate::wire::{FieldBytes, Message, Value};
use crate::wire_write::put_bytes;
use crate::write::facts::{Common, Written, hosts, monotonic_zero, unix_zero};
use crate::write::xplane::builder::{
    Event, EventId, EventMeta, LineKey, MONOTONIC_START, PlaneBuilder, START_TIME, STOP_TIME,
    StatId, StatValue, TASK_ENVIRONMENT,
};
use crate::write::xplane::compact::compact;

/// A chunk goes out when it has this many bytes of events.
const CHUNK_BYTES: usize = 8 << 20;

/// The plane that holds the HLO of programs.
const METADATA: &[u8] = b"/host:metadata";

/// Writes `trace` to the file at `path`, in one step.
///
/// # Errors
/// [`Error::NotOneHost`] if the trace is of several hosts; else those of writing.
pub fn write_file(trace: &Trace, path: &Path) -> Result<Written> {
    let io = |source| Error::Write { path: path.to_owned(), source };
    let mut chunks = path.as_os_str().to_owned();
    chunks.push(".chunks.tmp");
    let chunks = Path::new(&chunks);
    let result = std::fs::File::create(chunks).map_err(io).and_then(|file| {
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        let written = write(trace, &mut out)?;
        out.flush().map_err(io)?;
        let bytes = crate::bytes::FileBytes::open(chunks)?;
        crate::atomic::replace(path, |file| {
            let mut out = io::BufWriter::with_capacity(1 << 20, file);
            compact(&bytes, &mut out)?;
            out.flush()
        })
        .map_err(io)?;
        Ok(written)
    });
    // The first error is the one to tell.
    drop(std::fs::remove_file(chunks));
    result
}

/// Writes `trace` to `out` in chunks, which this crate's reader takes as they are.
///
/// # Errors
/// [`Error::NotOneHost`] if the trace is of several hosts; else those of `out`.
pub fn write(trace: &Trace, out: &mut impl Write) -> Result<Written> {
    let hosts = hosts(trace);
    if hosts.len() > 1 {
        let hosts = hosts.iter().map(|&host| trace.strings.get(host).to_owned()).collect();
        return Err(Error::NotOneHost { hosts });
    }
    let io = |source| Error::Write { path: "the XPlane file".into(), source };
    let copied = copy_metadata(trace, out).map_err(io)?;
    let mut head = Vec::new();
    for &host in &hosts {
        put_bytes(&mut head, 4, trace.strings.get(host).as_bytes());
    }
    environment(trace).encode_into(&mut head);
    out.write_all(&head).map_err(io)?;
    let mut planes: BTreeMap<String, Vec<TrackId>> = BTreeMap::new();
    for (index, track) in trace.tracks.iter_ids() {
        planes.entry(plane_of(trace, track)).or_default().push(index);
    }
    let mut written = Written::default();
    for ((name, tracks), id) in planes.iter().zip(1..) {
        let plane = Plane::new(trace, id, name, &copied, tracks);
        written.slices += plane.write(tracks, out).map_err(io)?;
    }
    Ok(written)
}

/// The plane of a track: the recorder's where it has a name that XProf knows, else that of the
/// device, else the host's.
fn plane_of(trace: &Trace, track: &Track) -> String {
    let process = trace.strings.get(track.process);
    if process.starts_with('/') {
        return process.to_owned();
    }
    if is_xplane(trace, track.source) {
        // A file whose planes have no names is none.
        return if process.is_empty() { "unnamed".to_owned() } else { process.to_owned() };
    }
    let device = track.device.map(|id| &trace.devices[id]);
    match device.map(|device| (device.kind, device.ordinal)) {
        Some((DeviceKind::Gpu, ordinal)) => format!("/device:GPU:{ordinal}"),
        Some((DeviceKind::Tpu, ordinal)) => format!("/device:TPU:{ordinal}"),
        _ => "/host:CPU".to_owned(),
    }
}

fn is_xplane(trace: &Trace, source: SourceId) -> bool {
    trace.sources.get(source).is_some_and(|source| source.format == Format::XPlane)
}

/// The plane that says when the trace's zero was.
fn environment(trace: &Trace) -> PlaneBuilder {
    let mut plane = PlaneBuilder::new(0, TASK_ENVIRONMENT);
    let zero = unix_zero(trace);
    if let Some(zero) = zero {
        let id = plane.stat_id(START_TIME);
        plane.plane_stat(id, StatValue::U64(zero.cast_unsigned()));
        let session = trace
            .sources
            .iter()
            .filter_map(|source| Some(source.clock.session?.saturating_add(source.clock.offset)));
        if let Some(session) = session.max() {
            let id = plane.stat_id(STOP_TIME);
            let stop = zero.saturating_add(session.0 / 1000);
            plane.plane_stat(id, StatValue::U64(stop.cast_unsigned()));
        }
    }
    if let Some(zero) = monotonic_zero(trace) {
        let id = plane.stat_id(MONOTONIC_START);
        plane.plane_stat(id, StatValue::I64(zero));
    }
    plane
}

/// Copies the programs of the sources; returns the sources whose programs were.
fn copy_metadata(trace: &Trace, out: &mut impl Write) -> io::Result<Vec<SourceId>> {
    let mut files: BTreeMap<u32, &SharedBytes> = BTreeMap::new();
    for track in &trace.tracks {
        if let ArgStore::XPlane(lazy) = &track.slices.args {
            files.entry(track.source.0).or_insert(&lazy.bytes);
        }
    }
    // Programs are numbered by each file for itself.
    let [(&source, bytes)] = files.iter().collect::<Vec<_>>()[..] else { return Ok(Vec::new()) };
    for field in FieldBytes::of(Message { bytes, offset: 0 }) {
        let Some((_, 1, Value::Bytes(plane))) = field else { continue };
        let name = plane.fields().flatten().find(|&(number, _)| number == 2);
        if name.is_some_and(|(_, name)| name.bytes().starts_with(METADATA)) {
            let mut copy = Vec::new();
            put_bytes(&mut copy, 1, &whole_fields(plane));
            out.write_all(&copy)?;
        }
    }
    Ok(vec![SourceId(source)])
}

/// The fields of a plane whose own fields are whole too: other programs refuse a file with damage
/// that this crate's reader steps over.
fn whole_fields(plane: Message<'_>) -> Vec<u8> {
    let mut copy = Vec::new();
    for (whole, number, value) in FieldBytes::of(plane).flatten() {
        let parts = match number {
            4 | 5 => entry_value(value).map(|entry| entry.fields()),
            6 => value.message().map(Message::fields),
            _ => None,
        };
        if parts.into_iter().flatten().all(|part| part.is_ok()) {
            copy.extend_from_slice(whole);
        }
    }
    copy
}

/// The value of an entry of a map.
fn entry_value(entry: Value<'_>) -> Option<Message<'_>> {
    entry.message()?.fields().flatten().find(|&(number, _)| number == 2)?.1.message()
}

/// One plane while it is written.
struct Plane<'a> {
    trace: &'a Trace,
    builder: PlaneBuilder,
    /// Sources whose programs are in the file.
    copied: &'a [SourceId],
    kinds: FxHashMap<MetaId, EventId>,
    last: Picos,
}

impl<'a> Plane<'a> {
    fn new(
        trace: &'a Trace,
        id: i64,
        name: &str,
        copied: &'a [SourceId],
        tracks: &[TrackId],
    ) -> Self {
        let builder = PlaneBuilder::new(id, name);
        let last = trace.extent().map_or(Picos::ZERO, |(_, last)| last);
        let mut plane = Self { trace, builder, copied, kinds: FxHashMap::default(), last };
        let first = tracks.first().map(|&index| &trace.tracks[index]);
        let device = first.and_then(|track| track.device);
        if let Some(device) = device.filter(|_| name.starts_with("/device:")) {
            plane.describe_device(device);
        }
        if let Some(pid) = first.map(|track| track.pid).filter(|&pid| pid > 0) {
            let id = plane.builder.stat_id("process_id");
            plane.builder.plane_stat(id, StatValue::I64(pid));
        }
        plane
    }

    fn describe_device(&mut self, device: DeviceId) {
        let device = &self.trace.devices[device];
        let model = self.trace.strings.get(device.model);
        if !model.is_empty() {
            let id = self.builder.stat_id("device_type_string");
            self.builder.plane_stat(id, StatValue::Str(model));
        }
        let peaks = [
            ("peak_teraflops_per_second", device.peak_flops.map(|peak| peak / 1e12)),
            ("peak_hbm_bw_gigabytes_per_second", device.peak_bytes.map(|peak| peak / 1e9)),
        ];
        for (name, peak) in peaks {
            let Some(peak) = peak else { continue };
            let id = self.builder.stat_id(name);
            self.builder.plane_stat(id, StatValue::F64(peak));
        }
    }

    fn write(mut self, tracks: &[TrackId], out: &mut impl Write) -> io::Result<u64> {
        let mut slices = 0;
        let mut lines: BTreeMap<(i64, String), LineKey> = BTreeMap::new();
        let mut buffer = Vec::new();
        for &index in tracks {
            let trace = self.trace;
            let track = &trace.tracks[index];
            let name = line_name(trace, track);
            let next = i64::try_from(lines.len()).unwrap_or(i64::MAX).saturating_add(1 << 40);
            let is_known = lines.contains_key(&(track.tid, name.clone()));
            let is_taken = !is_known && lines.keys().any(|(id, _)| *id == track.tid);
            let line = *lines.entry((track.tid, name.clone())).or_insert_with(|| {
                let id = if is_taken { next } else { track.tid };
                self.builder.line(id, &name, Nanos::ZERO)
            });
            for row in 0..track.slices.len() {
                self.push(line, track, row);
                slices += 1;
                if self.builder.pending_bytes() > CHUNK_BYTES {
                    self.builder.encode_into(&mut buffer);
                    out.write_all(&buffer)?;
                    buffer.clear();
                }
            }
        }
        self.builder.encode_into(&mut buffer);
        out.write_all(&buffer)?;
        Ok(slices)
    }

    fn push(&mut self, line: LineKey, track: &Track, row: usize) {
        let slices = &track.slices;
        let kind = self.kind(slices.meta[row], track);
        let args = slices.args.get(row, &self.trace.strings);
        let has = |key: &str| args.iter().any(|(known, _)| *known == key);
        let mut stats: Vec<(StatId, StatValue<'_>)> = Vec::with_capacity(args.len() + 1);
        for (key, value) in &args {
            let id = self.builder.stat_id(key);
            let value = match value {
                ArgValue::Int(value) => StatValue::I64(*value),
                ArgValue::Uint(value) => StatValue::U64(*value),
                ArgValue::Float(value) => StatValue::F64(*value),
                // A string of the trace repeats; what else there is may be anything.
                ArgValue::Text(text) if self.trace.strings.find(text).is_some() => {
                    StatValue::Ref(self.builder.stat_id(text))
                }
                ArgValue::Text(text) => StatValue::Str(text),
                ArgValue::Bytes(_) => continue,
            };
            stats.push((id, value));
        }
        if let Some(run) = slices.run_of(row).filter(|_| !has("run_id")) {
            stats.push((self.builder.stat_id("run_id"), StatValue::I64(run)));
        }
        let on_host = track.kind == TrackKind::Ops && !has("hlo_op");
        if on_host && plane_of(self.trace, track).starts_with("/host:") {
            let label = self.trace.label(slices.meta[row]);
            let value = StatValue::Ref(self.builder.stat_id(label));
            stats.push((self.builder.stat_id("hlo_op"), value));
        }
        let dur = match slices.dur[row] {
            dur if dur < Picos::ZERO => {
                Picos(self.last.0.saturating_sub(slices.start[row].0).max(0))
            }
            dur => dur,
        };
        let event = Event { id: kind, offset: slices.start[row], dur, stats: &stats };
        self.builder.push(line, &event);
    }

    fn kind(&mut self, meta: MetaId, track: &Track) -> EventId {
        if let Some(&kind) = self.kinds.get(&meta) {
            return kind;
        }
        let trace = self.trace;
        let event = trace.meta(meta);
        let common = Common::of(trace, meta);
        let is_copied = self.copied.contains(&track.source);
        // Where the program is in the file, it says the scope; a stat would be believed instead.
        let scope = match is_copied && event.scope.is_empty() {
            true => String::new(),
            false => format!("{}:", common.scope),
        };
        let program = event.program.filter(|_| is_copied).map(|id| &trace.programs[id]);
        let mut stats = Vec::new();
        let mut add = |name: &str, value: StatValue<'static>| {
            stats.push((self.builder.stat_id(name), value));
        };
        if let Some(program) = program {
            add("program_id", StatValue::U64(program.id.cast_unsigned()));
            // XProf tells the operations of a program apart by it, and leaves out those without.
            add("symbol_id", StatValue::U64(u64::from(meta.0) + 1));
        }
        if let Some(flops) = event.flops {
            add("flops", StatValue::U64(flops));
        }
        if let Some(bytes) = event.bytes {
            add("bytes_accessed", StatValue::U64(bytes));
        }
        if scope.len() > 1 {
            let value = StatValue::Ref(self.builder.stat_id(&scope));
            stats.push((self.builder.stat_id("tf_op"), value));
        }
        if !common.category.is_empty() {
            let value = StatValue::Ref(self.builder.stat_id(common.category));
            stats.push((self.builder.stat_id("hlo_category"), value));
        }
        let name = trace.strings.get(event.name);
        let display_name = trace.strings.get(event.display);
        let kind = self.builder.event(EventMeta { name, display_name, stats: &stats });
        self.kinds.insert(meta, kind);
        kind
    }
}

/// The name of a track's line.
fn line_name(trace: &Trace, track: &Track) -> String {
    let name = trace.strings.get(track.name);
    if is_xplane(trace, track.source) || !plane_of(trace, track).starts_with("/device:GPU:") {
        return name.to_owned();
    }
    // XProf takes only lines of this name for streams.
    match track.kind {
        TrackKind::Ops => format!("Stream #{}", track.tid),
        _ => name.to_owned(),
    }
}
