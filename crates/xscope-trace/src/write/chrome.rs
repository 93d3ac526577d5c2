//! Writes Chrome trace JSON: for ui.perfetto.dev, `chrome://tracing`, and this crate's reader,
//! which gets back what it read.
//!
//! Times are microseconds with six decimals, so to the picosecond. Processes and threads keep
//! their numbers where those are unique. Slices that overlap without nesting go to further threads of
//! the same name, because Perfetto drops them otherwise; asynchronous slices of Chrome JSON and of xscope's spans stay asynchronous. The
//! client's requests are not in it, as the format has no place for them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use crate::model::ArgValue;
use crate::model::{Counter, Flow, Format, SliceRef, Trace, Track, TrackId, TrackKind};
use crate::time::Picos;
use crate::write::facts::{Common, Written, unix_zero};
use crate::write::lanes::{Edge, Lanes, Step, stretch};
use crate::write::processes::{Grouping, Processes};

/// Processes of Kineto that hold spans of the profiler on threads.
const PSEUDO_PROCESSES: [&str; 2] = ["Spans", "Traces"];

/// Where further lanes of a thread are numbered from.
const LANES_FROM: i64 = 1 << 40;

/// Writes `trace` to `out`, as plain JSON; compress it for a `.json.gz`.
///
/// # Errors
/// Those of `out`.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<Written> {
    let processes = Processes::new(trace, Grouping::Recorded);
    let mut writer = Writer {
        trace,
        out,
        processes,
        written: Written::default(),
        is_first: true,
        next_id: 0,
        moved: FxHashMap::default(),
    };
    writer.out.write_all(b"{\"displayTimeUnit\":\"ns\"")?;
    if let Some(zero) = unix_zero(trace) {
        write!(writer.out, ",\"baseTimeNanoseconds\":{zero}")?;
    }
    writer.out.write_all(b",\"traceEvents\":[")?;
    writer.describe()?;
    for (index, track) in trace.tracks.iter_ids() {
        if writer.shape(track) != Shape::Lanes {
            writer.track(index)?;
        }
    }
    for thread in writer.threads() {
        writer.lanes(&thread)?;
    }
    for (index, counter) in trace.counters.iter().enumerate() {
        writer.counter(counter, writer.processes.of_counter[index])?;
    }
    for (flow, id) in trace.flows.iter().zip(1_u64..) {
        writer.flow(flow, id)?;
    }
    writer.out.write_all(b"\n]}\n")?;
    Ok(writer.written)
}

/// How the slices of a track are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// On their thread and as many more as it takes for them to nest.
    Lanes,
    Async,
    /// Instants of a process or of the whole trace.
    Instants,
}

struct Writer<'a, W> {
    trace: &'a Trace,
    out: &'a mut W,
    processes: Processes,
    written: Written,
    is_first: bool,
    next_id: u64,
    /// The threads of slices that are on another than their own.
    moved: FxHashMap<SliceRef, i64>,
}

