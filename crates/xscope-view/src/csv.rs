//! A profile as tables for spreadsheets and data frames: comma-separated values after RFC 4180.
//!
//! Columns of reports have the names of their JSON fields (`FORMAT.md`), with units in the names. A
//! figure that may be missing is two columns, the value and `<name>_status`. Times are decimal
//! microseconds from the start of the profile, to the picosecond.

mod record;

use std::io::{self, Write};

use serde::Serialize;
use xscope_analysis::AnalyzeReport;
use xscope_analysis::layers::LayerNode;
use xscope_analysis::requests::view::{RequestView, requests};
use xscope_trace::model::{Track, TrackKind};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use record::{Record, records};

/// A table that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Slices,
    Counters,
    Requests,
    Batches,
    Stages,
    Kernels,
    Categories,
    Layers,
    Devices,
    Timeline,
    Idle,
    Programs,
    Compiles,
    Collectives,
    MemoryOwners,
    MemoryScopes,
    Allocations,
    Quality,
}

impl Table {
    pub const ALL: [Self; 18] = [
        Self::Slices,
        Self::Counters,
        Self::Requests,
        Self::Batches,
        Self::Stages,
        Self::Kernels,
        Self::Categories,
        Self::Layers,
        Self::Devices,
        Self::Timeline,
        Self::Idle,
        Self::Programs,
        Self::Compiles,
        Self::Collectives,
        Self::MemoryOwners,
        Self::MemoryScopes,
        Self::Allocations,
        Self::Quality,
    ];

    /// What its file is called.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Slices => "slices.csv",
            Self::Counters => "counters.csv",
            Self::Requests => "requests.csv",
            Self::Batches => "batches.csv",
            Self::Stages => "stages.csv",
            Self::Kernels => "kernels.csv",
            Self::Categories => "categories.csv",
            Self::Layers => "layers.csv",
            Self::Devices => "devices.csv",
            Self::Timeline => "timeline.csv",
            Self::Idle => "idle.csv",
            Self::Programs => "programs.csv",
            Self::Compiles => "compiles.csv",
            Self::Collectives => "collectives.csv",
            Self::MemoryOwners => "memory_owners.csv",
            Self::MemoryScopes => "memory_scopes.csv",
            Self::Allocations => "allocations.csv",
            Self::Quality => "quality.csv",
        }
    }

    /// Writes the rows below a heading and says how many there are; nothing at all if none.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(
        self,
        trace: &Trace,
        report: &AnalyzeReport,
        out: &mut impl Write,
    ) -> io::Result<u64> {
        let mut record = Record::new(out);
        let found = report.requests.as_ref();
        match self {
            Self::Slices => slices(trace, &mut record),
            Self::Counters => counters(trace, &mut record),
            Self::Requests => request_rows(trace, &mut record),
            Self::Batches => records(found.map_or(&[][..], |found| &found.batch_rows), record),
            Self::Stages => records(found.map_or(&[][..], |found| &found.stages), record),
            Self::Kernels => records(&report.kernels, record),
            Self::Categories => records(&report.categories, record),
            Self::Layers => records(&layers(&report.layers.root), record),
            Self::Devices => records(&report.devices, record),
            Self::Timeline => records(&report.timeline, record),
            Self::Idle => records(&idle(report), record),
            Self::Programs => records(&report.programs, record),
            Self::Compiles => records(&report.compiles, record),
            Self::Collectives => records(&report.collectives, record),
            Self::MemoryOwners => records(&report.memory.owners, record),
            Self::MemoryScopes => records(&report.memory.scopes, record),
            Self::Allocations => records(&report.allocations, record),
            Self::Quality => records(&report.quality, record),
        }
    }
}

/// Microseconds, exactly.
fn micros(time: Picos) -> String {
    decimal(time, 6)
}

/// Picoseconds as a decimal number with so many digits behind the point.
fn decimal(time: Picos, digits: u32) -> String {
    let (sign, ps) = (if time.0 < 0 { "-" } else { "" }, time.0.unsigned_abs());
    let unit = 10_u64.pow(digits);
    format!("{sign}{}.{:0width$}", ps / unit, ps % unit, width = digits as usize)
}

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

