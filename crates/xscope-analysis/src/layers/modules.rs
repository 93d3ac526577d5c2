//! Which module of a PyTorch model launched each operation.
//!
//! PyTorch's profiler records a flow from each launch to the operation on the device. An operation belongs
//! to the modules that were open where it was launched; one that was replayed in a graph, to those that
//! were open where the graph was captured. What a backward pass launches, on a thread of its own, belongs to
//! none.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, Flow, MetaId, OpenModules, SliceRef, TrackId, TrackKind};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::kernels::work::Work;
use crate::layers::scope::{PathId, Paths};

/// Where it was recorded what launched an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// Where it ran.
    Launch,
    /// Where the graph was captured that it ran in.
    Capture,
}

/// Self time and executions of an operation on a device by the modules that launched it; what no module launched is
/// left out.
pub(crate) type Launched = FxHashMap<(MetaId, DeviceId), BTreeMap<(PathId, By), (Picos, u64)>>;

/// What modules launched.
pub(crate) fn launched(work: &Work<'_>, paths: &mut Paths) -> Launched {
    let trace = work.trace;
    let mut launched = Launched::default();
    if !trace.has_modules() && trace.replays.is_empty() {
        return launched;
    }
    let own = own_times(work);
    let mut add = |op: SliceRef, path: PathId, by: By| {
        let (track, row) = (op.track, op.row as usize);
        let Some(device) = trace.tracks[track].device else { return };
        let times = launched.entry((trace.tracks[track].slices.meta[row], device)).or_default();
        let (time, count) = times.entry((path, by)).or_default();
        *time = time.saturating_add(own[track][row]);
        *count += 1;
    };
    for flows in launches(trace).chunk_by(|a, b| a.from.track == b.from.track) {
        let mut modules = OpenModules::of(trace, flows[0].from.track);
        for flow in flows {
            let inner =
                |outer: Option<PathId>, name: &str| paths.child(outer.unwrap_or(Paths::ROOT), name);
            if let Some(path) = modules.at(flow.from.row, inner) {
                add(flow.to, path, By::Launch);
            }
        }
    }
    let mut known: FxHashMap<StrId, PathId> = FxHashMap::default();
    for replay in &trace.replays {
        let path = *known.entry(replay.modules).or_insert_with(|| {
            let modules = trace.strings.get(replay.modules).split('/');
            modules.fold(Paths::ROOT, |outer, name| paths.child(outer, name))
        });
        add(replay.op, path, By::Capture);
    }
    launched
}

/// The flow to each operation that has one, in the order of launches.
fn launches(trace: &Trace) -> Vec<Flow> {
    let kind = |track: TrackId| trace.tracks[track].kind;
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
fn own_times(work: &Work<'_>) -> IdVec<TrackId, Vec<Picos>> {
    let own = work.trace.tracks.iter_ids().map(|(id, track)| match track.kind {
        TrackKind::Ops => work.own(id).collect(),
        _ => Vec::new(),
    });
    own.collect()
}
