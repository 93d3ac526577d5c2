//! Operations taken together: by category, and by name and scope.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::stats::{as_f64, share};
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
