//! Layer numbers for models whose scopes carry none.
//!
//! Two cases are told apart. In a loop over layers (`lax.scan`) one instruction runs once for each
//! layer, so the number is that of the iteration, counted in the trace. In an unrolled model each
//! layer has instructions of its own with the same op name, so the k-th of them is layer k. Both
//! are used only where nothing contradicts them: the loop must hold attention and an MLP; the
//! matrix products of the unrolled model must come in N groups that do not overlap.

use std::collections::BTreeMap;

use xscope_trace::Trace;
use xscope_trace::model::{Instruction, Program, ProgramId};
use xscope_trace::strings::StrId;

use crate::layers::attribution::Attribution;
use crate::layers::components::of_part;
use crate::layers::scope::{BACKWARD, PathId, Paths, is_layer};

/// The most layers that a loop is taken to run over.
const MAX_LAYERS: u64 = 1024;
/// How deep calls are climbed.
const MAX_CALLS: usize = 16;
/// How many references to members a program may have, and how many loops are looked at: no real
/// program comes near, and a made-up one must not cost more than its size.
const MAX_REFERENCES: usize = 1 << 22;
const MAX_LOOPS: usize = 256;
const NONE: u32 = u32::MAX;

/// How the layers of one program are numbered.
#[derive(Debug, Default)]
pub(crate) struct Unrolled {
    /// The instruction that calls the computation of each instruction.
    caller: Vec<u32>,
    /// Ends of the layers of an unrolled model, as indices of instructions of the entry.
    by_order: Option<ByOrder>,
    /// Loops over layers, by the index of their `while`.
    loops: BTreeMap<u32, LoopFacts>,
    entry: std::ops::Range<u32>,
}

#[derive(Debug)]
struct ByOrder {
    first: u32,
    /// The last matrix product of each layer.
    ends: Vec<u32>,
    /// How many parts all scopes of layers share, and the parts that follow.
    depth: usize,
    tops: Vec<PathId>,
}

/// A loop over layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopFacts {
    pub trips: u64,
    /// How many parts all scopes of the body share.
    pub depth: usize,
    /// Whether the last of these is a nameless `layer`, which the number replaces.
    pub replaces: bool,
}

impl Unrolled {
    /// Looks at a program; `attribution` knows its scopes.
    pub(crate) fn of(trace: &Trace, id: ProgramId, attribution: &mut Attribution<'_>) -> Self {
        let program = &trace.programs[id];
        let mut caller = vec![NONE; program.instructions.len()];
        let members = program.instructions.iter().enumerate().flat_map(|(index, instruction)| {
            let members = instruction.members.iter().flat_map(Clone::clone);
            members.map(move |member| (index, member))
        });
        for (index, member) in members.take(MAX_REFERENCES) {
            if let Some(caller) = caller.get_mut(member as usize) {
                *caller = u32::try_from(index).unwrap_or(NONE);
            }
        }
        let mut unrolled =
            Self { caller, by_order: None, loops: BTreeMap::new(), entry: program.entry.clone() };
        let products = products(trace, program, &mut attribution.paths);
        let numbered = |paths: &Paths, path| paths.parts(path).iter().any(|part| is_layer(part));
        if !products.iter().any(|&(_, _, path)| numbered(&attribution.paths, path)) {
            unrolled.find_loops(program, &products, &attribution.paths);
            if unrolled.loops.is_empty() {
                unrolled.by_order = unrolled.order(&products, &mut attribution.paths);
            }
        }
        unrolled
    }

    /// The loop over layers that an instruction is in.
    pub(crate) fn layer_loop(&self, index: u32) -> Option<LoopFacts> {
        if self.loops.is_empty() {
            return None;
        }
        let mut at = index;
        for _ in 0..MAX_CALLS {
            at = *self.caller.get(at as usize).filter(|caller| **caller != NONE)?;
            if let Some(&facts) = self.loops.get(&at) {
                return Some(facts);
            }
        }
        None
    }

    /// `path` with the number of the layer that instruction `index` is in, if it is in one.
    pub(crate) fn numbered(&self, index: u32, path: PathId, paths: &mut Paths) -> PathId {
        let Some((order, at)) = self.by_order.as_ref().zip(self.in_entry(index)) else {
            return path;
        };
        let Some(&last) = order.ends.last() else { return path };
        let top = order.tops.iter().any(|&top| top == path || paths.includes(top, path));
        if path == Paths::ROOT || !(top || (order.first..=last).contains(&at)) {
            return path;
        }
        let layer = order.ends.partition_point(|&end| end < at).min(order.ends.len() - 1);
        paths.with_part(path, order.depth, &format!("layer_{layer}"))
    }

    /// The instruction of the entry computation that `index` runs under.
    fn in_entry(&self, index: u32) -> Option<u32> {
        let mut at = index;
        for _ in 0..MAX_CALLS {
            if self.entry.contains(&at) {
                return Some(at);
            }
            at = *self.caller.get(at as usize).filter(|caller| **caller != NONE)?;
        }
        None
    }

