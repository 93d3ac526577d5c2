//! Scope paths: what an op name of HLO metadata says of where an operation belongs.
//!
//! `jit(fwd)/layer_0/mlp/dot_general` is the scope `layer_0/mlp`: the last part is the primitive,
//! and what transformations and control flow add (`jit(..)`, `while`, `body`, ...) is folded away.
//! The part of a backward pass (`transpose(..)`) is marked by a part [`BACKWARD`] after it.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use xscope_trace::strings::{StrId, Strings};

/// The name of the node for operations that no scope is known of.
pub const NO_SCOPE: &str = "(no scope)";

/// The part that follows the scope which a backward pass goes through.
pub(crate) const BACKWARD: &str = "backward";

/// The deepest path that is followed; deeper ones come from recursion, not from a model.
pub(crate) const MAX_DEPTH: usize = 32;

/// The named scopes of an op name, outermost first; `(no scope)` if it has none. Of several
/// joined names, the part that they agree on.
pub fn scope_path(op_name: &str) -> Vec<String> {
    let mut path = named_scopes_of_all(op_name);
    if path.is_empty() {
        path.push(NO_SCOPE.to_owned());
    }
    path
}

fn named_scopes_of_all(op_name: &str) -> Vec<String> {
    let names = joined_names(op_name);
    let mut paths = names.iter().map(|name| named_scopes(name));
    let mut path = paths.next().unwrap_or_default();
    for other in paths {
        let shared = path.iter().zip(&other).take_while(|(a, b)| a == b).count();
        path.truncate(shared);
    }
    path
}

/// The op names that XLA joined into one: `a;b`, or of a combined collective `shared/(a:b:c)`.
fn joined_names(op_name: &str) -> Vec<Cow<'_, str>> {
    let mut names = Vec::new();
    for name in op_name.split(';') {
        let combined = name.find("/(").and_then(|at| {
            let inside = name.get(at + 2..)?.strip_suffix(')')?;
            Some((&name[..at], inside))
        });
        match combined {
            Some((shared, inside)) => names.extend(
                split_outside(inside, b':')
                    .into_iter()
                    .map(|part| format!("{shared}/{part}").into()),
            ),
            None => names.push(Cow::Borrowed(name)),
        }
    }
    names
}

fn named_scopes(op_name: &str) -> Vec<String> {
    let mut parts = split_outside(op_name, b'/');
    parts.pop();
    let mut path: Vec<String> = Vec::new();
    let mut backward = false;
    for part in parts {
        let is_transposed = part.starts_with("transpose(") && !backward;
        path.extend(unwrap_transform(part).map(str::to_owned));
        if is_transposed {
            backward = true;
            path.push(BACKWARD.to_owned());
        }
    }
    path.truncate(MAX_DEPTH);
    path
}

/// Splits at separators that are not in parentheses.
fn split_outside(op_name: &str, separator: u8) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (index, byte) in op_name.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ if byte == separator && depth <= 0 => {
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
            | "eval_jaxpr"
            | "checkpoint"
            | "remat"
            | "rematted_computation"
            | "core_call"
            | "custom_jvp_call"
            | "custom_vjp_call"
            | "shard_map"
            | "pjit"
            | "main"
            | "forward"
    );
    let is_branch = part.strip_prefix("branch_").is_some_and(|rest| rest.ends_with("_fun"));
    (!structural && !is_branch).then_some(part)
}

/// A scope path in a [`Paths`] table; 0 is the root, of what has no scope.
pub(crate) type PathId = u32;

/// All scope paths that were met, each stored once, as a tree.
#[derive(Debug)]
pub(crate) struct Paths {
    nodes: Vec<PathNode>,
    index: FxHashMap<(PathId, String), PathId>,
    of_op_name: FxHashMap<StrId, Vec<PathId>>,
}

#[derive(Debug)]
struct PathNode {
    parent: PathId,
    depth: u32,
    name: String,
}

impl Default for Paths {
    fn default() -> Self {
        let root = PathNode { parent: 0, depth: 0, name: String::new() };
        Self { nodes: vec![root], index: FxHashMap::default(), of_op_name: FxHashMap::default() }
    }
}

impl Paths {
    pub(crate) const ROOT: PathId = 0;

    /// The paths of an op name: one for each name that XLA joined in it, at least one.
    pub(crate) fn of(&mut self, op_name: StrId, strings: &Strings) -> &[PathId] {
        if !self.of_op_name.contains_key(&op_name) {
            let names = joined_names(strings.get(op_name));
            let paths = names.iter().map(|name| self.intern(&named_scopes(name))).collect();
            self.of_op_name.insert(op_name, paths);
        }
        &self.of_op_name[&op_name]
    }

    pub(crate) fn intern<T: AsRef<str>>(&mut self, parts: &[T]) -> PathId {
        parts.iter().fold(Self::ROOT, |at, part| self.child(at, part.as_ref()))
    }

    pub(crate) fn child(&mut self, parent: PathId, name: &str) -> PathId {
        let key = (parent, name.to_owned());
        if let Some(&path) = self.index.get(&key) {
            return path;
        }
        let path = u32::try_from(self.nodes.len()).unwrap_or(Self::ROOT);
        let depth = self.nodes[parent as usize].depth + 1;
        self.nodes.push(PathNode { parent, depth, name: key.1.clone() });
        self.index.insert(key, path);
        path
    }

    /// Whether a path has `text` in it; every path has nothing in it.
    pub(crate) fn contain(&self, path: PathId, text: Option<&str>) -> bool {
        text.is_none_or(|text| self.parts(path).join("/").contains(text))
    }

