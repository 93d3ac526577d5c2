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
mod executions;
mod lags;
mod members;
mod messages;
mod rendezvous;
mod runs;
mod summary;
pub mod waiting;

use std::borrow::Cow;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::MetaId;
use xscope_trace::{Metric, Picos, Trace};

pub(crate) use crate::devices::collectives::barriers::Barriers;
pub(crate) use crate::devices::collectives::executions::Executions;
pub(crate) use crate::devices::collectives::members::Members;
pub(crate) use crate::devices::collectives::messages::synchronises;
pub(crate) use crate::devices::collectives::rendezvous::{Rendezvous, is_rendezvous};
use crate::devices::collectives::runs::half;
pub(crate) use crate::devices::collectives::runs::{CollectiveRun, CollectiveRuns, runs};
use crate::devices::collectives::summary::summarise;
use crate::devices::collectives::waiting::WaitFrom;
use crate::kernels::row::KernelRow;

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

/// All collectives, by total time, from what ran of them on all devices.
pub(crate) fn collectives(
    trace: &Trace,
    kernels: &[KernelRow],
    devices: &[CollectiveRuns],
) -> Vec<CollectiveRow> {
    let categories: FxHashMap<MetaId, &str> =
        kernels.iter().map(|kernel| (kernel.meta, kernel.category.as_str())).collect();
    let executions = Executions::of(trace, devices);
    let mut rows: Vec<CollectiveRow> =
        executions.par_iter().map(|executions| summarise(trace, executions)).collect();
    for row in &mut rows {
        row.category = categories.get(&row.meta).map_or_else(String::new, |&name| {
            half(name).map_or(Cow::Borrowed(name), |(whole, _)| whole).into_owned()
        });
    }
    rows.sort_by(|a, b| (b.total, &a.name, &a.program).cmp(&(a.total, &b.name, &b.program)));
    rows
}
