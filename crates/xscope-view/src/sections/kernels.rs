//! Every operation that ran: how often, how long, at what cost.

use std::collections::BTreeMap;

use maud::{Markup, html};
use xscope_analysis::kernels::row::KernelRow;
use xscope_analysis::kernels::variation::Variation;
use xscope_analysis::reports::grouping::GroupRow;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};
use xscope_trace::Metric;
use xscope_trace::metric::Status;

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, Style, columns, row};
use crate::markup::{ROWS, chart};
use crate::sections::cut::truncate;
use crate::sections::differ::{Sides, differences};
use crate::sections::operations::{marks, operations, operations_table, scope_of};
use crate::sections::view::{Content, Data, NO_WORK, PageView, SectionView, compact, pretty};
use crate::text::{duration, metric, percent, shorten, si};

pub(crate) const SECTION: SectionView = SectionView {
    pages: &[
        PageView {
            id: "kernels",
            title: "Kernels",
            content: Content::Own(|report| operations_table(&report.analysis)),
        },
        PageView { id: "roofline", title: "Roofline", content: Content::Own(roofline) },
    ],
    data: &[Data {
        name: "roofline",
        json: |report| compact(&marks(&operations(&report.analysis))),
    }],
    // A page shows operations, not kernels.
    cut: |report| {
        truncate(&mut report.categories, ROWS);
        0
    },
    tables: &[
        Table::new("kernels", |_, report, rows| rows.all(&report.kernels)),
        Table::new("categories", |_, report, rows| rows.all(&report.categories)),
    ],
    difference: Some(difference),
    ..SectionView::new(
        Section::Kernels,
        |report| vec![categories(report), kernels(report)],
        |_| NO_WORK,
        |report, out| pretty(&report.kernels, out),
    )
};

fn categories(report: &AnalyzeReport) -> Grid {
    let columns = [
        Column::Text("category"),
        Column::Number("count"),
        Column::Number("self time"),
        Column::Share("share"),
        Column::Drawing,
    ];
    let rows = report.categories.iter().map(|row| {
        row![
            shorten(&row.name, 40),
            row.count.to_string(),
            duration(row.self_us),
            percent(row.share),
            Cell::bar(row.share, 12),
        ]
    });
    Grid::new("Time by category", columns, rows)
}

fn kernels(report: &AnalyzeReport) -> Grid {
    let names = [
        "occurrences",
        "total self",
        "avg.",
        "min",
        "p99",
        "max",
        "stddev",
        "FLOP/s",
        "B/s",
        "operational intensity",
        "roofline efficiency",
    ];
    let mut columns = columns(&["kernel", "device", "category"], &names);
    columns.extend(["bound by", "varies with", "scope"].map(Column::Text));
    let rows = report.kernels.iter().map(|kernel| kernel_cells(report, kernel));
    Grid::new("Kernels by self time", columns, rows)
}

fn kernel_cells(report: &AnalyzeReport, kernel: &KernelRow) -> Vec<Cell> {
    let rate = |metric: &Metric| metric.value.map_or_else(|| "-".to_owned(), |v| si(v, ""));
    let roofline = &kernel.roofline;
    row![
        // Names of templates differ in their middle only.
        shorten(&kernel.name, 60),
        shorten(&kernel.device, 24),
        shorten(&kernel.category, 20),
        kernel.count.to_string(),
        duration(kernel.self_us),
        duration(kernel.mean_us),
        duration(kernel.min_us),
        duration(kernel.p99_us),
        duration(kernel.max_us),
        duration(kernel.stddev_us),
        rate(&roofline.flops_per_sec),
        rate(&roofline.bytes_per_sec),
        metric(&roofline.intensity, 2),
        match (roofline.efficiency.value, roofline.efficiency.status) {
            (Some(share), Status::Degraded) => format!("{}?", percent(share)),
            (Some(share), _) => percent(share),
            (None, _) => "-".to_owned(),
        },
        roofline.bound_by,
        kernel.varies.as_ref().map_or_else(|| "-".to_owned(), variation),
        shorten(scope_of(report, kernel), 48),
    ]
}

fn variation(varies: &Variation) -> String {
    match varies.explains > 0.0 {
        false => varies.with.to_owned(),
        true => format!(
            "{} ({} to {})",
            varies.with,
            duration(varies.fastest_us),
            duration(varies.slowest_us)
        ),
    }
}

/// Kernels by group.
pub fn groups_text(groups: &[GroupRow], style: Style) -> Text {
    let mut columns = columns(&["group"], &["kernels", "devices", "occurrences", "total self"]);
    columns.push(Column::Share("share"));
    columns.extend(["avg.", "FLOP/s"].map(Column::Number));
    columns.push(Column::Drawing);
    let rows = groups.iter().map(|row| {
        row![
            shorten(&row.group, 56),
            row.kernels.to_string(),
            row.devices.to_string(),
            row.count.to_string(),
            duration(row.self_us),
            percent(row.share),
            duration(row.mean_us),
            row.flops_per_sec.map_or_else(|| "-".to_owned(), |rate| si(rate, "")),
            Cell::bar(row.share, 12),
        ]
    });
    Grid::new("Kernels by group", columns, rows).render(style)
}

fn roofline(report: &ProfileReport) -> Option<Markup> {
    let kernels = &report.analysis.kernels;
    let costed = kernels.iter().any(|kernel| kernel.roofline.intensity.value.is_some());
    (!kernels.is_empty()).then(|| {
        html! {
            @if costed {
                (chart("roofline", "Arithmetic rate over intensity; the area of a mark is its share of the time"))
                p.note { "The kernels' table has the same figures: FLOP/s, FLOP/B, share of the peak, and what bounds each." }
            } @else {
                p.empty { "The profile does not say what its operations cost, so there is no roofline." }
            }
        }
    })
}

fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let times = |report: &ProfileReport| -> BTreeMap<String, f64> {
        let rows = operations(&report.analysis);
        let named = rows.iter().map(|row| match row.scope {
            "" => (row.name.to_owned(), row.self_us),
            scope => (format!("{} in {scope}", row.name), row.self_us),
        });
        named.collect()
    };
    let (rows, per) = sides.by_request(times, duration);
    differences(&format!("Self time of operations, {per}"), "operation", rows)
}