    /// Leaves those of several paths that have `text` in them, or all if none has; whether any has.
    pub(crate) fn narrow<T>(&self, votes: &mut Vec<(PathId, T)>, text: Option<&str>) -> bool {
        let any = votes.iter().any(|&(path, _)| self.contain(path, text));
        votes.retain(|&(path, _)| !any || self.contain(path, text));
        any
    }

    /// The parts of a path, outermost first.
    pub(crate) fn parts(&self, mut path: PathId) -> Vec<&str> {
        let mut parts = Vec::new();
        while path != Self::ROOT {
            let node = &self.nodes[path as usize];
            parts.push(node.name.as_str());
            path = node.parent;
        }
        parts.reverse();
        parts
    }

    /// Whether `outer` is a proper prefix of `inner`.
    pub(crate) fn includes(&self, outer: PathId, mut inner: PathId) -> bool {
        let depth = self.nodes[outer as usize].depth;
        if self.nodes[inner as usize].depth <= depth {
            return false;
        }
        while self.nodes[inner as usize].depth > depth {
            inner = self.nodes[inner as usize].parent;
        }
        inner == outer
    }

    /// The innermost path that both are in.
    pub(crate) fn shared(&self, mut a: PathId, mut b: PathId) -> PathId {
        while a != b {
            let (in_a, in_b) = (&self.nodes[a as usize], &self.nodes[b as usize]);
            if in_a.depth < in_b.depth {
                b = in_b.parent;
            } else {
                a = in_a.parent;
            }
        }
        a
    }

    /// `path` with `part` put in after its first `depth` parts.
    pub(crate) fn with_part(&mut self, path: PathId, depth: usize, part: &str) -> PathId {
        let mut parts: Vec<String> = self.parts(path).into_iter().map(str::to_owned).collect();
        parts.insert(depth.min(parts.len()), part.to_owned());
        self.intern(&parts)
    }
}

/// Whether a part of a path names one of several layers: it has a number of its own
/// (`layer_3`, `h.11`, `blocks[2]`).
pub(crate) fn is_layer(part: &str) -> bool {
    let part = part.trim_end_matches(']');
    let stem = part.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem_name = stem.trim_end_matches(['_', '.', '[', '-']).to_ascii_lowercase();
    let known = ["layer", "layers", "block", "blocks", "h", "stage"];
    stem.len() < part.len() && known.iter().any(|known| stem_name.ends_with(known))
}

#[cfg(test)]
mod tests {
    use super::{NO_SCOPE, Paths, is_layer, scope_path};

    fn check(op_name: &str, expected: &str) {
        assert_eq!(scope_path(op_name).join("/"), expected, "{op_name}");
    }

    #[test]
    fn transformations_and_primitives_are_no_scopes() {
        check("jit(fwd)/layer_0/attention/qkv_proj/dot_general", "layer_0/attention/qkv_proj");
        check("jit(f)/jit(f)/layer_1/mlp/jit(silu)/mul", "layer_1/mlp");
        check("jit(f)/while/body/closed_call/layer/mlp/dot_general", "layer/mlp");
        // So JAX calls it from 0.12 on.
        check("jit(f)/while/body/eval_jaxpr/layer/mlp/dot_general", "layer/mlp");
        check("jit(f)/Sampler/cond/branch_0_fun/reduce", "Sampler");
        check("jit(model)/add", NO_SCOPE);
        check("", NO_SCOPE);
        check("forward/layer_3/norm/rms_norm", "layer_3/norm");
    }

    #[test]
    fn the_backward_pass_is_marked_once() {
        check("jit(train)/jvp(layer_2)/mlp/dot_general", "layer_2/mlp");
        check("jit(train)/transpose(jvp(layer_2))/mlp/dot_general", "layer_2/backward/mlp");
        check("jit(t)/step/transpose(jvp(jit(f)))/transpose(jvp(x))/add", "step/backward/x");
    }

    #[test]
    fn joined_names_agree_up_to_where_they_part() {
        check(
            "jit(f)/layer_0/attention/qk/transpose;jit(f)/layer_0/attention/qkv/dot",
            "layer_0/attention",
        );
        check("jit(f)/layer_0/a/x;jit(f)/layer_1/a/x", NO_SCOPE);
        check("jit(f)/step/(transpose(jvp(a))/dot:b/dot)", "step");
        let names = super::joined_names("jit(f)/step/(transpose(jvp(a))/dot:b/dot)");
        assert_eq!(names, ["jit(f)/step/transpose(jvp(a))/dot", "jit(f)/step/b/dot"]);
    }

    #[test]
    fn paths_are_stored_once_and_know_their_prefixes() {
        let mut paths = Paths::default();
        let deep = paths.intern(&["a", "b", "c"]);
        let outer = paths.intern(&["a"]);
        assert_eq!(paths.intern(&["a", "b", "c"]), deep);
        assert!(paths.includes(outer, deep) && paths.includes(Paths::ROOT, outer));
        assert!(!paths.includes(deep, outer) && !paths.includes(deep, deep));
        let other = paths.intern(&["a", "b", "d", "e"]);
        let shared = [(deep, other), (other, deep), (outer, other), (Paths::ROOT, deep)]
            .map(|(a, b)| paths.parts(paths.shared(a, b)).join("/"));
        assert_eq!(shared, ["a/b", "a/b", "a", ""]);
        let layered = paths.with_part(deep, 1, "layer_0");
        assert_eq!(paths.parts(layered), ["a", "layer_0", "b", "c"]);
    }

    #[test]
    fn numbered_parts_are_layers() {
        for part in ["layer_3", "layers.11", "h.0", "block12", "decoder_layer_7", "layers[2]"] {
            assert!(is_layer(part), "{part}");
        }
        for part in ["layer", "mlp", "q_proj", "conv2", "layer_norm"] {
            assert!(!is_layer(part), "{part}");
        }
    }
}
