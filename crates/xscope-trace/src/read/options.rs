//! What is kept of what is read.

use std::fs;

use crate::model::Trace;
use crate::time::Bytes;

/// What is kept of what is read.
///
/// Operations are always kept, on whatever thread they ran. What is dropped is other slices of
/// host threads of XPlane files, which can be most of a file; they are counted in
/// [`Trace::dropped`].
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// What the slices of all files may take in memory; of a file that would take more, only what
    /// is needed is kept. No limit if `None`.
    pub memory_limit: Option<Bytes>,
    /// Whether slices of host threads with this name are needed in any case.
    pub needed: fn(&str) -> bool,
}

impl Default for ReadOptions {
    /// Everything is kept.
    fn default() -> Self {
        Self { memory_limit: None, needed: |_| true }
    }
}

impl ReadOptions {
    /// The rule for what is kept of an XPlane file of `size` bytes; `None` to keep all.
    pub(super) fn needed_of(self, size: usize, trace: &Trace) -> Option<fn(&str) -> bool> {
        // An event takes 10 to 60 bytes in a file and 20 to 32 here.
        let read: u64 = trace.sources.iter().map(|source| source.size.0).sum();
        let expected = read.saturating_add(size as u64).saturating_mul(3) / 2;
        self.memory_limit.is_some_and(|limit| expected > limit.0).then_some(self.needed)
    }
}

/// Half of this machine's memory, the usual [`ReadOptions::memory_limit`]; `None` where it cannot
/// be told.
pub fn half_of_memory() -> Option<Bytes> {
    let facts = fs::read_to_string("/proc/meminfo").ok()?;
    let line = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib.saturating_mul(1024) / 2))
}
