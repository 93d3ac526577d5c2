//! The report on any profile, as it is shown and written.

use serde::Serialize;
use xscope_trace::quality::{Code, Figures, Finding};
use xscope_trace::{Picos, Trace};

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
pub(crate) const SCHEMA: &str = "xscope/analyze/1";

/// What a profile says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnalyzeReport {
    pub schema: &'static str,
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
    pub quality: Vec<Finding>,
    /// Which kinds of figures the findings touch.
    pub degraded: Vec<DegradedRow>,
    pub devices: Vec<DeviceRow>,
    /// What each device's window went into.
    pub timeline: Vec<TimelineRow>,
    /// Why each device idled.
    pub idle: Vec<IdleRow>,
    /// Executions of programs, by total time.
    pub programs: Vec<ProgramRow>,
    /// Passes of training or serving.
    pub steps: StepsReport,
    /// Compilations in the window, by start.
    pub compiles: Vec<CompileRow>,
    /// By total time, largest first.
    pub collectives: Vec<CollectiveRow>,
    pub categories: Vec<CategoryRow>,
    /// By self time, largest first.
    pub kernels: Vec<KernelRow>,
    pub layers: LayersReport,
    pub memory: MemoryReport,
    /// Device allocators that write events, by peak.
    pub allocators: Vec<AllocatorRow>,
    /// What holds the memory of devices, from their memory profiles.
    pub allocations: Vec<AllocationRow>,
    /// What sglang-jax reports of the tensors of its stages.
    pub reported_memory: Vec<ReportedMemory>,
    /// What recording cost, as far as the trace says.
    pub recording: RecordingReport,
    /// Absent if the trace knows of no request, or if the report is part of one that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsReport>,
}

/// Figures that a finding touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DegradedRow {
    pub figures: Figures,
    /// The code of the finding.
    pub code: Code,
    /// The sections that show such figures.
    pub sections: &'static [Section],
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceRow {
    pub path: String,
    pub format: &'static str,
    pub bytes: u64,
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
