//! Kernels taken together by what a user asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::stats::{as_f64, mean_micros, share};
use xscope_trace::{Metric, Picos};

use crate::kernels::row::KernelRow;
use crate::layers::components::{ComponentRule, component};
use crate::layers::scope::NO_SCOPE;
use crate::reports::analyze_report::AnalyzeReport;

/// The version of [`GroupsReport`] as JSON.
pub const SCHEMA: &str = "xscope/groups/1";

/// Kernels taken together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupsReport {
    /// The kind and the version of this document.
    pub schema: &'static str,
    /// What they are taken together by.
    pub by: GroupBy,
    /// By self time, largest first.
    pub groups: Vec<GroupRow>,
}

/// What kernels are taken together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// The operation's name.
    Name,
    /// The path of scopes.
    Scope,
    /// HLO's category.
    Category,
    /// The program.
    Program,
    /// The device.
    Device,
    /// The component.
    Component,
}

impl GroupBy {
    pub const ALL: [(&'static str, Self); 6] = [
        ("name", Self::Name),
        ("scope", Self::Scope),
        ("category", Self::Category),
        ("program", Self::Program),
        ("device", Self::Device),
        ("component", Self::Component),
    ];
}

/// Kernels of one group.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupRow {
    /// What they have in common.
    pub group: String,
    /// Different operations.
    #[serde(rename = "kernel_count")]
    pub kernels: u64,
    /// Devices that they ran on.
    #[serde(rename = "device_count")]
    pub devices: u64,
    /// Executions.
    pub count: u64,
    /// Their time together.
    pub total_us: f64,
    /// Time without that of operations nested in it.
    pub self_us: f64,
    /// Of all kernels' self time; the shares of all groups add up to 1.
    pub share: f64,
    /// Mean duration.
    pub mean_us: f64,
    /// Floating-point operations over self time, of those kernels whose cost is known.
    pub flops_per_sec: Metric,
}

#[derive(Default)]
struct GroupSums<'a> {
    names: BTreeSet<&'a str>,
    devices: BTreeSet<&'a str>,
    count: u64,
    total: Picos,
    own: Picos,
    flops: f64,
    costed: Picos,
}

/// The kernels of a report by group, by self time.
pub fn grouped(report: &AnalyzeReport, by: GroupBy, rules: &[ComponentRule]) -> GroupsReport {
    let mut groups: BTreeMap<String, GroupSums<'_>> = BTreeMap::new();
    for kernel in &report.kernels {
        let group = groups.entry(key(report, kernel, by, rules)).or_default();
        group.names.insert(&kernel.name);
        group.devices.insert(&kernel.device);
        group.count += kernel.count;
        group.total = group.total.saturating_add(kernel.total);
        group.own = group.own.saturating_add(kernel.self_time);
        if let Some(flops) = kernel.flops.value {
            group.flops += flops * as_f64(kernel.count);
            group.costed = group.costed.saturating_add(kernel.self_time);
        }
    }
    let whole = groups.values().fold(Picos::ZERO, |sum, group| sum.saturating_add(group.own));
    let mut groups: Vec<(String, GroupSums<'_>)> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.own.cmp(&a.1.own).then_with(|| a.0.cmp(&b.0)));
    let row = |(group, sums): (String, GroupSums<'_>)| {
        let secs = sums.costed.as_micros() / 1e6;
        GroupRow {
            group,
            kernels: sums.names.len() as u64,
            devices: sums.devices.len() as u64,
            count: sums.count,
            total_us: sums.total.as_micros(),
            self_us: sums.own.as_micros(),
            share: share(sums.own, whole),
            mean_us: mean_micros(sums.total, sums.count),
            flops_per_sec: Metric::known(
                (secs > 0.0).then(|| sums.flops / secs),
                "FLOP/s",
                "the cost of none of its kernels is known",
            ),
        }
    };
    let groups = groups.into_iter().map(row).collect();
    GroupsReport { schema: SCHEMA, by, groups }
}

fn key(report: &AnalyzeReport, kernel: &KernelRow, by: GroupBy, rules: &[ComponentRule]) -> String {
    let scope = || {
        let known = report.layers.scopes.get(&kernel.meta).filter(|scope| !scope.is_empty());
        known.map_or(NO_SCOPE, String::as_str)
    };
    match by {
        GroupBy::Name => kernel.name.clone(),
        GroupBy::Scope => scope().to_owned(),
        GroupBy::Category => kernel.category.clone(),
        GroupBy::Program => kernel.program.clone(),
        GroupBy::Device => kernel.device.clone(),
        GroupBy::Component => {
            let work = (kernel.category.as_str(), kernel.component);
            component(&scope().split('/').collect::<Vec<_>>(), work, rules).to_owned()
        }
    }
}
