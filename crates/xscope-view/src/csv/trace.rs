//! The tables of what a trace holds.

use std::io;

use xscope_trace::model::{Track, TrackKind};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use super::rows::{Rows, Table, micros};

pub(crate) const TABLES: [Table; 2] = [
    Table::new("slices", |trace, _, rows| slices(trace, rows)),
    Table::new("counters", |trace, _, rows| counters(trace, rows)),
];

fn kind(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Ops => "ops",
        TrackKind::AsyncOps => "async_ops",
        TrackKind::Modules => "programs",
        TrackKind::Steps => "steps",
        TrackKind::Derived => "derived",
        TrackKind::HostThread => "thread",
        TrackKind::Other => "other",
    }
}

const SLICE_COLUMNS: [&str; 14] = [
    "host",
    "process",
    "pid",
    "device",
    "track",
    "tid",
    "kind",
    "name",
    "scope",
    "category",
    "program",
    "start_us",
    "duration_us",
    "run_id",
];

fn slices(trace: &Trace, out: &mut Rows<'_>) -> io::Result<u64> {
    let zero = trace.start();
    let mut rows = 0;
    for track in trace.tracks.iter().filter(|track| !track.slices.is_empty()) {
        if rows == 0 {
            out.heading(SLICE_COLUMNS)?;
        }
        rows += track.slices.len() as u64;
        let place = place(trace, track);
        for row in 0..track.slices.len() {
            for (text, is_number) in
                place.iter().zip([false, false, true, false, false, true, false])
            {
                if is_number { out.number(text)? } else { out.text(text)? }
            }
            slice(trace, track, row, zero, out)?;
            out.end()?;
        }
    }
    Ok(rows)
}

/// Host, process and its number, device, track and its number, kind.
fn place(trace: &Trace, track: &Track) -> [String; 7] {
    let text = |id: StrId| trace.strings.get(id).to_owned();
    let source = trace.sources.get(track.source);
    let pid = if track.pid == Track::NO_PROCESS { String::new() } else { track.pid.to_string() };
    [
        source.map(|source| text(source.host)).unwrap_or_default(),
        text(track.process),
        pid,
        track.device.map(|id| trace.device_label(id).to_owned()).unwrap_or_default(),
        text(track.name),
        track.tid.to_string(),
        kind(track.kind).to_owned(),
    ]
}

fn slice(
    trace: &Trace,
    track: &Track,
    row: usize,
    zero: Picos,
    out: &mut Rows<'_>,
) -> io::Result<()> {
    let slices = &track.slices;
    let id = slices.meta[row];
    let meta = trace.meta(id);
    let program = meta.program.and_then(|id| trace.programs.get(id));
    out.text(trace.label(id))?;
    out.text(trace.strings.get(trace.scope_of(id)))?;
    out.text(trace.strings.get(meta.category))?;
    out.text(program.map_or("", |program| trace.strings.get(program.name)))?;
    out.number(&micros(slices.start[row] - zero))?;
    // What never ended has no duration.
    let dur = slices.dur[row];
    out.number(&if dur < Picos::ZERO { String::new() } else { micros(dur) })?;
    out.number(&slices.run_of(row).map(|run| run.to_string()).unwrap_or_default())
}

fn counters(trace: &Trace, out: &mut Rows<'_>) -> io::Result<u64> {
    let zero = trace.start();
    let mut rows = 0;
    for counter in &trace.counters {
        for (&at, value) in counter.at.iter().zip(&counter.value) {
            if rows == 0 {
                out.heading(["counter", "unit", "at_us", "value"])?;
            }
            rows += 1;
            out.text(trace.strings.get(counter.name))?;
            out.text(trace.strings.get(counter.unit))?;
            out.number(&micros(at - zero))?;
            out.number(&value.to_string())?;
            out.end()?;
        }
    }
    Ok(rows)
}
