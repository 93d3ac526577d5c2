//! The layer tree: device time by named scope.
//!
//! A scope path comes from the op name of HLO metadata (`jit(fwd)/layer_0/mlp/dot_general`): the
//! last part is the primitive, the parts that transformations add (`jit(..)`, `while`, `body`,
//! ...) are folded away, and what remains is the path of named scopes. An operation that XLA made
//! of several is put where all of its paths still agree.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::{Picos, Trace};

use crate::kernels::KernelRow;

/// The name of the node for operations that no scope is known of.
pub const NO_SCOPE: &str = "(no scope)";

/// One scope and what is in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerNode {
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

#[derive(Default)]
struct Node {
    own: Picos,
    children: BTreeMap<String, Self>,
}

/// The tree of scopes; its root is the device work as a whole.
pub fn layers(trace: &Trace, kernels: &[KernelRow]) -> LayerNode {
    let mut root = Node::default();
    for kernel in kernels {
        let scope = trace.strings.get(trace.scope_of(kernel.meta));
        let mut node = &mut root;
        for part in scope_path(scope) {
            node = node.children.entry(part).or_default();
        }
        node.own = node.own.saturating_add(kernel.self_time);
    }
    finish("device".to_owned(), root)
}

fn finish(name: String, node: Node) -> LayerNode {
    let mut children: Vec<LayerNode> =
        node.children.into_iter().map(|(name, node)| finish(name, node)).collect();
    children.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
    let below = children.iter().fold(Picos::ZERO, |sum, child| sum.saturating_add(child.total));
    let total = below.saturating_add(node.own);
    LayerNode { name, total_us: total.as_micros(), self_us: node.own.as_micros(), children, total }
}

/// The named scopes of an op name, outermost first; `(no scope)` if it has none.
pub fn scope_path(op_name: &str) -> Vec<String> {
    let mut paths = op_name.split(';').map(named_scopes);
    let mut path = paths.next().unwrap_or_default();
    for other in paths {
        let shared = path.iter().zip(&other).take_while(|(a, b)| a == b).count();
        path.truncate(shared);
    }
    if path.is_empty() {
        path.push(NO_SCOPE.to_owned());
    }
    path
}

/// The deepest path that is followed; deeper ones come from recursion, not from a model.
const MAX_DEPTH: usize = 32;

fn named_scopes(op_name: &str) -> Vec<String> {
    let mut parts = split_scopes(op_name);
    parts.pop();
    parts
        .into_iter()
        .filter_map(|part| unwrap_transform(part).map(str::to_owned))
        .take(MAX_DEPTH)
        .collect()
}

/// Splits at slashes that are not in parentheses.
fn split_scopes(op_name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (index, byte) in op_name.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'/' if depth <= 0 => {
                parts.push(&op_name[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&op_name[start..]);
    parts
}

/// The scope inside what transformations put around it: `transpose(jvp(mlp))` is `mlp`; `jit(f)`
/// and the parts of control flow are no scopes.
fn unwrap_transform(mut part: &str) -> Option<&str> {
    loop {
        match part.split_once('(') {
            Some(("jit" | "pjit" | "main", _)) => return None,
            Some((
                "jvp" | "transpose" | "vmap" | "remat" | "checkpoint" | "rematted_computation",
                inner,
            )) => {
                part = inner.strip_suffix(')').unwrap_or(inner);
            }
            _ => break,
        }
    }
    let structural = matches!(
        part,
        "" | "while"
            | "body"
            | "cond"
            | "closed_call"
            | "checkpoint"
            | "remat"
            | "core_call"
            | "custom_jvp_call"
            | "custom_vjp_call"
            | "shard_map"
            | "pjit"
            | "main"
            | "forward"
    );
    (!structural).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::{NO_SCOPE, scope_path};

    fn check(op_name: &str, expected: &str) {
        assert_eq!(scope_path(op_name).join("/"), expected, "{op_name}");
    }

    #[test]
    fn transformations_and_primitives_are_no_scopes() {
        check("jit(fwd)/layer_0/attention/qkv_proj/dot_general", "layer_0/attention/qkv_proj");
        check("jit(f)/jit(f)/layer_1/mlp/jit(silu)/mul", "layer_1/mlp");
        check("jit(f)/while/body/closed_call/layer/mlp/dot_general", "layer/mlp");
        check("jit(train)/transpose(jvp(layer_2))/mlp/dot_general", "layer_2/mlp");
        check("jit(model)/add", NO_SCOPE);
        check("", NO_SCOPE);
        check("forward/layer_3/norm/rms_norm", "layer_3/norm");
    }

    #[test]
    fn joined_names_agree_up_to_where_they_part() {
        check(
            "jit(f)/layer_0/attention/qk/transpose;jit(f)/layer_0/attention/qkv/dot",
            "layer_0/attention",
        );
        check("jit(f)/layer_0/a/x;jit(f)/layer_1/a/x", NO_SCOPE);
    }
}
