//! The layer tree: device time by named scope, and by component of the model.
//!
//! Scopes come from the op names of HLO metadata, or are the modules of PyTorch that launched an
//! operation; an operation that XLA made of several is split among theirs by cost; layers that the
//! scopes do not number are told apart by loop iteration or by order. What was split, and how much of
//! that is uncertain, is part of the report.

pub(crate) mod attribution;
pub mod components;
pub(crate) mod modules;
pub(crate) mod scope;
pub(crate) mod unroll;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, ProgramId, TrackKind};
use xscope_trace::stats::share;
use xscope_trace::{Picos, Trace};

use crate::kernels::peaks::GivenPeaks;
use crate::kernels::row::KernelRow;
use crate::kernels::work::Work;
use crate::layers::attribution::{Attribution, Votes, instruction_of, is_unknown, split};
use crate::layers::components::{ComponentRow, ComponentRule, component, rows};
use crate::layers::modules::launched;
use crate::layers::scope::{BACKWARD, PathId, Paths};
use crate::layers::unroll::{LoopFacts, Unrolled};

pub use crate::layers::scope::{NO_SCOPE, scope_path};

/// One scope and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayerNode {
    /// The scope's own name, without those that it is in.
    pub name: String,
    /// Self time of all operations in it and below it, over all devices.
    pub total_us: f64,
    /// Self time of the operations that sit directly in it.
    pub self_us: f64,
    /// Scopes in it, largest first.
    pub children: Vec<Self>,
    #[serde(skip)]
    pub total: Picos,
}

/// The layer tree and how sure it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayersReport {
    /// The tree; its root is the device work as a whole.
    #[serde(flatten)]
    pub root: LayerNode,
    /// Self time of operations whose members lie in several scopes.
    pub split_us: f64,
    /// What of that went by cost to other scopes than the heaviest: right on average, unknown for
    /// the single operation.
    pub ambiguous_us: f64,
    /// `ambiguous_us` of the whole.
    pub ambiguous_share: f64,
    /// Share of the whole that has a scope.
    pub scoped_share: f64,
    /// Time in scopes of the backward pass.
    pub backward_us: f64,
    /// By component (attention, MLP ...), of the whole model.
    pub components: Vec<ComponentRow>,
    /// Scope of each operation as a whole, by its meta: the heaviest of its members', or what all modules
    /// that launched it are in; absent from JSON.
    #[serde(skip)]
    pub scopes: FxHashMap<MetaId, String>,
    #[serde(skip)]
    pub ambiguous: Picos,
}

#[derive(Default)]
struct Node {
    own: Picos,
    children: BTreeMap<String, Self>,
}

/// Times by scope and category while they are added up.
#[derive(Default)]
struct Sums<'a> {
    times: BTreeMap<(PathId, components::Work<'a>), Picos>,
    split: Picos,
    ambiguous: Picos,
}

/// The tree of scopes of all operations.
pub(crate) fn layers(
    work: &Work<'_>,
    kernels: &[KernelRow],
    rules: &[ComponentRule],
) -> LayersReport {
    let trace = work.trace;
    let mut attribution = Attribution::new(trace);
    let mut unrolled: FxHashMap<ProgramId, Unrolled> = FxHashMap::default();
    let mut sums = Sums::default();
    let mut scopes: FxHashMap<MetaId, String> = FxHashMap::default();
    let mut looped: FxHashMap<MetaId, (ProgramId, u32, LoopFacts)> = FxHashMap::default();
    let launched = launched(work, &mut attribution.paths);
    for kernel in kernels {
        let mut votes = attribution.of(kernel.meta);
        if let Some(times) =
            launched.get(&(kernel.meta, kernel.device_id)).filter(|_| is_unknown(&votes))
        {
            sums.add_known(kernel, times);
            scopes.entry(kernel.meta).or_insert_with(|| {
                let paths = times.keys().copied();
                let path = paths.reduce(|a, b| attribution.paths.shared(a, b));
                attribution.paths.parts(path.unwrap_or(Paths::ROOT)).join("/")
            });
            continue;
        }
        if let Some((program, index)) = instruction_of(trace, kernel.meta) {
            let layers = unrolled
                .entry(program)
                .or_insert_with(|| Unrolled::of(trace, program, &mut attribution));
            if let Some((outer, facts)) = layers.layer_loop(index) {
                looped.insert(kernel.meta, (program, outer, facts));
            } else {
                for (path, _) in &mut votes {
                    *path = layers.numbered(index, *path, &mut attribution.paths);
                }
            }
        }
        scopes.entry(kernel.meta).or_insert_with(|| {
            let path = votes.first().map_or(Paths::ROOT, |&(path, _)| path);
            attribution.paths.parts(path).join("/")
        });
        if !looped.contains_key(&kernel.meta) {
            sums.add(kernel.self_time, &votes, work_of(kernel));
        }
    }
    let categories: FxHashMap<MetaId, components::Work<'_>> = kernels
        .iter()
        .filter(|kernel| looped.contains_key(&kernel.meta))
        .map(|kernel| (kernel.meta, work_of(kernel)))
        .collect();
    for (meta, iteration, time) in iterations(work, &looped) {
        let Some(&(_, _, facts)) = looped.get(&meta) else { continue };
        let mut votes = attribution.of(meta);
        for (path, _) in &mut votes {
            *path = with_iteration(*path, facts, iteration, &mut attribution.paths);
        }
        sums.add(time, &votes, categories[&meta]);
    }
    sums.report(&attribution.paths, rules, scopes)
}

fn work_of(kernel: &KernelRow) -> components::Work<'_> {
    (&kernel.category, kernel.component)
}

