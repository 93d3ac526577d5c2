//! Devices that ran work.

use crate::model::SourceId;
use crate::strings::StrId;

/// One device that ran work.
#[derive(Debug, Clone)]
pub struct Device {
    pub name: StrId,
    /// How reports call it where devices of several sources have one name; else empty.
    pub label: StrId,
    pub kind: DeviceKind,
    pub ordinal: i64,
    pub source: SourceId,
    /// What the device says it is, for example `TPU v6 Lite`; empty if it does not say.
    pub model: StrId,
    /// Peak arithmetic rate in FLOP/s, as stated by the trace.
    pub peak_flops: Option<f64>,
    /// Peak bandwidth of the main memory in bytes/s, as stated by the trace.
    pub peak_bytes: Option<f64>,
}

/// The kind of a [`Device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    Tpu,
    /// A SparseCore of a TPU chip: not a chip of its own.
    SparseCore,
    Gpu,
    /// A CPU that executes compiled programs (JAX's CPU backend, the built-in engine).
    Cpu,
    Custom,
}

impl DeviceKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tpu => "tpu",
            Self::SparseCore => "sparse_core",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
            Self::Custom => "custom",
        }
    }
}

/// A device's name without what recorders put before it: `TPU:0` of `/device:TPU:0`.
pub fn short_device(name: &str) -> &str {
    let name = name.strip_prefix("/device:").unwrap_or(name);
    name.strip_prefix("CUSTOM:").unwrap_or(name)
}
