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

use crate::kernels;
use crate::kernels::peaks::GivenPeaks;
use crate::kernels::row::KernelRow;
use crate::layers::attribution::{Attribution, How, Votes, instruction_of, split};
use crate::layers::components::{ComponentRow, ComponentRule, UNKNOWN, Work, component, rows};
use crate::layers::modules::{By, launched};
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
    /// Share of the whole whose scope the recorder or the program states.
    pub scoped_share: f64,
    /// Share of the whole that ran in graphs and has the scopes that launched it when these were captured.
    pub captured_share: f64,
    /// Share of the whole that has the scope of an operation that it reads or that reads it.
    pub guessed_share: f64,
    /// Share of the whole of which only the backward pass is known, which is no scope of the model.
    pub pseudo_share: f64,
    /// Time in scopes of the backward pass.
    pub backward_us: f64,
    /// By component (attention, MLP ...), of the whole model.
    pub components: Vec<ComponentRow>,
    /// Scope of each operation as a whole, by its meta: the heaviest of its members', or what all modules
    /// that launched it are in; absent from JSON.
    #[serde(skip)]
    pub scopes: FxHashMap<MetaId, String>,
    /// What each operation on a device is made of; absent from JSON.
    #[serde(skip)]
    pub parts: FxHashMap<(MetaId, DeviceId), Vec<KernelPart>>,
    #[serde(skip)]
    pub ambiguous: Picos,
}

impl LayersReport {
    /// Share of the whole that is in scopes of the model, stated, of a capture, or guessed.
    pub fn in_scopes(&self) -> f64 {
        self.scoped_share + self.captured_share + self.guessed_share
    }

    /// What an operation on a device is made of.
    pub fn parts_of(&self, kernel: &KernelRow) -> &[KernelPart] {
        self.parts.get(&key_of(kernel)).map_or(&[], Vec::as_slice)
    }

    /// The component with most of an operation's time.
    pub(crate) fn component_of(&self, kernel: &KernelRow) -> &str {
        let mut times: BTreeMap<&str, Picos> = BTreeMap::new();
        for part in self.parts_of(kernel) {
            let time = times.entry(&part.component).or_default();
            *time = time.saturating_add(part.time);
        }
        let most = times.into_iter().rev().max_by_key(|&(_, time)| time);
        most.map_or(UNKNOWN, |(component, _)| component)
    }

    /// Leaves of the kernels what is in scopes with `text` in their path.
    pub(crate) fn narrow(&self, kernels: &mut Vec<KernelRow>, text: &str) {
        kernels.retain_mut(|kernel| {
            let parts = self.parts_of(kernel).iter().filter(|part| part.scope.contains(text));
            let sum = |(time, count): (Picos, u64), part: &KernelPart| {
                (time.saturating_add(part.time), count.saturating_add(part.count))
            };
            match parts.fold((Picos::ZERO, 0), sum) {
                (_, 0) => kernel.scope.contains(text),
                (time, count) => {
                    kernel.take_part(time, count);
                    true
                }
            }
        });
    }
}

#[derive(Default)]
struct Node {
    own: Picos,
    children: BTreeMap<String, Self>,
}

/// A part of an operation's time that is of one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelPart {
    /// The path of scopes; empty if there is none.
    pub scope: String,
    pub component: String,
    pub time: Picos,
    /// Executions that are in the scope, wholly or in part.
    pub count: u64,
}

/// An operation on a device.
type KernelKey = (MetaId, DeviceId);

/// Times by scope and by what the work is, and by operation, while they are added up.
#[derive(Default)]
struct Sums<'a> {
    times: BTreeMap<(PathId, Work<'a>), Picos>,
    parts: FxHashMap<KernelKey, Vec<(PathId, Picos, u64)>>,
    split: Picos,
    ambiguous: Picos,
    captured: Picos,
    guessed: Picos,
    made: Picos,
    works: FxHashMap<KernelKey, Work<'a>>,
}

