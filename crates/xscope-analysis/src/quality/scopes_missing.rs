//! Device time that no scope of the model has.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;

use crate::framework::Framework;
use crate::quality::facts::Facts;
use crate::quality::hlo_missing::{blind, sum_of};

/// Share of device time without scope above which the layer tree is incomplete.
const MUCH_UNSCOPED: f64 = 0.2;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let &Facts { trace, layers, .. } = facts;
    let blind = sum_of(&blind(facts));
    let has_hlo = trace.programs.iter().any(|program| !program.instructions.is_empty());
    let remedy = match (facts.framework, has_hlo) {
        (Some(Framework::Jax), true) => "wrap the model's parts in jax.named_scope",
        (Some(Framework::Jax), false) => {
            "the file carries no HLO, which has the scopes: give the XPlane file of the same profile"
        }
        (Some(Framework::TensorFlow), _) => "wrap the model's parts in tf.name_scope",
        (Some(Framework::PyTorch), _) => {
            "PyTorch says which modules launch kernels if it profiles with `with_stack=True`; a backward \
             pass has none, nor has what was launched before the capture or as a graph; else components \
             are told by the kernels' names"
        }
        _ => "components are told by the names of operations",
    };
    let total = layers.root.total;
    let missing = 1.0 - layers.in_scopes() - share(blind, total);
    (total > Picos::ZERO && missing > MUCH_UNSCOPED).then(|| {
        Finding::new(
            Code::ScopesMissing,
            format!(
                "{:.1} % of the operations' time has no named scope, so the layer tree is incomplete: {remedy}",
                100.0 * missing
            ),
        )
    })
}
