//! `overhead.json` of a run: what windows of one load with more and less recording measured.
//!
//! Raw samples, as they came; `xscope_analysis::overhead` makes figures of them.

use serde::{Deserialize, Serialize};

/// Version of [`OverheadRecord`] as JSON.
pub const SCHEMA: &str = "xscope/overhead/1";

/// What is recorded while a window is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    /// The probes do not record, nor does the server's profiler.
    Nothing,
    /// The probes record, if there are any: what the others are compared to.
    Probes,
    /// The server's profiler as well, as `xscope profile` runs it: without the Python tracer.
    Basic,
    /// The server's profiler with the Python tracer.
    Full,
}

/// All windows of a run, in the order in which they were measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OverheadRecord {
    pub schema: String,
    /// Items and labels of the requests.
    pub batch_size: u32,
    pub label_count: u32,
    pub concurrency: u32,
    pub windows: Vec<OverheadWindow>,
    /// Kinds that could not be measured, and why.
    pub left_out: Vec<(Recording, String)>,
}

/// The requests of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverheadWindow {
    /// Windows of one round followed each other and are compared to each other.
    pub round: u32,
    pub recording: Recording,
    /// Of right answers.
    pub latencies_ms: Vec<f64>,
    /// Right answers that differ from the first one to an equal request; every request is sent in
    /// every window.
    pub differ: u64,
    pub failed: u64,
}
