//! Operations by name and scope, over all programs and devices: what a page and a profile show of
//! kernels.

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::AnalyzeReport;
use xscope_analysis::kernels::row::KernelRow;
use xscope_analysis::kernels::sums::{KernelGroup, by_name_and_scope};

use crate::colour::Text;
use crate::grid::{Cell, Column, Grid, Style, columns, row};
use crate::markup::{ROWS, table};
use crate::text::{duration, known_duration, metric, percent, rate, share, shorten, si};

/// Operations in the roofline chart.
const CHARTED: usize = 300;

/// Rows of the table of a profile's first page.
const LARGEST: usize = 12;

/// The scope that a kernel's time is told of.
pub(crate) fn scope_of<'a>(report: &'a AnalyzeReport, kernel: &'a KernelRow) -> &'a str {
    report.layers.scopes.get(&kernel.meta).unwrap_or(&kernel.scope)
}

/// Operations by self time, largest first.
pub(crate) fn operations(report: &AnalyzeReport) -> Vec<KernelGroup<'_>> {
    by_name_and_scope(&report.kernels, |kernel| scope_of(report, kernel))
}

/// The largest operations.
pub(crate) fn largest(report: &AnalyzeReport) -> Text {
    let numbers = ["devices", "count", "self time", "mean", "p99", "FLOP", "bytes"];
    let mut columns = columns(&["kernel"], &numbers);
    columns.push(Column::Text("scope"));
    let operations = operations(report);
    let cost = |value: Option<f64>, unit| value.map_or_else(|| "-".to_owned(), |v| si(v, unit));
    let rows = operations.iter().take(LARGEST).map(|operation| {
        row![
            shorten(operation.name, 36),
            operation.devices.to_string(),
            operation.count.to_string(),
            duration(operation.self_us),
            duration(operation.mean_us),
            known_duration(&operation.p99_us),
            cost(operation.flops, ""),
            cost(operation.bytes, "B"),
            shorten(operation.scope, 48),
        ]
    });
    let mut out = Grid::new("Kernels by self time", columns, rows).render(Style::Terminal);
    if operations.len() > LARGEST {
        let more = operations.len() - LARGEST;
        out.line(format!(" ({more} more: --json has all, by device)"));
    }
    out
}

/// The operations as a table, as many as a page can hold; `None` if there are none.
pub(crate) fn operations_table(analysis: &AnalyzeReport) -> Option<Markup> {
    let operations = operations(analysis);
    let mut columns = columns(&["kernel", "scope", "category"], &["self time"]);
    columns.push(Column::Share("share"));
    let numbers = ["count", "devices", "mean", "p99", "FLOP/s", "B/s", "FLOP/B", "of peak"];
    columns.extend(numbers.map(Column::Number));
    columns.push(Column::Text("bound by"));
    let rows: Vec<_> = operations.iter().take(ROWS).map(cells).collect();
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

fn cells(operation: &KernelGroup<'_>) -> Vec<Cell> {
    let roofline = &operation.costliest.roofline;
    row![
        shorten(operation.name, 60),
        operation.scope,
        &operation.costliest.category,
        duration(operation.self_us),
        percent(operation.share),
        operation.count.to_string(),
        operation.devices.to_string(),
        duration(operation.mean_us),
        known_duration(&operation.p99_us),
        rate(&operation.flops_per_sec),
        rate(&operation.bytes_per_sec),
        metric(&operation.intensity, 2),
        share(&roofline.efficiency),
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
pub(crate) fn marks<'a>(operations: &[KernelGroup<'a>]) -> Vec<Mark<'a>> {
    let mark = |operation: &KernelGroup<'a>| {
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
