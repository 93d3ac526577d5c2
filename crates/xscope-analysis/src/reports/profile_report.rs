//! The report on a profiled scoring run, as it is shown and written.

use serde::Serialize;
use xscope_trace::results::TargetCheck;

use crate::overhead::OverheadReport;
use crate::reports::analyze_report::AnalyzeReport;
use crate::requests::batches::BatchSummary;
use crate::requests::by_point::PointReport;
use crate::requests::latency::{Latency, RequestPoint};
use crate::requests::measured::RequestCounts;
use crate::requests::profiled::Profiled;
use crate::requests::stages::StageRow;

/// Version of [`ProfileReport`] as JSON.
pub const SCHEMA: &str = "xscope/profile/2";

/// What a profiled run says.
///
/// The fields of [`Profiled`] at its top are those of the typical request: the measured one whose
/// latency is the median, of several points that of the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProfileReport {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// The run directory, as given to the command.
    pub run_dir: String,
    /// Whether the run came to its end.
    pub complete: bool,
    #[serde(flatten)]
    pub typical: Profiled,
    /// How many requests there were, and of what kind.
    #[serde(rename = "request_counts")]
    pub requests: RequestCounts,
    /// Latency from the intended send time; of several points no percentile, no mean and no rate.
    pub latency: Latency,
    /// Where their time went, in the order of the pipeline; the shares add up to 1. Empty for
    /// requests of several points.
    pub stages: Vec<StageRow>,
    /// Each point apart, in the order of their first requests.
    pub by_point: Vec<PointReport>,
    /// The slowest measured request; `null` if none was measured.
    pub slowest: Option<Profiled>,
    /// Measured requests by start; of many, the slowest of each of as many groups as are kept.
    pub points: Vec<RequestPoint>,
    /// All batches together; `null` if the files know of none.
    pub batches: Option<BatchSummary>,
    /// What recording does to latency; absent if it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<OverheadReport>,
    /// What the run should reach, and whether it does.
    pub checks: Vec<TargetCheck>,
    /// The device's side of the run.
    pub analysis: AnalyzeReport,
}
