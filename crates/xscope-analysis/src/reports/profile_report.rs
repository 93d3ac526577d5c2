//! The report on a profiled scoring run, as it is shown and written.

use serde::Serialize;
use xscope_trace::results::TargetCheck;

use crate::overhead::OverheadReport;
use crate::reports::analyze_report::AnalyzeReport;
use crate::requests::RequestCounts;
use crate::requests::batches::BatchSummary;
use crate::requests::latency::{Latency, RequestPoint};
use crate::requests::profiled::Profiled;
use crate::requests::stages::StageRow;

/// Version of [`ProfileReport`] as JSON.
pub(crate) const SCHEMA: &str = "xscope/profile/1";

/// What a profiled run says.
///
/// The fields of [`Profiled`] at its top are those of the typical request: the measured one whose
/// latency is the median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileReport {
    pub schema: &'static str,
    /// The run directory, as given to the command.
    pub run_dir: String,
    /// Whether the run came to its end.
    pub complete: bool,
    #[serde(flatten)]
    pub typical: Profiled,
    pub requests: RequestCounts,
    pub latency: Latency,
    pub stages: Vec<StageRow>,
    pub slowest: Option<Profiled>,
    /// Measured requests by start; of many, the slowest of each of as many groups as are kept.
    pub points: Vec<RequestPoint>,
    pub batches: Option<BatchSummary>,
    /// What recording does to latency; absent if it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<OverheadReport>,
    /// What the run should reach, and whether it does.
    pub checks: Vec<TargetCheck>,
    /// The device's side of the run.
    pub analysis: AnalyzeReport,
}
