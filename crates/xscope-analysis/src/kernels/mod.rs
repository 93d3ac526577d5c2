//! Every operation that ran on a device: how often, how long, at what cost.

pub mod annotated;
pub(crate) mod by_meta;
pub mod category;
pub mod nesting;
pub mod peaks;
pub mod roofline;
pub mod tasks;
pub mod variation;
pub(crate) mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::args::ArgValue;
use xscope_trace::model::{DeviceId, DeviceKind, MetaId, Track, TrackKind, short_device};
use xscope_trace::stats::{Percentile, as_f64, deviation_micros, mean_micros, select, share, sum};
use xscope_trace::{Metric, Picos, Trace};

use crate::devices::device_id;
use crate::kernels::by_meta::ByMeta;
use crate::kernels::category::{category, is_async_half};
use crate::kernels::peaks::{Peaks, peaks};
use crate::kernels::roofline::{Roofline, of_async_half, roofline};
use crate::kernels::variation::Variation;
use crate::kernels::work::Work;

/// One operation on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelRow {
    pub name: String,
    pub category: String,
    /// Scope path as recorded or as the program says; empty if neither does.
    pub scope: String,
    /// The program that it belongs to; empty if unknown.
    pub program: String,
    pub device: String,
    pub count: u64,
    pub total_us: f64,
    /// Total without the time of operations nested in it.
    pub self_us: f64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// Standard deviation of the durations of its executions.
    pub stddev_us: f64,
    /// Floating-point operations of one execution.
    pub flops: Metric,
    /// Bytes read and written by one execution; of a GPU's copy the mean of what it copied.
    pub bytes: Metric,
    #[serde(flatten)]
    pub roofline: Roofline,
    /// What its executions differ by; absent for kernels with little time and few executions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub varies: Option<Variation>,
    #[serde(skip)]
    pub meta: MetaId,
    #[serde(skip)]
    pub device_id: DeviceId,
    #[serde(skip)]
    pub self_time: Picos,
    #[serde(skip)]
    pub total: Picos,
}

/// Self time of one category over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryRow {
    pub name: String,
    pub count: u64,
    pub self_us: f64,
    /// Share of all operations' self time.
    pub share: f64,
}

/// The executions of one operation on one device.
struct Group {
    device: DeviceId,
    meta: MetaId,
    count: u64,
    own: Picos,
    total: Picos,
    min: Picos,
    p50: Picos,
    p99: Picos,
    max: Picos,
    stddev_us: f64,
    /// What the executions of a copy moved together; `None` for all else, and where one of them
    /// does not say.
    copied: Option<u64>,
}

impl Group {
    /// Puts the durations in another order.
    fn of(
        (device, meta): (DeviceId, MetaId),
        durations: &mut [Picos],
        own: Picos,
        copied: Option<u64>,
    ) -> Self {
        let [p99, p50] = select(durations, [Percentile::P99, Percentile::P50]).unwrap_or_default();
        Self {
            device,
            meta,
            count: durations.len() as u64,
            own,
            total: sum(durations),
            min: durations.iter().copied().min().unwrap_or_default(),
            p50,
            p99,
            max: durations.iter().copied().max().unwrap_or_default(),
            stddev_us: deviation_micros(durations),
            copied,
        }
    }
}

/// All operations of all devices, ordered by self time, then by name.
///
/// Operations are one row if they have the same name, program and device.
pub(crate) fn kernels(work: &Work<'_>) -> Vec<KernelRow> {
    let trace = work.trace;
    let devices = (0..trace.devices.len()).into_par_iter();
    let mut groups: Vec<Group> =
        devices.flat_map_iter(|index| groups(work, device_id(index))).collect();
    let names = |group: &Group| {
        let name = trace.label(group.meta);
        (name, trace.device_label(group.device), program_name(trace, group.meta))
    };
    groups.sort_unstable_by(|a, b| b.own.cmp(&a.own).then_with(|| names(a).cmp(&names(b))));
    let peaks: Vec<Option<Peaks>> =
        trace.devices.iter().map(|device| peaks(trace, device, work.given)).collect();
    let row = |group: &Group| kernel_row(trace, peaks[group.device.0 as usize], group);
    groups.par_iter().map(row).collect()
}