    fn find_loops(&mut self, program: &Program, products: &[(u32, StrId, PathId)], paths: &Paths) {
        let loops = program.instructions.iter().enumerate();
        let loops = loops.filter(|(_, instruction)| instruction.trip_count.is_some());
        for (index, instruction) in loops.take(MAX_LOOPS) {
            let Some(trips) =
                instruction.trip_count.filter(|trips| (2..=MAX_LAYERS).contains(trips))
            else {
                continue;
            };
            let index = u32::try_from(index).unwrap_or(NONE);
            let inside: Vec<Vec<&str>> = products
                .iter()
                .filter(|&&(product, ..)| self.is_under(product, index))
                .map(|&(_, _, path)| paths.parts(path))
                .collect();
            let has = |component| {
                let mut parts = inside.iter().flatten();
                parts.any(|part| of_part(part) == Some(component))
            };
            if has("attention") && has("mlp") {
                let depth = shared_depth(&inside);
                let last = depth.checked_sub(1).and_then(|at| inside[0].get(at));
                let replaces = last
                    .is_some_and(|part| matches!(*part, "layer" | "layers" | "block" | "blocks"));
                self.loops.insert(index, LoopFacts { trips, depth, replaces });
            }
        }
    }

    fn is_under(&self, index: u32, outer: u32) -> bool {
        let mut at = index;
        for _ in 0..MAX_CALLS {
            match self.caller.get(at as usize) {
                Some(&caller) if caller == outer => return true,
                Some(&caller) if caller != NONE => at = caller,
                _ => return false,
            }
        }
        false
    }

    /// The layers of an unrolled model, if its products come in groups that do not overlap.
    fn order(&self, products: &[(u32, StrId, PathId)], paths: &mut Paths) -> Option<ByOrder> {
        let mut names: BTreeMap<StrId, (PathId, Vec<u32>)> = BTreeMap::new();
        for &(index, name, path) in products {
            let Some(at) = self.in_entry(index) else { continue };
            if paths.parts(path).contains(&BACKWARD) {
                return None;
            }
            names.entry(name).or_insert((path, Vec::new())).1.push(at);
        }
        let repeated: Vec<(PathId, Vec<u32>)> = names
            .into_values()
            .filter(|(_, at)| at.len() > 1)
            .map(|(path, mut at)| {
                at.sort_unstable();
                (path, at)
            })
            .collect();
        let layers = repeated.iter().map(|(_, at)| at.len()).min()?;
        if repeated.len() < 2 || repeated.iter().any(|(_, at)| at.len() % layers != 0) {
            return None;
        }
        let group = |layer: usize| {
            let members = repeated.iter().flat_map(move |(_, at)| {
                let each = at.len() / layers;
                &at[layer * each..(layer + 1) * each]
            });
            members
                .copied()
                .fold((NONE, 0), |(start, end): (u32, u32), at| (start.min(at), end.max(at)))
        };
        let groups: Vec<(u32, u32)> = (0..layers).map(group).collect();
        if groups.windows(2).any(|pair| pair[0].1 >= pair[1].0) {
            return None;
        }
        let parts: Vec<Vec<&str>> = repeated.iter().map(|(path, _)| paths.parts(*path)).collect();
        let depth = shared_depth(&parts);
        let tops: Vec<Vec<String>> = parts
            .iter()
            .map(|parts| parts.iter().take(depth + 1).map(|&part| part.to_owned()).collect())
            .collect();
        let tops = tops.iter().map(|parts| paths.intern(parts)).collect();
        let ends = groups.iter().map(|group| group.1).collect();
        Some(ByOrder { first: groups[0].0, ends, depth, tops })
    }
}

/// How many first parts all paths have in common, the last part of each left aside.
fn shared_depth(paths: &[Vec<&str>]) -> usize {
    let Some(first) = paths.first() else { return 0 };
    let shared = |path: &Vec<&str>| first.iter().zip(path).take_while(|(a, b)| a == b).count();
    let shortest = paths.iter().map(|path| path.len().saturating_sub(1)).min().unwrap_or(0);
    paths.iter().map(shared).min().unwrap_or(0).min(shortest)
}

/// The matrix products and convolutions of a program that have a scope: index, op name, scope.
fn products(trace: &Trace, program: &Program, paths: &mut Paths) -> Vec<(u32, StrId, PathId)> {
    let mut products = Vec::new();
    let is_product = |instruction: &Instruction| {
        matches!(trace.strings.get(instruction.opcode), "dot" | "convolution" | "custom-call")
    };
    for (index, instruction) in program.instructions.iter().enumerate() {
        if is_product(instruction) {
            let path = paths.of(instruction.op_name, &trace.strings)[0];
            let Ok(index) = u32::try_from(index) else { break };
            if path != Paths::ROOT {
                products.push((index, instruction.op_name, path));
            }
        }
    }
    products
}
