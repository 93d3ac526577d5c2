//! Every compilation: of what, when, how long, why, and what waited for it.
//!
//! A compilation is the outermost event of a compiler on a host thread (`backend_compile`,
//! `PjRtCpuClient::Compile`, `TfrtTpuCompiler::Compile`, ...). The program is the one whose first
//! execution in the trace follows it on any device; it was compiled for other shapes or constants
//! if the trace carries another program of the same function. Servers' logs name the batch, and
//! make rows of their own where the trace has no event.

pub(crate) mod compile_log;

use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{MetaId, ProgramId, RequestSpan, Track, TrackKind};
use xscope_trace::stats::as_f64;
use xscope_trace::trim::Window;
use xscope_trace::write::unix_zero;
use xscope_trace::{Metric, Nanos, Picos, Trace};

use crate::compiles::compile_log::{Miss, RESOLUTION, misses};
use crate::intervals::Intervals;
use crate::requests::measured::measured_windows;
use crate::requests::spans::key_text;
use xscope_trace::stage::REQUEST;

/// How many of the requests that wait for a compilation are named.
const WAITING_NAMED: usize = 10;

/// One compilation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CompileRow {
    /// The program that runs next and was not run before; empty if none is known.
    pub program: String,
    /// The event that stands for the compilation.
    pub event: String,
    /// Where it was seen: `trace`, `log`, or `both`. One that only a log tells of is as long as
    /// the forward pass that waited for it, to the second.
    pub seen_in: &'static str,
    /// The server's number of the batch that needed it, if a log says.
    #[serde(rename = "batch_number", skip_serializing_if = "Option::is_none")]
    pub batch: Option<i64>,
    /// The host thread that compiled; empty if unknown.
    pub thread: String,
    /// From the start of the trace.
    pub start_us: f64,
    /// How long it took.
    pub duration_us: f64,
    /// Whether it was surely under way while requests were measured, from the first that was due to
    /// the end of the last of a point; else it is of start-up and warm-up. Always so where no client is
    /// known.
    pub in_window: bool,
    /// Requests that were in flight meanwhile, if any are known.
    pub requests_waiting: Metric,
    /// Who they are, the first of them.
    pub waiting: Vec<String>,
    /// Time in which no device was busy meanwhile, if devices were recorded then.
    pub devices_idle_us: Metric,
    /// `first_use`, `other_variant` (the trace has the same function compiled otherwise) or
    /// `unknown`.
    pub reason: &'static str,
    /// What differs from the other variant, and what would have avoided the compilation.
    pub advice: String,
    #[serde(skip)]
    pub start: Picos,
    #[serde(skip)]
    pub duration: Picos,
}

/// Whether the name of a host event is that of a compilation.
pub(crate) fn is_compile(name: &str) -> bool {
    let name = name.strip_prefix('[').and_then(|n| n.split_once("] ")).map_or(name, |(_, n)| n);
    name.starts_with("backend_compile")
        || name.ends_with("::Compile")
        || name.ends_with("::CompileAndLoad")
        || name.ends_with(" backend_compile_and_load")
        || matches!(name, "XlaCompile" | "CompileModuleToLlvmIr" | "LocalExecutable::Compile")
}

/// Whether each meta is that of a compilation.
fn compile_flags(trace: &Trace) -> IdVec<MetaId, bool> {
    trace.metas.ids().map(|meta| is_compile(trace.label(meta))).collect()
}

/// Outermost compilations of a host thread: row, start and end.
fn outermost(flags: &IdVec<MetaId, bool>, track: &Track) -> Vec<(usize, Picos, Picos)> {
    let mut found: Vec<(usize, Picos, Picos)> = Vec::new();
    let mut until = Picos(i64::MIN);
    for row in 0..track.slices.len() {
        let start = track.slices.start[row];
        if start >= until && flags[track.slices.meta[row]] {
            until = track.slices.end(row);
            found.push((row, start, until));
        }
    }
    found
}

impl CompileRow {
    /// A log says the second in which it ended: it may have been over when that began.
    fn is_surely_in(&self, measured: &Intervals) -> bool {
        let (start, end) = self.extent();
        let end = match self.seen_in {
            "log" => Picos(end.0.saturating_sub(RESOLUTION.0)).max(start),
            _ => end,
        };
        measured.0.iter().any(|&(from, to)| start < to && end > from)
    }

    /// When it began and ended.
    pub(crate) fn extent(&self) -> (Picos, Picos) {
        (self.start, self.start.saturating_add(self.duration))
    }
}

/// When any host thread was compiling, as the trace shows it.
pub(crate) fn compiling(compiles: &[CompileRow]) -> Intervals {
    let recorded = compiles.iter().filter(|row| row.seen_in != "log");
    Intervals::of(recorded.map(CompileRow::extent).collect())
}

/// One compilation, since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    pub from: Nanos,
    pub to: Nanos,
    /// What was compiled, and how long that took.
    pub text: String,
}

