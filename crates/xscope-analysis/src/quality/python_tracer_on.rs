//! The Python tracer, which stretches what it watches.

use std::collections::BTreeMap;

use rayon::prelude::*;
use xscope_trace::Picos;
use xscope_trace::ids::{Id as _, IdVec};
use xscope_trace::model::{EventMeta, MetaId, Track, TrackId, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::as_f64;

use crate::quality::facts::Facts;

/// So many calls stretch what they are part of; fewer are of the recorder's own start and stop.
const MANY: u64 = 1000;

/// A call costs about a microsecond to record: one for each of these spans stretches by a hundredth.
const SPAN: Picos = Picos(100_000_000);

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let is_python = |meta: &EventMeta| trace.strings.get(meta.name).starts_with('$');
    let python: IdVec<MetaId, bool> = trace.metas.iter().map(is_python).collect();
    // Calls that were counted but not kept, and when they were, by track.
    let mut dropped: BTreeMap<TrackId, (u64, Picos, Picos)> = BTreeMap::new();
    for rows in &trace.dropped {
        let calls = rows.counts.iter().filter(|(meta, _)| python[*meta]);
        let calls: u64 = calls.map(|&(_, count)| count).sum();
        let sum = dropped.entry(rows.track).or_insert((0, rows.first, rows.last));
        *sum = (sum.0 + calls, sum.1.min(rows.first), sum.2.max(rows.last));
    }
    // How many calls a thread has, and from the first to the last.
    let of_thread = |(index, track): (usize, &Track)| {
        let kept = track.slices.meta.iter().filter(|&&meta| python[meta]).count() as u64;
        let dropped = dropped.get(&TrackId::at(index)).copied();
        let count = kept + dropped.map_or(0, |(calls, ..)| calls);
        if count == 0 {
            return (0, Picos::ZERO);
        }
        let ends = dropped.map(|(_, first, last)| (first, last)).into_iter();
        let whole = ends.chain(track.slices.extent()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        (count, whole.map_or(Picos::ZERO, |(first, last)| last - first))
    };
    let threads = trace.tracks.par_iter().enumerate();
    let threads = threads.filter(|(_, track)| track.kind == TrackKind::HostThread).map(of_thread);
    let (count, extent) = threads.reduce(|| (0, Picos::ZERO), |a, b| (a.0 + b.0, a.1.max(b.1)));
    (count > 0).then(|| {
        let finding = Finding::new(
            Code::PythonTracerOn,
            format!(
                "the Python tracer was on ({count} events in {:.3} s): host times are stretched \
                 and the file is larger than it need be; capture with python_tracer_level 0",
                extent.as_micros() / 1e6
            ),
        )
        .times(count);
        let is_rare = as_f64(count) * SPAN.as_micros() < extent.as_micros();
        if count < MANY || is_rare { finding.harmless() } else { finding }
    })
}