impl<'a> Sums<'a> {
    /// Adds a kernel of whose self time it is known how much belongs to which scope; what is left has
    /// none.
    fn add_known(&mut self, kernel: &'a KernelRow, times: &BTreeMap<PathId, Picos>) {
        let mut rest = kernel.self_time;
        for (&path, &time) in times {
            self.add_to(path, work_of(kernel), time);
            rest = rest - time;
        }
        if rest > Picos::ZERO {
            self.add_to(Paths::ROOT, work_of(kernel), rest);
        }
    }

    fn add(&mut self, time: Picos, votes: &Votes, work: components::Work<'a>) {
        if votes.len() > 1 && !is_unknown(votes) {
            self.split = self.split.saturating_add(time);
        }
        for (at, (path, time)) in split(time, votes).into_iter().enumerate() {
            if at > 0 {
                self.ambiguous = self.ambiguous.saturating_add(time);
            }
            self.add_to(path, work, time);
        }
    }

    fn add_to(&mut self, path: PathId, work: components::Work<'a>, time: Picos) {
        let sum = self.times.entry((path, work)).or_default();
        *sum = sum.saturating_add(time);
    }

    fn report(
        self,
        paths: &Paths,
        rules: &[ComponentRule],
        scopes: FxHashMap<MetaId, String>,
    ) -> LayersReport {
        let mut root = Node::default();
        let (mut backward, mut unscoped) = (Picos::ZERO, Picos::ZERO);
        let mut components: BTreeMap<String, Picos> = BTreeMap::new();
        for ((path, work), time) in self.times {
            let mut parts = paths.parts(path);
            let sum = components.entry(component(&parts, work, rules).to_owned()).or_default();
            *sum = sum.saturating_add(time);
            if parts.contains(&BACKWARD) {
                backward = backward.saturating_add(time);
            }
            if parts.is_empty() {
                unscoped = unscoped.saturating_add(time);
                parts.push(NO_SCOPE);
            }
            let mut node = &mut root;
            for part in parts {
                node = node.children.entry(part.to_owned()).or_default();
            }
            node.own = node.own.saturating_add(time);
        }
        let root = finish("device".to_owned(), root);
        LayersReport {
            split_us: self.split.as_micros(),
            ambiguous_us: self.ambiguous.as_micros(),
            ambiguous_share: share(self.ambiguous, root.total),
            scoped_share: share(root.total - unscoped, root.total),
            backward_us: backward.as_micros(),
            components: rows(components),
            scopes,
            ambiguous: self.ambiguous,
            root,
        }
    }
}

fn finish(name: String, node: Node) -> LayerNode {
    let mut children: Vec<LayerNode> =
        node.children.into_iter().map(|(name, node)| finish(name, node)).collect();
    children.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
    let below = children.iter().fold(Picos::ZERO, |sum, child| sum.saturating_add(child.total));
    let total = below.saturating_add(node.own);
    LayerNode { name, total_us: total.as_micros(), self_us: node.own.as_micros(), children, total }
}

/// The path of one iteration of a loop over layers; the backward pass runs them in reverse.
fn with_iteration(path: PathId, facts: LoopFacts, iteration: u64, paths: &mut Paths) -> PathId {
    let mut parts: Vec<String> = paths.parts(path).into_iter().map(str::to_owned).collect();
    let backward = parts.iter().any(|part| part == BACKWARD);
    let layer = if backward { facts.trips - 1 - iteration } else { iteration };
    let part = format!("layer_{layer}");
    match facts.depth.checked_sub(1).filter(|_| facts.replaces).and_then(|at| parts.get_mut(at)) {
        Some(nameless) => *nameless = part,
        None => parts.insert(facts.depth.min(parts.len()), part),
    }
    paths.intern(&parts)
}

/// Self time of each operation of a loop over layers, by iteration.
///
/// The executions of an instruction are counted in order of their start, by device and module
/// execution; it runs once an iteration, so the count tells the iteration.
fn iterations(
    work: &Work<'_>,
    looped: &FxHashMap<MetaId, (ProgramId, u32, LoopFacts)>,
) -> Vec<(MetaId, u64, Picos)> {
    if looped.is_empty() {
        return Vec::new();
    }
    type Key = (DeviceId, i64, MetaId);
    let mut executions: BTreeMap<Key, Vec<(Picos, Picos)>> = BTreeMap::new();
    for (id, track) in work.trace.tracks.iter_ids() {
        let Some(device) = track.device.filter(|_| track.kind == TrackKind::Ops) else { continue };
        for (row, own) in work.own(id).enumerate() {
            let meta = track.slices.meta[row];
            if looped.contains_key(&meta) {
                let key = (device, track.slices.run_of(row).unwrap_or(0), meta);
                executions.entry(key).or_default().push((track.slices.start[row], own));
            }
        }
    }
    let mut times: BTreeMap<(MetaId, u64), Picos> = BTreeMap::new();
    for ((device, run, meta), mut runs) in executions {
        runs.sort_unstable();
        let first = work.window.map_or(0, |window| window.ran_before(device, run, meta));
        let trips = looped[&meta].2.trips;
        for (count, (_, own)) in (first..).zip(runs) {
            let sum = times.entry((meta, count % trips)).or_default();
            *sum = sum.saturating_add(own);
        }
    }
    times.into_iter().map(|((meta, iteration), time)| (meta, iteration, time)).collect()
}

/// The tree of a trace with the built-in rules.
pub fn layer_tree(trace: &Trace) -> LayersReport {
    let work = Work::of(trace, None, GivenPeaks::default());
    layers(&work, &crate::kernels::kernels(&work), &[])
}
