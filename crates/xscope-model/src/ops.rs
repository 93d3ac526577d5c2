//! The recorder: every operation of a forward pass, with its time, work and scope.
//!
//! A recorder belongs to the thread that runs the forward pass and is reused from batch to
//! batch: after the first batch it neither allocates nor locks. It keeps facts only; joining
//! them to requests, or summing them up, is the caller's.
//!
//! # What counts as work
//!
//! A multiplication of `m×k` by `k×n` is `2mnk` floating-point operations. Elementwise and
//! reducing operations count each addition, multiplication, division, comparison, root and
//! exponential of their definition as one. Bytes are those of each operand read once and each
//! result written once, whatever the caches do.

use candle_core::Tensor;
use rustc_hash::FxHashMap;
use xscope_trace::{Bytes, Nanos, clock};

use crate::error::Result;
use crate::owner::Owner;

/// Names of the categories of operations.
pub mod category {
    /// Matrix multiplications.
    pub const MATMUL: &str = "matmul";
    /// Each output element from the input elements at the same place.
    pub const ELEMENTWISE: &str = "elementwise";
    /// Normalisations: elements combined along an axis.
    pub const REDUCTION: &str = "reduction";
    /// Copies, gathers and transfers: no arithmetic.
    pub const DATA_MOVEMENT: &str = "data movement";
}

/// The size of an element: everything is computed in f32.
const F32_BYTES: u64 = 4;

/// A scope of one recorder. See [`OpRecorder::scope_path`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(u32);

impl ScopeId {
    /// The root: operations outside any scope. Its path is empty.
    pub const ROOT: Self = Self(0);

    /// The scope's position in the order of first entry; the root is 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One segment of a scope's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScopeName {
    /// Such as `attention`.
    Plain(&'static str),
    /// Such as `layer_3`: a name and a number, joined when the path is first built.
    Indexed(&'static str, u32),
}

impl From<&'static str> for ScopeName {
    fn from(name: &'static str) -> Self {
        Self::Plain(name)
    }
}

/// What an operation is and how much work it does, known before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Such as `matmul` or `rms_norm`.
    pub name: &'static str,
    /// One of [`category`].
    pub category: &'static str,
    /// Floating-point operations; see the module's documentation.
    pub flops: u64,
    /// Bytes read plus bytes written.
    pub bytes: Bytes,
}

impl Op {
    /// `batch` multiplications of `m×k` by `k×n`.
    pub fn matmul(batch: usize, (m, n, k): (usize, usize, usize)) -> Self {
        let [batch, m, n, k] = [batch, m, n, k].map(count);
        Self {
            name: "matmul",
            category: category::MATMUL,
            flops: 2 * batch * m * n * k,
            bytes: Bytes(F32_BYTES * batch * (m * k + k * n + m * n)),
        }
    }

    /// `flops_each` per output element; `reads` elements read in all, `writes` written.
    pub fn elementwise(name: &'static str, flops_each: u64, reads: usize, writes: usize) -> Self {
        Self {
            name,
            category: category::ELEMENTWISE,
            flops: flops_each * count(writes),
            bytes: Bytes(F32_BYTES * (count(reads) + count(writes))),
        }
    }

    /// Like [`Op::elementwise`], for a normalisation along an axis.
    pub fn reduction(name: &'static str, flops_each: u64, reads: usize, writes: usize) -> Self {
        Self { category: category::REDUCTION, ..Self::elementwise(name, flops_each, reads, writes) }
    }

    /// `reads` 4-byte elements read and `writes` written, without arithmetic.
    pub fn movement(name: &'static str, reads: usize, writes: usize) -> Self {
        Self { category: category::DATA_MOVEMENT, ..Self::elementwise(name, 0, reads, writes) }
    }
}

pub(crate) fn count(elements: usize) -> u64 {
    // `usize` is at most 64 bits on every target of Rust, so the fallback is never taken.
    u64::try_from(elements).unwrap_or(u64::MAX)
}

/// One operation that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpRecord {
    /// Where in the model.
    pub scope: ScopeId,
    /// Such as `matmul` or `rms_norm`.
    pub op: &'static str,
    /// One of [`category`].
    pub category: &'static str,
    /// When it began, on the monotonic clock.
    pub start: Nanos,
    /// How long it took.
    pub dur: Nanos,
    /// Floating-point operations; see the module's documentation.
    pub flops: u64,
    /// Bytes read plus bytes written.
    pub bytes: Bytes,
    /// Bytes alive per owner just after the operation, by [`Owner::index`], as the probe of
    /// [`OpRecorder::set_live_probe`] said; `None` without a probe.
    pub live_bytes: Option<[u64; Owner::COUNT]>,
}

