//! What filled the memory, as far as the trace counts it.
//!
//! Two sources are read: counters by owner (`memory_<owner>_live_bytes`, `_peak_bytes`), sampled
//! once a batch, and the live bytes that operations carry (`live_<owner>_bytes`), sampled as each
//! ends. Only the second says what was live at one moment, so only it gives the peak of all
//! owners together and the peak by scope. MB are 10^6 bytes.

pub mod allocations;
pub mod allocators;
pub mod hbm_usage;
pub mod planned;
pub mod snapshots;
mod usage;

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::model::{Counter, Track, TrackKind};
use xscope_trace::stats::as_f64;
use xscope_trace::{Metric, Picos, Trace};

use crate::devices::programs::Execution;
use crate::layers::scope_path;
use crate::memory::allocations::AllocationRow;
use crate::memory::planned::{PlannedRow, planned};
use crate::memory::snapshots::{GrowthRow, growth};

/// Live memory at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Live {
    /// From the start of the trace.
    pub at_us: f64,
    /// What was live then.
    pub mb: f64,
}

/// Live memory of one owner.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnerRow {
    /// `weights`, `kv`, `activations`, `other`.
    pub owner: String,
    /// The most that was live.
    pub peak_mb: f64,
    /// The last sample of what was live.
    pub last_mb: f64,
    /// Samples that were recorded.
    #[serde(rename = "sample_count")]
    pub samples: u64,
    /// What was live over time: of many samples the largest of each of as many equal groups as are
    /// kept.
    #[serde(rename = "samples")]
    pub series: Vec<Live>,
}

/// Live memory while operations of one scope ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScopeRow {
    /// A layer or a component of one.
    pub scope: String,
    /// The largest sum over all owners.
    pub peak_mb: f64,
    /// The largest amount of activations.
    pub activations_mb: f64,
}

/// What was live at the moment at which most was.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeakMoment {
    /// From the start of the trace.
    pub at_us: f64,
    /// By owner, in MB.
    pub owners_mb: BTreeMap<String, f64>,
    /// Activations by the layer or component of one that made them, in MB: what is freed is taken to
    /// be what was made last.
    pub activations_mb_by_scope: BTreeMap<String, f64>,
}

/// The memory section of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryReport {
    /// The largest sum over all owners at one moment.
    pub peak: Metric,
    /// The most device memory that was in use: what devices count themselves, else what their server
    /// does.
    pub peak_hbm_mb: Metric,
    /// What was live when the sum over all owners was largest; absent if no operation says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_moment: Option<PeakMoment>,
    /// Owners by peak, largest first.
    pub owners: Vec<OwnerRow>,
    /// Layers and components, by peak, largest first.
    pub scopes: Vec<ScopeRow>,
    /// The most that a program needs, as planned by its compiler.
    pub planned_peak: Metric,
    /// Programs by what they need, largest first.
    pub programs: Vec<PlannedRow>,
    /// What grew between snapshots, most first.
    pub growth: Vec<GrowthRow>,
}

impl MemoryReport {
    /// Peak of one owner in MB, if it was counted.
    pub(crate) fn owner_peak(&self, owner: &str) -> Option<f64> {
        self.owners.iter().find(|row| row.owner == owner).map(|row| row.peak_mb)
    }
}

const BYTES_PER_MB: f64 = 1e6;

const ON_CPU: &str = "the device is a CPU: what the server counted of its own memory";

/// Around the owner in the name of a counter of live bytes.
pub(crate) const LIVE_PREFIX: &str = "memory_";
pub(crate) const LIVE_SUFFIX: &str = "_live_bytes";

/// How many samples of a series are kept.
const SERIES: usize = 200;

/// How deep scopes are told apart: `layer_3/attention`.
const SCOPE_DEPTH: usize = 2;

/// Memory by owner and by scope, as planned by compilers, and what grew between snapshots.
pub(crate) fn memory(
    trace: &Trace,
    executions: &[Execution],
    allocations: &[AllocationRow],
) -> MemoryReport {
    let owners = owners(trace);
    let (scopes, peak_moment) = scopes(trace);
    let at_once = scopes.iter().map(|scope| scope.peak_mb).reduce(f64::max);
    let bound: f64 = owners.iter().map(|owner| owner.peak_mb).sum();
    let peak = match (at_once, owners.is_empty()) {
        (Some(peak), _) => Metric::valid(peak, "MB"),
        (None, false) => Metric::degraded(
            bound,
            "MB",
            "the owners' peaks are added up, which need not have been at one moment",
        ),
        (None, true) => Metric::unavailable("MB", "the trace does not count memory by owner"),
    };
    let programs = planned(trace, executions);
    let most = programs.first().map(|row| as_f64(row.total_bytes.0) / BYTES_PER_MB);
    MemoryReport {
        peak_hbm_mb: hbm_peak(trace, &peak),
        peak,
        peak_moment,
        owners,
        scopes,
        planned_peak: Metric::known(
            most,
            "MB",
            "the trace carries no HLO with a buffer assignment: capture an XPlane file with \
             enable_hlo_proto",
        ),
        programs,
        growth: growth(trace, allocations),
    }
}

