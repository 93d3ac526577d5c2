//! What kind of work an operation is.
//!
//! The recorder's own category is used where it says something (TPU's `hlo_category`, the built-in
//! engine's); else the opcode of the instruction; else the kernel's name.

use std::borrow::Cow;

use xscope_trace::Trace;
use xscope_trace::model::{Instruction, MetaId, Program};

use crate::kernels::names::{part_of, told_by_name};

/// Chrome categories that say only that a slice is device work.
const EMPTY_CATEGORIES: [&str; 4] = ["", "kernel", "Op", "gpu_op"];

/// Opcodes of HLO that are categories of their own.
const OPCODES: [&str; 104] = [
    "abs",
    "add",
    "add-dependency",
    "after-all",
    "all-gather",
    "all-gather-done",
    "all-gather-start",
    "all-reduce",
    "all-reduce-done",
    "all-reduce-start",
    "all-to-all",
    "and",
    "async-done",
    "async-start",
    "async-update",
    "atan2",
    "batch-norm-grad",
    "batch-norm-inference",
    "batch-norm-training",
    "bitcast-convert",
    "broadcast",
    "cbrt",
    "ceil",
    "cholesky",
    "clamp",
    "clz",
    "collective-broadcast",
    "collective-permute",
    "collective-permute-done",
    "collective-permute-start",
    "compare",
    "complex",
    "constant",
    "convert",
    "convolution",
    "cosine",
    "divide",
    "domain",
    "dynamic-reshape",
    "erf",
    "exponential",
    "exponential-minus-one",
    "fft",
    "floor",
    "get-dimension-size",
    "get-tuple-element",
    "imag",
    "infeed",
    "iota",
    "is-finite",
    "log",
    "log-plus-one",
    "logistic",
    "map",
    "maximum",
    "minimum",
    "multiply",
    "negate",
    "not",
    "opt-barrier",
    "or",
    "outfeed",
    "parameter",
    "partition-id",
    "popcnt",
    "power",
    "ragged-all-to-all",
    "ragged-dot",
    "real",
    "recv",
    "recv-done",
    "reduce-precision",
    "reduce-scatter",
    "remainder",
    "replica-id",
    "reverse",
    "rng",
    "rng-bit-generator",
    "rng-get-and-update-state",
    "round-nearest-afz",
    "round-nearest-even",
    "rsqrt",
    "scaled-dot",
    "select",
    "select-and-scatter",
    "send",
    "send-done",
    "set-dimension-size",
    "shift-left",
    "shift-right-arithmetic",
    "shift-right-logical",
    "sign",
    "sine",
    "sort",
    "sqrt",
    "stochastic-convert",
    "subtract",
    "tan",
    "tanh",
    "top-k",
    "topk",
    "triangular-solve",
    "tuple",
    "xor",
];

/// The category of what no rule knows.
const UNKNOWN: &str = "unknown";

/// What a program says of an operation that it does not compile itself.
const FOREIGN: &str = "custom-call";

/// What an operation does, and for what part of a model, as far as that is known without its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub category: Cow<'static, str>,
    pub component: Option<&'static str>,
}

impl Kind {
    fn of(category: impl Into<Cow<'static, str>>) -> Self {
        let category = category.into();
        let component = part_of(&category);
        Self { category, component }
    }
}

/// What an event's work is.
pub(crate) fn kind(trace: &Trace, meta: MetaId) -> Kind {
    let recorded = trace.strings.get(trace.meta(meta).category);
    let label = trace.label(meta);
    match recorded {
        "gpu_memcpy" => return Kind::of("copy"),
        "gpu_memset" => return Kind::of("memset"),
        FOREIGN => return of_kernel_name(label).unwrap_or(Kind::of(FOREIGN)),
        _ if !EMPTY_CATEGORIES.contains(&recorded) => return Kind::of(recorded.to_owned()),
        _ => {}
    }
    match trace.instruction(meta).zip(trace.meta(meta).program) {
        // A library kernel says more by its name than by the custom call that it serves.
        Some((instruction, program)) => {
            match of_instruction(trace, &trace.programs[program], instruction) {
                Cow::Borrowed(FOREIGN) => of_kernel_name(label).unwrap_or(Kind::of(FOREIGN)),
                category => Kind::of(category),
            }
        }
        None => of_name(label),
    }
}

/// Whether an operation is the start or the end of one that runs beside others (`copy-start.1`).
pub(crate) fn is_async_half(trace: &Trace, meta: MetaId) -> bool {
    let is_half = |name: &str| name.ends_with("-start") || name.ends_with("-done");
    let label = trace.label(meta).trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let opcode = trace.instruction(meta).map(|found| trace.strings.get(found.opcode));
    is_half(label) || opcode.is_some_and(is_half)
}

/// The category of an instruction: its opcode, or for a fusion what its members do.
fn of_instruction(
    trace: &Trace,
    program: &Program,
    instruction: &Instruction,
) -> Cow<'static, str> {
    let opcode = trace.strings.get(instruction.opcode);
    if opcode != "fusion" {
        return of_opcode(opcode).unwrap_or_else(|| opcode.to_owned().into());
    }
    let members = instruction.members.iter().flat_map(Clone::clone);
    let opcodes = members.filter_map(|index| program.instructions.get(index as usize));
    let mut kinds = opcodes.map(|member| trace.strings.get(member.opcode));
    match kinds.find(|kind| matches!(*kind, "dot" | "convolution" | "reduce" | "scatter")) {
        Some("dot") => "matmul fusion".into(),
        Some("convolution") => "convolution fusion".into(),
        Some("reduce") => "reduction fusion".into(),
        Some(_) => "scatter fusion".into(),
        None => "loop fusion".into(),
    }
}

/// The category of an opcode of HLO; none if there is no such opcode.
fn of_opcode(opcode: &str) -> Option<Cow<'static, str>> {
    let category = match opcode {
        "dot" => "matmul",
        "copy"
        | "copy-start"
        | "copy-done"
        | "transpose"
        | "reshape"
        | "bitcast"
        | "concatenate"
        | "slice"
        | "dynamic-slice"
        | "dynamic-update-slice"
        | "pad" => "data formatting",
        "reduce" | "reduce-window" => "reduction",
        "gather" | "scatter" => "gather/scatter",
        "while" | "conditional" | "call" => "control flow",
        FOREIGN => FOREIGN,
        "" => UNKNOWN,
        other => OPCODES.iter().find(|opcode| **opcode == other)?,
    };
    Some(category.into())
}

/// What a name tells where no program does: that of an operation (`all-reduce.3`) or of a kernel.
pub(crate) fn of_name(name: &str) -> Kind {
    let stem =
        name.trim_start_matches('%').trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let opcode = of_opcode(stem).filter(|category| *category != FOREIGN && *category != UNKNOWN);
    opcode.map(Kind::of).or_else(|| of_kernel_name(name)).unwrap_or(Kind::of(UNKNOWN))
}

/// What the name of a kernel tells.
fn of_kernel_name(name: &str) -> Option<Kind> {
    let told = told_by_name(name)?;
    Some(Kind { category: told.category.into(), component: told.component })
}

#[cfg(test)]
mod tests {
    use super::of_name;

    #[test]
    fn names_of_operations() {
        for (name, expected) in [
            ("all-reduce.3", "all-reduce"),
            ("copy-done.4", "data formatting"),
            ("broadcast_add_fusion.1", "loop fusion"),
            ("%dot", "matmul"),
            ("custom-call.3", "unknown"),
            ("my_kernel", "unknown"),
        ] {
            assert_eq!(of_name(name).category, expected, "{name}");
        }
    }
}
