//! Any profile: what is in it, what is wrong, where the time goes.

use xscope_trace::overhead::OverheadRecord;
use xscope_trace::trim::Window;
use xscope_trace::{Picos, Trace};

use crate::clocks::report::clocks;
use crate::compiles::is_compile;
use crate::devices::collectives::is_rendezvous;
use crate::devices::host_kinds::{is_copy_call, is_transfer};
use crate::framework::Framework;
use crate::kernels::peaks::GivenPeaks;
use crate::kernels::row::Filter;
use crate::kernels::sums::categories;
use crate::kernels::work::Work;
use crate::layers::components::ComponentRule;
use crate::quality::facts::Facts;
use crate::quality::quality;
use crate::reports::analyze_report::{AnalyzeReport, SCHEMA};
use crate::reports::degraded::degrade;
use crate::reports::headlines::headlines;
use crate::reports::passes::{Listed, OnDevices, Told};

/// Analyses a trace.
pub fn analyze(trace: &Trace) -> AnalyzeReport {
    analyze_with(trace, &Options::default())
}

/// What a user can choose.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rules for components, before the built-in ones.
    pub rules: Vec<ComponentRule>,
    /// Peaks of devices that the trace does not say.
    pub peaks: GivenPeaks,
    /// Which operations kernels, categories, layers, collectives and time lines are made of.
    pub filter: Filter,
    /// The window that the trace was cut to with [`clip`](xscope_trace::trim::clip).
    pub window: Option<Window>,
    /// What the run measured of the cost of recording.
    pub overhead: Option<OverheadRecord>,
}

/// Analyses a trace as `options` say.
pub fn analyze_with(trace: &Trace, options: &Options) -> AnalyzeReport {
    let window = options.window.as_ref();
    let work = Work::of(trace, window, options.peaks);
    let listed = Listed::of(&work, &options.filter);
    let on_devices = OnDevices::of(trace, &options.filter, &listed);
    let naming = (options.rules.as_slice(), options.filter.scope.as_deref());
    let told = Told::of(&work, naming, options.overhead.as_ref(), &listed, &on_devices);
    let Listed { mut kernels, executions, compiles, .. } = listed;
    for (kernel, varies) in kernels.iter_mut().zip(told.varies) {
        kernel.varies = varies;
        kernel.component = told.layers.component_of(kernel).to_owned();
        kernel.layer_path = told.layers.scopes.get(&kernel.meta).cloned().unwrap_or_default();
    }
    let framework = Framework::of(trace);
    let window_us = extent_in(listed.extent, window).as_micros();
    let quality = quality(&Facts {
        trace,
        framework,
        window,
        devices: &told.devices,
        kernels: &kernels,
        executions: &executions,
        compiles: &compiles,
        layers: &told.layers,
    });
    let mut report = AnalyzeReport {
        schema: SCHEMA,
        framework,
        headlines: Vec::new(),
        degraded: Vec::new(),
        sources: listed.sources,
        events: trace.slice_count() as u64,
        window_us,
        quality,
        timeline: on_devices.timeline,
        idle: told.idle,
        programs: told.programs,
        steps: told.steps,
        collectives: on_devices.collectives,
        clocks: clocks(trace),
        categories: categories(&kernels),
        layers: told.layers,
        requests: told.requests,
        memory: on_devices.memory,
        allocators: listed.allocators,
        allocations: listed.allocations,
        reported_memory: listed.reported_memory,
        recording: told.recording,
        devices: told.devices,
        kernels,
        compiles,
    };
    degrade(&mut report);
    report.headlines = headlines(&report);
    report
}

/// How long a trace is, of which only a window may be wanted.
fn extent_in((first, last): (Picos, Picos), window: Option<&Window>) -> Picos {
    match window {
        Some(window) => (last.min(window.to) - first.max(window.from)).max(Picos::ZERO),
        None => last - first,
    }
}

/// Whether [`analyze()`] needs the slices of host threads with this name to say what devices did and
/// why they idled, except for what host code ran meanwhile.
pub fn needs_host_slice(name: &str) -> bool {
    is_compile(name) || is_transfer(name) || is_copy_call(name) || is_rendezvous(name)
}
