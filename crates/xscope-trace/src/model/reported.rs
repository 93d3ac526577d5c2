//! What servers say of their memory.

use crate::model::SourceId;
use crate::strings::StrId;
use crate::time::Nanos;

/// One report of sglang-jax's memory profiler: the tensors at one point of a forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryReport {
    pub source: SourceId,
    /// `general`, `attention`, `mlp` and others.
    pub report_type: StrId,
    pub stage: StrId,
    pub layer: Option<i64>,
    /// As the report states it, in its MB.
    pub total_memory_mb: f64,
    /// The device's own peak until then, in the same MB, if it counts one.
    pub peak_memory_mb: Option<f64>,
    /// When it was made, on its machine's monotonic clock, if it says.
    pub at: Option<Nanos>,
    pub tensors: Vec<ReportedTensor>,
}

/// A tensor of a [`MemoryReport`].
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedTensor {
    pub name: StrId,
    pub memory_mb: f64,
    pub shape: Vec<i64>,
    pub dtype: StrId,
}
