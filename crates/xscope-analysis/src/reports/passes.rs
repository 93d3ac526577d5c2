//! What a report is made of, in the order in which it can be told. What one pass tells, it tells at
//! the same time, on as many threads as there are.

use rayon::prelude::*;
use xscope_trace::ids::IdVec;
use xscope_trace::model::DeviceId;
use xscope_trace::{Picos, Trace};

use crate::compiles::{CompileRow, compiles, compiling};
use crate::devices::busy;
use crate::devices::collectives::{CollectiveRow, CollectiveRuns, Rendezvous, collectives, runs};
use crate::devices::idle::{IdleRow, idle};
use crate::devices::programs::{Execution, ProgramRow, executions, programs};
use crate::devices::steps::{StepsReport, steps_of};
use crate::devices::timeline::{Activity, TimelineRow, classes, timeline};
use crate::intervals::Intervals;
use crate::kernels::executions::variations;
use crate::kernels::kernels;
use crate::kernels::row::{Filter, KernelRow};
use crate::kernels::variation::Variation;
use crate::kernels::work::Work;
use crate::layers::components::ComponentRule;
use crate::layers::{LayersReport, layers};
use crate::memory::allocations::{AllocationRow, allocations};

/// What happened, one by one.
#[derive(Default)]
pub(super) struct Listed {
    pub kernels: Vec<KernelRow>,
    pub executions: Vec<Execution>,
    pub compiles: Vec<CompileRow>,
    pub allocations: Vec<AllocationRow>,
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
            });
            scope.spawn(|_| listed.executions = executions(trace));
            scope.spawn(|_| listed.compiles = compiles(trace, work.window));
            scope.spawn(|_| listed.allocations = allocations(trace));
            scope.spawn(|_| listed.extent = trace.extent().unwrap_or_default());
        });
        listed
    }
}

/// What each device did when.
pub(super) struct OnDevices {
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
    pub(super) fn of(trace: &Trace, filter: &Filter, kernels: &[KernelRow]) -> Self {
        let classes = classes(trace, kernels);
        let rendezvous = Rendezvous::of(trace);
        let of_device = |device| {
            let (row, Activity { computation, any }) = timeline(trace, device, &classes);
            let runs = runs(trace, device, &classes, &rendezvous, &computation);
            OnDevice { row, busy: any, runs }
        };
        let devices: Vec<DeviceId> = trace.devices.ids().collect();
        let devices: Vec<OnDevice> = devices.into_par_iter().map(of_device).collect();
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
        Self { timeline: rows, collectives: collectives(trace, kernels, &ran), busy }
    }
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
}

impl Told {
    pub(super) fn of(
        work: &Work<'_>,
        rules: &[ComponentRule],
        listed: &Listed,
        busy: &IdVec<DeviceId, Intervals>,
    ) -> Self {
        let trace = work.trace;
        let Listed { kernels, executions, compiles, .. } = listed;
        let mut told = Self::default();
        rayon::scope(|scope| {
            scope.spawn(|_| told.idle = idle(trace, busy, compiling(compiles)));
            scope.spawn(|_| told.layers = layers(work, kernels, rules));
            scope.spawn(|_| told.varies = variations(work, kernels));
            scope.spawn(|_| told.programs = programs(trace, executions));
            scope.spawn(|_| told.steps = steps_of(trace, executions, busy));
        });
        told
    }
}
