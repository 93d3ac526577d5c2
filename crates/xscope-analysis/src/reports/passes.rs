//! What a report is made of, in the order in which it can be told. What one pass tells, it tells at
//! the same time, on as many threads as there are.

use rayon::prelude::*;
use xscope_trace::ids::IdVec;
use xscope_trace::model::DeviceId;
use xscope_trace::overhead::OverheadRecord;
use xscope_trace::{Picos, Trace};

use crate::compiles::{CompileRow, compiles, compiling};
use crate::devices::collectives::{CollectiveRow, CollectiveRuns, Rendezvous, collectives, runs};
use crate::devices::idle::{IdleRow, idle};
use crate::devices::programs::{Execution, ProgramRow, executions, programs};
use crate::devices::steps::{StepsReport, steps_of};
use crate::devices::timeline::{Activity, TimelineRow, classes, timeline};
use crate::devices::{DeviceRow, busy, devices};
use crate::intervals::Intervals;
use crate::kernels::executions::variations;
use crate::kernels::kernels;
use crate::kernels::row::{Filter, KernelRow};
use crate::kernels::variation::Variation;
use crate::kernels::work::Work;
use crate::layers::components::ComponentRule;
use crate::layers::{LayersReport, layers};
use crate::memory::allocations::{AllocationRow, ReportedMemory, allocations, reported_memory};
use crate::memory::allocators::{AllocatorRow, allocators};
use crate::memory::{MemoryReport, memory};
use crate::overhead::recording::{RecordingReport, recording};
use crate::reports::analyze_report::{SourceRow, sources};
use crate::requests::{RequestsReport, request_report};

/// What happened, one by one.
#[derive(Default)]
pub(super) struct Listed {
    pub kernels: Vec<KernelRow>,
    pub executions: Vec<Execution>,
    pub compiles: Vec<CompileRow>,
    pub allocations: Vec<AllocationRow>,
    pub allocators: Vec<AllocatorRow>,
    pub reported_memory: Vec<ReportedMemory>,
    pub sources: Vec<SourceRow>,
    /// When the first event began and the last one ended.
    pub extent: (Picos, Picos),
}

impl Listed {
    pub(super) fn of(work: &Work<'_>, filter: &Filter) -> Self {
        let trace = work.trace;
        let mut listed = Self::default();
        rayon::scope(|scope| {
            scope.spawn(|_| {
                listed.kernels = kernels(work);
                listed.kernels.retain(|kernel| filter.accepts(kernel));
                if let Some(scope) = &filter.scope {
                    layers(work, &listed.kernels, &[], None).narrow(&mut listed.kernels, scope);
                }
            });
            scope.spawn(|_| listed.executions = executions(trace));
            scope.spawn(|_| listed.compiles = compiles(trace, work.window));
            scope.spawn(|_| listed.allocations = allocations(trace));
            scope.spawn(|_| listed.allocators = allocators(trace));
            scope.spawn(|_| listed.reported_memory = reported_memory(trace));
            scope.spawn(|_| listed.sources = sources(trace));
            scope.spawn(|_| listed.extent = trace.extent().unwrap_or_default());
        });
        listed
    }
}

/// What each device did when, and what filled its memory.
pub(super) struct OnDevices {
    pub memory: MemoryReport,
    pub timeline: Vec<TimelineRow>,
    pub collectives: Vec<CollectiveRow>,
    /// When any operation ran, wanted or not.
    pub busy: IdVec<DeviceId, Intervals>,
}

/// The same of one device.
struct OnDevice {
    row: TimelineRow,
    busy: Intervals,
    runs: CollectiveRuns,
}

impl OnDevices {
    pub(super) fn of(trace: &Trace, filter: &Filter, listed: &Listed) -> Self {
        let kernels = &listed.kernels;
        // As memory of this process goes, what devices did is as large as why they idled, so one is
        // gone before the other.
        let (memory, devices) = rayon::join(
            || memory(trace, &listed.executions, &listed.allocations),
            || on_each_device(trace, kernels),
        );
        let (mut rows, mut wanted, mut ran) = (Vec::new(), Vec::new(), Vec::new());
        for OnDevice { row, busy, runs } in devices {
            rows.push(row);
            wanted.push(busy);
            ran.push(runs);
        }
        // Without a filter every operation counts in the time lines.
        let busy = match *filter == Filter::default() {
            true => wanted.into(),
            false => busy(trace),
        };
        Self { memory, timeline: rows, collectives: collectives(trace, kernels, &ran), busy }
    }
}

fn on_each_device(trace: &Trace, kernels: &[KernelRow]) -> Vec<OnDevice> {
    let classes = classes(trace, kernels);
    let rendezvous = Rendezvous::of(trace);
    let of_device = |device| {
        let (row, Activity { computation, any }) = timeline(trace, device, &classes);
        let runs = runs(trace, device, &classes, &rendezvous, &computation);
        OnDevice { row, busy: any, runs }
    };
    let devices: Vec<DeviceId> = trace.devices.ids().collect();
    devices.into_par_iter().map(of_device).collect()
}

/// What is told of what happened.
#[derive(Default)]
pub(super) struct Told {
    pub idle: Vec<IdleRow>,
    pub layers: LayersReport,
    /// By place in the list of kernels.
    pub varies: Vec<Option<Variation>>,
    pub programs: Vec<ProgramRow>,
    pub steps: StepsReport,
    pub requests: Option<RequestsReport>,
    pub devices: Vec<DeviceRow>,
    pub recording: RecordingReport,
}

impl Told {
    pub(super) fn of(
        work: &Work<'_>,
        (rules, within): (&[ComponentRule], Option<&str>),
        overhead: Option<&OverheadRecord>,
        listed: &Listed,
        OnDevices { busy, memory, .. }: &OnDevices,
    ) -> Self {
        let (trace, window) = (work.trace, work.window);
        let Listed { kernels, executions, compiles, extent: (first, last), .. } = listed;
        let compiled: Vec<_> = compiles.iter().map(CompileRow::extent).collect();
        let mut told = Self::default();
        rayon::scope(|scope| {
            scope.spawn(|_| told.idle = idle(trace, busy, compiling(compiles)));
            scope.spawn(|_| told.layers = layers(work, kernels, rules, within));
            scope.spawn(|_| told.varies = variations(work, kernels));
            scope.spawn(|_| told.programs = programs(trace, executions));
            scope.spawn(|_| told.steps = steps_of(trace, executions, busy));
            scope.spawn(|_| told.requests = request_report(trace, window, memory, &compiled));
            scope.spawn(|_| told.devices = devices(trace, busy));
            scope.spawn(|_| told.recording = recording(trace, *last - *first, overhead));
        });
        told
    }
}
