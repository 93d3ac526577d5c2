//! Kernels taken together by what a user asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::stats::{as_f64, mean_micros, share};
use xscope_trace::{Metric, Picos};

use crate::kernels::row::{KernelRow, scaled};
use crate::layers::{KernelPart, NO_SCOPE};
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

impl<'a> GroupSums<'a> {
    /// Adds the part of a kernel that takes `own` of its self time, in `count` executions.
    fn add(&mut self, kernel: &'a KernelRow, own: Picos, count: u64) {
        self.names.insert(&kernel.name);
        self.devices.insert(&kernel.device);
        self.count += count;
        self.total = self.total.saturating_add(match own == kernel.self_time {
            true => kernel.total,
            false => scaled(kernel.total, own, kernel.self_time),
        });
        self.own = self.own.saturating_add(own);
        if let Some(flops) = kernel.flops.value {
            self.flops += flops * as_f64(kernel.count) * share(own, kernel.self_time);
            self.costed = self.costed.saturating_add(own);
        }
    }
}

/// The kernels of a report by group, by self time. By scope and by component, a kernel that is of several
/// is split as in the layers.
pub fn grouped(report: &AnalyzeReport, by: GroupBy) -> GroupsReport {
    let mut groups: BTreeMap<String, GroupSums<'_>> = BTreeMap::new();
    for kernel in &report.kernels {
        for (group, (own, count)) in parts(report, kernel, by) {
            groups.entry(group.to_owned()).or_default().add(kernel, own, count);
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

/// The groups that a kernel is in, with its self time and its executions in each.
fn parts<'a>(
    report: &'a AnalyzeReport,
    kernel: &'a KernelRow,
    by: GroupBy,
) -> BTreeMap<&'a str, (Picos, u64)> {
    let name: fn(&KernelPart) -> &str = match by {
        GroupBy::Scope => |part| match part.scope.as_str() {
            "" => NO_SCOPE,
            scope => scope,
        },
        GroupBy::Component => |part| &part.component,
        GroupBy::Name => return whole(kernel, &kernel.name),
        GroupBy::Category => return whole(kernel, &kernel.category),
        GroupBy::Program => return whole(kernel, &kernel.program),
        GroupBy::Device => return whole(kernel, &kernel.device),
    };
    let mut groups: BTreeMap<&str, (Picos, u64)> = BTreeMap::new();
    for part in report.layers.parts_of(kernel) {
        let (own, count) = groups.entry(name(part)).or_default();
        *own = own.saturating_add(part.time);
        // An execution that is split among scopes is in each of them.
        *count = count.saturating_add(part.count).min(kernel.count);
    }
    groups
}

fn whole<'a>(kernel: &KernelRow, group: &'a str) -> BTreeMap<&'a str, (Picos, u64)> {
    BTreeMap::from([(group, (kernel.self_time, kernel.count))])
}
