//! The report on any profile: what is in it, what is wrong, where the time goes.

use rayon::prelude::*;
use serde::Serialize;
use xscope_trace::model::DeviceId;
use xscope_trace::overhead::OverheadRecord;
use xscope_trace::quality::Finding;
use xscope_trace::window::Window;
use xscope_trace::{Picos, Trace};

use crate::compiles::{CompileRow, compiles, compiling, is_compile};
use crate::devices::collectives::{CollectiveRow, Rendezvous, collectives, is_rendezvous, runs};
use crate::devices::idle::{IdleRow, idle, is_transfer};
use crate::devices::programs::{ProgramRow, executions, programs};
use crate::devices::steps::{StepsReport, steps_of};
use crate::devices::timeline::{Activity, TimelineRow, classes, timeline};
use crate::devices::{DeviceRow, busy, devices};
use crate::kernels::executions::variations;
use crate::kernels::kernels;
use crate::kernels::peaks::GivenPeaks;
use crate::kernels::row::{Filter, KernelRow};
use crate::kernels::sums::{CategoryRow, categories};
use crate::kernels::work::Work;
use crate::layers::components::Rule;
use crate::layers::{LayersReport, layers};
use crate::memory::allocations::{AllocationRow, ReportedMemory, allocations, reported_memory};
use crate::memory::allocators::{AllocatorRow, allocators};
use crate::memory::{MemoryReport, memory};
use crate::overhead::recording::{RecordingReport, recording};
use crate::quality::facts::Facts;
use crate::quality::quality;
use crate::reports::degraded::{DegradedRow, degrade};
use crate::reports::headlines::{Headline, headlines};
use crate::requests::{RequestsReport, request_report};

/// Version of [`AnalyzeReport`] as JSON.
pub const SCHEMA: &str = "xscope/analyze/1";

/// What a profile says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnalyzeReport {
    pub schema: &'static str,
    pub sources: Vec<SourceRow>,
    /// Slices on all tracks.
    pub events: u64,
    /// From the start of the first event to the end of the last.
    pub window_us: f64,
    /// What matters most, the largest share of device time first.
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

/// Analyses a trace.
pub fn analyze(trace: &Trace) -> AnalyzeReport {
    analyze_with(trace, &Options::default())
}

/// What a user can choose.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rules for components, before the built-in ones.
    pub rules: Vec<Rule>,
    /// Peaks of devices that the trace does not say.
    pub peaks: GivenPeaks,
    /// Which operations kernels, categories, layers, collectives and time lines are made of.
    pub filter: Filter,
    /// The window that the trace was cut to with [`clip`](xscope_trace::window::clip).
    pub window: Option<Window>,
    /// What the run measured of the cost of recording.
    pub overhead: Option<OverheadRecord>,
}

/// Analyses a trace as `options` say.
pub fn analyze_with(trace: &Trace, options: &Options) -> AnalyzeReport {
    let window = options.window.as_ref();
    let mut work = Work::of(trace, window);
    work.given = options.peaks;
    let ((mut kernels, executions), (compiles, (allocations, extent))) = rayon::join(
        || rayon::join(|| accepted(&work, &options.filter), || executions(trace)),
        || rayon::join(|| compiles(trace, window), || (allocations(trace), trace.extent())),
    );
    let (first, last) = extent.unwrap_or_default();
    let classes = classes(trace, &kernels);
    // What each device did when takes as much memory as why it idled, so one is gone before the other.
    let ((collectives, (timeline, busy)), memory) = rayon::join(
        || {
            let rendezvous = Rendezvous::of(trace);
            let of_device = |device| {
                let (row, Activity { computation, any }) = timeline(trace, device, &classes);
                (row, (any, runs(trace, device, &classes, &rendezvous, &computation)))
            };
            let ids: Vec<DeviceId> = trace.devices.ids().collect();
            let (timeline, (busy_with, runs)): (Vec<_>, (Vec<_>, Vec<_>)) =
                ids.into_par_iter().map(of_device).unzip();
            // Without a filter every operation counts in the time lines.
            let busy = match options.filter == Filter::default() {
                true => busy_with.into(),
                false => busy(trace),
            };
            (collectives(trace, &kernels, &runs), (timeline, busy))
        },
        || memory(trace, &executions, &allocations),
    );
    let (idle, ((layers, varies), (recording, (programs, steps)))) = rayon::join(
        || idle(trace, &busy, compiling(&compiles)),
        || {
            rayon::join(
                || (layers(&work, &kernels, &options.rules), variations(&work, &kernels)),
                || {
                    let recording = recording(trace, last - first, options.overhead.as_ref());
                    let steps = steps_of(trace, &executions, &busy);
                    (recording, (programs(trace, &executions), steps))
                },
            )
        },
    );
    for (kernel, varies) in kernels.iter_mut().zip(varies) {
        kernel.varies = varies;
    }
    let devices = devices(trace, &busy);
    let compiling: Vec<_> = compiles.iter().map(CompileRow::extent).collect();
    let extent = match window {
        Some(window) => (last.min(window.to) - first.max(window.from)).max(Picos::ZERO),
        None => last - first,
    };
    let mut report = AnalyzeReport {
        schema: SCHEMA,
        headlines: Vec::new(),
        degraded: Vec::new(),
        sources: sources(trace),
        events: trace.slice_count() as u64,
        window_us: extent.as_micros(),
        quality: quality(&Facts {
            trace,
            window,
            devices: &devices,
            kernels: &kernels,
            executions: &executions,
            compiles: &compiles,
            layers: &layers,
        }),
        timeline,
        idle,
        programs,
        steps,
        collectives,
        categories: categories(&kernels),
        layers,
        requests: request_report(trace, window, &memory, &compiling),
        memory,
        allocators: allocators(trace),
        allocations,
        reported_memory: reported_memory(trace),
        recording,
        devices,
        kernels,
        compiles,
    };
    degrade(&mut report);
    report.headlines = headlines(&report);
    report
}

/// The kernels that a filter accepts.
fn accepted(work: &Work<'_>, filter: &Filter) -> Vec<KernelRow> {
    let mut kernels = kernels(work);
    kernels.retain(|kernel| filter.accepts(kernel));
    kernels
}

/// Whether [`analyze()`] needs the slices of host threads with this name to say what devices did and
/// why they idled, except for what host code ran meanwhile.
pub fn needs_host_slice(name: &str) -> bool {
    is_compile(name) || is_transfer(name) || is_rendezvous(name)
}

fn sources(trace: &Trace) -> Vec<SourceRow> {
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
