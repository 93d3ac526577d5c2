//! `overhead.json` of a run: what windows of one load with more and less recording measured.
//!
//! Raw samples, as they came; `xscope_analysis::overhead` makes figures of them.

use serde::{Deserialize, Serialize};

/// Version of [`OverheadRecord`] as JSON.
pub const SCHEMA: &str = "xscope/overhead/2";

/// What is recorded while a window is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OverheadRecord {
    /// The kind and the version of this document.
    pub schema: String,
    /// Items and labels of the requests.
    pub batch_size: u32,
    /// Labels of a request.
    pub label_count: u32,
    /// Requests in flight at once.
    pub concurrency: u32,
    /// In order of time.
    pub windows: Vec<OverheadWindow>,
    /// Kinds that could not be measured, and why.
    pub left_out: Vec<NotRecorded>,
}

/// A kind of recording that could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotRecorded {
    /// Which one.
    pub recording: Recording,
    /// One sentence.
    pub why: String,
}

/// The requests of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OverheadWindow {
    /// Windows of one round followed each other and are compared to each other.
    pub round: u32,
    /// What was recorded meanwhile.
    pub recording: Recording,
    /// Of right answers.
    pub latencies_ms: Vec<f64>,
    /// Right answers that differ from the first one to an equal request; every request is sent in
    /// every window.
    pub differ: u64,
    /// Requests without a right answer.
    pub failed: u64,
}
