//! What grew between snapshots of a device's memory: a leak, if it never shrinks.
//!
//! Snapshots are device memory profiles (pprof) of one process, compared by the place in the code
//! that allocated, and memory reports of one type that say when they were made, compared by tensor.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::Trace;

use crate::memory::allocations::AllocationRow;

/// MB of memory reports are of this many bytes.
const MIB: f64 = 1_048_576.0;

/// One place or tensor over the snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GrowthRow {
    /// `profile` or `report`.
    pub source: &'static str,
    /// The place in the code, or the tensor.
    pub name: String,
    /// Snapshots that it was compared in, in their order.
    pub snapshots: Vec<String>,
    /// Bytes in each of them.
    #[serde(rename = "snapshot_bytes")]
    pub bytes: Vec<i64>,
    /// The last minus the first.
    pub growth_bytes: i64,
    /// Whether it grew from each snapshot to the next, over at least three.
    pub always_grew: bool,
}

/// What grew, most first.
pub(crate) fn growth(trace: &Trace, allocations: &[AllocationRow]) -> Vec<GrowthRow> {
    let mut rows = of_profiles(trace, allocations);
    rows.extend(of_reports(trace));
    rows.retain(|row| row.growth_bytes > 0);
    rows.sort_by(|a, b| {
        (b.always_grew, b.growth_bytes, &a.name).cmp(&(a.always_grew, a.growth_bytes, &b.name))
    });
    rows
}

fn of_profiles(trace: &Trace, allocations: &[AllocationRow]) -> Vec<GrowthRow> {
    let order = profiles_in_order(trace);
    let mut sites: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for row in allocations {
        let bytes = sites.entry(&row.site).or_default().entry(&row.profile).or_default();
        *bytes = bytes.saturating_add(row.bytes);
    }
    compare("profile", &order, &sites)
}

/// Profiles by when they were made if all of them say so (pprof's own time, or that of the memory
/// report beside it), else in the order in which they were given.
fn profiles_in_order(trace: &Trace) -> Vec<&str> {
    let reports: BTreeMap<String, i64> = trace
        .memory_reports
        .iter()
        .filter_map(|report| {
            let path = &trace.sources.get(report.source)?.path;
            Some((path.replace("memory_report_", "").replace(".json", ""), report.at?.0))
        })
        .collect();
    let sources = trace.profiles.iter().filter_map(|profile| profile.source);
    let timed: Vec<(&str, Option<i64>)> = sources
        .filter_map(|source| trace.sources.get(source))
        .map(|source| {
            let stated = source.facts.iter().find(|(key, _)| key == "time_unix_nanos");
            let stated = stated.and_then(|(_, at)| at.parse().ok()).filter(|&at: &i64| at > 0);
            let beside = source.path.strip_suffix(".prof").and_then(|name| reports.get(name));
            (source.path.as_str(), stated.or(beside.copied()))
        })
        .collect();
    let mut order: Vec<(i64, &str)> =
        timed.iter().filter_map(|&(path, at)| Some((at?, path))).collect();
    if order.len() < timed.len() {
        return timed.into_iter().map(|(path, _)| path).collect();
    }
    order.sort_unstable();
    order.into_iter().map(|(_, path)| path).collect()
}

fn of_reports(trace: &Trace) -> Vec<GrowthRow> {
    let mut timed: Vec<_> = trace
        .memory_reports
        .iter()
        .filter_map(|report| {
            let source = trace.sources.get(report.source)?;
            Some((report.report_type, report.at?, source.path.as_str(), report))
        })
        .collect();
    timed.sort_by_key(|&(kind, at, path, _)| (kind, at, path));
    let mut rows = Vec::new();
    for group in timed.chunk_by(|a, b| a.0 == b.0) {
        let order: Vec<&str> = group.iter().map(|&(_, _, path, _)| path).collect();
        let mut tensors: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
        for &(_, _, path, report) in group {
            for tensor in &report.tensors {
                // The probe's names end in how many there are: `float32[8, 128] x3`.
                let name = trace.strings.get(tensor.name);
                let name = name.rsplit_once(" x").map_or(name, |(name, _)| name);
                let bytes = tensors.entry(name).or_default().entry(path).or_default();
                *bytes = bytes.saturating_add(whole(tensor.memory_mb * MIB));
            }
        }
        rows.extend(compare("report", &order, &tensors));
    }
    rows
}

#[expect(clippy::cast_possible_truncation, reason = "casts saturate; sizes are far below")]
fn whole(bytes: f64) -> i64 {
    bytes.round() as i64
}

fn compare(
    source: &'static str,
    order: &[&str],
    named: &BTreeMap<&str, BTreeMap<&str, i64>>,
) -> Vec<GrowthRow> {
    let distinct: BTreeSet<&&str> = order.iter().collect();
    if distinct.len() < 2 {
        return Vec::new();
    }
    let row = |(name, by_snapshot): (&&str, &BTreeMap<&str, i64>)| {
        let bytes: Vec<i64> =
            order.iter().map(|snapshot| by_snapshot.get(snapshot).copied().unwrap_or(0)).collect();
        let first = bytes.first().copied().unwrap_or(0);
        let last = bytes.last().copied().unwrap_or(0);
        GrowthRow {
            source,
            name: (*name).to_owned(),
            snapshots: order.iter().map(|&snapshot| snapshot.to_owned()).collect(),
            growth_bytes: last.saturating_sub(first),
            always_grew: bytes.len() > 2 && bytes.windows(2).all(|pair| pair[0] < pair[1]),
            bytes,
        }
    };
    named.iter().map(row).collect()
}
