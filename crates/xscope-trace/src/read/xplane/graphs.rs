//! Joins kernels that were launched in a graph (XLA's command buffers) to the operations that they run:
//! their events name none, but XLA calls a kernel that it makes after its instruction.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::{
    DeviceKind, Instruction, MetaId, Program, ProgramId, SourceId, Trace, TrackKind,
};
use crate::quality::{Code, Finding};

/// Instructions of programs by the kernels that are called after them.
type ByKernel = FxHashMap<String, Vec<(ProgramId, u32)>>;

/// Gives kernels of GPUs that name no operation the one that they are called after, if that can be told:
/// if there is one, or all of them are variants of one program (for other shapes), which have the same
/// scopes.
pub(super) fn join(source: SourceId, trace: &mut Trace) {
    let nameless = nameless(source, trace);
    if nameless.is_empty() {
        return;
    }
    let instructions = by_kernel(source, trace);
    let (mut joined, mut guessed) = (Vec::new(), 0);
    for meta in nameless {
        let kernel = trace.strings.get(trace.meta(meta).name);
        let found = instructions.get(kernel.strip_suffix(".kd").unwrap_or(kernel));
        let Some([(program, index), others @ ..]) = found.map(Vec::as_slice) else { continue };
        let instruction =
            |program: ProgramId, index: u32| &trace.programs[program].instructions[index as usize];
        let first = instruction(*program, *index);
        let is_variant = |(program, index): &(ProgramId, u32)| {
            let other = instruction(*program, *index);
            (other.opcode, other.op_name) == (first.opcode, first.op_name)
        };
        if others.iter().all(is_variant) {
            guessed += u64::from(!others.is_empty());
            joined.push((meta, *program, first.name));
        }
    }
    for (meta, program, op) in joined {
        let meta = &mut trace.metas[meta];
        (meta.program, meta.op) = (Some(program), op);
    }
    if guessed > 0 {
        let message = "kernels of graphs are called after operations of several programs with the same \
                       scopes, for other shapes: their costs are those of the first of these";
        trace.findings.push(Finding::new(Code::HloVariants, message).times(guessed));
    }
}

/// The kernels of a file's GPUs that name no operation.
fn nameless(source: SourceId, trace: &Trace) -> Vec<MetaId> {
    let is_gpu = |id| trace.devices[id].kind == DeviceKind::Gpu;
    let tracks = trace.tracks.iter().filter(|track| {
        track.source == source && track.kind == TrackKind::Ops && track.device.is_some_and(is_gpu)
    });
    let metas: FxHashSet<MetaId> =
        tracks.flat_map(|track| track.slices.meta.iter().copied()).collect();
    let mut nameless: Vec<MetaId> = metas.into_iter().collect();
    nameless.retain(|&meta| trace.meta(meta).program.is_none() && trace.meta(meta).op.is_empty());
    nameless.sort_unstable();
    nameless
}

fn by_kernel(source: SourceId, trace: &Trace) -> ByKernel {
    let mut instructions = ByKernel::default();
    for (id, program) in trace.programs.iter_ids().filter(|(_, it)| it.source == Some(source)) {
        let inside = fused(program, |instruction| trace.strings.get(instruction.opcode));
        for (index, instruction) in (0..).zip(&program.instructions) {
            if !inside.contains(&index) {
                let kernel = trace.strings.get(instruction.name).replace(['.', '-'], "_");
                instructions.entry(kernel).or_default().push((id, index));
            }
        }
    }
    instructions
}

/// The instructions that fusions and reductions are made of, which are no kernels.
fn fused<'a>(program: &'a Program, opcode: impl Fn(&'a Instruction) -> &'a str) -> FxHashSet<u32> {
    let callers = program
        .instructions
        .iter()
        .filter(|it| !matches!(opcode(it), "while" | "conditional" | "call"));
    callers.flat_map(|caller| caller.members.iter().cloned().flatten()).collect()
}
