//! Operations among devices: how much they moved, how fast, what hid them, and who kept whom
//! waiting.
//!
//! JAX's CPU backend records how long each device waits in the rendezvous of a collective, for the
//! devices of its own replica group. Elsewhere the devices of one file share a clock, so the
//! executions of one collective on all of them tell who came last: until then the others wait, and
//! only from then on data can move. Bandwidth is that of the algorithm: the bytes of the result over
//! the time after the last arrival. What TPUs split into a start and a done is one operation, in flight
//! from the one to the other.

mod barriers;
mod lags;
mod members;
mod messages;
mod rendezvous;
mod runs;
mod summary;
pub mod waiting;

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, SourceId};
use xscope_trace::{Metric, Picos, Trace};

use crate::devices::collectives::members::{Groups, Members};
pub(crate) use crate::devices::collectives::rendezvous::{Rendezvous, is_rendezvous};
use crate::devices::collectives::runs::{CollectiveRun, half};
pub(crate) use crate::devices::collectives::runs::{CollectiveRuns, runs};
use crate::devices::collectives::summary::summarise;
use crate::devices::collectives::waiting::WaitFrom;
use crate::kernels::row::{KernelRow, program_name};

/// One collective over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CollectiveRow {
    /// The operation's name.
    pub name: String,
    /// HLO's category, or what the recorder calls it.
    pub category: String,
    /// The program that it belongs to; empty if unknown.
    pub program: String,
    /// How often it ran, counted once for all devices that take part.
    pub count: u64,
    /// Devices that take part.
    #[serde(rename = "device_count")]
    pub devices: u64,
    /// Their names.
    pub on: Vec<String>,
    /// Devices that exchange data with each other; 0 if the trace does not say.
    pub group_size: u32,
    /// Bytes of the result on one device.
    #[serde(rename = "result_bytes")]
    pub bytes: Metric,
    /// Time in it, added up over devices.
    pub total_us: f64,
    /// Of `wait_us`, what was spent in the barrier before it, which is no part of `total_us`.
    pub barrier_us: f64,
    /// Waiting for other devices to arrive, in it and in the barrier before it.
    pub wait_us: Metric,
    /// What tells it: of several, the weakest.
    pub wait_from: WaitFrom,
    /// Time from the last arrival on, added up over devices: of the executions that `wait_us` is of,
    /// their time without waiting.
    pub transfer_us: Metric,
    /// Bytes of the result over the mean time after the last arrival; degraded, as the least that it can
    /// be, where it is not known when that was.
    pub bytes_per_sec: Metric,
    /// The same of the bytes that pass a device's link, as NCCL's benchmarks count them: comparable with
    /// what the link can do, whatever the operation.
    pub bus_bytes_per_sec: Metric,
    /// Of `total_us`, what other operations of the same device hide.
    pub hidden_us: f64,
    /// Devices that came last in their groups, by how long they made others wait.
    pub late: Vec<LateRow>,
    /// Executions of a group of which the clocks do not say who came last.
    #[serde(rename = "undecided_count")]
    pub undecided: u64,
    /// Executions of a group that lack devices, so that nobody can be called late.
    #[serde(rename = "incomplete_count")]
    pub incomplete: u64,
    #[serde(skip)]
    meta: MetaId,
    #[serde(skip)]
    pub total: Picos,
    #[serde(skip)]
    pub wait: Picos,
}

/// A device that others waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LateRow {
    /// Its name.
    pub device: String,
    /// Executions in which it came last of its group.
    pub count: u64,
    /// How long the others waited in those, added up.
    pub caused_us: f64,
}

/// What identifies a collective: its job, name and program's name.
type Key<'a> = (SourceId, Cow<'a, str>, &'a str);