/// Executions of an operation in one place.
struct Runs<'a> {
    key: KernelKey,
    work: Work<'a>,
    time: Picos,
    count: u64,
}

impl<'a> Runs<'a> {
    fn all(kernel: &'a KernelRow) -> Self {
        let (time, count) = (kernel.self_time, kernel.count);
        Self { key: key_of(kernel), work: work_of(kernel), time, count }
    }
}

fn key_of(kernel: &KernelRow) -> KernelKey {
    (kernel.meta, kernel.device_id)
}

fn work_of(kernel: &KernelRow) -> Work<'_> {
    (&kernel.category, kernel.named)
}

/// The tree of scopes of all operations, or of what is in scopes with `within` in their path.
pub(crate) fn layers(
    work: &kernels::work::Work<'_>,
    kernels: &[KernelRow],
    rules: &[ComponentRule],
    within: Option<&str>,
) -> LayersReport {
    let trace = work.trace;
    let mut attribution = Attribution::new(trace);
    let mut unrolled: FxHashMap<ProgramId, Unrolled> = FxHashMap::default();
    let mut sums = Sums::default();
    let mut scopes: FxHashMap<MetaId, String> = FxHashMap::default();
    let mut looped: FxHashMap<MetaId, LoopFacts> = FxHashMap::default();
    let launched = launched(work, &mut attribution.paths);
    for kernel in kernels {
        let (mut votes, how) = attribution.of(kernel.meta);
        let known = launched.get(&key_of(kernel)).filter(|_| how == How::Unknown);
        if let Some(times) = known {
            let paths = &attribution.paths;
            let wanted = times.iter().filter(|((path, _), _)| paths.contain(*path, within));
            sums.add_known(kernel, wanted);
            scopes.entry(kernel.meta).or_insert_with(|| {
                let path = times.keys().map(|&(path, _)| path).reduce(|a, b| paths.shared(a, b));
                paths.parts(path.unwrap_or(Paths::ROOT)).join("/")
            });
            continue;
        }
        if let Some((program, index)) = instruction_of(trace, kernel.meta) {
            let layers = unrolled
                .entry(program)
                .or_insert_with(|| Unrolled::of(trace, program, &mut attribution));
            if let Some(facts) = layers.layer_loop(index) {
                looped.insert(kernel.meta, facts);
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
            attribution.paths.narrow(&mut votes, within);
            sums.add(&Runs::all(kernel), &votes, how);
        }
    }
    let works: FxHashMap<KernelKey, Work<'_>> = kernels
        .iter()
        .filter(|kernel| looped.contains_key(&kernel.meta))
        .map(|kernel| (key_of(kernel), work_of(kernel)))
        .collect();
    for ((key, iteration), (time, count)) in iterations(work, &looped) {
        let Some((&facts, &work)) = looped.get(&key.0).zip(works.get(&key)) else { continue };
        let (mut votes, how) = attribution.of(key.0);
        for (path, _) in &mut votes {
            *path = with_iteration(*path, facts, iteration, &mut attribution.paths);
        }
        if attribution.paths.narrow(&mut votes, within) {
            sums.add(&Runs { key, work, time, count }, &votes, how);
        }
    }
    sums.report(&attribution.paths, rules, scopes)
}

impl<'a> Sums<'a> {
    /// Adds a kernel of whose self time it is known how much belongs to which scope; what is left has
    /// none.
    fn add_known<'t>(
        &mut self,
        kernel: &'a KernelRow,
        times: impl Iterator<Item = (&'t (PathId, By), &'t (Picos, u64))>,
    ) {
        let mut rest = Runs::all(kernel);
        for (&(path, by), &(time, count)) in times {
            if by == By::Capture {
                self.captured = self.captured.saturating_add(time);
            }
            self.add_to(path, &Runs { time, count, ..Runs::all(kernel) });
            rest.time = rest.time - time;
            rest.count = rest.count.saturating_sub(count);
        }
        if rest.time > Picos::ZERO {
            self.add_to(Paths::ROOT, &rest);
        }
    }

    fn add(&mut self, runs: &Runs<'a>, votes: &Votes, how: How) {
        let &Runs { time, .. } = runs;
        if votes.len() > 1 && how != How::Unknown {
            self.split = self.split.saturating_add(time);
        }
        match how {
            How::Guessed => self.guessed = self.guessed.saturating_add(time),
            How::Made => self.made = self.made.saturating_add(time),
            How::Stated | How::Unknown => {}
        }
        for (at, (path, time)) in split(time, votes).into_iter().enumerate() {
            if at > 0 {
                self.ambiguous = self.ambiguous.saturating_add(time);
            }
            self.add_to(path, &Runs { time, ..*runs });
        }
    }

    fn add_to(&mut self, path: PathId, runs: &Runs<'a>) {
        let &Runs { key, work, time, count } = runs;
        let sum = self.times.entry((path, work)).or_default();
        *sum = sum.saturating_add(time);
        self.parts.entry(key).or_default().push((path, time, count));
        self.works.entry(key).or_insert(work);
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
        let mut named: FxHashMap<(PathId, Work<'_>), &str> = FxHashMap::default();
        for (&(path, work), &time) in &self.times {
            let mut parts = paths.parts(path);
            let component = component(&parts, work, rules);
            named.insert((path, work), component);
            let sum = components.entry(component.to_owned()).or_default();
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
        let part = |work, (path, time, count)| KernelPart {
            scope: paths.parts(path).join("/"),
            component: named[&(path, work)].to_owned(),
            time,
            count,
        };
        let of_kernel = |(key, parts): (KernelKey, Vec<_>)| {
            (key, parts.into_iter().map(|found| part(self.works[&key], found)).collect())
        };
        let parts = self.parts.into_iter().map(of_kernel).collect();
        let root = finish("device".to_owned(), root);
        let stated = root.total - unscoped - self.captured - self.guessed - self.made;
        LayersReport {
            split_us: self.split.as_micros(),
            ambiguous_us: self.ambiguous.as_micros(),
            ambiguous_share: share(self.ambiguous, root.total),
            scoped_share: share(stated, root.total),
            captured_share: share(self.captured, root.total),
            guessed_share: share(self.guessed, root.total),
            pseudo_share: share(self.made, root.total),
            backward_us: backward.as_micros(),
            components: rows(components),
            scopes,
            parts,
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

/// An operation on a device, and the iteration.
type Iteration = (KernelKey, u64);

/// Self time and executions of each operation of a loop over layers, by iteration.
///
/// The executions of an instruction are counted in order of their start, by device and module
/// execution; it runs once an iteration, so the count tells the iteration.
fn iterations(
    work: &kernels::work::Work<'_>,
    looped: &FxHashMap<MetaId, LoopFacts>,
) -> BTreeMap<Iteration, (Picos, u64)> {
    if looped.is_empty() {
        return BTreeMap::new();
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
    let mut times: BTreeMap<Iteration, (Picos, u64)> = BTreeMap::new();
    for ((device, run, meta), mut runs) in executions {
        runs.sort_unstable();
        let first = work.window.map_or(0, |window| window.ran_before(device, run, meta));
        let trips = looped[&meta].trips;
        for (count, (_, own)) in (first..).zip(runs) {
            let (sum, executions) = times.entry(((meta, device), count % trips)).or_default();
            *sum = sum.saturating_add(own);
            *executions += 1;
        }
    }
    times
}

/// The tree of a trace with the built-in rules.
pub fn layer_tree(trace: &Trace) -> LayersReport {
    let work = kernels::work::Work::of(trace, None, GivenPeaks::default());
    layers(&work, &kernels::kernels(&work), &[], None)
}
