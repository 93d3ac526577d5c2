//! Operations by name and scope, over all programs and devices: what a page shows of kernels.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::AnalyzeReport;
use xscope_analysis::kernels::row::KernelRow;
use xscope_trace::stats::as_f64;

use crate::grid::{Cell, Column, columns, row};
use crate::markup::{ROWS, table};
use crate::text::{duration, percent, shorten, si};

/// Operations in the roofline chart.
const CHARTED: usize = 300;

/// All executions of an operation of one name in one scope.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub name: &'a str,
    pub scope: &'a str,
    pub self_us: f64,
    total_us: f64,
    count: u64,
    p99_us: f64,
    /// Of all executions, if each row says it.
    flops: Option<f64>,
    bytes: Option<f64>,
    devices: Vec<&'a str>,
    /// The one of the program and device that took most.
    costliest: &'a KernelRow,
}

impl<'a> Operation<'a> {
    fn of(row: &'a KernelRow, scope: &'a str) -> Self {
        let whole = |cost: Option<f64>| cost.map(|cost| cost * as_f64(row.count));
        Self {
            name: &row.name,
            scope,
            self_us: row.self_us,
            total_us: row.total_us,
            count: row.count,
            p99_us: row.p99_us,
            flops: whole(row.flops.value),
            bytes: whole(row.bytes.value),
            devices: vec![&row.device],
            costliest: row,
        }
    }

    fn add(&mut self, other: Self) {
        self.self_us += other.self_us;
        self.total_us += other.total_us;
        self.count += other.count;
        self.p99_us = self.p99_us.max(other.p99_us);
        self.flops = self.flops.zip(other.flops).map(|(a, b)| a + b);
        self.bytes = self.bytes.zip(other.bytes).map(|(a, b)| a + b);
        if !self.devices.contains(&other.devices[0]) {
            self.devices.extend(other.devices);
        }
    }

    fn rate(&self, cost: Option<f64>) -> Option<f64> {
        cost.filter(|_| self.total_us > 0.0).map(|cost| cost / self.total_us * 1e6)
    }

    fn intensity(&self) -> Option<f64> {
        self.flops
            .zip(self.bytes)
            .filter(|(_, bytes)| *bytes > 0.0)
            .map(|(flops, bytes)| flops / bytes)
    }
}

/// Operations by self time, largest first.
pub(crate) fn operations(analysis: &AnalyzeReport) -> Vec<Operation<'_>> {
    let mut found: BTreeMap<(&str, &str), Operation<'_>> = BTreeMap::new();
    // Rows come by self time, so the first of a group is its costliest.
    for row in &analysis.kernels {
        let scope = analysis.layers.scopes.get(&row.meta).unwrap_or(&row.scope);
        let operation = Operation::of(row, scope);
        match found.get_mut(&(row.name.as_str(), scope.as_str())) {
            Some(group) => group.add(operation),
            None => drop(found.insert((&row.name, scope), operation)),
        }
    }
    let mut found: Vec<Operation<'_>> = found.into_values().collect();
    found.sort_by(|a, b| {
        b.self_us.total_cmp(&a.self_us).then_with(|| (a.name, a.scope).cmp(&(b.name, b.scope)))
    });
    found
}

/// The operations as a table, as many as a page can hold; `None` if there are none.
pub(crate) fn operations_table(analysis: &AnalyzeReport) -> Option<Markup> {
    let operations = operations(analysis);
    let whole: f64 = operations.iter().map(|operation| operation.self_us).sum();
    let mut columns = columns(&["kernel", "scope", "category"], &["self time"]);
    columns.push(Column::Share("share"));
    let numbers = ["count", "devices", "mean", "p99", "FLOP/s", "B/s", "FLOP/B", "of peak"];
    columns.extend(numbers.map(Column::Number));
    columns.push(Column::Text("bound by"));
    let rows: Vec<_> =
        operations.iter().take(ROWS).map(|operation| cells(operation, whole)).collect();
    (!rows.is_empty()).then(|| html! {
        p.note {
            "Operations of one name and scope together, over all programs and devices. What bounds one, "
            "and its share of the peak, are of the program and device where it took most."
        }
        (table(&columns, &rows))
        @if operations.len() > ROWS {
            p.notice { (operations.len() - ROWS) " more, with less time, are left out of this page; report.json and `--json` have all." }
        }
    })
}

fn cells(operation: &Operation<'_>, whole: f64) -> Vec<Cell> {
    let rate = |cost: Option<f64>| {
        operation.rate(cost).map_or_else(|| "-".to_owned(), |rate| si(rate, ""))
    };
    let roofline = &operation.costliest.roofline;
    row![
        shorten(operation.name, 60),
        operation.scope,
        &operation.costliest.category,
        duration(operation.self_us),
        percent(operation.self_us / whole.max(f64::MIN_POSITIVE)),
        operation.count.to_string(),
        operation.devices.len().to_string(),
        duration(operation.total_us / as_f64(operation.count.max(1))),
        duration(operation.p99_us),
        rate(operation.flops),
        rate(operation.bytes),
        operation.intensity().map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")),
        roofline.efficiency.value.map_or_else(|| "-".to_owned(), percent),
        roofline.bound_by,
    ]
}

/// A mark of the roofline chart.
#[derive(Serialize)]
pub(crate) struct Mark<'a> {
    name: String,
    scope: String,
    device: String,
    intensity: f64,
    flops_per_sec: f64,
    self_us: f64,
    bound_by: &'a str,
    efficiency: Option<f64>,
}

/// The costliest operations whose cost is known.
pub(crate) fn marks<'a>(operations: &[Operation<'a>]) -> Vec<Mark<'a>> {
    let mark = |operation: &Operation<'a>| {
        let roofline = &operation.costliest.roofline;
        Some(Mark {
            name: shorten(operation.name, 80),
            scope: shorten(operation.scope, 80),
            device: shorten(&operation.costliest.device, 80),
            intensity: roofline.intensity.value.filter(|&value| value > 0.0)?,
            flops_per_sec: roofline.flops_per_sec.value.filter(|&value| value > 0.0)?,
            self_us: operation.self_us,
            bound_by: roofline.bound_by,
            efficiency: roofline.efficiency.value,
        })
    };
    operations.iter().filter_map(mark).take(CHARTED).collect()
}
