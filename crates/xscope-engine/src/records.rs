//! What is recorded of requests and batches, and where.

use std::sync::Arc;

use xscope_model::Owner;
use xscope_trace::{Bytes, Nanos};

use crate::metrics::BatchSize;

/// The scheduler's thread, as profiles show it.
pub(crate) const THREAD_NAME: &str = "xscope-sched";

/// A batch that has run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchDone {
    /// From 1.
    pub(crate) batch: u64,
    pub(crate) size: BatchSize,
    /// When the scheduler began to form it.
    pub(crate) schedule: Nanos,
    pub(crate) forward: Nanos,
    pub(crate) extract: Nanos,
    pub(crate) end: Nanos,
    /// Items that waited when it was formed, its own not counted.
    pub(crate) queue_items: u64,
    pub(crate) memory: Option<BatchMemory>,
}

/// Heap bytes by owner, in the order of [`Owner::ALL`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchMemory {
    /// Just after the forward pass.
    pub(crate) live: [Bytes; Owner::COUNT],
    /// The most during it.
    pub(crate) peak: [Bytes; Owner::COUNT],
}

/// Who asked for a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestIds {
    /// From 1; what spans carry.
    pub(crate) number: u64,
    /// What the client calls it, or a name made for it.
    pub(crate) name: Arc<str>,
}
