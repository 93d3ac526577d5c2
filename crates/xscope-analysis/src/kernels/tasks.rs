//! How long each iteration of a named kernel or annotation took.
//!
//! A task is every event whose name a pattern accepts, on devices and on the host apart: the host's
//! time is that of the annotation or the call, the device's that of what ran. Nested matches are
//! one iteration; on a device, what runs on several devices or streams at once is one row for each.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{MetaId, Track, TrackKind};
use xscope_trace::stats::{Percentile, deviation_micros, mean_micros, sum};
use xscope_trace::strings::StrId;
use xscope_trace::{Metric, Picos, Trace};

/// The version of [`TasksReport`] as JSON.
pub const SCHEMA: &str = "xscope/iterations/1";

/// The iterations of all tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TasksReport {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// By name, then by place.
    pub tasks: Vec<TaskRow>,
}

/// All iterations of one name in one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskRow {
    /// The name that was matched.
    pub name: String,
    /// The path of scopes as recorded or as the program says; empty if neither does.
    pub scope: String,
    /// `device` (measured operations), `module` (executions of programs), `host`, or `stage` (what a device
    /// notes within an operation).
    pub side: &'static str,
    /// The device, or the host's thread.
    pub place: String,
    /// Iterations.
    pub count: u64,
    /// Mean duration.
    pub mean_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 99 % are not longer (nearest rank).
    pub p99_us: Metric,
    /// The longest.
    pub max_us: f64,
    /// Standard deviation.
    pub stddev_us: f64,
    /// Duration of each iteration in order of time.
    pub iterations_us: Vec<f64>,
}

/// Name, side and place.
type Key<'a> = (&'a str, &'static str, String);

/// The iterations of all events whose name `wanted` accepts; if there are none, of the stages that a device
/// notes within its operations, else of the operations in scopes that it accepts.
///
/// Names are asked about once each, so `wanted` may be slow.
pub fn tasks(trace: &Trace, wanted: impl Fn(&str) -> bool) -> Vec<TaskRow> {
    let text = |id| trace.strings.get(id);
    let by_name = |meta: MetaId| {
        let meta = trace.meta(meta);
        wanted(text(meta.name)) || (!meta.display.is_empty() && wanted(text(meta.display)))
    };
    let named: IdVec<MetaId, bool> = trace.metas.ids().map(by_name).collect();
    let mut found = runs(trace, &named, side_of);
    if found.is_empty() {
        found = runs(trace, &named, stage_of);
    }
    if found.is_empty() {
        let of_operations = |track: &Track| side_of(track).filter(|_| track.kind == TrackKind::Ops);
        let in_scope = |meta| wanted(text(trace.scope_of(meta)));
        found = runs(trace, &trace.metas.ids().map(in_scope).collect(), of_operations);
    }
    found.into_iter().map(|(key, runs)| row(trace, key, runs)).collect()
}

/// Scope, starts and durations of all iterations of a task.
type Runs = (StrId, Vec<(Picos, Picos)>);

fn runs<'a>(
    trace: &'a Trace,
    accepted: &IdVec<MetaId, bool>,
    side: impl Fn(&Track) -> Option<&'static str>,
) -> BTreeMap<Key<'a>, Runs> {
    let mut found: BTreeMap<Key<'_>, Runs> = BTreeMap::new();
    for track in &trace.tracks {
        let Some(side) = side(track) else { continue };
        let mut until = Picos(i64::MIN);
        for row in 0..track.slices.len() {
            let (meta, start) = (track.slices.meta[row], track.slices.start[row]);
            if start < until || !accepted[meta] || track.slices.dur[row] < Picos::ZERO {
                continue;
            }
            until = track.slices.end(row);
            let key = (trace.label(meta), side, place(trace, track));
            let (_, runs) = found.entry(key).or_insert_with(|| (trace.scope_of(meta), Vec::new()));
            runs.push((start, until - start));
        }
    }
    found
}

fn side_of(track: &Track) -> Option<&'static str> {
    match track.kind {
        TrackKind::Ops => Some("device"),
        TrackKind::Modules => Some("module"),
        TrackKind::HostThread => Some("host"),
        _ => None,
    }
}

fn stage_of(track: &Track) -> Option<&'static str> {
    (track.kind == TrackKind::Derived && track.device.is_some()).then_some("stage")
}

fn place(trace: &Trace, track: &Track) -> String {
    match track.device {
        Some(device) => trace.device_label(device).to_owned(),
        None => format!("{} ({})", trace.strings.get(track.name), track.tid),
    }
}

fn row(trace: &Trace, (name, side, place): Key<'_>, (scope, mut runs): Runs) -> TaskRow {
    runs.sort_unstable();
    let iterations_us = runs.iter().map(|run| run.1.as_micros()).collect();
    let mut times: Vec<Picos> = runs.into_iter().map(|run| run.1).collect();
    times.sort_unstable();
    let count = times.len() as u64;
    TaskRow {
        name: name.to_owned(),
        scope: trace.strings.get(scope).to_owned(),
        side,
        place,
        count,
        mean_us: mean_micros(sum(&times), count),
        min_us: times.first().map_or(0.0, |time| time.as_micros()),
        p50_us: Percentile::P50.of(&times).unwrap_or_default().as_micros(),
        p99_us: Percentile::P99.micros(&times),
        max_us: times.last().map_or(0.0, |time| time.as_micros()),
        stddev_us: deviation_micros(&times),
        iterations_us,
    }
}
