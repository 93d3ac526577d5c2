//! What each program needs in the memory of a device, as its compiler planned it, by layer.
//!
//! The plan is the buffer assignment beside the HLO: exact sizes of arguments, outputs, constants and
//! temporary memory, and which buffers share a place when. Arguments are counted at the layer that
//! reads them first, temporary buffers at the one that makes them.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use xscope_trace::model::{Program, ProgramId, ProgramMemory};
use xscope_trace::stats::as_f64;
use xscope_trace::strings::StrId;
use xscope_trace::{Bytes, Trace};

use crate::devices::programs::Execution;
use crate::layers::attribution::Attribution;
use crate::layers::components::component;
use crate::layers::scope::NO_SCOPE;
use crate::layers::unroll::Unrolled;

/// How deep scopes are told apart: `layer_3/attention`.
const SCOPE_DEPTH: usize = 2;

/// How many buffers of a program are named.
const NAMED: usize = 20;

/// The memory of one program on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedRow {
    /// The program's name.
    pub program: String,
    /// All of it together: what must be free for the program to run.
    pub total_bytes: Bytes,
    /// What it is given, weights included; outputs that replace an argument count here.
    pub argument_bytes: Bytes,
    /// What it returns.
    pub output_bytes: Bytes,
    /// Constants.
    pub constant_bytes: Bytes,
    /// What it needs while it runs.
    pub temporary_bytes: Bytes,
    /// Of the buffers that share a place over time, the most in use at once; absent if the
    /// compiler did not say when they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_bytes: Option<Bytes>,
    /// Share of that place which is not in use even then: lost to fragmentation. Absent where
    /// nothing is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragmentation: Option<f64>,
    /// By total, largest first; they add up to arguments and what is live at the peak.
    #[serde(rename = "scopes")]
    pub layers: Vec<PlannedLayer>,
    /// The largest buffers at the peak.
    pub buffers: Vec<PlannedBuffer>,
}

/// What a layer or a component of one needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedLayer {
    /// The path of scopes; empty if there is none.
    pub scope: String,
    /// The component; empty if unknown.
    pub component: String,
    /// Arguments.
    pub argument_bytes: Bytes,
    /// In use when the program as a whole needs most; absent if the compiler did not say when its
    /// buffers are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_bytes: Option<Bytes>,
}

/// A buffer that is in use when the program needs most.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedBuffer {
    /// The instruction that makes it.
    pub name: String,
    /// As HLO writes it, `bf16[8,128]`.
    pub shape: String,
    /// The path of scopes; empty if there is none.
    pub scope: String,
    /// Its size.
    pub bytes: Bytes,
}

/// The plans of the programs that ran (of all, if none is known to have run), by total.
pub(crate) fn planned(trace: &Trace, executions: &[Execution]) -> Vec<PlannedRow> {
    let ran: FxHashSet<StrId> = executions.iter().map(|run| run.program).collect();
    let mut attribution = Attribution::new(trace);
    let mut rows: Vec<PlannedRow> = Vec::new();
    for (id, program) in trace.programs.iter_ids() {
        let Some(memory) = &program.memory else { continue };
        if ran.is_empty() || ran.contains(&program.name) {
            rows.push(row(trace, id, memory, &mut attribution));
        }
    }
    rows.sort_by(|a, b| b.total_bytes.cmp(&a.total_bytes).then_with(|| a.program.cmp(&b.program)));
    // Every host's file carries the programs of all.
    rows.dedup();
    rows
}

fn row(
    trace: &Trace,
    id: ProgramId,
    memory: &ProgramMemory,
    attribution: &mut Attribution<'_>,
) -> PlannedRow {
    let program = &trace.programs[id];
    let parts = [memory.arguments, memory.outputs, memory.constants, memory.temporary];
    let total = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.0));
    let unrolled = Unrolled::of(trace, id, attribution);
    let mut scope_of = |index: Option<u32>| {
        let Some(index) = index else { return NO_SCOPE.to_owned() };
        let votes = attribution.of_instruction(id, index);
        let Some(&(path, _)) = votes.first() else { return NO_SCOPE.to_owned() };
        let path = unrolled.numbered(index, path, &mut attribution.paths);
        let mut parts = attribution.paths.parts(path);
        parts.truncate(SCOPE_DEPTH);
        if parts.is_empty() { NO_SCOPE.to_owned() } else { parts.join("/") }
    };
    let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (reader, bytes) in arguments(program) {
        let sum = layers.entry(scope_of(reader)).or_default();
        sum.0 = sum.0.saturating_add(bytes.0);
    }
    let mut buffers = Vec::new();
    for held in &memory.at_peak {
        let scope = scope_of(held.instruction);
        let sum = layers.entry(scope.clone()).or_default();
        sum.1 = sum.1.saturating_add(held.bytes.0);
        if buffers.len() < NAMED {
            let made = held.instruction.and_then(|at| program.instructions.get(at as usize));
            let text = |id| trace.strings.get(id).to_owned();
            buffers.push(PlannedBuffer {
                name: made.map_or_else(String::new, |made| text(made.name)),
                shape: text(held.shape),
                scope,
                bytes: held.bytes,
            });
        }
    }
    let is_timed = memory.live.0 > 0 || memory.temporary.0 == 0;
    let layer = |(scope, (arguments, live)): (String, (u64, u64))| PlannedLayer {
        component: component(&scope.split('/').collect::<Vec<_>>(), ("", None), &[]).to_owned(),
        scope,
        argument_bytes: Bytes(arguments),
        live_bytes: is_timed.then_some(Bytes(live)),
    };
    let mut layers: Vec<PlannedLayer> = layers.into_iter().map(layer).collect();
    let size = |layer: &PlannedLayer| {
        layer.argument_bytes.0.saturating_add(layer.live_bytes.unwrap_or_default().0)
    };
    layers.sort_by(|a, b| size(b).cmp(&size(a)).then_with(|| a.scope.cmp(&b.scope)));
    let lost = memory.place.0.saturating_sub(memory.live.0);
    PlannedRow {
        program: trace.strings.get(program.name).to_owned(),
        total_bytes: Bytes(total),
        argument_bytes: memory.arguments,
        output_bytes: memory.outputs,
        constant_bytes: memory.constants,
        temporary_bytes: memory.temporary,
        live_bytes: is_timed.then_some(memory.live),
        fragmentation: (memory.live.0 > 0).then(|| as_f64(lost) / as_f64(memory.place.0.max(1))),
        layers,
        buffers,
    }
}

/// Each argument that an execution takes: the instruction that reads it first, and its size.
fn arguments(program: &Program) -> Vec<(Option<u32>, Bytes)> {
    let mut readers: FxHashMap<u32, u32> = FxHashMap::default();
    for index in program.entry.clone() {
        let Some(instruction) = program.instructions.get(index as usize) else { continue };
        let range = instruction.operands.start as usize..instruction.operands.end as usize;
        for &operand in program.operands.get(range).unwrap_or_default() {
            readers.entry(operand).or_insert(index);
        }
    }
    let taken = program.parameters.iter().filter_map(|parameter| parameter.instruction);
    taken
        .filter_map(|index| {
            let instruction = program.instructions.get(index as usize)?;
            Some((readers.get(&index).copied(), instruction.result_bytes))
        })
        .collect()
}