fn groups(work: &Work<'_>, device: DeviceId) -> Vec<Group> {
    let trace = work.trace;
    let of_device = || {
        let tracks = trace.tracks.iter_ids();
        tracks.filter(|(_, track)| track.device == Some(device) && track.kind == TrackKind::Ops)
    };
    let rows = of_device().flat_map(|(_, track)| track.slices.meta.iter().copied());
    let mut by_meta = ByMeta::of(trace, rows);
    let copied = |(meta, _): &(MetaId, Range<usize>)| is_copy(trace, device, *meta).then_some(0);
    let mut copied: Vec<Option<u64>> = by_meta.ranges.iter().map(copied).collect();
    let mut own = vec![Picos::ZERO; copied.len()];
    let mut durations = vec![Picos::ZERO; by_meta.rows()];
    for (id, track) in of_device() {
        let (slices, times) = (&track.slices, work.durations(id));
        for (row, (&meta, time)) in slices.meta.iter().zip(work.own(id)).enumerate() {
            let (place, at) = by_meta.put(meta);
            if let Some(bytes) = copied[place] {
                copied[place] =
                    copied_bytes(trace, track, row).map(|more| bytes.saturating_add(more));
            }
            own[place] = own[place].saturating_add(time);
            durations[at] = times[row].max(Picos::ZERO);
        }
    }
    let group = |((meta, range), (own, copied))| {
        Group::of((device, meta), &mut durations[range], own, copied)
    };
    by_meta.ranges.into_iter().zip(own.into_iter().zip(copied)).map(group).collect()
}

/// The name of the program that an operation belongs to; empty if unknown.
pub(crate) fn program_name(trace: &Trace, meta: MetaId) -> &str {
    let program = trace.meta(meta).program;
    program.map_or("", |program| trace.strings.get(trace.programs[program].name))
}

/// Whether executions of this operation say one by one how much they copy.
fn is_copy(trace: &Trace, device: DeviceId, meta: MetaId) -> bool {
    trace.devices[device].kind == DeviceKind::Gpu
        && trace.meta(meta).bytes.is_none()
        && category(trace, meta) == "copy"
}

/// What one execution of a copy moved: Kineto's `bytes`, or the `size:` in XPlane's text, in which
/// XProf looks for another key and finds 0.
pub(crate) fn copied_bytes(trace: &Trace, track: &Track, row: usize) -> Option<u64> {
    let args = track.slices.args.get(row, &trace.strings);
    args.into_iter().find_map(|(key, value)| match (key, value) {
        ("bytes", ArgValue::Int(bytes)) => u64::try_from(bytes).ok(),
        ("bytes", ArgValue::Uint(bytes)) => Some(bytes),
        ("memcpy_details", ArgValue::Text(text)) => {
            text.split_whitespace().find_map(|part| part.strip_prefix("size:")?.parse().ok())
        }
        _ => None,
    })
}

fn kernel_row(trace: &Trace, peaks: Option<Peaks>, group: &Group) -> KernelRow {
    let (meta, count) = (group.meta, group.count);
    let (flops, bytes) = match group.copied {
        Some(copied) => {
            (Metric::valid(0.0, "FLOP"), Metric::valid(as_f64(copied) / as_f64(count), "B"))
        }
        None => costs(trace, meta),
    };
    let own_secs = group.own.as_micros() / 1e6 / as_f64(count);
    KernelRow {
        name: trace.label(meta).to_owned(),
        category: category(trace, meta),
        scope: trace.strings.get(trace.scope_of(meta)).to_owned(),
        program: program_name(trace, meta).to_owned(),
        device: trace.device_label(group.device).to_owned(),
        count,
        total_us: group.total.as_micros(),
        self_us: group.own.as_micros(),
        mean_us: mean_micros(group.total, count),
        min_us: group.min.as_micros(),
        p50_us: group.p50.as_micros(),
        p99_us: group.p99.as_micros(),
        max_us: group.max.as_micros(),
        stddev_us: group.stddev_us,
        roofline: match is_async_half(trace, meta) {
            true => of_async_half(),
            false => {
                let width = operand_bytes(trace, meta);
                roofline(&flops, &bytes, own_secs, peaks.map(|peaks| peaks.of_width(width)))
            }
        },
        flops,
        bytes,
        varies: None,
        meta,
        device_id: group.device,
        self_time: group.own,
        total: group.total,
    }
}

/// Bytes of an element of the two largest operands, of the wider one: what a product works in.
fn operand_bytes(trace: &Trace, meta: MetaId) -> Option<u64> {
    let instruction = trace.instruction(meta)?;
    let program = &trace.programs[trace.meta(meta).program?];
    let width = |bytes: u64, elements: u64| Some((bytes, bytes.checked_div(elements)?));
    let operands = program.operands_of(instruction);
    let mut operands: Vec<(u64, u64)> =
        operands.filter_map(|operand| width(operand.result_bytes.0, operand.elements)).collect();
    operands.sort_unstable_by(|a, b| b.cmp(a));
    operands.iter().take(2).map(|&(_, width)| width).max()
}

