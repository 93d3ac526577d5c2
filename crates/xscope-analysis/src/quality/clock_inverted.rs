//! Effects before their causes: the clocks of host and device do not agree.
//!
//! Two witnesses: an arrow from a launch to what it launched, and the `run_id` that a TPU's program
//! execution shares with the host's call that enqueued it.

use rustc_hash::FxHashMap;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{DeviceKind, SliceRef, SourceId, Track, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::{Picos, Trace};

use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let early = launches(facts.trace).into_iter().chain(enqueued(facts.trace));
    let early: Vec<Picos> = early.filter(|&early| early > Picos::ZERO).collect();
    let worst = early.iter().max()?;
    let message = format!(
        "{} pieces of device work start before the host launched them, by up to {:.3} us: the clocks \
         of host and device differ by at least that, so what the host did while a device idled, and \
         which request a batch belongs to, is off by as much; durations on one device stand",
        early.len(),
        worst.as_micros()
    );
    Some(Finding::new(Code::ClockInverted, message).times(early.len() as u64))
}

/// How much earlier than its launch each launched operation starts.
fn launches(trace: &Trace) -> Vec<Picos> {
    let track = |end: SliceRef| &trace.tracks[end.track];
    let start = |end: SliceRef| track(end).slices.start[end.row as usize];
    let is_launch = |from: &Track, to: &Track| {
        from.kind == TrackKind::HostThread && to.kind == TrackKind::Ops && is_apart(trace, to)
    };
    let flows = trace.flows.iter().filter(|flow| is_launch(track(flow.from), track(flow.to)));
    flows.map(|flow| start(flow.from) - start(flow.to)).collect()
}

/// Whether a track is of a device that has a clock of its own.
fn is_apart(trace: &Trace, track: &Track) -> bool {
    let kind = track.device.map(|id| trace.devices[id].kind);
    kind.is_some_and(|kind| kind != DeviceKind::Cpu)
}

/// How much earlier than its enqueueing each program execution starts.
fn enqueued(trace: &Trace) -> Vec<Picos> {
    let modules = trace.tracks.iter().filter(|track| track.kind == TrackKind::Modules);
    let modules: Vec<&Track> = modules.filter(|track| is_apart(trace, track)).collect();
    if modules.is_empty() {
        return Vec::new();
    }
    let mut first: FxHashMap<(SourceId, i64, i64), Picos> = FxHashMap::default();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread) {
        let runs =
            (0..track.slices.run.len()).filter_map(|row| track.slices.run_of(row).zip(Some(row)));
        for (run, row) in runs {
            let ordinal = match track.slices.args.find(row, "device_ordinal", &trace.strings) {
                Some(ArgValue::Int(ordinal)) => ordinal,
                Some(ArgValue::Uint(ordinal)) => ordinal.cast_signed(),
                _ => continue,
            };
            let start = track.slices.start[row];
            let earliest = first.entry((track.source, ordinal, run)).or_insert(start);
            *earliest = start.min(*earliest);
        }
    }
    let executions = modules.into_iter().flat_map(|track| {
        let ordinal = track.device.map(|id| trace.devices[id].ordinal);
        (0..track.slices.len()).filter_map(move |row| {
            let key = (track.source, ordinal?, track.slices.run_of(row)?);
            Some((key, track.slices.start[row]))
        })
    });
    executions.filter_map(|(key, start)| Some(*first.get(&key)? - start)).collect()
}
