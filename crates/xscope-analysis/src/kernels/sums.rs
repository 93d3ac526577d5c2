//! Operations taken together: by category, and by name and scope.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::stats::{as_f64, mean_micros, share};
use xscope_trace::{Metric, Picos};

use crate::kernels::row::KernelRow;

/// Self time of one category over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryRow {
    pub name: String,
    pub count: u64,
    pub self_us: f64,
    /// Share of all operations' self time.
    pub share: f64,
}

/// Self time by category, largest first.
pub(crate) fn categories(kernels: &[KernelRow]) -> Vec<CategoryRow> {
    let mut groups: FxHashMap<&str, (u64, Picos)> = FxHashMap::default();
    for kernel in kernels {
        let group = groups.entry(&kernel.category).or_default();
        group.0 += kernel.count;
        group.1 = group.1.saturating_add(kernel.self_time);
    }
    let whole = kernels.iter().fold(Picos::ZERO, |sum, k| sum.saturating_add(k.self_time));
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|&(name, (_, time))| (Reverse(time), name));
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

/// One operation over all devices and programs.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelGroup<'a> {
    pub name: &'a str,
    pub scope: &'a str,
    /// How many devices ran it.
    pub devices: usize,
    pub count: u64,
    pub self_us: f64,
    /// Share of all operations' self time.
    pub share: f64,
    /// Mean of an execution.
    pub mean_us: f64,
    /// Largest p99 of its rows.
    pub p99_us: f64,
    /// Mean cost of an execution, if every row has one.
    pub flops: Option<f64>,
    pub bytes: Option<f64>,
    /// The row of the program and device that took most.
    pub costliest: &'a KernelRow,
}

impl KernelGroup<'_> {
    pub fn flops_per_sec(&self) -> Option<f64> {
        self.flops.filter(|_| self.mean_us > 0.0).map(|flops| flops / self.mean_us * 1e6)
    }

    pub fn bytes_per_sec(&self) -> Option<f64> {
        self.bytes.filter(|_| self.mean_us > 0.0).map(|bytes| bytes / self.mean_us * 1e6)
    }

    /// FLOP for each byte.
    pub fn intensity(&self) -> Option<f64> {
        let costs = self.flops.zip(self.bytes);
        costs.filter(|(_, bytes)| *bytes > 0.0).map(|(flops, bytes)| flops / bytes)
    }
}

/// Operations of one name and scope taken together, ordered by self time, then by name; `scope` says
/// which one an operation is in.
pub fn by_name_and_scope<'a>(
    kernels: &'a [KernelRow],
    scope: impl Fn(&'a KernelRow) -> &'a str,
) -> Vec<KernelGroup<'a>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&KernelRow>> = BTreeMap::new();
    for kernel in kernels {
        groups.entry((&kernel.name, scope(kernel))).or_default().push(kernel);
    }
    let self_time = |rows: &[&KernelRow]| sum(rows.iter().map(|row| row.self_time));
    let whole = sum(kernels.iter().map(|row| row.self_time));
    let mut groups: Vec<_> =
        groups.into_iter().map(|(key, rows)| (Reverse(self_time(&rows)), key, rows)).collect();
    groups.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let groups = groups.iter().filter_map(|(Reverse(time), key, rows)| {
        Some(group(*key, rows, rows.first()?, (*time, whole)))
    });
    groups.collect()
}

/// Sum, saturating.
fn sum(times: impl Iterator<Item = Picos>) -> Picos {
    times.fold(Picos::ZERO, Picos::saturating_add)
}

/// The operations `rows`, whose self time is a part of that of all.
fn group<'a>(
    (name, scope): (&'a str, &'a str),
    rows: &[&'a KernelRow],
    costliest: &'a KernelRow,
    (self_time, whole): (Picos, Picos),
) -> KernelGroup<'a> {
    let count = rows.iter().map(|row| row.count).sum();
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
        self_us: self_time.as_micros(),
        share: share(self_time, whole),
        mean_us: mean_micros(sum(rows.iter().map(|row| row.total)), count),
        p99_us: rows.iter().map(|row| row.p99_us).fold(0.0, f64::max),
        flops: mean(|row| &row.flops),
        bytes: mean(|row| &row.bytes),
        costliest,
    }
}