/// The compilations that a trace shows by itself; `None` if it could show none, because it has no
/// host threads or does not say what time it was.
pub fn compiled(trace: &Trace) -> Option<Vec<Compiled>> {
    let zero = Nanos(unix_zero(trace)?);
    let is_host = |track: &Track| track.kind == TrackKind::HostThread && !track.slices.is_empty();
    if !trace.tracks.iter().any(is_host) {
        return None;
    }
    let at = |time: Picos| zero + Nanos(time.0.div_euclid(1000));
    let compiled = |row: CompileRow| Compiled {
        from: at(row.start),
        to: at(row.start.saturating_add(row.duration)),
        text: format!(
            "{} took {:.1} ms",
            if row.program.is_empty() { row.event } else { format!("compiling {}", row.program) },
            row.duration_us / 1e3
        ),
    };
    Some(recorded(trace).into_iter().map(compiled).collect())
}

/// All compilations, by start: those that the trace shows, with what servers' logs add.
///
/// Of the logs, those count that reach into the window, or into the profile without one.
pub(crate) fn compiles(trace: &Trace, window: Option<&Window>) -> Vec<CompileRow> {
    let mut rows = with_logs(trace, window);
    if let Some(measured) = measured_windows(trace) {
        for row in &mut rows {
            row.in_window = row.is_surely_in(&measured);
        }
    }
    rows
}

fn with_logs(trace: &Trace, window: Option<&Window>) -> Vec<CompileRow> {
    let mut rows = recorded(trace);
    let mut misses = misses(trace);
    if misses.is_empty() {
        return rows;
    }
    let extent = window.map(|window| (window.from, window.to)).or_else(|| trace.extent());
    if let Some((from, to)) = extent {
        misses.retain(|miss| miss.start < to && miss.end > from);
    }
    let busy = busy(trace);
    // Single compilations first: the forward passes that waited for them are no more than those.
    misses.sort_by_key(|miss| miss.program.is_empty());
    for miss in misses {
        let inside = rows.iter_mut().filter(|row| {
            let end = row.start.saturating_add(row.duration);
            row.start.saturating_add(RESOLUTION) >= miss.start && end <= miss.end
        });
        let mut is_known = false;
        for row in inside {
            is_known = true;
            if row.seen_in == "trace" {
                row.seen_in = "both";
            }
            if miss.batch.is_some() {
                row.batch = miss.batch;
                if !row.advice.contains(&miss.advice) {
                    row.advice = format!("{}; {}", miss.advice, row.advice);
                }
            }
        }
        if !is_known {
            rows.push(logged(trace, &busy, miss));
        }
    }
    rows.sort_by_key(|row| (row.start, row.duration));
    rows
}

fn logged(trace: &Trace, busy: &Intervals, miss: Miss) -> CompileRow {
    let zero = trace.start();
    let (requests_waiting, waiting) = waiting(trace, miss.start, miss.end);
    let recorded = |(from, to)| from <= miss.start && to >= miss.end;
    let busy = Some(busy).filter(|busy| busy.extent().is_some_and(recorded));
    CompileRow {
        program: match miss.programs {
            1 => miss.program,
            programs => format!("{programs} programs"),
        },
        event: miss.event,
        seen_in: "log",
        batch: miss.batch,
        thread: String::new(),
        start_us: (miss.start - zero).as_micros(),
        duration_us: (miss.end - miss.start).as_micros(),
        in_window: true,
        requests_waiting,
        waiting,
        devices_idle_us: idle(busy, (miss.start, miss.end)),
        reason: "unknown",
        advice: miss.advice,
        start: miss.start,
        duration: miss.end - miss.start,
    }
}

/// How long no device was busy between two times; `None` if they were not recorded then.
fn idle(busy: Option<&Intervals>, here: (Picos, Picos)) -> Metric {
    let idle = busy.map(|busy| Intervals::of(vec![here]).minus(busy).total().as_micros());
    Metric::known(idle, "us", "what devices did then is not in the trace")
}

fn busy(trace: &Trace) -> Intervals {
    let operations = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    Intervals::of_tracks(operations.map(|track| &track.slices))
}

/// Compilations that the trace shows.
///
/// A compilation that hands its work to another thread shows there too; what lies inside another
/// one is part of it.
fn recorded(trace: &Trace) -> Vec<CompileRow> {
    let flags = compile_flags(trace);
    if !flags.contains(&true) {
        return Vec::new();
    }
    let mut found: Vec<(Picos, Picos, &Track, usize)> = Vec::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread) {
        let rows = outermost(&flags, track).into_iter();
        found.extend(rows.map(|(row, start, end)| (start, end, track, row)));
    }
    found.sort_by_key(|&(start, end, ..)| (start, std::cmp::Reverse(end)));
    let mut last_end = Picos(i64::MIN);
    found.retain(|&(_, end, ..)| {
        let outer = end > last_end;
        last_end = last_end.max(end);
        outer
    });
    if found.is_empty() {
        return Vec::new();
    }
    let zero = trace.start();
    let firsts = first_runs(trace);
    let busy = Some(busy(trace)).filter(|_| !trace.devices.is_empty());
    let row = |&(start, end, track, row): &(Picos, Picos, &Track, usize)| {
        let next = firsts.iter().find(|(first, _)| *first >= end).map(|&(_, program)| program);
        let (reason, advice) = next.map_or_else(unknown, |program| why(trace, program));
        let (requests_waiting, waiting) = waiting(trace, start, end);
        CompileRow {
            program: next.map_or_else(String::new, |program| name_of(trace, program)),
            event: trace.label(track.slices.meta[row]).to_owned(),
            seen_in: "trace",
            batch: None,
            thread: trace.strings.get(track.name).to_owned(),
            start_us: (start - zero).as_micros(),
            duration_us: (end - start).as_micros(),
            in_window: true,
            requests_waiting,
            waiting,
            devices_idle_us: idle(busy.as_ref(), (start, end)),
            reason,
            advice,
            start,
            duration: end - start,
        }
    };
    found.iter().map(row).collect()
}

