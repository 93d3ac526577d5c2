//! Device time that no scope of the model has.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;

use crate::quality::facts::Facts;
use crate::quality::hlo_missing::{blind, sum_of};

/// Share of device time without scope above which the layer tree is incomplete.
const MUCH_UNSCOPED: f64 = 0.2;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let &Facts { trace, layers, .. } = facts;
    let blind = sum_of(&blind(facts));
    let has_hlo = trace.programs.iter().any(|program| !program.instructions.is_empty());
    let remedy = match (has_hlo, trace.programs.is_empty()) {
        (true, _) => "wrap the model's parts in jax.named_scope",
        (false, false) => {
            "the file carries no HLO, which has the scopes: give the XPlane file of the same profile"
        }
        (false, true) => {
            "PyTorch says which modules launch kernels if it profiles with `with_stack=True`; a backward \
             pass has none; else components are told by the kernels' names"
        }
    };
    let total = layers.root.total;
    let missing = 1.0 - layers.scoped_share - share(blind, total);
    (total > Picos::ZERO && missing > MUCH_UNSCOPED).then(|| {
        Finding::new(
            Code::ScopesMissing,
            format!(
                "{:.1} % of device time has no named scope, so the layer tree is incomplete: {remedy}",
                100.0 * missing
            ),
        )
    })
}
