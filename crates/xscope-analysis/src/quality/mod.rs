//! What makes the figures of a profile wrong: what the readers found, and what only shows when
//! the whole is looked at. Each finding says what to do about it.

mod clocks;
mod devices;
mod warm_up;

use std::collections::BTreeMap;

use rayon::prelude::*;
use xscope_trace::ids::{Id as _, IdVec};
use xscope_trace::model::{
    EventMeta, Format, MetaId, ProgramId, SourceId, Track, TrackId, TrackKind,
};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;
use xscope_trace::window::Window;
use xscope_trace::{Picos, Trace};

use crate::compiles::CompileRow;
use crate::devices::programs::Execution;
use crate::devices::{DeviceRow, busy, devices};
use crate::kernels::KernelRow;
use crate::layers::LayersReport;
use crate::words::counted;

/// Idle share above which a profile says little about the work.
const MOSTLY_IDLE: f64 = 0.9;

/// Share of device time without scope above which the layer tree is incomplete.
const MUCH_UNSCOPED: f64 = 0.2;

/// At how many events JAX and TensorBoard cut a `trace.json.gz`, without a mark in it.
const JSON_CAPS: [u64; 2] = [1_000_000, 5_000_000];

/// How far below a cap a file still counts as cut: metadata events are among the capped ones.
const CAP_SLACK: u64 = 2_000;

/// What is wrong with a profile that says nothing of its devices: they did nothing, or next to
/// nothing.
pub fn no_work(trace: &Trace) -> Option<Finding> {
    let devices = devices(trace, &busy(trace));
    missing_devices(trace, &devices).or_else(|| idle(trace, None, &devices))
}

/// All findings, worst first; equal ones are counted together.
pub(crate) fn quality(
    (trace, window): (&Trace, Option<&Window>),
    devices: &[DeviceRow],
    (kernels, executions): (&[KernelRow], &[Execution]),
    compiles: &[CompileRow],
    layers: &LayersReport,
) -> Vec<Finding> {
    let mut findings = trace.findings.clone();
    findings.extend(missing_devices(trace, devices));
    findings.extend(idle(trace, window, devices));
    findings.extend(python_tracer(trace));
    findings.extend(compilation(compiles));
    findings.extend(capped(trace, window));
    findings.extend(duplicate_hosts(trace));
    let blind = blind(trace, kernels);
    findings.extend(missing_hlo(&blind, layers.root.total));
    findings.extend(unscoped(trace, layers, sum_of(&blind)));
    findings.extend(clocks::inverted(trace));
    findings.extend(devices::lost_operations(trace));
    findings.extend(devices::command_buffers(trace));
    findings.extend(devices::missing_counters(trace));
    findings.extend(warm_up::slow_first_runs(executions));
    findings.extend(warm_up::warm_up_requests(trace));
    findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then_with(|| (&a.code, &a.message).cmp(&(&b.code, &b.message)))
    });
    findings.dedup_by(|next, kept| {
        let same = next.code == kept.code && next.message == kept.message;
        if same {
            kept.count += next.count;
        }
        same
    });
    findings
}

fn missing_devices(trace: &Trace, devices: &[DeviceRow]) -> Option<Finding> {
    let has_profile =
        trace.sources.iter().any(|s| matches!(s.format, Format::XPlane | Format::ChromeJson));
    let busy = devices.iter().any(|device| device.busy > Picos::ZERO);
    (has_profile && !busy).then(|| {
        Finding::new(
            Code::DeviceMissing,
            "no operation of any device is in the trace; check that work was running while it \
             was captured and that the device tracer was on",
        )
    })
}