fn unknown() -> (&'static str, String) {
    ("unknown", "no program runs for the first time after it".to_owned())
}

/// Requests in flight between two times: how many, and the first of them.
fn waiting(trace: &Trace, start: Picos, end: Picos) -> (Metric, Vec<String>) {
    let overlaps = |from: Picos, to: Picos| from < end && to > start;
    let client = trace.client.iter().filter(|request| overlaps(request.intended, request.end));
    let is_request = |span: &&RequestSpan| trace.strings.get(span.name) == REQUEST;
    let server = trace.spans.iter().filter(is_request);
    let server = server.filter(|span| overlaps(span.start, span.end()));
    let (count, named): (usize, Vec<String>) = match trace.client.is_empty() {
        false => (
            client.clone().count(),
            client.take(WAITING_NAMED).map(|request| request.id.clone()).collect(),
        ),
        true => {
            let keys = server.clone().filter_map(|span| span.request).take(WAITING_NAMED);
            (server.count(), keys.map(|key| key_text(trace, key)).collect())
        }
    };
    let are_known = !trace.client.is_empty() || trace.spans.iter().any(|span| is_request(&span));
    let count = are_known.then(|| as_f64(count as u64));
    (Metric::known(count, "requests", "the trace knows of no requests"), named)
}

/// When each program ran first, by time.
fn first_runs(trace: &Trace) -> Vec<(Picos, ProgramId)> {
    let mut first: IdVec<ProgramId, Option<Picos>> = IdVec::filled(&trace.programs, None);
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        for (row, meta) in track.slices.meta.iter().enumerate() {
            if let Some(program) = trace.meta(*meta).program {
                let seen = &mut first[program];
                let start = track.slices.start[row];
                *seen = Some(seen.map_or(start, |earliest| earliest.min(start)));
            }
        }
    }
    let mut firsts: Vec<_> = first.iter_ids().filter_map(|(id, &at)| Some((at?, id))).collect();
    firsts.sort_unstable();
    firsts
}

fn name_of(trace: &Trace, program: ProgramId) -> String {
    trace.strings.get(trace.programs[program].name).to_owned()
}

/// A program's name without its number.
fn function(name: &str) -> &str {
    name.split_once('(').map_or(name, |(function, _)| function)
}

/// Why a program is new: what the trace's other programs of the same function have otherwise.
fn why(trace: &Trace, id: ProgramId) -> (&'static str, String) {
    let program = &trace.programs[id];
    let text = |id| trace.strings.get(id);
    let own = function(text(program.name));
    let others = trace
        .programs
        .iter_ids()
        .filter(|&(other_id, other)| other_id != id && function(text(other.name)) == own);
    let differences = |other: &xscope_trace::model::Program| {
        let pairs = program.parameters.iter().zip(&other.parameters);
        let different = pairs.filter(|(a, b)| a.shape != b.shape).count();
        different + program.parameters.len().abs_diff(other.parameters.len())
    };
    let nearest = others.map(|(_, other)| (differences(other), other));
    let Some((different, other)) = nearest.min_by_key(|(different, _)| *different) else {
        return ("first_use", format!("run {own} once before the window, with the same shapes"));
    };
    if different == 0 {
        return (
            "other_variant",
            format!(
                "{} takes the same shapes: a constant differs (labels, batch size, a static \
                 argument); warm up with the same ones, or make them arguments",
                text(other.name)
            ),
        );
    }
    let pairs = program.parameters.iter().zip(&other.parameters);
    let first = pairs.into_iter().find(|(a, b)| a.shape != b.shape);
    let detail = first.map_or_else(String::new, |(new, old)| {
        format!(" ({}: {}, there {})", text(new.name), text(new.shape), text(old.shape))
    });
    (
        "other_variant",
        format!(
            "{different} inputs have other shapes than in {}{detail}; pad to a bucket that is \
             warmed up",
            text(other.name)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::is_compile;

    #[test]
    fn compilers_are_told_by_their_events() {
        for name in [
            "backend_compile_and_load",
            "backend_compile",
            "TfrtTpuCompiler::Compile",
            "PjRtCpuClient::Compile",
            "PjRtStreamExecutorClient::CompileAndLoad",
        ] {
            assert!(is_compile(name), "{name}");
        }
        for name in ["$tp_worker.py:369 get_precompile_paddings", "PjitFunction(f)", "re.compile"] {
            assert!(!is_compile(name), "{name}");
        }
    }
}