/// One stay in a scope, including the scopes within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeRecord {
    /// Which scope.
    pub scope: ScopeId,
    /// When it was entered, on the monotonic clock.
    pub start: Nanos,
    /// How long it took.
    pub dur: Nanos,
}

/// Records the operations and scopes of forward passes.
#[derive(Debug)]
pub struct OpRecorder {
    enabled: bool,
    current: ScopeId,
    ops: Vec<OpRecord>,
    scopes: Vec<ScopeRecord>,
    paths: Vec<String>,
    interned: FxHashMap<(ScopeId, ScopeName), ScopeId>,
    live_probe: Option<fn() -> [u64; Owner::COUNT]>,
    owner_hook: Option<fn(Owner) -> Owner>,
}

impl Default for OpRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl OpRecorder {
    /// A recorder that is enabled and has neither probe nor hook.
    pub fn new() -> Self {
        Self {
            enabled: true,
            current: ScopeId::ROOT,
            ops: Vec::new(),
            scopes: Vec::new(),
            paths: vec![String::new()],
            interned: FxHashMap::default(),
            live_probe: None,
            owner_hook: None,
        }
    }

    /// Forgets the records and keeps memory, scope ids, probe and hook.
    pub fn clear(&mut self) {
        self.current = ScopeId::ROOT;
        self.ops.clear();
        self.scopes.clear();
    }

    /// Whether operations and scopes are recorded.
    ///
    /// Off, the same forward pass runs without reading a clock: the difference is what
    /// recording costs. The owner hook is called all the same; take it out to switch it off.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Whether operations and scopes are recorded.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// What to ask for the bytes alive per owner after each operation. It must be cheap.
    pub fn set_live_probe(&mut self, probe: Option<fn() -> [u64; Owner::COUNT]>) {
        self.live_probe = probe;
    }

    /// What to tell whose the following allocations of this thread are; it returns whose they
    /// were until then.
    pub fn set_owner_hook(&mut self, hook: Option<fn(Owner) -> Owner>) {
        self.owner_hook = hook;
    }

    /// Runs `f` in the scope `name` within the current one.
    ///
    /// The record is made on entry, so records stand in the order of their start, parents
    /// before children.
    pub fn scope<R>(&mut self, name: impl Into<ScopeName>, f: impl FnOnce(&mut Self) -> R) -> R {
        if !self.enabled {
            return f(self);
        }
        let parent = self.current;
        let scope = self.intern(parent, name.into());
        let position = self.scopes.len();
        self.current = scope;
        let start = clock::monotonic();
        self.scopes.push(ScopeRecord { scope, start, dur: Nanos::ZERO });
        let result = f(self);
        let dur = clock::monotonic() - start;
        // Absent only if `f` cleared the recorder.
        if let Some(record) = self.scopes.get_mut(position) {
            record.dur = dur;
        }
        self.current = parent;
        result
    }

    /// Runs and records one operation in the current scope.
    pub fn op<R>(&mut self, op: Op, f: impl FnOnce() -> R) -> R {
        if !self.enabled {
            return f();
        }
        let start = clock::monotonic();
        let result = f();
        let dur = clock::monotonic() - start;
        self.ops.push(OpRecord {
            scope: self.current,
            op: op.name,
            category: op.category,
            start,
            dur,
            flops: op.flops,
            bytes: op.bytes,
            live_bytes: self.live_probe.map(|probe| probe()),
        });
        result
    }

    /// Runs `f` with its allocations marked as `owner`'s, if there is an owner hook.
    pub fn owner<R>(&mut self, owner: Owner, f: impl FnOnce(&mut Self) -> R) -> R {
        let Some(hook) = self.owner_hook else { return f(self) };
        let before = hook(owner);
        let result = f(self);
        hook(before);
        result
    }

    /// The operations since the last [`OpRecorder::clear`], in the order of their start.
    pub fn ops(&self) -> &[OpRecord] {
        &self.ops
    }

    /// The scopes since the last [`OpRecorder::clear`], in the order of their start.
    pub fn scopes(&self) -> &[ScopeRecord] {
        &self.scopes
    }

