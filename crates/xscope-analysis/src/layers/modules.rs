//! Which module of a PyTorch model launched each operation.
//!
//! PyTorch's profiler records each call of a module as a slice of its host thread, `nn.Module: NAME_n`
//! (n counts the modules of one class), and a flow from each launch to the operation on the device.
//! An operation belongs to the modules that were open where it was launched. What a backward pass
//! launches, on a thread of its own, belongs to none.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, Flow, MetaId, Slices, TrackId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::kernels::work::Work;
use crate::layers::scope::{MAX_DEPTH, PathId, Paths};

/// What the names of calls of modules begin with.
const MODULE: &str = "nn.Module: ";

/// Self time and executions of an operation on a device by the modules that launched it; what no module launched is
/// left out.
pub(crate) type Launched = FxHashMap<(MetaId, DeviceId), BTreeMap<PathId, (Picos, u64)>>;

/// What modules launched.
pub(crate) fn launched(work: &Work<'_>, paths: &mut Paths) -> Launched {
    let trace = work.trace;
    let mut launched = Launched::default();
    if !trace.metas.iter().any(|meta| trace.strings.get(meta.name).starts_with(MODULE)) {
        return launched;
    }
    let own = own_times(work);
    for flows in launches(trace).chunk_by(|a, b| a.from.track == b.from.track) {
        let mut modules = Modules::of(trace, flows[0].from.track);
        for flow in flows {
            let (track, row) = (flow.to.track, flow.to.row as usize);
            let Some(device) = trace.tracks[track].device else { continue };
            let Some(path) = modules.at(flow.from.row, paths) else { continue };
            let times = launched.entry((trace.tracks[track].slices.meta[row], device)).or_default();
            let (time, count) = times.entry(path).or_default();
            *time = time.saturating_add(own[track][row]);
            *count += 1;
        }
    }
    launched
}

/// The modules of a thread that are open at some row, for questions in order of their rows.
struct Modules<'a> {
    trace: &'a Trace,
    slices: &'a Slices,
    /// The first row that was not looked at.
    row: usize,
    /// Ends and paths, the innermost last.
    open: Vec<(Picos, PathId)>,
}

impl<'a> Modules<'a> {
    fn of(trace: &'a Trace, track: TrackId) -> Self {
        let slices = &trace.tracks[track].slices;
        Self { trace, slices, row: 0, open: Vec::new() }
    }

    /// The path of the modules that are open where `row` begins.
    fn at(&mut self, row: u32, paths: &mut Paths) -> Option<PathId> {
        while self.row <= row as usize {
            let start = self.slices.start[self.row];
            while self.open.last().is_some_and(|&(end, _)| end <= start) {
                self.open.pop();
            }
            let name = self.trace.strings.get(self.trace.meta(self.slices.meta[self.row]).name);
            if let Some(name) = name.strip_prefix(MODULE) {
                let outer = self.open.last().map_or(Paths::ROOT, |&(_, path)| path);
                let is_deep = self.open.len() >= MAX_DEPTH;
                let path = if is_deep { outer } else { paths.child(outer, name) };
                self.open.push((self.slices.end(self.row), path));
            }
            self.row += 1;
        }
        self.open.last().map(|&(_, path)| path)
    }
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
