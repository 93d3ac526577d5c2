//! What a benchmark of single kernels knows beside their times.

use serde::{Deserialize, Serialize};

use super::Figure;

/// Work and rates of one kernel, at its median time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelFigures {
    /// Who ran it: `engine` or `jax`.
    pub by: String,
    /// What it ran on, as that says.
    pub device: String,
    /// Floating-point operations of one run, by definition.
    pub flops: u64,
    /// Of all inputs and results.
    pub bytes: u64,
    pub flops_per_sec: Figure,
    pub bytes_per_sec: Figure,
    /// Operations for each byte.
    pub intensity: Figure,
    /// `compute`, `memory`, `cache` or `unknown`.
    pub bound_by: String,
    /// The larger of the shares of both peaks; unavailable where a cache held the data.
    pub efficiency: Figure,
    /// Largest difference of the answer from a naive one, over the largest value of that.
    pub answer_error: f64,
    /// What the host waited for it, where its times are the device's own: median, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ms: Option<Figure>,
}
