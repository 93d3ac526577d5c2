//! Every operation that ran on a device: how often, how long, at what cost.

pub mod annotated;
pub(crate) mod by_meta;
pub(crate) mod category;
mod copies;
pub(crate) mod executions;
pub mod inside;
mod names;
pub mod nesting;
pub mod peaks;
pub mod roofline;
pub mod row;
mod rules;
pub mod sums;
pub mod tasks;
pub mod variation;
pub(crate) mod work;

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, MetaId, ProgramId, TrackKind};
use xscope_trace::stats::{Percentile, as_f64, deviation_micros, mean_micros, select, sum};
use xscope_trace::strings::StrId;
use xscope_trace::{Metric, Picos, Trace};

use crate::kernels::by_meta::ByMeta;
use crate::kernels::category::{Kind, is_async_half, kind};
use crate::kernels::copies::{copied_bytes, is_copy};
use crate::kernels::inside::{Inside, insides};
use crate::kernels::peaks::{Peaks, peaks};
use crate::kernels::roofline::{of_async_half, roofline};
use crate::kernels::row::{KernelRow, program_name};
use crate::kernels::work::Work;

/// The executions of one operation on one device.
struct Executions {
    device: DeviceId,
    meta: MetaId,
    kind: Kind,
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

impl Executions {
    /// Puts the durations in another order.
    fn of(
        device: DeviceId,
        (meta, kind): (MetaId, Kind),
        durations: &mut [Picos],
        own: Picos,
        copied: Option<u64>,
    ) -> Self {
        let [p99, p50] = select(durations, [Percentile::P99, Percentile::P50]).unwrap_or_default();
        Self {
            device,
            meta,
            kind,
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
    let devices: Vec<DeviceId> = trace.devices.ids().collect();
    let mut groups: Vec<Executions> =
        devices.into_par_iter().flat_map_iter(|device| groups(work, device)).collect();
    let names = |group: &Executions| {
        let name = trace.label(group.meta);
        (name, trace.device_label(group.device), program_name(trace, group.meta))
    };
    groups.sort_unstable_by(|a, b| b.own.cmp(&a.own).then_with(|| names(a).cmp(&names(b))));
    let peaks = trace.devices.iter().map(|device| peaks(trace, device, work.given));
    let peaks: IdVec<DeviceId, Option<Peaks>> = peaks.collect::<Vec<_>>().into();
    let shared = shared_costs(trace, &groups);
    let row = |group: &Executions| {
        let is_shared = shared.contains(&(group.device, group.meta));
        kernel_row(trace, peaks[group.device], group, is_shared)
    };
    let mut rows: Vec<KernelRow> = groups.par_iter().map(row).collect();
    let noted = trace.devices.ids().map(|device| insides(trace, device));
    let mut noted: IdVec<DeviceId, _> = noted.collect::<Vec<_>>().into();
    for row in &mut rows {
        row.inside = noted[row.device_id].remove(&row.meta);
        if row.inside.as_ref().is_some_and(Inside::waits_for_copies) {
            row.roofline.bound_by = "dma";
        }
    }
    rows
}

/// Kernels of operations that several kernels of a GPU make up: what the program says that the operation
/// costs is of all of them together, and none of it can be told from another's.
fn shared_costs(trace: &Trace, groups: &[Executions]) -> FxHashSet<(DeviceId, MetaId)> {
    let mut kernels: FxHashMap<(DeviceId, ProgramId, StrId), Vec<MetaId>> = FxHashMap::default();
    for group in groups {
        let meta = trace.meta(group.meta);
        let is_copy = group.copied.is_some();
        if let Some(program) = meta.program.filter(|_| !meta.op.is_empty() && !is_copy) {
            kernels.entry((group.device, program, meta.op)).or_default().push(group.meta);
        }
    }
    let several = kernels.into_iter().filter(|(_, metas)| metas.len() > 1);
    several
        .flat_map(|((device, ..), metas)| metas.into_iter().map(move |meta| (device, meta)))
        .collect()
}

fn groups(work: &Work<'_>, device: DeviceId) -> Vec<Executions> {
    let trace = work.trace;
    let of_device = || {
        let tracks = trace.tracks.iter_ids();
        tracks.filter(|(_, track)| track.device == Some(device) && track.kind == TrackKind::Ops)
    };
    let rows = of_device().flat_map(|(_, track)| track.slices.meta.iter().copied());
    let mut by_meta = ByMeta::of(trace, rows);
    let kinds: Vec<Kind> = by_meta.ranges.iter().map(|&(meta, _)| kind(trace, meta)).collect();
    let copied = |(&(meta, _), kind): (&(MetaId, Range<usize>), &Kind)| {
        is_copy(trace, device, meta, kind).then_some(0)
    };
    let mut copied: Vec<Option<u64>> = by_meta.ranges.iter().zip(&kinds).map(copied).collect();
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
    let group = |(((meta, range), kind), (own, copied))| {
        Executions::of(device, (meta, kind), &mut durations[range], own, copied)
    };
    let sums = own.into_iter().zip(copied);
    by_meta.ranges.into_iter().zip(kinds).zip(sums).map(group).collect()
}

fn kernel_row(
    trace: &Trace,
    peaks: Option<Peaks>,
    group: &Executions,
    shares_costs: bool,
) -> KernelRow {
    let (meta, count) = (group.meta, group.count);
    let (flops, bytes) = match group.copied {
        Some(copied) => {
            (Metric::valid(0.0, "FLOP"), Metric::valid(as_f64(copied) / as_f64(count), "B"))
        }
        None if shares_costs => {
            const WHY: &str =
                "one of several kernels of an operation, whose cost is of all of them";
            (Metric::unavailable("FLOP", WHY), Metric::unavailable("B", WHY))
        }
        None => costs(trace, meta),
    };
    let own_secs = group.own.as_micros() / 1e6 / as_f64(count);
    KernelRow {
        name: trace.label(meta).to_owned(),
        category: group.kind.category.clone().into_owned(),
        scope: trace.strings.get(trace.scope_of(meta)).to_owned(),
        program: program_name(trace, meta).to_owned(),
        device: trace.device_label(group.device).to_owned(),
        count,
        total_us: group.total.as_micros(),
        self_us: group.own.as_micros(),
        mean_us: mean_micros(group.total, count),
        min_us: group.min.as_micros(),
        p50_us: group.p50.as_micros(),
        p99_us: Percentile::P99.judged(group.p99.as_micros(), count, "us"),
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
        inside: None,
        named: group.kind.component,
        layer_path: String::new(),
        component: String::new(),
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
