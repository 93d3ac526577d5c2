//! What recording itself cost, as far as the trace alone says it: how much each recorder wrote, and
//! how long the profiler held threads up with starting, stopping and writing.
//!
//! What a recorder adds to every event that it writes is not in its own trace: that takes the same
//! load with and without it.

use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{MetaId, TrackKind};
use xscope_trace::overhead::OverheadRecord;
use xscope_trace::stats::{as_f64, share};
use xscope_trace::{Metric, Picos, Trace};

use crate::intervals::Intervals;
use crate::overhead::span_costs::span_costs_us;
use crate::overhead::{OverheadReport, overhead};

/// Host events in which the profiler works for itself. JAX's `profiler.py` alone does not tell: its
/// `wrapper` runs all of a function that is annotated.
const PROFILER: [&str; 8] = [
    "start_trace",
    "stop_trace",
    "stop_and_export",
    "_export_to",
    "ProfilerSession",
    "CollectData",
    "XSpace",
    "start_profile",
];

/// What one recorder wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordingRow {
    /// `python_tracer`, `host_tracer`, `device_tracer`, `profiler`, or `spans` for what xscope's own
    /// recorders wrote.
    pub recorder: &'static str,
    /// Events that it wrote.
    pub events: u64,
    /// Events over the trace's extent.
    pub events_per_sec: f64,
    /// Time in which it held some thread up; of tracers it is not known, of spans it is counted.
    pub time_us: Metric,
    /// Of the trace's extent.
    #[serde(rename = "time_share")]
    pub share: Metric,
}

/// What one trace says of its own cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordingReport {
    /// Bytes of profile for each second that it covers.
    pub bytes_per_sec: Metric,
    /// What each recorder wrote.
    pub recorders: Vec<RecordingRow>,
    /// What windows of the run with more and less recording measured; absent if it has none.
    #[serde(rename = "overhead", skip_serializing_if = "Option::is_none")]
    pub measured: Option<OverheadReport>,
}

const UNKNOWN: &str =
    "a trace does not say what writing its events took: compare runs with and without it";

const COUNTED: &str = "CPU time by counting: every record at what one takes in a loop in the same \
                       process, which is the least that it takes";

/// What each recorder of a trace that covers `window` wrote, and what is known of its cost; `measured`
/// is the record of the run that the trace is of.
pub(crate) fn recording(
    trace: &Trace,
    window: Picos,
    measured: Option<&OverheadRecord>,
) -> RecordingReport {
    let secs = window.as_micros() / 1e6;
    let kinds: IdVec<MetaId, EventKind> =
        trace.metas.ids().map(|meta| EventKind::of(trace.label(meta))).collect();
    let (mut python, mut host, mut device, mut own) = (0, 0, 0, 0);
    let mut held = Vec::new();
    let costs_us = span_costs_us(trace);
    let (mut spans, mut spans_us) = (0, None);
    for track in &trace.tracks {
        let slices = &track.slices;
        if trace.recorded.iter().any(|&(own, _)| own == track.source) {
            spans += slices.len() as u64;
            if let Some(cost_us) = costs_us.get(&track.source) {
                *spans_us.get_or_insert(0.0) += as_f64(slices.len() as u64) * cost_us;
            }
            continue;
        }
        if track.kind != TrackKind::HostThread {
            device += slices.len() as u64;
            continue;
        }
        for (row, meta) in slices.meta.iter().enumerate() {
            let kind = kinds[*meta];
            python += u64::from(kind.is_python);
            host += u64::from(!kind.is_python);
            if kind.is_profiler {
                own += 1;
                held.push((slices.start[row], slices.end(row)));
            }
        }
    }
    for dropped in &trace.dropped {
        for &(meta, count) in &dropped.counts {
            match kinds[meta].is_python {
                true => python += count,
                false => host += count,
            }
        }
    }
    let held = Intervals::of(held).total();
    let known = |recorder, events: u64, time_us, share| {
        let events_per_sec = if secs > 0.0 { as_f64(events) / secs } else { 0.0 };
        RecordingRow { recorder, events, events_per_sec, time_us, share }
    };
    let row = |recorder, events, time: Option<Picos>| {
        let time_us = Metric::known(time.map(Picos::as_micros), "us", UNKNOWN);
        let share = Metric::known(time.map(|time| share(time, window)), "1", UNKNOWN);
        known(recorder, events, time_us, share)
    };
    let counted = |value: Option<f64>, unit| match value {
        Some(value) => Metric::degraded(value, unit, COUNTED),
        None => Metric::unavailable(unit, "what wrote the spans did not measure what one costs"),
    };
    let recorders = vec![
        row("python_tracer", python, None),
        row("host_tracer", host, None),
        row("device_tracer", device, None),
        row("profiler", own, Some(held)),
        known(
            "spans",
            spans,
            counted(spans_us, "us"),
            counted(spans_us.filter(|_| secs > 0.0).map(|us| us / window.as_micros()), "1"),
        ),
    ];
    let profiles = trace.sources.iter().filter(|source| source.format.has_operations());
    let bytes: u64 = profiles.map(|source| source.size.0).sum();
    let rate = (bytes > 0 && secs > 0.0).then(|| as_f64(bytes) / secs);
    RecordingReport {
        bytes_per_sec: Metric::known(rate, "B/s", "there is no profile of a profiler"),
        recorders: recorders.into_iter().filter(|row| row.events > 0).collect(),
        measured: measured.map(|record| overhead(record, trace)),
    }
}

#[derive(Debug, Clone, Copy)]
struct EventKind {
    is_python: bool,
    is_profiler: bool,
}

impl EventKind {
    fn of(name: &str) -> Self {
        let is_profiler = PROFILER.iter().any(|part| name.contains(part));
        // The Python tracer's names begin with a dollar sign.
        Self { is_python: name.starts_with('$'), is_profiler }
    }
}