fn idle(trace: &Trace, window: Option<&Window>, devices: &[DeviceRow]) -> Option<Finding> {
    // What the recorder was on for says nothing of a part of it.
    let sources = trace.sources.iter().filter(|_| window.is_none());
    let session = sources.filter_map(|source| source.clock.session).max();
    let window = devices.iter().map(|device| device.window).max()?.max(session.unwrap_or_default());
    let busiest = devices.iter().map(|device| device.busy).max()?;
    let idle = 1.0 - share(busiest, window);
    (busiest > Picos::ZERO && idle > MOSTLY_IDLE).then(|| {
        Finding::new(
            Code::WindowIdle,
            format!(
                "the busiest device was idle for {:.2} % of the window ({:.3} s); averages over \
                 it say little: capture under load, or look at single executions",
                100.0 * idle,
                window.as_micros() / 1e6
            ),
        )
    })
}

fn python_tracer(trace: &Trace) -> Option<Finding> {
    let is_python = |meta: &EventMeta| trace.strings.get(meta.name).starts_with('$');
    let python: IdVec<MetaId, bool> = trace.metas.iter().map(is_python).collect();
    // Calls that were counted but not kept, and when they were, by track.
    let mut dropped: BTreeMap<TrackId, (u64, Picos, Picos)> = BTreeMap::new();
    for rows in &trace.dropped {
        let calls = rows.counts.iter().filter(|(meta, _)| python[*meta]);
        let calls: u64 = calls.map(|&(_, count)| count).sum();
        let sum = dropped.entry(rows.track).or_insert((0, rows.first, rows.last));
        *sum = (sum.0 + calls, sum.1.min(rows.first), sum.2.max(rows.last));
    }
    // How many calls a thread has, and from the first to the last.
    let of_thread = |(index, track): (usize, &Track)| {
        let kept = track.slices.meta.iter().filter(|&&meta| python[meta]).count() as u64;
        let dropped = dropped.get(&TrackId::at(index)).copied();
        let count = kept + dropped.map_or(0, |(calls, ..)| calls);
        if count == 0 {
            return (0, Picos::ZERO);
        }
        let ends = dropped.map(|(_, first, last)| (first, last)).into_iter();
        let whole = ends.chain(track.slices.extent()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        (count, whole.map_or(Picos::ZERO, |(first, last)| last - first))
    };
    let threads = trace.tracks.par_iter().enumerate();
    let threads = threads.filter(|(_, track)| track.kind == TrackKind::HostThread).map(of_thread);
    let (count, extent) = threads.reduce(|| (0, Picos::ZERO), |a, b| (a.0 + b.0, a.1.max(b.1)));
    (count > 0).then(|| {
        Finding::new(
            Code::PythonTracerOn,
            format!(
                "the Python tracer was on ({count} events in {:.3} s): host times are stretched \
                 and the file is larger than it need be; capture with python_tracer_level 0",
                extent.as_micros() / 1e6
            ),
        )
        .times(count)
    })
}

fn compilation(compiles: &[CompileRow]) -> Option<Finding> {
    let count = compiles.len() as u64;
    let time = compiles.iter().fold(Picos::ZERO, |sum, row| sum.saturating_add(row.duration));
    (count > 0).then(|| {
        Finding::new(
            Code::CompileInWindow,
            format!(
                "{} ran inside the window and took {:.3} s; requests that waited for that are slow \
                 for that reason: warm up with the same shapes first",
                counted(count, "compilation"),
                time.as_micros() / 1e6
            ),
        )
        .times(count)
    })
}

/// A `trace.json.gz` that ends where its writer stops.
fn capped(trace: &Trace, window: Option<&Window>) -> Option<Finding> {
    let events = |id: SourceId| {
        if let Some(window) = window {
            return window.events_of(id);
        }
        let own = trace.tracks.iter().filter(|track| track.source == id);
        own.map(|track| track.slices.len() as u64).sum::<u64>()
    };
    let is_cut =
        |events: u64| JSON_CAPS.iter().any(|&cap| (cap - CAP_SLACK..=cap).contains(&events));
    let json = trace.sources.iter_ids().filter(|(_, s)| s.format == Format::ChromeJson);
    let cut: Vec<&str> =
        json.filter(|&(id, _)| is_cut(events(id))).map(|(_, s)| s.path.as_str()).collect();
    let first = cut.first()?;
    Some(
        Finding::new(
            Code::JsonCapped,
            format!(
                "as many events as the writer of trace.json.gz keeps: later ones are lost, and \
                 lines that came late are missing; read the xplane.pb beside {first}"
            ),
        )
        .times(cut.len() as u64),
    )
}

/// Files that say they are of the same host, though they were written by different sessions.
fn duplicate_hosts(trace: &Trace) -> Option<Finding> {
    let xplanes = trace.sources.iter().filter(|source| source.format == Format::XPlane);
    let mut hosts: Vec<&str> = xplanes.map(|source| trace.strings.get(source.host)).collect();
    let all = hosts.len();
    hosts.sort_unstable();
    hosts.dedup();
    (hosts.len() < all).then(|| {
        Finding::new(
            Code::HostsDuplicate,
            "several files name the same host: their devices are told apart by file, not by name; \
             if they are of several machines, give each its own hostname",
        )
        .times((all - hosts.len()) as u64)
    })
}

fn unscoped(trace: &Trace, layers: &LayersReport, blind: Picos) -> Option<Finding> {
    let has_hlo = trace.programs.iter().any(|program| !program.instructions.is_empty());
    let remedy = match (has_hlo, trace.programs.is_empty()) {
        (true, _) => "wrap the model's parts in jax.named_scope",
        (false, false) => {
            "the file carries no HLO, which has the scopes: give the XPlane file of the same profile"
        }
        (false, true) => {
            "PyTorch says which modules launch kernels if it profiles with `with_stack=True`; a backward \
             pass has none; else components are told by the kernels' names"
        }
    };
    let total = layers.root.total;
    let missing = 1.0 - layers.scoped_share - share(blind, total);
    (total > Picos::ZERO && missing > MUCH_UNSCOPED).then(|| {
        Finding::new(
            Code::ScopesMissing,
            format!(
                "{:.1} % of device time has no named scope, so the layer tree is incomplete: {remedy}",
                100.0 * missing
            ),
        )
    })
}

/// Operations of XPlane files that have no scope because the HLO of their program is not there.
fn blind<'a>(trace: &'a Trace, kernels: &'a [KernelRow]) -> Vec<&'a KernelRow> {
    if !trace.sources.iter().any(|source| source.format == Format::XPlane) {
        return Vec::new();
    }
    let has_hlo = |id: ProgramId| !trace.programs[id].instructions.is_empty();
    let none = (0_u32..).zip(&trace.programs).all(|(id, _)| !has_hlo(ProgramId(id)));
    let is_blind = |kernel: &&KernelRow| {
        let program = trace.meta(kernel.meta).program;
        kernel.scope.is_empty() && program.map_or(none, |program| !has_hlo(program))
    };
    kernels.iter().filter(is_blind).collect()
}

fn sum_of(kernels: &[&KernelRow]) -> Picos {
    kernels.iter().fold(Picos::ZERO, |sum, kernel| sum.saturating_add(kernel.self_time))
}

fn missing_hlo(blind: &[&KernelRow], whole: Picos) -> Option<Finding> {
    let mut programs: BTreeMap<&str, Picos> = BTreeMap::new();
    for kernel in blind {
        let own = programs.entry(&kernel.program).or_default();
        *own = own.saturating_add(kernel.self_time);
    }
    let largest = programs.iter().max_by_key(|&(name, time)| (time, std::cmp::Reverse(name)))?.0;
    let which = match (largest.is_empty(), programs.len()) {
        (true, _) => "the programs that ran".to_owned(),
        (false, 1) => (*largest).to_owned(),
        (false, count) => {
            format!("{largest} and {}", counted(count as u64 - 1, "more program"))
        }
    };
    Some(Finding::new(
        Code::HloMissing,
        format!(
            "the trace carries no HLO of {which}, so {:.1} % of device time has neither scope nor \
             cost and fusions cannot be looked into; capture with enable_hlo_proto (JAX's \
             default), and without the compilation cache if there is one",
            100.0 * share(sum_of(blind), whole)
        ),
    ))
}