impl<W: Write> Writer<'_, W> {
    /// Starts an event: `{"ph":"X"`.
    fn begin(&mut self, phase: &str) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
        write!(self.out, "{comma}\n{{\"ph\":\"{phase}\"")
    }

    fn text(&mut self, key: &str, text: &str) -> io::Result<()> {
        write!(self.out, ",\"{key}\":")?;
        Ok(serde_json::to_writer(&mut *self.out, text)?)
    }

    fn metadata(
        &mut self,
        (pid, tid): (i64, Option<i64>),
        what: &str,
        key: &str,
        text: &str,
    ) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.begin("M")?;
        write!(self.out, ",\"pid\":{pid}")?;
        if let Some(tid) = tid {
            write!(self.out, ",\"tid\":{tid}")?;
        }
        write!(self.out, ",\"name\":\"{what}\",\"args\":{{\"{key}\":")?;
        serde_json::to_writer(&mut *self.out, text)?;
        self.out.write_all(b"}}")
    }

    fn describe(&mut self) -> io::Result<()> {
        let trace = self.trace;
        for shown in self.processes.shown.clone() {
            let pid = i64::from(shown.pid);
            let labels = trace.strings.get(shown.labels);
            self.metadata((pid, None), "process_name", "name", &shown.name)?;
            self.metadata((pid, None), "process_labels", "labels", labels)?;
        }
        for (index, track) in trace.tracks.iter_ids() {
            if self.shape(track) == Shape::Lanes {
                let at = (self.pid(index), Some(track.tid));
                self.metadata(at, "thread_name", "name", trace.strings.get(track.name))?;
            }
        }
        Ok(())
    }

    fn pid(&self, track: TrackId) -> i64 {
        i64::from(self.processes.shown[self.processes.of_track[track]].pid)
    }

    fn format(&self, track: &Track) -> Option<Format> {
        self.trace.sources.get(track.source).map(|source| source.format)
    }

    fn shape(&self, track: &Track) -> Shape {
        let is_pseudo = PSEUDO_PROCESSES.contains(&self.trace.strings.get(track.process));
        match (track.kind, self.format(track)) {
            (TrackKind::Other, Some(Format::ChromeJson)) if is_pseudo => Shape::Lanes,
            (TrackKind::Other, Some(Format::ChromeJson)) if track.name.is_empty() => {
                Shape::Instants
            }
            (TrackKind::Other, Some(Format::ChromeJson | Format::XSpan)) => Shape::Async,
            _ => Shape::Lanes,
        }
    }

    /// The tracks of each thread: what a device did and what its host thread did can be on one.
    fn threads(&self) -> Vec<Vec<TrackId>> {
        let mut threads: BTreeMap<(i64, i64), Vec<TrackId>> = BTreeMap::new();
        for (index, track) in self.trace.tracks.iter_ids() {
            if self.shape(track) == Shape::Lanes {
                threads.entry((self.pid(index), track.tid)).or_default().push(index);
            }
        }
        threads.into_values().collect()
    }

    fn track(&mut self, index: TrackId) -> io::Result<()> {
        let track = &self.trace.tracks[index];
        if self.shape(track) == Shape::Async {
            return self.asynchronous(index);
        }
        self.written.slices += track.slices.len() as u64;
        let scope = if track.pid == Track::NO_PROCESS { "g" } else { "p" };
        for row in 0..track.slices.len() {
            self.begin("i")?;
            write!(self.out, ",\"s\":\"{scope}\"")?;
            self.place(index, None, track.slices.start[row])?;
            self.describe_row(index, row)?;
        }
        Ok(())
    }

    /// The slices of one thread, on it and on as many more as it takes for them to nest.
    fn lanes(&mut self, tracks: &[TrackId]) -> io::Result<()> {
        let Some(&first) = tracks.first() else { return Ok(()) };
        let trace = self.trace;
        let (pid, tid) = (self.pid(first), trace.tracks[first].tid);
        let rows = self.rows(tracks);
        self.written.slices += rows.len() as u64;
        let (mut lanes, mut named) = (Lanes::default(), 0);
        let mut visit = |step: Step| {
            if step.edge == Edge::End {
                return Ok(());
            }
            let slice = rows[step.row];
            if step.lane == 0 {
                return self.slice(slice.track, slice.row as usize, tid);
            }
            let lane = i64::try_from(step.lane).unwrap_or(i64::MAX);
            let own = i64::from(first.0).saturating_mul(1 << 10);
            let further = LANES_FROM.saturating_add(own).saturating_add(lane);
            if step.lane > named {
                named = step.lane;
                let name = trace.strings.get(trace.tracks[slice.track].name);
                self.metadata((pid, Some(further)), "thread_name", "name", name)?;
            }
            self.moved.insert(slice, further);
            self.slice(slice.track, slice.row as usize, further)
        };
        for (row, slice) in rows.iter().enumerate() {
            let (start, end) = stretch(&trace.tracks[slice.track].slices, slice.row as usize);
            lanes.push(row, start, end, &mut visit)?;
        }
        self.written.clipped += lanes.clipped;
        Ok(())
    }

    /// The slices of some tracks by their start, what lasts longer first.
    fn rows(&self, tracks: &[TrackId]) -> Vec<SliceRef> {
        let of_track = |&track: &TrackId| {
            let rows = 0..u32::try_from(self.trace.tracks[track].slices.len()).unwrap_or(u32::MAX);
            rows.map(move |row| SliceRef { track, row })
        };
        let mut rows: Vec<SliceRef> = tracks.iter().flat_map(of_track).collect();
        if tracks.len() > 1 {
            rows.sort_by_key(|slice| {
                let slices = &self.trace.tracks[slice.track].slices;
                let (start, end) = stretch(slices, slice.row as usize);
                (start, std::cmp::Reverse(end))
            });
        }
        rows
    }

    fn place(&mut self, index: TrackId, tid: Option<i64>, at: Picos) -> io::Result<()> {
        let pid = self.pid(index);
        write!(self.out, ",\"pid\":{pid}")?;
        if let Some(tid) = tid {
            write!(self.out, ",\"tid\":{tid}")?;
        }
        self.out.write_all(b",\"ts\":")?;
        micros(self.out, at)
    }

    /// One slice on a thread: `X`, or `B` if it never ended.
    fn slice(&mut self, index: TrackId, row: usize, tid: i64) -> io::Result<()> {
        let slices = &self.trace.tracks[index].slices;
        let dur = slices.dur[row];
        self.begin(if dur < Picos::ZERO { "B" } else { "X" })?;
        self.place(index, Some(tid), slices.start[row])?;
        if dur >= Picos::ZERO {
            self.out.write_all(b",\"dur\":")?;
            micros(self.out, dur)?;
        }
        self.describe_row(index, row)
    }

    /// Asynchronous slices: what nests has one id, and the track the name of the outermost.
    fn asynchronous(&mut self, index: TrackId) -> io::Result<()> {
        let track = &self.trace.tracks[index];
        self.written.slices += track.slices.len() as u64;
        let is_span = self.format(track) == Some(Format::XSpan);
        let mut ids: Vec<u64> = Vec::new();
        let walked = Lanes::walk(&track.slices, |step: Step| {
            let meta = self.trace.meta(track.slices.meta[step.row]);
            if ids.len() <= step.lane {
                ids.resize(step.lane + 1, 0);
            }
            let is_begin = step.edge == Edge::Begin;
            let starts = is_span || meta.name == track.name || ids[step.lane] == 0;
            if is_begin && step.depth == 0 && starts {
                self.next_id += 1;
                ids[step.lane] = self.next_id;
            }
            let instant = track.slices.dur[step.row] == Picos::ZERO;
            let phase = match step.edge {
                Edge::Begin if instant => "n",
                Edge::Begin => "b",
                Edge::End if instant => return Ok(()),
                Edge::End => "e",
            };
            self.begin(phase)?;
            let id = ids[step.lane];
            match track.pid == Track::NO_PROCESS {
                true => write!(self.out, ",\"id\":\"0x{id:x}\"")?,
                false => write!(self.out, ",\"id2\":{{\"local\":\"0x{id:x}\"}}")?,
            }
            self.place(index, None, step.at)?;
            match is_begin {
                true => self.describe_row(index, step.row),
                false => {
                    self.name(index, step.row)?;
                    self.out.write_all(b"}")
                }
            }
        })?;
        self.written.clipped += walked.clipped;
        Ok(())
    }

    fn name(&mut self, index: TrackId, row: usize) -> io::Result<()> {
        let meta = self.trace.tracks[index].slices.meta[row];
        let event = self.trace.meta(meta);
        let (name, category) = match self.format(&self.trace.tracks[index]) {
            Some(Format::ChromeJson) => (event.name, event.category),
            _ if event.display.is_empty() => (event.name, event.category),
            _ => (event.display, event.category),
        };
        self.text("name", self.trace.strings.get(name))?;
        if !category.is_empty() {
            self.text("cat", self.trace.strings.get(category))?;
        }
        Ok(())
    }

    /// Name, category and arguments of a row, and the end of the event.
    fn describe_row(&mut self, index: TrackId, row: usize) -> io::Result<()> {
        self.name(index, row)?;
        let track = &self.trace.tracks[index];
        let meta = track.slices.meta[row];
        let event = self.trace.meta(meta);
        let args = track.slices.args.get(row, &self.trace.strings);
        let is_json = self.format(track) == Some(Format::ChromeJson);
        let mut notes = Notes { out: self.out, is_first: true };
        for (key, value) in &args {
            notes.add(key, value)?;
        }
        if !is_json {
            let common = Common::of(self.trace, meta);
            let text = |text: &str| Some(ArgValue::Text(text.to_owned()));
            let scope = format!("{}:", common.scope);
            let name = self.trace.strings.get(event.name);
            let is_short = !event.display.is_empty() && event.display != event.name;
            let run = track.slices.run_of(row).map(ArgValue::Int);
            let extra = [
                ("tf_op", text(&scope).filter(|_| !common.scope.is_empty())),
                ("long_name", text(name).filter(|_| is_short)),
                ("hlo_module", text(common.program).filter(|_| !common.program.is_empty())),
                ("hlo_category", text(common.category).filter(|_| !common.category.is_empty())),
                ("flops", common.flops.map(ArgValue::Uint)),
                ("bytes_accessed", common.bytes.map(ArgValue::Uint)),
                ("run_id", run),
            ];
            for (key, value) in extra {
                let Some(value) = value else { continue };
                if args.iter().all(|(known, _)| *known != key) {
                    notes.add(key, &value)?;
                }
            }
        }
        notes.end()
    }

    /// A series: the reader joins the name of the event and of the value with a space.
    fn counter(&mut self, counter: &Counter, process: usize) -> io::Result<()> {
        let name = self.trace.strings.get(counter.name);
        let (name, key) = name.rsplit_once(' ').unwrap_or((name, "value"));
        let pid = self.processes.shown[process].pid;
        for (&at, value) in counter.at.iter().zip(&counter.value) {
            self.begin("C")?;
            write!(self.out, ",\"pid\":{pid},\"ts\":")?;
            micros(self.out, at)?;
            self.text("name", name)?;
            self.out.write_all(b",\"args\":{")?;
            serde_json::to_writer(&mut *self.out, key)?;
            write!(self.out, ":{value}}}}}")?;
        }
        Ok(())
    }

    fn flow(&mut self, flow: &Flow, id: u64) -> io::Result<()> {
        for (phase, slice) in [("s", flow.from), ("f", flow.to)] {
            let SliceRef { track, row } = slice;
            let slices = &self.trace.tracks[track].slices;
            self.begin(phase)?;
            let tid = self.moved.get(&slice).copied().unwrap_or(self.trace.tracks[track].tid);
            self.place(track, Some(tid), slices.start[row as usize])?;
            write!(self.out, ",\"bp\":\"e\",\"id\":{id},\"name\":\"flow\",\"cat\":\"flow\"}}")?;
        }
        Ok(())
    }
}

