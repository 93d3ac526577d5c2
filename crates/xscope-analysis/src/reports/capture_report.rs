//! What `xscope capture --json` prints.

use serde::Serialize;
use xscope_trace::run::ServerRecord;

use crate::reports::analyze_report::AnalyzeReport;

/// The version of [`CaptureReport`] as JSON.
pub const SCHEMA: &str = "xscope/capture/2";

/// What was captured, and what a profile of it says.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CaptureReport<'a> {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// The run directory, as given to the command.
    pub run_dir: String,
    /// Whether the run came to its end.
    pub complete: bool,
    /// The servers whose profilers were steered.
    pub servers: &'a [ServerRecord],
    /// Command lines that copy the files of servers with other disks, for each of them.
    pub collect: Vec<Vec<String>>,
    /// The report on the whole run; absent if nothing is here yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalyzeReport>,
}
