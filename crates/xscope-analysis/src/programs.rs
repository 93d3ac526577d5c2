//! Executions of whole programs, and what part of serving each is.
//!
//! An execution is what one device ran under one `run_id`. The stage is told by names where they say it, and of a sampler by what precedes it: it
//! belongs to the forward pass before it on the same device.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::model::{DeviceId, ProgramId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::stats::{mean_micros, percentile, sum};

/// All executions of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgramRow {
    pub name: String,
    pub devices: u64,
    /// Executions, each device's counted for itself.
    pub count: u64,
    /// From the first operation of an execution to the end of its last.
    pub total_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// `prefill`, `decode`, `sampler`, `train` if the name says so, else `unknown`.
    pub stage: &'static str,
    /// For a sampler: the programs that ran just before it, with how often.
    pub follows: Vec<(String, u64)>,
    #[serde(skip)]
    pub total: Picos,
}

/// One execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Execution {
    pub device: DeviceId,
    pub start: Picos,
    pub end: Picos,
    pub program: ProgramId,
}

/// Device, program and `run_id` of an execution.
type Key = (DeviceId, ProgramId, i64);

/// All programs that ran, by total time.
pub(crate) fn programs(trace: &Trace) -> Vec<ProgramRow> {
    let executions = executions(trace);
    let mut times: BTreeMap<ProgramId, Vec<Picos>> = BTreeMap::new();
    let mut devices: BTreeMap<ProgramId, std::collections::BTreeSet<DeviceId>> = BTreeMap::new();
    let mut before: BTreeMap<ProgramId, BTreeMap<ProgramId, u64>> = BTreeMap::new();
    let mut forward: Option<Execution> = None;
    for &execution in &executions {
        let Execution { device, start, end, program } = execution;
        times.entry(program).or_default().push(end - start);
        devices.entry(program).or_default().insert(device);
        if stage(name(trace, program)) == "sampler" {
            if let Some(forward) = forward.filter(|forward| forward.device == device) {
                *before.entry(program).or_default().entry(forward.program).or_default() += 1;
            }
        } else if is_forward(name(trace, program)) {
            forward = Some(execution);
        }
    }
    let row = |(program, mut times): (ProgramId, Vec<Picos>)| {
        times.sort_unstable();
        let total = sum(&times);
        let count = times.len() as u64;
        let follows = before.get(&program).into_iter().flatten();
        ProgramRow {
            name: name(trace, program).to_owned(),
            devices: devices[&program].len() as u64,
            count,
            total_us: total.as_micros(),
            mean_us: mean_micros(total, count),
            p50_us: percentile(&times, 50).as_micros(),
            p99_us: percentile(&times, 99).as_micros(),
            stage: stage(name(trace, program)),
            follows: follows.map(|(&id, &count)| (name(trace, id).to_owned(), count)).collect(),
            total,
        }
    };
    let mut rows: Vec<ProgramRow> = times.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// All executions, by device and start.
pub(crate) fn executions(trace: &Trace) -> Vec<Execution> {
    let mut spans: BTreeMap<Key, (Picos, Picos)> = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        let Some(device) = track.device else { continue };
        let mut last: Option<(Key, (Picos, Picos))> = None;
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            let run = track.slices.run_of(row);
            let Some((program, run)) = trace.meta(meta).program.zip(run) else { continue };
            let key = (device, program, run);
            let (start, end) = (track.slices.start[row], track.slices.end(row));
            match &mut last {
                Some((known, span)) if *known == key => span.1 = span.1.max(end),
                _ => {
                    if let Some((key, span)) = last.replace((key, (start, end))) {
                        extend(&mut spans, key, span);
                    }
                }
            }
        }
        if let Some((key, span)) = last {
            extend(&mut spans, key, span);
        }
    }
    let mut all: Vec<Execution> = spans
        .into_iter()
        .map(|((device, program, _), (start, end))| Execution { device, start, end, program })
        .collect();
    all.sort_by_key(|execution| (execution.device, execution.start, execution.program));
    all
}

fn extend<K: Ord>(spans: &mut BTreeMap<K, (Picos, Picos)>, key: K, span: (Picos, Picos)) {
    let whole = spans.entry(key).or_insert(span);
    *whole = (whole.0.min(span.0), whole.1.max(span.1));
}

fn name(trace: &Trace, program: ProgramId) -> &str {
    trace.strings.get(trace.programs[program.0 as usize].name)
}

fn stage(name: &str) -> &'static str {
    let lower = name.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    match () {
        () if has(&["sampl"]) => "sampler",
        () if has(&["prefill", "extend"]) => "prefill",
        () if has(&["decode", "generate"]) => "decode",
        () if has(&["train"]) => "train",
        () => "unknown",
    }
}

/// Whether a program is a forward pass, and not one of the helpers between passes.
fn is_forward(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["model", "forward", "fwd", "prefill", "decode"].iter().any(|part| lower.contains(part))
}