    /// The path of a scope, such as `layer_3/attention/qkv_proj`; empty for the root and for
    /// ids of other recorders that this one has not reached.
    pub fn scope_path(&self, scope: ScopeId) -> &str {
        self.paths.get(scope.index()).map_or("", String::as_str)
    }

    /// The paths of all scopes so far, by [`ScopeId::index`]. It only ever grows.
    pub fn scope_paths(&self) -> &[String] {
        &self.paths
    }

    fn intern(&mut self, parent: ScopeId, name: ScopeName) -> ScopeId {
        if let Some(&scope) = self.interned.get(&(parent, name)) {
            return scope;
        }
        let mut path = self.scope_path(parent).to_owned();
        if !path.is_empty() {
            path.push('/');
        }
        match name {
            ScopeName::Plain(name) => path.push_str(name),
            ScopeName::Indexed(name, index) => path.push_str(&format!("{name}_{index}")),
        }
        let scope = ScopeId(u32::try_from(self.paths.len()).expect("a model has few scopes"));
        self.paths.push(path);
        self.interned.insert((parent, name), scope);
        scope
    }
}

/// Runs and records one tensor operation.
///
/// An accelerator works asynchronously: while recording, each operation is waited for, or the
/// record would say how long the launch took.
pub(crate) fn run(
    rec: &mut OpRecorder,
    op: Op,
    f: impl FnOnce() -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    let wait = rec.is_enabled();
    rec.op(op, || {
        let tensor = f()?;
        if wait && !tensor.device().is_cpu() {
            tensor.device().synchronize()?;
        }
        Ok(tensor)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ADD: Op = Op { name: "add", category: category::ELEMENTWISE, flops: 8, bytes: Bytes(96) };

    fn record(rec: &mut OpRecorder) {
        rec.scope(ScopeName::Indexed("layer", 3), |rec| {
            rec.op(ADD, || ());
            rec.scope("attention", |rec| rec.scope("qk", |rec| rec.op(ADD, || ())));
        });
        rec.op(ADD, || ());
    }

    #[test]
    fn scopes_nest_and_keep_their_ids() {
        let mut rec = OpRecorder::new();
        record(&mut rec);
        let first: Vec<ScopeId> = rec.ops().iter().map(|op| op.scope).collect();
        let paths: Vec<&str> = first.iter().map(|&scope| rec.scope_path(scope)).collect();
        assert_eq!(paths, ["layer_3", "layer_3/attention/qk", ""]);
        assert_eq!(rec.scopes().len(), 3);

        rec.clear();
        record(&mut rec);
        let again: Vec<ScopeId> = rec.ops().iter().map(|op| op.scope).collect();
        assert_eq!(first, again);
        assert_eq!(rec.scope_paths().len(), 4);
    }

    #[test]
    fn children_lie_within_their_parents() {
        let mut rec = OpRecorder::new();
        record(&mut rec);
        let end = |record: &ScopeRecord| record.start + record.dur;
        for pair in rec.scopes().windows(2) {
            assert!(pair[0].start <= pair[1].start && end(&pair[1]) <= end(&pair[0]));
        }
    }

    #[test]
    fn disabled_records_nothing() {
        let mut rec = OpRecorder::new();
        rec.set_enabled(false);
        record(&mut rec);
        assert!(rec.ops().is_empty() && rec.scopes().is_empty());
    }

    #[test]
    fn work_of_a_matmul_is_exact() {
        let op = Op::matmul(3, (4, 5, 6));
        assert_eq!((op.flops, op.bytes), (2 * 3 * 4 * 5 * 6, Bytes(4 * 3 * (24 + 30 + 20))));
    }

    #[test]
    fn the_owner_is_restored_and_the_probe_asked() {
        static CURRENT: AtomicUsize = AtomicUsize::new(2);
        fn hook(owner: Owner) -> Owner {
            Owner::ALL[CURRENT.swap(owner.index(), Ordering::Relaxed)]
        }
        fn probe() -> [u64; 4] {
            let mut live = [0; 4];
            live[CURRENT.load(Ordering::Relaxed)] = 7;
            live
        }
        let mut rec = OpRecorder::new();
        rec.set_owner_hook(Some(hook));
        rec.set_live_probe(Some(probe));
        rec.owner(Owner::Kv, |rec| rec.op(ADD, || ()));
        rec.op(ADD, || ());
        let live: Vec<_> = rec.ops().iter().map(|op| op.live_bytes).collect();
        assert_eq!(live, [Some([0, 7, 0, 0]), Some([0, 0, 7, 0])]);
    }
}
