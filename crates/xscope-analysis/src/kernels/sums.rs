//! Operations taken together: by category, and by name and scope.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::metric::Status;
use xscope_trace::stats::{as_f64, mean_micros, share};
use xscope_trace::{Metric, Picos};

use crate::kernels::roofline::Roofline;
use crate::kernels::row::KernelRow;

/// Self time of one category over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CategoryRow {
    /// HLO's category, or what the recorder calls it.
    pub name: String,
    /// Executions.
    pub count: u64,
    /// Time without that of operations nested in it.
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
    /// Largest p99 of its rows, if each has enough executions for one.
    pub p99_us: Metric,
    /// Mean cost of an execution, if every row has one.
    pub flops: Option<f64>,
    pub bytes: Option<f64>,
    /// Of the self time of all its rows, if each has one.
    pub flops_per_sec: Metric,
    pub bytes_per_sec: Metric,
    pub intensity: Metric,
    /// Shortest and longest execution.
    pub min_us: f64,
    pub max_us: f64,
    /// The row of the program and device that took most.
    pub costliest: &'a KernelRow,
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
    let rate = |get: fn(&Roofline) -> &Metric| mean_rate(rows, get);
    let extreme = |get: fn(&KernelRow) -> f64, choose: fn(f64, f64) -> f64| {
        rows.iter().map(|row| get(row)).reduce(choose).unwrap_or_default()
    };
    KernelGroup {
        name,
        scope,
        devices: devices.len(),
        count,
        self_us: self_time.as_micros(),
        share: share(self_time, whole),
        mean_us: mean_micros(sum(rows.iter().map(|row| row.total)), count),
        p99_us: largest(rows.iter().map(|row| &row.p99_us)),
        flops: mean(|row| &row.flops),
        bytes: mean(|row| &row.bytes),
        flops_per_sec: rate(|roofline| &roofline.flops_per_sec),
        bytes_per_sec: rate(|roofline| &roofline.bytes_per_sec),
        intensity: rate(|roofline| &roofline.intensity),
        min_us: extreme(|row| row.min_us, f64::min),
        max_us: extreme(|row| row.max_us, f64::max),
        costliest,
    }
}

/// The largest of several; none if one is not known.
fn largest<'a>(figures: impl Iterator<Item = &'a Metric> + Clone) -> Metric {
    let unknown = figures.clone().find(|figure| figure.value.is_none());
    let known = || figures.max_by(|a, b| a.value.unwrap_or(0.0).total_cmp(&b.value.unwrap_or(0.0)));
    unknown.or_else(known).cloned().unwrap_or_default()
}

/// The mean of what several rows have, by their self time, as doubtful as the most doubtful of them; none if
/// one has none.
fn mean_rate(rows: &[&KernelRow], get: fn(&Roofline) -> &Metric) -> Metric {
    let all = || rows.iter().map(|row| get(&row.roofline));
    let worst = all().find(|metric| metric.value.is_none());
    let worst = worst.or_else(|| all().find(|metric| metric.status == Status::Degraded));
    let Some(worst) = worst.or_else(|| all().next()).cloned() else {
        return Metric::unavailable("1", "there is no operation");
    };
    let weighed = rows.iter().filter_map(|row| Some((get(&row.roofline).value?, row.self_us)));
    let (sum, time) =
        weighed.fold((0.0, 0.0), |sums, (rate, us)| (sums.0 + rate * us, sums.1 + us));
    let value = worst.value.map(|value| if time > 0.0 { sum / time } else { value });
    Metric { value, ..worst }
}
