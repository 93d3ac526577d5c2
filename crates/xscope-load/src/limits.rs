//! The most that is asked for: beyond it stands a typing error, not a workload.

/// Connections that one client opens.
pub(crate) const MAX_CONNECTIONS: u32 = 4096;

/// The longest prompt or list that a workload makes.
pub(crate) const MAX_LENGTH: u32 = 1 << 20;

/// Prompt tokens of one request.
pub(crate) const MAX_TOKENS_PER_REQUEST: u64 = 16 << 20;

/// The fastest schedule: one request each microsecond.
pub(crate) const MAX_PER_SEC: f64 = 1e6;

/// The longest stretch of load.
pub(crate) const MAX_SECS: f64 = 1e6;
