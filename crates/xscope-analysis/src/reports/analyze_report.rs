//! The report on any profile, as it is shown and written.

use serde::Serialize;
use xscope_trace::quality::{Code, Figures, Finding};
use xscope_trace::{Picos, Trace};

use crate::clocks::report::ClockRow;
use crate::compiles::CompileRow;
use crate::devices::DeviceRow;
use crate::devices::collectives::CollectiveRow;
use crate::devices::idle::IdleRow;
use crate::devices::programs::ProgramRow;
use crate::devices::steps::StepsReport;
use crate::devices::timeline::TimelineRow;
use crate::framework::Framework;
use crate::kernels::row::KernelRow;
use crate::kernels::sums::CategoryRow;
use crate::layers::LayersReport;
use crate::memory::MemoryReport;
use crate::memory::allocations::{AllocationRow, ReportedMemory};
use crate::memory::allocators::AllocatorRow;
use crate::overhead::recording::RecordingReport;
use crate::reports::claim::Headline;
use crate::requests::RequestsReport;
use crate::section::Section;

/// Version of [`AnalyzeReport`] as JSON.
pub const SCHEMA: &str = "xscope/analyze/2";

/// What a profile says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AnalyzeReport {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// The files that were read.
    pub sources: Vec<SourceRow>,
    /// Slices on all tracks.
    pub events: u64,
    /// From the start of the first event to the end of the last.
    pub window_us: f64,
    /// Who ran the work; absent if the files do not say, or are of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framework: Option<Framework>,
    /// What matters most, the largest share of the devices' windows first.
    pub headlines: Vec<Headline>,
    /// What is wrong or worth knowing, worst first.
    pub quality: Vec<Finding>,
    /// Which kinds of figures the findings touch.
    pub degraded: Vec<DegradedRow>,
    /// How busy each device was.
    pub devices: Vec<DeviceRow>,
    /// What each device's window went into.
    pub timeline: Vec<TimelineRow>,
    /// Why each device idled.
    pub idle: Vec<IdleRow>,
    /// Executions of programs, by total time.
    pub programs: Vec<ProgramRow>,
    /// Passes of training or serving.
    pub steps: StepsReport,
    /// Compilations, those of start-up and warm-up included, by start.
    pub compiles: Vec<CompileRow>,
    /// By total time, largest first.
    pub collectives: Vec<CollectiveRow>,
    /// How far the clocks of files are apart.
    pub clocks: Vec<ClockRow>,
    /// Self time by category; the shares add up to 1.
    pub categories: Vec<CategoryRow>,
    /// By self time, largest first.
    pub kernels: Vec<KernelRow>,
    /// The tree of scopes.
    pub layers: LayersReport,
    /// Memory by owner and scope, planned by programs, and what grew.
    pub memory: MemoryReport,
    /// Device allocators that write events, by peak.
    pub allocators: Vec<AllocatorRow>,
    /// What holds the memory of devices, from their memory profiles.
    pub allocations: Vec<AllocationRow>,
    /// What sglang-jax reports of the tensors of its stages.
    pub reported_memory: Vec<ReportedMemory>,
    /// What recording cost, as far as the trace says.
    #[serde(rename = "recording_cost")]
    pub recording: RecordingReport,
    /// Absent if the trace knows of no request, or if the report is part of one that has it.
    #[serde(rename = "request_report", skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsReport>,
}

/// Figures that a finding touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DegradedRow {
    /// The kind of figures: each metric of the kind is degraded, with the finding as reason.
    #[serde(rename = "figure_kind")]
    pub figures: Figures,
    /// The code of the finding.
    pub code: Code,
    /// The sections that show such figures.
    pub sections: &'static [Section],
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SourceRow {
    /// The file, as given.
    pub path: String,
    /// `xplane`, `chrome_json`, `xspan`, `pprof`, `memory_report`, `server_log`, `requests` ...
    pub format: &'static str,
    /// Its size, unpacked.
    pub bytes: u64,
    /// The machine; empty if unknown.
    #[serde(rename = "hostname")]
    pub host: String,
    /// Where its time zero lies on the report's time axis.
    pub offset_us: f64,
    /// How far off that may be; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_error_us: Option<f64>,
}

pub(super) fn sources(trace: &Trace) -> Vec<SourceRow> {
    trace
        .sources
        .iter()
        .map(|source| SourceRow {
            path: source.path.clone(),
            format: source.format.name(),
            bytes: source.size.0,
            host: trace.strings.get(source.host).to_owned(),
            offset_us: source.clock.offset.as_micros(),
            offset_error_us: source.clock.error.map(Picos::as_micros),
        })
        .collect()
}
