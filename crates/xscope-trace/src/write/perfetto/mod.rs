//! Writes Perfetto's own format: `perfetto.protos.Trace` of TrackEvent packets.
//!
//! Each device is a process with its lines as tracks, each host thread a thread; slices of one
//! track that overlap without nesting (copies in flight, for example) go to further tracks of the
//! same name, which Perfetto shows as one. A process `requests` on top has a row for each request
//! with its stages, and the batches; arrows lead from a request to its batch and from there to
//! the programs that ran it. Every host is a machine of its own.
//!
//! Perfetto counts nanoseconds, so times are rounded down to them; a duration that is no whole
//! number of them stands exactly in the argument `dur_ps`. The clock snapshot says what the wall
//! time was at the trace's zero.

mod encode;
mod requests;

use std::io::{self, Write};

use crate::model::{Counter, Flow, SliceRef, Trace, Track, TrackId, TrackKind};
use crate::time::Picos;
use crate::wire_write::{put_bytes, put_uint};
use crate::write::facts::{Common, Written, hosts};
use crate::write::lanes::{Edge, Lanes, Step};
use crate::write::processes::{Grouping, Processes, Shown};

use encode::{Annotations, Encoder, Place};
use requests::Requests;

pub use requests::{BatchKey, JoinedRequest, Joins};

/// The track of the whole trace: it says that processes have an order.
const ROOT: u64 = 0;

/// Writes `trace` to `out`, with its requests as they were joined.
///
/// # Errors
/// Those of `out`.
pub fn write(trace: &Trace, joins: &Joins, out: &mut impl Write) -> io::Result<Written> {
    let processes = Processes::new(trace, Grouping::Devices);
    let requests = Requests::of(trace, joins);
    let mut writer = Writer {
        trace,
        encoder: Encoder::new(trace, out),
        processes,
        links: Links::new(trace, &requests),
        written: Written::default(),
        next_uuid: 1,
    };
    writer.start()?;
    requests.write(&mut writer)?;
    let process_tracks = writer.describe_processes()?;
    for index in trace.tracks.ids() {
        writer.track(index, &requests, &process_tracks)?;
    }
    for (counter, &process) in trace.counters.iter().zip(&writer.processes.of_counter.clone()) {
        writer.counter(counter, process, process_tracks[process])?;
    }
    writer.encoder.flush()?;
    Ok(writer.written)
}

struct Writer<'a, W> {
    trace: &'a Trace,
    encoder: Encoder<'a, W>,
    processes: Processes,
    links: Links,
    written: Written,
    next_uuid: u64,
}

/// Which arrows leave and reach each slice.
struct Links {
    out: Vec<(SliceRef, u64)>,
    into: Vec<(SliceRef, u64)>,
}

impl Links {
    fn new(trace: &Trace, requests: &Requests) -> Self {
        let flows = trace.flows.iter().zip(1_u64..);
        let mut out: Vec<_> = flows.clone().map(|(Flow { from, .. }, id)| (*from, id)).collect();
        let mut into: Vec<_> = flows.map(|(Flow { to, .. }, id)| (*to, id)).collect();
        into.extend(requests.launches());
        out.sort_unstable();
        into.sort_unstable();
        Self { out, into }
    }

    fn of(list: &[(SliceRef, u64)], slice: SliceRef) -> impl Iterator<Item = u64> + '_ {
        let first = list.partition_point(|(other, _)| *other < slice);
        list[first..].iter().take_while(move |(other, _)| *other == slice).map(|(_, id)| *id)
    }
}

