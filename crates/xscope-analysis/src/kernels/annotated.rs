//! Times of annotated calls: what the host waited, and how long devices worked meanwhile.
//!
//! A benchmark that annotates each call and waits for its end has, in one trace, both times of each:
//! the annotation's on its thread, and the union of the operations of all devices in it, which is
//! free of dispatch and waiting.

use xscope_trace::model::{Slices, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::intervals::Intervals;

/// One annotated call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotated {
    /// The annotation without the prefix that was asked for.
    pub name: String,
    pub host: Picos,
    /// Zero if no operation lies in it.
    pub device: Picos,
}

/// All calls whose annotation begins with `prefix`, in order of time.
pub fn annotated(trace: &Trace, prefix: &str) -> Vec<Annotated> {
    let of_kind = |kind| trace.tracks.iter().filter(move |track| track.kind == kind);
    let ops = of_kind(TrackKind::Ops).filter(|track| track.device.is_some());
    let busy = Intervals::of_tracks(ops.map(|track| &track.slices));
    let mut calls: Vec<(Picos, Annotated)> = Vec::new();
    for track in of_kind(TrackKind::HostThread) {
        let slices: &Slices = &track.slices;
        for (row, &meta) in slices.meta.iter().enumerate() {
            let name = trace.strings.get(trace.meta(meta).name);
            let Some(name) = name.strip_prefix(prefix) else { continue };
            let (start, end) = (slices.start[row], slices.end(row));
            let device = busy.within(start, end);
            calls.push((start, Annotated { name: name.to_owned(), host: end - start, device }));
        }
    }
    calls.sort_by_key(|(start, _)| *start);
    calls.into_iter().map(|(_, call)| call).collect()
}
