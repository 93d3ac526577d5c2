//! Operations that have neither scope nor cost because the HLO of their program is not there.

use std::collections::BTreeMap;

use xscope_trace::Picos;
use xscope_trace::model::{Format, ProgramId};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;

use crate::framework::Framework;
use crate::kernels::row::KernelRow;
use crate::quality::facts::Facts;
use crate::words::counted;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let (blind, whole) = (blind(facts), facts.layers.root.total);
    let mut programs: BTreeMap<&str, Picos> = BTreeMap::new();
    for kernel in &blind {
        let own = programs.entry(&kernel.program).or_default();
        *own = own.saturating_add(kernel.self_time);
    }
    let largest = programs.iter().max_by_key(|&(name, time)| (time, std::cmp::Reverse(name)))?.0;
    let which = match (largest.is_empty(), programs.len()) {
        (true, _) => "the programs that ran".to_owned(),
        (false, 1) => (*largest).to_owned(),
        (false, count) => {
            format!("{largest} and {}", counted(count as u64 - 1, "more program"))
        }
    };
    let remedy = match facts.framework {
        Some(Framework::TensorFlow) => "TensorFlow's profiler writes it for programs of XLA only",
        _ => {
            "capture with enable_hlo_proto (JAX's default), and without the compilation cache if there \
             is one"
        }
    };
    Some(Finding::new(
        Code::HloMissing,
        format!(
            "the trace carries no HLO of {which}, so {:.1} % of the operations' time has neither scope nor \
             cost and fusions cannot be looked into; {remedy}",
            100.0 * share(sum_of(&blind), whole)
        ),
    ))
}

/// Operations of XPlane files that have no scope because the HLO of their program is not there.
pub(super) fn blind<'a>(facts: &Facts<'a>) -> Vec<&'a KernelRow> {
    let &Facts { trace, kernels, .. } = facts;
    if !trace.sources.iter().any(|source| source.format == Format::XPlane) {
        return Vec::new();
    }
    let has_hlo = |id: ProgramId| !trace.programs[id].instructions.is_empty();
    let none = !trace.programs.ids().any(has_hlo);
    let is_blind = |kernel: &&KernelRow| {
        let program = trace.meta(kernel.meta).program;
        kernel.scope.is_empty() && program.map_or(none, |program| !has_hlo(program))
    };
    kernels.iter().filter(is_blind).collect()
}

pub(super) fn sum_of(kernels: &[&KernelRow]) -> Picos {
    kernels.iter().fold(Picos::ZERO, |sum, kernel| sum.saturating_add(kernel.self_time))
}