impl<W: Write> Writer<'_, W> {
    fn uuid(&mut self) -> u64 {
        self.next_uuid += 1;
        self.next_uuid
    }

    fn start(&mut self) -> io::Result<()> {
        for host in 0..hosts(self.trace).len().max(1) {
            self.encoder.start_machine(host)?;
        }
        let mut root = Vec::new();
        put_uint(&mut root, 1, ROOT);
        put_uint(&mut root, 19, 1);
        self.encoder.descriptor(0, &root)
    }

    /// Describes a process and returns its track.
    fn process(&mut self, shown: &Shown, rank: u64, named: &str) -> io::Result<u64> {
        let uuid = self.uuid();
        let mut process = Vec::new();
        put_uint(&mut process, 1, u64::from(shown.pid.unsigned_abs()));
        put_bytes(&mut process, 6, named.as_bytes());
        put_uint(&mut process, 3, rank);
        if !shown.labels.is_empty() {
            put_bytes(&mut process, 8, self.trace.strings.get(shown.labels).as_bytes());
        }
        let mut track = Vec::new();
        put_uint(&mut track, 1, uuid);
        put_bytes(&mut track, 3, &process);
        put_uint(&mut track, 11, 3);
        put_uint(&mut track, 12, rank);
        self.encoder.descriptor(shown.host, &track)?;
        Ok(uuid)
    }

    fn describe_processes(&mut self) -> io::Result<Vec<u64>> {
        let shown = self.processes.shown.clone();
        let mut tracks = Vec::with_capacity(shown.len());
        for (process, rank) in shown.iter().zip(1..) {
            let model = process.device.map(|id| self.trace.devices[id].model);
            let model = model.map_or("", |model| self.trace.strings.get(model));
            let name = match (process.name.is_empty(), model.is_empty()) {
                (true, _) => "process".to_owned(),
                (false, true) => process.name.clone(),
                (false, false) => format!("{} ({model})", process.name),
            };
            tracks.push(self.process(process, rank, &name)?);
        }
        Ok(tracks)
    }

    /// Describes a track without a thread, and returns it.
    fn plain_track(&mut self, host: usize, parent: u64, name: &str, rank: u64) -> io::Result<u64> {
        let uuid = self.uuid();
        let mut track = Vec::new();
        put_uint(&mut track, 1, uuid);
        put_uint(&mut track, 5, parent);
        put_bytes(&mut track, 2, name.as_bytes());
        put_uint(&mut track, 12, rank);
        self.encoder.descriptor(host, &track)?;
        Ok(uuid)
    }

    fn thread_track(&mut self, shown: &Shown, track: &Track) -> io::Result<u64> {
        let uuid = self.uuid();
        let mut thread = Vec::new();
        put_uint(&mut thread, 1, u64::from(shown.pid.unsigned_abs()));
        // Thread 0 is the kernel's idle task, and a thread with the number of its process is its
        // main thread: neither is meant by the small numbers that profilers give to lines.
        let tid = match track.tid {
            tid if tid > 0 => tid,
            _ => i64::try_from(uuid).unwrap_or(i64::MAX).saturating_add(1 << 40),
        };
        put_uint(&mut thread, 2, tid.cast_unsigned());
        let name = self.trace.strings.get(track.name);
        if !name.is_empty() {
            put_bytes(&mut thread, 5, name.as_bytes());
        }
        let mut descriptor = Vec::new();
        put_uint(&mut descriptor, 1, uuid);
        put_bytes(&mut descriptor, 4, &thread);
        self.encoder.descriptor(shown.host, &descriptor)?;
        Ok(uuid)
    }

    fn track(&mut self, index: TrackId, requests: &Requests, parents: &[u64]) -> io::Result<()> {
        let track = &self.trace.tracks[index];
        let process = self.processes.of_track[index];
        let (shown, parent) = (self.processes.shown[process].clone(), parents[process]);
        let first = match track.kind {
            TrackKind::HostThread => self.thread_track(&shown, track)?,
            kind => {
                let name = self.trace.strings.get(track.name).to_owned();
                let name = if name.is_empty() { format!("track {}", track.tid) } else { name };
                self.plain_track(shown.host, parent, &name, rank(kind))?
            }
        };
        let mut lanes = vec![first];
        let hidden = requests.hidden_rows(self.trace, track);
        let walked = Lanes::walk(&track.slices, |step| {
            if hidden.contains(&step.row) {
                return Ok(());
            }
            while lanes.len() <= step.lane {
                let name = self.trace.strings.get(track.name).to_owned();
                let (parent, rank) = match track.kind {
                    TrackKind::HostThread => (first, 0),
                    kind => (parent, rank(kind)),
                };
                lanes.push(self.plain_track(shown.host, parent, &name, rank)?);
            }
            self.step(index, step, Place { host: shown.host, track: lanes[step.lane] })
        })?;
        self.written.clipped += walked.clipped;
        Ok(())
    }

    fn step(&mut self, index: TrackId, step: Step, place: Place) -> io::Result<()> {
        if step.edge == Edge::End {
            return self.encoder.end(place, step.at);
        }
        self.written.slices += 1;
        let track = &self.trace.tracks[index];
        let meta = track.slices.meta[step.row];
        let common = Common::of(self.trace, meta);
        let mut notes = Annotations::default();
        let mut states_run = false;
        for (key, value) in track.slices.args.get(step.row, &self.trace.strings) {
            states_run |= key == "run_id";
            self.encoder.argument(place.host, &mut notes, key, &value);
        }
        if let Some(run) = track.slices.run_of(step.row).filter(|_| !states_run) {
            self.encoder.number(place.host, &mut notes, "run_id", run);
        }
        self.encoder.common(place.host, &mut notes, self.trace, meta, &common);
        let dur = track.slices.dur[step.row];
        if dur > Picos::ZERO && dur.0 % 1000 != 0 {
            self.encoder.number(place.host, &mut notes, "dur_ps", dur.0);
        }
        if let Ok(row) = u32::try_from(step.row) {
            let slice = SliceRef { track: index, row };
            notes.flows.extend(Links::of(&self.links.out, slice));
            notes.ended_flows.extend(Links::of(&self.links.into, slice));
        }
        let event = self.trace.meta(meta);
        let name = if event.display.is_empty() { event.name } else { event.display };
        self.encoder.begin(place, step.at, (name, event.category), &notes)
    }

    fn counter(&mut self, counter: &Counter, process: usize, parent: u64) -> io::Result<()> {
        let host = self.processes.shown[process].host;
        let uuid = self.uuid();
        let mut unit = Vec::new();
        match self.trace.strings.get(counter.unit) {
            "" => {}
            "ns" => put_uint(&mut unit, 3, 1),
            "count" => put_uint(&mut unit, 3, 2),
            "bytes" => put_uint(&mut unit, 3, 3),
            other => put_bytes(&mut unit, 6, other.as_bytes()),
        }
        let mut track = Vec::new();
        put_uint(&mut track, 1, uuid);
        put_uint(&mut track, 5, parent);
        put_bytes(&mut track, 2, self.trace.strings.get(counter.name).as_bytes());
        put_bytes(&mut track, 8, &unit);
        self.encoder.descriptor(host, &track)?;
        for (&at, &value) in counter.at.iter().zip(&counter.value) {
            self.encoder.sample(Place { host, track: uuid }, at, value)?;
        }
        Ok(())
    }
}

/// The order of the tracks of a process.
fn rank(kind: TrackKind) -> u64 {
    match kind {
        TrackKind::Steps => 1,
        TrackKind::Modules => 2,
        TrackKind::Ops => 3,
        TrackKind::AsyncOps => 4,
        TrackKind::Derived => 5,
        TrackKind::HostThread => 6,
        TrackKind::Other => 7,
    }
}