/// All collectives, by total time, from what ran of them on all devices.
pub(crate) fn collectives(
    trace: &Trace,
    kernels: &[KernelRow],
    devices: &[CollectiveRuns],
) -> Vec<CollectiveRow> {
    let categories: FxHashMap<MetaId, &str> =
        kernels.iter().map(|kernel| (kernel.meta, kernel.category.as_str())).collect();
    let members = Members::of(trace);
    let row = |((_, name, program), (meta, runs)): (Key<'_>, (MetaId, Vec<&[CollectiveRun]>))| {
        let groups = members.groups(trace, meta);
        let runs = in_executions(trace, &groups, runs.concat());
        let mut row = summarise(trace, meta, &groups, &runs);
        row.name = name.into_owned();
        program.clone_into(&mut row.program);
        row
    };
    let mut rows: Vec<CollectiveRow> =
        by_collective(trace, &members, devices).into_par_iter().map(row).collect();
    for row in &mut rows {
        row.category = categories.get(&row.meta).map_or_else(String::new, |&name| {
            half(name).map_or(Cow::Borrowed(name), |(whole, _)| whole).into_owned()
        });
    }
    rows.sort_by(|a, b| (b.total, &a.name, &a.program).cmp(&(a.total, &b.name, &b.program)));
    rows
}

/// What ran of each collective, by its key, from one device after the other.
fn by_collective<'a>(
    trace: &'a Trace,
    members: &Members,
    devices: &'a [CollectiveRuns],
) -> BTreeMap<Key<'a>, (MetaId, Vec<&'a [CollectiveRun]>)> {
    let key = |device: DeviceId, meta: MetaId| -> Key<'a> {
        let job = members.job(trace.devices[device].source);
        let name = trace.label(meta);
        let whole = half(name).map_or(Cow::Borrowed(name), |(whole, _)| whole);
        (job, whole, program_name(trace, meta))
    };
    let mut groups: BTreeMap<Key<'a>, (MetaId, Vec<&[CollectiveRun]>)> = BTreeMap::new();
    for CollectiveRuns { device, ranges, runs } in devices {
        for (meta, range) in ranges {
            let group = groups.entry(key(*device, *meta)).or_insert((*meta, Vec::new()));
            group.1.push(&runs[range.clone()]);
        }
    }
    groups
}

/// The runs of a collective in order, each with its group and its execution: those of one execution and
/// one group together.
fn in_executions(
    trace: &Trace,
    groups: &Groups,
    mut runs: Vec<CollectiveRun>,
) -> Vec<CollectiveRun> {
    for run in &mut runs {
        run.group = groups.of(run.device).or(run.message.and_then(|message| message.group));
    }
    let source = |run: &CollectiveRun| trace.devices[run.device].source;
    if runs.iter().any(|run| source(run) != source(&runs[0])) {
        number_across(&mut runs, source);
    }
    // Those of one device are in order, which makes this little work.
    runs.sort_by_key(|run| (run.execution, run.number, run.group, run.device));
    runs
}

/// Counts executions of each group alike on all sources, whose own numbers say nothing of the others'.
fn number_across(runs: &mut [CollectiveRun], source: impl Fn(&CollectiveRun) -> SourceId) {
    runs.sort_by_key(|run| (run.group, source(run), run.execution, run.number, run.start));
    for of_group in runs.chunk_by_mut(|a, b| a.group == b.group) {
        let mut reference: Option<Vec<Picos>> = None;
        for of_source in of_group.chunk_by_mut(|a, b| source(a) == source(b)) {
            let mut executions: Vec<&mut [CollectiveRun]> = of_source
                .chunk_by_mut(|a, b| (a.execution, a.number) == (b.execution, b.number))
                .collect();
            executions.sort_by_key(|runs| runs.iter().map(|run| run.start).min());
            let end = |runs: &&mut [CollectiveRun]| runs.iter().map(CollectiveRun::end).max();
            let ends: Vec<Picos> = executions.iter().filter_map(end).collect();
            let reference = reference.get_or_insert_with(|| ends.clone());
            let first = lags::lag(reference, &ends).by;
            for (at, execution) in (first..).zip(executions) {
                for run in execution {
                    (run.execution, run.number) = (at, 0);
                }
            }
        }
    }
}
