//! What an instruction costs, estimated from its shapes the way XLA's `HloCostAnalysis` does it.
//!
//! A multiply-add counts as two operations, everything else that computes as one for each element.
//! Custom calls are unknown. What a loop costs is its body times the trip count, where the compiler
//! knows that.

use super::shape::dimensions;
use super::{Computation, RawInstruction};
use crate::wire::Message;

/// Operations of one execution of each instruction, computation by computation; `None` where it
/// cannot be told.
pub(super) fn flops(
    computations: &[Computation<'_>],
    by_id: impl Fn(i64) -> Option<(usize, usize)>,
    by_computation: impl Fn(i64) -> Option<usize>,
) -> Vec<Vec<Option<u64>>> {
    let mut costs: Vec<Vec<Option<u64>>> = Vec::with_capacity(computations.len());
    let mut totals: Vec<u64> = Vec::with_capacity(computations.len());
    let operand = |raw: &RawInstruction<'_>, index: usize| {
        let (computation, row) = by_id(*raw.operands.get(index)?)?;
        computations.get(computation)?.instructions.get(row)
    };
    for computation in computations {
        let mut own = Vec::with_capacity(computation.instructions.len());
        for raw in &computation.instructions {
            // Callees come before their callers in a file, so what is not known yet is damage.
            let called = raw.called.iter().filter_map(|&id| totals.get(by_computation(id)?));
            let called = called.fold(0_u64, |sum, &cost| sum.saturating_add(cost));
            own.push(match raw.opcode {
                b"dot" => dot(raw, operand(raw, 0)),
                b"convolution" => convolution(raw, operand(raw, 1)),
                b"reduce" | b"reduce-window" => {
                    Some(operand(raw, 0).map_or(0, |input| input.size.elements))
                }
                b"fusion" | b"call" | b"conditional" | b"async-start" => Some(called),
                b"while" => Some(called.saturating_mul(raw.trip_count.unwrap_or(1))),
                b"custom-call" => None,
                opcode if computes(opcode) => Some(raw.size.elements),
                _ => Some(0),
            });
        }
        totals.push(own.iter().flatten().fold(0_u64, |sum, &cost| sum.saturating_add(cost)));
        costs.push(own);
    }
    costs
}

/// Whether an opcode does arithmetic on each element of its result.
fn computes(opcode: &[u8]) -> bool {
    matches!(
        opcode,
        b"add"
            | b"subtract"
            | b"multiply"
            | b"divide"
            | b"remainder"
            | b"power"
            | b"negate"
            | b"maximum"
            | b"minimum"
            | b"abs"
            | b"sign"
            | b"floor"
            | b"ceil"
            | b"clamp"
            | b"round-nearest-even"
            | b"round-nearest-afz"
            | b"exponential"
            | b"exponential-minus-one"
            | b"log"
            | b"log-plus-one"
            | b"logistic"
            | b"tanh"
            | b"tan"
            | b"sine"
            | b"cosine"
            | b"atan2"
            | b"erf"
            | b"sqrt"
            | b"rsqrt"
            | b"cbrt"
            | b"compare"
            | b"select"
            | b"and"
            | b"or"
            | b"xor"
            | b"not"
            | b"shift-left"
            | b"shift-right-logical"
            | b"shift-right-arithmetic"
            | b"map"
            | b"all-reduce"
            | b"reduce-scatter"
    )
}

fn dot(raw: &RawInstruction<'_>, lhs: Option<&RawInstruction<'_>>) -> Option<u64> {
    let dims = dimensions(lhs?.shape?);
    let mut contracted = 1_u64;
    let mut contract = |dim: i64| {
        let size = usize::try_from(dim).ok().and_then(|dim| dims.get(dim)).copied().unwrap_or(1);
        contracted = contracted.saturating_mul(u64::try_from(size).unwrap_or(1));
    };
    // `lhs_contracting_dimensions` is field 1 of `DotDimensionNumbers`.
    for (_, value) in raw.dot?.fields().flatten().filter(|(number, _)| *number == 1) {
        match value.message() {
            Some(packed) => super::shape::packed_varints(packed, &mut contract),
            None => contract(value.int()),
        }
    }
    Some(raw.size.elements.saturating_mul(contracted).saturating_mul(2))
}

/// Every output element takes one multiply-add for each element of a filter of its feature.
fn convolution(raw: &RawInstruction<'_>, kernel: Option<&RawInstruction<'_>>) -> Option<u64> {
    let kernel = kernel?;
    let dims = dimensions(kernel.shape?);
    // `kernel_output_feature_dimension` is field 4 of `ConvolutionDimensionNumbers`.
    let field = |message: Message<'_>| {
        message.fields().flatten().find(|(number, _)| *number == 4).map_or(0, |(_, v)| v.int())
    };
    let at = raw.convolution.map_or(0, field);
    let features = usize::try_from(at).ok().and_then(|at| dims.get(at)).copied().unwrap_or(1);
    let features = u64::try_from(features).ok().filter(|&features| features > 0)?;
    let filter = kernel.size.elements / features;
    Some(raw.size.elements.saturating_mul(filter).saturating_mul(2))
}