/// The arguments of an event.
struct Notes<'a, W> {
    out: &'a mut W,
    is_first: bool,
}

impl<W: Write> Notes<'_, W> {
    fn add(&mut self, key: &str, value: &ArgValue) -> io::Result<()> {
        let start = if std::mem::take(&mut self.is_first) { ",\"args\":{" } else { "," };
        self.out.write_all(start.as_bytes())?;
        serde_json::to_writer(&mut *self.out, key)?;
        self.out.write_all(b":")?;
        match value {
            ArgValue::Int(value) => write!(self.out, "{value}"),
            ArgValue::Uint(value) => write!(self.out, "{value}"),
            // A number with a point stays one; JSON has no others.
            ArgValue::Float(value) if value.is_finite() => write!(self.out, "{value:?}"),
            ArgValue::Float(value) if value.is_nan() => self.out.write_all(b"NaN"),
            ArgValue::Float(value) if *value > 0.0 => self.out.write_all(b"Infinity"),
            ArgValue::Float(_) => self.out.write_all(b"-Infinity"),
            ArgValue::Text(text) => Ok(serde_json::to_writer(&mut *self.out, text)?),
            ArgValue::Bytes(len) => write!(self.out, "\"{len} bytes\""),
        }
    }

    fn end(self) -> io::Result<()> {
        self.out.write_all(if self.is_first { b"}" } else { b"}}" })
    }
}

/// Microseconds to the picosecond.
fn micros(out: &mut impl Write, time: Picos) -> io::Result<()> {
    let (whole, part) = (time.0.unsigned_abs() / 1_000_000, time.0.unsigned_abs() % 1_000_000);
    let sign = if time < Picos::ZERO { "-" } else { "" };
    match part {
        0 => write!(out, "{sign}{whole}"),
        _ => write!(out, "{sign}{whole}.{part:06}"),
    }
}