/// The most device memory that was in use; `counted` is what the server says of its own.
fn hbm_peak(trace: &Trace, counted: &Metric) -> Metric {
    use xscope_trace::model::{DeviceKind, MemoryReport as ReportedMemory};
    const MIB: f64 = 1_048_576.0;
    let reports = &trace.memory_reports;
    let most = |values: Vec<f64>| values.into_iter().reduce(f64::max).map(|mib| mib * MIB / 1e6);
    if let Some(peak) = most(reports.iter().filter_map(|report| report.peak_memory_mb).collect()) {
        return Metric::valid(peak, "MB");
    }
    // Of sglang-jax's own reports each sees only some of the tensors.
    let whole = |report: &&ReportedMemory| trace.strings.get(report.report_type) == "device";
    let live = reports.iter().filter(whole).map(|report| report.total_memory_mb).collect();
    if let Some(live) = most(live) {
        let reason = "arrays alive at the snapshots; the device does not count its peak";
        return Metric::degraded(live, "MB", reason);
    }
    let on_cpu = trace.devices.iter().all(|device| device.kind == DeviceKind::Cpu);
    match counted.value.filter(|_| on_cpu && !trace.devices.is_empty()) {
        Some(peak) => Metric::degraded(peak, "MB", ON_CPU),
        None => counted.clone(),
    }
}

fn owners(trace: &Trace) -> Vec<OwnerRow> {
    let zero = trace.start();
    let mut rows: BTreeMap<&str, OwnerRow> = BTreeMap::new();
    for counter in &trace.counters {
        let name = trace.strings.get(counter.name);
        let Some(name) = name.strip_prefix(LIVE_PREFIX) else { continue };
        let (owner, is_live) =
            match (name.strip_suffix(LIVE_SUFFIX), name.strip_suffix("_peak_bytes")) {
                (Some(owner), _) => (owner, true),
                (_, Some(owner)) => (owner, false),
                _ => continue,
            };
        let row = rows.entry(owner).or_insert_with(|| OwnerRow {
            owner: owner.to_owned(),
            peak_mb: 0.0,
            last_mb: 0.0,
            samples: 0,
            series: Vec::new(),
        });
        row.peak_mb = row.peak_mb.max(largest(counter) / BYTES_PER_MB);
        if is_live {
            row.last_mb = counter.value.last().copied().unwrap_or(0.0) / BYTES_PER_MB;
            row.samples = counter.value.len() as u64;
            row.series = series(counter, zero);
        }
    }
    let mut rows: Vec<OwnerRow> = rows.into_values().collect();
    rows.sort_by(|a, b| b.peak_mb.total_cmp(&a.peak_mb).then_with(|| a.owner.cmp(&b.owner)));
    rows
}

fn series(counter: &Counter, zero: Picos) -> Vec<Live> {
    let samples: Vec<(Picos, f64)> =
        counter.at.iter().copied().zip(counter.value.iter().copied()).collect();
    let largest = |group: &[(Picos, f64)]| {
        let &(at, bytes) = group.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Live { at_us: (at - zero).as_micros(), mb: bytes / BYTES_PER_MB })
    };
    samples.chunks(samples.len().div_ceil(SERIES).max(1)).filter_map(largest).collect()
}

fn largest(counter: &Counter) -> f64 {
    counter.value.iter().copied().fold(0.0, f64::max)
}