fn slices<W: Write>(trace: &Trace, record: &mut Record<W>) -> io::Result<u64> {
    let zero = trace.start();
    let mut rows = 0;
    for track in trace.tracks.iter().filter(|track| !track.slices.is_empty()) {
        if rows == 0 {
            record.heading(SLICE_COLUMNS)?;
        }
        rows += track.slices.len() as u64;
        let place = place(trace, track);
        for row in 0..track.slices.len() {
            for (text, is_number) in
                place.iter().zip([false, false, true, false, false, true, false])
            {
                if is_number { record.number(text)? } else { record.text(text)? }
            }
            slice(trace, track, row, zero, record)?;
            record.end()?;
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

fn slice<W: Write>(
    trace: &Trace,
    track: &Track,
    row: usize,
    zero: Picos,
    record: &mut Record<W>,
) -> io::Result<()> {
    let slices = &track.slices;
    let id = slices.meta[row];
    let meta = trace.meta(id);
    let program = meta.program.and_then(|id| trace.programs.get(id));
    record.text(trace.label(id))?;
    record.text(trace.strings.get(trace.scope_of(id)))?;
    record.text(trace.strings.get(meta.category))?;
    record.text(program.map_or("", |program| trace.strings.get(program.name)))?;
    record.number(&micros(slices.start[row] - zero))?;
    // What never ended has no duration.
    let dur = slices.dur[row];
    record.number(&if dur < Picos::ZERO { String::new() } else { micros(dur) })?;
    record.number(&slices.run_of(row).map(|run| run.to_string()).unwrap_or_default())
}

fn counters<W: Write>(trace: &Trace, record: &mut Record<W>) -> io::Result<u64> {
    let zero = trace.start();
    let mut rows = 0;
    for counter in &trace.counters {
        for (&at, value) in counter.at.iter().zip(&counter.value) {
            if rows == 0 {
                record.heading(["counter", "unit", "at_us", "value"])?;
            }
            rows += 1;
            record.text(trace.strings.get(counter.name))?;
            record.text(trace.strings.get(counter.unit))?;
            record.number(&micros(at - zero))?;
            record.number(&value.to_string())?;
            record.end()?;
        }
    }
    Ok(rows)
}

/// One row for each request, with a column for each stage that any of them has.
fn request_rows<W: Write>(trace: &Trace, record: &mut Record<W>) -> io::Result<u64> {
    let views = requests(trace);
    if views.is_empty() {
        return Ok(0);
    }
    let all: Vec<&RequestView> = views.iter().collect();
    let stages: Vec<String> = xscope_analysis::requests::stages::stages(&all)
        .into_iter()
        .map(|stage| stage.name)
        .collect();
    let columns =
        ["request", "start_us", "latency_ms", "items", "labels", "tokens", "warmup", "ok"];
    let stage_columns = stages.iter().map(|stage| format!("{stage}_ms"));
    record.heading(columns.into_iter().map(str::to_owned).chain(stage_columns))?;
    let zero = trace.start();
    let millis = |time: Picos| decimal(time, 9);
    for view in &views {
        record.text(&view.id)?;
        record.number(&micros(view.start - zero))?;
        record.number(&millis(view.total))?;
        // Only the client says how many; 0 would be a figure.
        let sent = |count: u64| if view.has_client { count.to_string() } else { String::new() };
        record.number(&sent(view.items))?;
        record.number(&sent(view.labels))?;
        let tokens: u64 = view.sequence_tokens.iter().sum();
        record.number(&if tokens > 0 { tokens.to_string() } else { String::new() })?;
        record.number(&view.is_warmup.to_string())?;
        record.number(&view.ok.to_string())?;
        for stage in &stages {
            record.number(&view.stages.get(stage).map_or_else(String::new, |&it| millis(it)))?;
        }
        record.end()?;
    }
    Ok(views.len() as u64)
}

#[derive(Serialize)]
struct ScopeRow<'a> {
    scope: String,
    depth: usize,
    name: &'a str,
    total_us: f64,
    self_us: f64,
}

/// Every scope below its parent.
fn layers(root: &LayerNode) -> Vec<ScopeRow<'_>> {
    fn add<'a>(node: &'a LayerNode, above: &str, depth: usize, rows: &mut Vec<ScopeRow<'a>>) {
        for child in &node.children {
            let scope = match above {
                "" => child.name.clone(),
                above => format!("{above}/{}", child.name),
            };
            let (total_us, self_us) = (child.total_us, child.self_us);
            let row =
                ScopeRow { scope: scope.clone(), depth, name: &child.name, total_us, self_us };
            rows.push(row);
            add(child, &scope, depth + 1, rows);
        }
    }
    let mut rows = Vec::new();
    add(root, "", 0, &mut rows);
    rows
}

#[derive(Serialize)]
struct IdleCause<'a> {
    device: &'a str,
    cause: &'a str,
    us: f64,
    share: f64,
}

fn idle(report: &AnalyzeReport) -> Vec<IdleCause<'_>> {
    let causes = report.idle.iter().flat_map(|row| {
        row.causes.iter().map(|it| IdleCause {
            device: &row.device,
            cause: it.cause,
            us: it.us,
            share: it.share,
        })
    });
    causes.collect()
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::micros;

    #[test]
    fn times_keep_their_picoseconds() {
        for (ps, expected) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (-1_500_000, "-1.500000"),
            (i64::MAX, "9223372036854.775807"),
        ] {
            assert_eq!(micros(Picos(ps)), expected);
        }
    }
}
