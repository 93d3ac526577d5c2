//! What `xscope analyze PATH SECTION --json` prints.

use serde::Serialize;
use xscope_trace::quality::Finding;

use crate::clocks::report::ClockRow;
use crate::compiles::CompileRow;
use crate::devices::DeviceRow;
use crate::devices::collectives::CollectiveRow;
use crate::devices::idle::IdleRow;
use crate::devices::programs::ProgramRow;
use crate::devices::steps::StepsReport;
use crate::devices::timeline::TimelineRow;
use crate::kernels::row::KernelRow;
use crate::kernels::sums::CategoryRow;
use crate::layers::LayersReport;
use crate::memory::MemoryReport;
use crate::memory::allocations::{AllocationRow, ReportedMemory};
use crate::memory::allocators::AllocatorRow;
use crate::overhead::recording::RecordingReport;
use crate::requests::RequestsReport;
use crate::section::Section;

/// The version of [`SectionReport`] as JSON.
pub const SCHEMA: &str = "xscope/section/1";

/// One section of a report, under the names that its parts have there. Only the section's own parts are
/// present.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SectionReport<'a> {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// Which section it is.
    pub section: Option<Section>,
    /// Of `layers`: the tree of scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<&'a LayersReport>,
    /// Of `kernels`: self time by category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<&'a [CategoryRow]>,
    /// Of `kernels`: operations by self time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<&'a [KernelRow]>,
    /// Of `devices`: how busy each device was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<&'a [DeviceRow]>,
    /// Of `devices`: what each device's window went into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<&'a [TimelineRow]>,
    /// Of `idle`: why each device idled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<&'a [IdleRow]>,
    /// Of `collectives`: operations among devices, by total time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collectives: Option<&'a [CollectiveRow]>,
    /// Of `clocks`: how far the clocks of files are apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<&'a [ClockRow]>,
    /// Of `compiles`: compilations, by start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiles: Option<&'a [CompileRow]>,
    /// Of `programs`: executions of programs, by total time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<&'a [ProgramRow]>,
    /// Of `steps`: passes of training or serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<&'a StepsReport>,
    /// Of `requests`: what is known of requests; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none", rename = "request_report")]
    pub requests: Option<&'a RequestsReport>,
    /// Of `memory`: memory by owner and scope, planned by programs, and what grew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<&'a MemoryReport>,
    /// Of `memory`: device allocators that write events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocators: Option<&'a [AllocatorRow]>,
    /// Of `memory`: what holds the memory of devices, from their memory profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<&'a [AllocationRow]>,
    /// Of `memory`: what sglang-jax reports of the tensors of its stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_memory: Option<&'a [ReportedMemory]>,
    /// Of `overhead`: what recording cost.
    #[serde(rename = "recording_cost", skip_serializing_if = "Option::is_none")]
    pub recording: Option<&'a RecordingReport>,
    /// Of `quality`: what is wrong or worth knowing, worst first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<&'a [Finding]>,
}

impl SectionReport<'_> {
    /// A section that has nothing yet.
    pub fn new(section: Section) -> Self {
        Self { schema: SCHEMA, section: Some(section), ..Self::default() }
    }
}