/// FLOPs and bytes of one execution: as recorded, else from the shapes of the HLO.
fn costs(trace: &Trace, meta: MetaId) -> (Metric, Metric) {
    const MISSING: &str = "the trace does not say it for this operation";
    let event = trace.meta(meta);
    let instruction = trace.instruction(meta).zip(event.program);
    let flops = event.flops.or_else(|| instruction.and_then(|(found, _)| found.flops));
    let bytes = match (event.bytes, instruction) {
        (Some(bytes), _) => Metric::valid(as_f64(bytes), "B"),
        (None, Some((found, program))) => Metric::degraded(
            as_f64(trace.programs[program].bytes_of(found).0),
            "B",
            "from shapes, as if all operands were read whole and once",
        ),
        _ => Metric::unavailable("B", MISSING),
    };
    (Metric::known(flops.map(as_f64), "FLOP", MISSING), bytes)
}

/// Which operations a report is about: those whose names contain all of the parts that are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub device: Option<String>,
    pub module: Option<String>,
    /// As recorded or as the program says.
    pub scope: Option<String>,
    pub name: Option<String>,
}

impl Filter {
    /// Whether an operation is wanted.
    pub fn accepts(&self, kernel: &KernelRow) -> bool {
        let contains = |part: &Option<String>, text: &str| {
            part.as_ref().is_none_or(|part| text.contains(part.as_str()))
        };
        let device = self.device.as_deref().map(short_device);
        device.is_none_or(|part| kernel.device.contains(part))
            && contains(&self.module, &kernel.program)
            && contains(&self.scope, &kernel.scope)
            && contains(&self.name, &kernel.name)
    }
}

/// One operation over all devices and programs.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelGroup<'a> {
    pub name: &'a str,
    pub scope: &'a str,
    /// How many devices ran it.
    pub devices: usize,
    pub count: u64,
    pub self_time: Picos,
    pub total: Picos,
    /// Largest p99 of its rows, in microseconds.
    pub p99_us: f64,
    /// Mean cost of an execution, if every row has one.
    pub flops: Option<f64>,
    pub bytes: Option<f64>,
}

/// Operations of one name and scope taken together, ordered by self time, then by name.
pub fn by_name_and_scope(kernels: &[KernelRow]) -> Vec<KernelGroup<'_>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&KernelRow>> = BTreeMap::new();
    for kernel in kernels {
        groups.entry((&kernel.name, &kernel.scope)).or_default().push(kernel);
    }
    let mut groups: Vec<_> = groups.into_iter().map(group).collect();
    groups.sort_by(|a, b| (b.self_time, a.name, a.scope).cmp(&(a.self_time, b.name, b.scope)));
    groups
}

fn group<'a>(((name, scope), rows): ((&'a str, &'a str), Vec<&KernelRow>)) -> KernelGroup<'a> {
    let count = rows.iter().map(|row| row.count).sum();
    let time = |get: fn(&KernelRow) -> Picos| {
        rows.iter().fold(Picos::ZERO, |sum, row| sum.saturating_add(get(row)))
    };
    let mean = |get: fn(&KernelRow) -> &Metric| {
        let costs = rows.iter().map(|row| get(row).value.map(|cost| cost * as_f64(row.count)));
        costs.sum::<Option<f64>>().map(|sum| sum / as_f64(count))
    };
    let devices: BTreeSet<&str> = rows.iter().map(|row| row.device.as_str()).collect();
    KernelGroup {
        name,
        scope,
        devices: devices.len(),
        count,
        self_time: time(|row| row.self_time),
        total: time(|row| row.total),
        p99_us: rows.iter().map(|row| row.p99_us).fold(0.0, f64::max),
        flops: mean(|row| &row.flops),
        bytes: mean(|row| &row.bytes),
    }
}

/// Self time by category, largest first.
pub fn categories(kernels: &[KernelRow]) -> Vec<CategoryRow> {
    let mut groups: FxHashMap<&str, (u64, Picos)> = FxHashMap::default();
    for kernel in kernels {
        let group = groups.entry(&kernel.category).or_default();
        group.0 += kernel.count;
        group.1 = group.1.saturating_add(kernel.self_time);
    }
    let whole = kernels.iter().fold(Picos::ZERO, |sum, k| sum.saturating_add(k.self_time));
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|&(name, (_, time))| (std::cmp::Reverse(time), name));
    groups
        .into_iter()
        .map(|(name, (count, time))| CategoryRow {
            name: name.to_owned(),
            count,
            self_us: time.as_micros(),
            share: share(time, whole),
        })
        .collect()
}