fn scopes(trace: &Trace) -> (Vec<ScopeRow>, Option<PeakMoment>) {
    let mut peaks: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut most: Option<(f64, &Track, usize)> = None;
    let tracks = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    for track in tracks.filter(|track| live_bytes(trace, track, 0).is_some()) {
        for row in 0..track.slices.len() {
            let Some((all, activations)) = live_bytes(trace, track, row) else { continue };
            let peak = peaks.entry(shallow_scope(trace, track, row)).or_default();
            *peak = (peak.0.max(all), peak.1.max(activations));
            if most.is_none_or(|(most, ..)| all > most) {
                most = Some((all, track, row));
            }
        }
    }
    let mut rows: Vec<ScopeRow> = peaks
        .into_iter()
        .map(|(scope, (all, activations))| ScopeRow {
            scope,
            peak_mb: all / BYTES_PER_MB,
            activations_mb: activations / BYTES_PER_MB,
        })
        .collect();
    rows.sort_by(|a, b| b.peak_mb.total_cmp(&a.peak_mb).then_with(|| a.scope.cmp(&b.scope)));
    (rows, most.map(|(_, track, row)| peak_moment(trace, track, row)))
}

/// The layer, or component of one, that an operation is in.
fn shallow_scope(trace: &Trace, track: &Track, row: usize) -> String {
    let mut path = scope_path(trace.strings.get(trace.scope_of(track.slices.meta[row])));
    path.truncate(SCOPE_DEPTH);
    path.join("/")
}

/// What was live when the operation in `peak` ended.
fn peak_moment(trace: &Trace, track: &Track, peak: usize) -> PeakMoment {
    let activations = (0..=peak).filter_map(|row| {
        Some((shallow_scope(trace, track, row), live_bytes(trace, track, row)?.1))
    });
    let owners = live_owners(trace, track, peak).map(|(owner, bytes)| (owner.to_owned(), bytes));
    let mb = |(name, bytes): (String, f64)| (name, bytes / BYTES_PER_MB);
    PeakMoment {
        at_us: (track.slices.end(peak) - trace.start()).as_micros(),
        owners_mb: owners.map(mb).collect(),
        activations_mb_by_scope: alive_by_scope(activations).into_iter().map(mb).collect(),
    }
}

/// What is live after the last of some operations, by the scope that made it, from what was live
/// after each of them: what is freed is taken to be what was made last.
fn alive_by_scope(operations: impl Iterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let mut made: Vec<(String, f64)> = Vec::new();
    let mut before = 0.0;
    for (scope, live) in operations {
        let mut freed = before - live;
        before = live;
        while freed > 0.0
            && let Some((_, bytes)) = made.last_mut()
        {
            let part = freed.min(*bytes);
            *bytes -= part;
            freed -= part;
            if *bytes <= 0.0 {
                made.pop();
            }
        }
        if freed < 0.0 {
            made.push((scope, -freed));
        }
    }
    let mut sums = BTreeMap::new();
    for (scope, bytes) in made {
        *sums.entry(scope).or_default() += bytes;
    }
    sums
}

/// Live bytes of all owners, and of activations, that the operation in `row` carries.
pub(crate) fn live_bytes(trace: &Trace, track: &Track, row: usize) -> Option<(f64, f64)> {
    live_owners(trace, track, row).fold(None, |sums, (owner, bytes)| {
        let (all, activations) = sums.unwrap_or_default();
        let own = if owner == "activations" { bytes } else { 0.0 };
        Some((all + bytes, activations + own))
    })
}

/// The same by owner.
fn live_owners<'t>(
    trace: &'t Trace,
    track: &'t Track,
    row: usize,
) -> impl Iterator<Item = (&'t str, f64)> {
    let args = track.slices.args.get(row, &trace.strings).into_iter();
    args.filter_map(|(key, value)| {
        let owner = key.strip_prefix("live_")?.strip_suffix("_bytes")?;
        Some((owner, value.as_f64()?))
    })
}

#[cfg(test)]
mod tests {
    use super::alive_by_scope;

    #[test]
    fn what_is_alive_at_one_moment_adds_up() {
        let operations = [
            ("embed", 10.0),
            ("layer_0/attention", 30.0),
            ("layer_0/mlp", 50.0),
            ("layer_0/mlp", 12.0),
            ("layer_1/attention", 40.0),
        ];
        for shown in 1..=operations.len() {
            let rows = operations.iter().take(shown);
            let alive = alive_by_scope(rows.map(|&(scope, live)| (scope.to_owned(), live)));
            let sum: f64 = alive.values().sum();
            assert!((sum - operations[shown - 1].1).abs() < 1e-9, "{alive:?}");
        }
        let alive =
            alive_by_scope(operations.iter().map(|&(scope, live)| (scope.to_owned(), live)));
        let expected = [("embed", 10.0), ("layer_0/attention", 2.0), ("layer_1/attention", 28.0)];
        let found: Vec<_> = alive.iter().map(|(scope, &bytes)| (scope.as_str(), bytes)).collect();
        assert_eq!(found, expected);
    }
}
