//! What a benchmark of single kernels knows beside their times.

use serde::{Deserialize, Serialize};

use crate::metric::{Metric, in_unit};

/// What the device can do, measured before its kernels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasuredPeaks {
    /// Floating-point operations.
    #[serde(with = "in_unit::FlopsPerSec")]
    pub flops_per_sec: Metric,
    /// Bytes of memory, read and written.
    #[serde(with = "in_unit::BytesPerSec")]
    pub bytes_per_sec: Metric,
}

/// Work and rates of one kernel, at its median time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct KernelFigures {
    /// Who ran it: `engine` or `jax`.
    pub by: String,
    /// What it ran on, as that says.
    pub device: String,
    /// Floating-point operations of one run, by definition.
    #[serde(with = "in_unit::Flops")]
    pub flops: Metric,
    /// Of all inputs and results.
    #[serde(alias = "bytes", with = "in_unit::InBytes")]
    pub bytes_accessed: Metric,
    /// Floating-point operations per second.
    #[serde(with = "in_unit::FlopsPerSec")]
    pub flops_per_sec: Metric,
    /// Bytes of memory, read and written, per second.
    #[serde(with = "in_unit::BytesPerSec")]
    pub bytes_per_sec: Metric,
    /// Operations for each byte.
    #[serde(with = "in_unit::FlopsPerByte")]
    pub intensity: Metric,
    /// `compute`, `memory`, `cache` or `unknown`.
    pub bound_by: String,
    /// The larger of the shares of both peaks; unavailable where a cache held the data.
    #[serde(with = "in_unit::Plain")]
    pub efficiency: Metric,
    /// Largest difference of the answer from a naive one, over the largest value of that.
    pub answer_error: f64,
    /// What the host waited for it, where its times are the device's own: median, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", with = "in_unit::Ms")]
    pub host_ms: Option<Metric>,
}
