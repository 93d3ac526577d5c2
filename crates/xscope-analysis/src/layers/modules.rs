//! Which module of a PyTorch model launched each operation.
//!
//! PyTorch's profiler records each call of a module as a slice of its host thread, `nn.Module: NAME_n`
//! (n counts the modules of one class), and a flow from each launch to the operation on the device.
//! An operation belongs to the modules that were open where it was launched. What a backward pass
//! launches, on a thread of its own, belongs to none.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xscope_trace::model::{DeviceId, Flow, MetaId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::scope::{MAX_DEPTH, PathId, Paths};
use crate::work::Work;

/// What the names of calls of modules begin with.
const MODULE: &str = "nn.Module: ";

/// Self time of an operation on a device by the modules that launched it; what no module launched is
/// left out.
pub(crate) type Launched = FxHashMap<(MetaId, DeviceId), BTreeMap<PathId, Picos>>;

/// What modules launched.
pub(crate) fn launched(work: &Work<'_>, paths: &mut Paths) -> Launched {
    let trace = work.trace;
    let module = |meta| trace.strings.get(trace.meta(meta).name).strip_prefix(MODULE);
    let mut launched = Launched::default();
    if (0..).map(MetaId).take(trace.metas.len()).all(|meta| module(meta).is_none()) {
        return launched;
    }
    let own = own_times(work);
    let flows = launches(trace);
    for flows in flows.chunk_by(|a, b| a.from.track == b.from.track) {
        let slices = &trace.tracks[flows[0].from.track as usize].slices;
        // The modules that are open, with their ends.
        let mut open: Vec<(Picos, PathId)> = Vec::new();
        let mut row = 0;
        for flow in flows {
            while row <= flow.from.row as usize {
                let start = slices.start[row];
                while open.last().is_some_and(|&(end, _)| end <= start) {
                    open.pop();
                }
                if let Some(name) = module(slices.meta[row]) {
                    let outer = open.last().map_or(Paths::ROOT, |&(_, path)| path);
                    let path =
                        if open.len() < MAX_DEPTH { paths.child(outer, name) } else { outer };
                    open.push((slices.end(row), path));
                }
                row += 1;
            }
            let Some(&(_, path)) = open.last() else { continue };
            let (track, row) = (flow.to.track as usize, flow.to.row as usize);
            let Some(device) = trace.tracks[track].device else { continue };
            let times = launched.entry((trace.tracks[track].slices.meta[row], device)).or_default();
            let time = times.entry(path).or_default();
            *time = time.saturating_add(own[track][row]);
        }
    }
    launched
}

/// The flow to each operation that has one, in the order of launches.
fn launches(trace: &Trace) -> Vec<Flow> {
    let kind = |track: u32| trace.tracks[track as usize].kind;
    let to_operation = |flow: &&Flow| {
        kind(flow.from.track) == TrackKind::HostThread && kind(flow.to.track) == TrackKind::Ops
    };
    let mut flows: Vec<Flow> = trace.flows.iter().filter(to_operation).copied().collect();
    flows.sort_unstable_by_key(|flow| (flow.to, flow.from));
    flows.dedup_by_key(|flow| flow.to);
    flows.sort_unstable_by_key(|flow| (flow.from, flow.to));
    flows
}

/// Self times by track and row; empty for tracks without operations.
fn own_times(work: &Work<'_>) -> Vec<Vec<Picos>> {
    let tracks = work.trace.tracks.iter().enumerate();
    let own = tracks.map(|(index, track)| match track.kind {
        TrackKind::Ops => work.own(index).collect(),
        _ => Vec::new(),
    });
    own.collect()
}
