//! What kind of work an operation is.
//!
//! The recorder's own category is used where it says something (TPU's `hlo_category`, the built-in
//! engine's); else the opcode of the instruction; else the kernel's name.

use xscope_trace::Trace;
use xscope_trace::model::{Instruction, MetaId, Program};

/// Chrome categories that say only that a slice is device work.
const EMPTY_CATEGORIES: [&str; 4] = ["", "kernel", "Op", "gpu_op"];

/// Parts of GPU kernel names, most telling first, and the category they stand for.
const KERNEL_NAMES: [(&str, &str); 34] = [
    ("nccl", "collective"),
    ("rccl", "collective"),
    ("allreduce", "collective"),
    ("all_gather", "collective"),
    ("reduce_scatter", "collective"),
    ("memcpy", "copy"),
    ("memset", "memset"),
    ("copydevicetodevice", "copy"),
    ("copydevicetohost", "copy"),
    ("copyhosttodevice", "copy"),
    ("fmha", "attention"),
    ("flash", "attention"),
    ("attention", "attention"),
    ("attn", "attention"),
    ("gemm", "matmul"),
    ("gemv", "matmul"),
    ("cijk", "matmul"),
    ("cutlass", "matmul"),
    ("matmul", "matmul"),
    ("wmma", "matmul"),
    ("splitk", "matmul"),
    ("im2d2col", "convolution"),
    ("im3d2col", "convolution"),
    ("conv", "convolution"),
    ("winograd", "convolution"),
    ("softmax", "softmax"),
    ("layer_norm", "norm"),
    ("layernorm", "norm"),
    ("rmsnorm", "norm"),
    ("embedding", "gather/scatter"),
    ("gather", "gather/scatter"),
    ("scatter", "gather/scatter"),
    ("reduce", "reduction"),
    ("elementwise", "elementwise"),
];

/// The category of an event's work.
pub(crate) fn category(trace: &Trace, meta: MetaId) -> String {
    let recorded = trace.strings.get(trace.meta(meta).category);
    match recorded {
        "gpu_memcpy" => return "copy".to_owned(),
        "gpu_memset" => return "memset".to_owned(),
        _ if !EMPTY_CATEGORIES.contains(&recorded) => return recorded.to_owned(),
        _ => {}
    }
    let label = trace.label(meta);
    let from_name = || of_kernel_name(label);
    match trace.instruction(meta).zip(trace.meta(meta).program) {
        // A library kernel says more by its name than by the fusion or custom call it serves.
        Some((instruction, program)) => {
            let program = &trace.programs[program];
            let from_opcode = of_instruction(trace, program, instruction);
            match from_opcode.as_str() {
                "custom-call" => from_name().unwrap_or(&from_opcode).to_owned(),
                _ => from_opcode,
            }
        }
        None => from_name().map_or_else(|| of_op_name(label), str::to_owned),
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
fn of_instruction(trace: &Trace, program: &Program, instruction: &Instruction) -> String {
    let opcode = trace.strings.get(instruction.opcode);
    if opcode != "fusion" {
        return of_opcode(opcode).to_owned();
    }
    let members = instruction.members.iter().flat_map(Clone::clone);
    let opcodes = members.filter_map(|index| program.instructions.get(index as usize));
    let mut kinds = opcodes.map(|member| trace.strings.get(member.opcode));
    match kinds.find(|kind| matches!(*kind, "dot" | "convolution" | "reduce" | "scatter")) {
        Some("dot") => "matmul fusion".to_owned(),
        Some("convolution") => "convolution fusion".to_owned(),
        Some("reduce") => "reduction fusion".to_owned(),
        Some(_) => "scatter fusion".to_owned(),
        None => "loop fusion".to_owned(),
    }
}

fn of_opcode(opcode: &str) -> &str {
    match opcode {
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
        "" => "unknown",
        other => other,
    }
}

/// The category that a GPU kernel's name suggests.
fn of_kernel_name(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    KERNEL_NAMES.iter().find(|(part, _)| lower.contains(part)).map(|&(_, category)| category)
}

/// The category of an operation without program: the stem of its HLO name (`all-reduce.3`).
fn of_op_name(name: &str) -> String {
    let stem = name.trim_start_matches('%');
    let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let known = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    match stem {
        _ if stem.ends_with("fusion") => "loop fusion".to_owned(),
        _ if known => of_opcode(stem).to_owned(),
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{of_kernel_name, of_op_name};

    #[test]
    fn names_of_gpu_kernels() {
        for (name, expected) in [
            ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", Some("collective")),
            ("Cijk_Ailk_Bljk_BBS_BH_MT256x128x64", Some("matmul")),
            ("void pytorch_flash::flash_fwd_kernel<...>", Some("attention")),
            ("Memcpy DtoH (Device -> Pinned)", Some("copy")),
            ("my_kernel", None),
        ] {
            assert_eq!(of_kernel_name(name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_operations() {
        assert_eq!(of_op_name("all-reduce.3"), "all-reduce");
        assert_eq!(of_op_name("copy-done.4"), "data formatting");
        assert_eq!(of_op_name("broadcast_add_fusion.1"), "loop fusion");
        assert_eq!(of_op_name("dot"), "matmul");
    }
}
