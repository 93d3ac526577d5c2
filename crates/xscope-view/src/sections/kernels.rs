//! Every operation that ran: how often, how long, at what cost.

use std::collections::BTreeMap;

use maud::{Markup, html};
use xscope_analysis::kernels::inside::Inside;
use xscope_analysis::kernels::sums::KernelGroup;
use xscope_analysis::kernels::variation::Variation;
use xscope_analysis::reports::grouping::GroupRow;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, Style, columns, row};
use crate::markup::{ROWS, chart, grid};
use crate::sections::cut::{titled, truncate};
use crate::sections::differ::{Sides, differences};
use crate::sections::operations::{marks, operations, operations_table};
use crate::sections::view::{Content, Data, PageView, SectionView, compact, no_work};
use crate::text::{duration, known_duration, metric, percent, rate, share, shorten, si};

/// Operations that a terminal shows.
const LISTED: usize = 100;

pub(crate) const SECTION: SectionView = SectionView {
    pages: &[
        PageView { id: "kernels", title: "Kernels", content: Content::Own(page) },
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
        |report| {
            let first = [categories(report), kernels(report)];
            first.into_iter().chain(noted(report)).collect()
        },
        no_work,
        |report, none| SectionReport {
            categories: Some(&report.categories),
            kernels: Some(&report.kernels),
            ..none
        },
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
    let mut columns = columns(&["kernel", "category"], &["devices", "occurrences", "total self"]);
    columns.push(Column::Share("share"));
    let names = ["avg.", "min", "p99", "max", "FLOP/s", "B/s", "FLOP/B", "of peak"];
    columns.extend(names.map(Column::Number));
    columns.extend(["bound by", "varies with", "scope"].map(Column::Text));
    let operations = operations(report);
    let mut rows: Vec<_> = operations.iter().take(LISTED).map(operation_cells).collect();
    let rest = operations.get(LISTED..).unwrap_or_default();
    if !rest.is_empty() {
        let self_us = rest.iter().map(|operation| operation.self_us).sum();
        let share = rest.iter().map(|operation| operation.share).sum();
        let more = format!("({} more: --json has all)", rest.len());
        let mut cells = row![more, "", "", "", duration(self_us), percent(share)];
        cells.resize(columns.len(), Cell::from(""));
        rows.push(cells);
    }
    Grid::new("Kernels by self time, over all programs and devices", columns, rows)
}

/// What devices note within operations: its tables, of which most profiles have none.
fn noted(report: &AnalyzeReport) -> impl Iterator<Item = Grid> {
    stages(report).into_iter().chain(units(report))
}

/// What devices note within operations, each with its operation.
fn insides(report: &AnalyzeReport) -> impl Iterator<Item = (String, &Inside)> {
    let kernels = report.kernels.iter().filter_map(|it| Some((it, it.inside.as_ref()?)));
    kernels.map(|(kernel, inside)| (shorten(&kernel.name, 60), inside))
}

/// The stages of operations, if any is noted.
fn stages(report: &AnalyzeReport) -> Option<Grid> {
    let mut columns = columns(&["kernel", "stage"], &["count", "self time"]);
    columns.extend([Column::Share("of the kernel"), Column::Drawing]);
    let rows = insides(report).flat_map(|(name, inside)| {
        inside.noted_stages.iter().map(move |stage| {
            row![
                name.clone(),
                shorten(&stage.name, 40),
                stage.count.to_string(),
                duration(stage.self_us),
                percent(stage.share),
                Cell::bar(stage.share, 12),
            ]
        })
    });
    noted_table("Stages within kernels, as the device notes them", columns, rows.collect())
}

/// How busy units were within operations, if that was sampled.
fn units(report: &AnalyzeReport) -> Option<Grid> {
    let columns = columns(&["kernel", "unit"], &["samples", "slots in use"]);
    let rows = insides(report).flat_map(|(name, inside)| {
        inside.sampled_units.iter().map(move |unit| {
            row![
                name.clone(),
                shorten(&unit.name, 40),
                unit.sample_count.to_string(),
                share(&unit.slot_share),
            ]
        })
    });
    noted_table("Units of the device within kernels, sampled", columns, rows.collect())
}

fn noted_table(title: &str, columns: Vec<Column>, mut rows: Vec<Vec<Cell>>) -> Option<Grid> {
    let all = rows.len();
    rows.truncate(LISTED);
    (all > 0).then(|| Grid::new(titled(title, rows.len(), all), columns, rows))
}

fn operation_cells(operation: &KernelGroup<'_>) -> Vec<Cell> {
    let kernel = operation.costliest;
    row![
        // Names of templates differ in their middle only.
        shorten(operation.name, 60),
        shorten(&kernel.category, 20),
        operation.devices.to_string(),
        operation.count.to_string(),
        duration(operation.self_us),
        percent(operation.share),
        duration(operation.mean_us),
        duration(operation.min_us),
        known_duration(&operation.p99_us),
        duration(operation.max_us),
        rate(&operation.flops_per_sec),
        rate(&operation.bytes_per_sec),
        metric(&operation.intensity, 2),
        share(&kernel.roofline.efficiency),
        kernel.roofline.bound_by,
        kernel.varies.as_ref().map_or_else(|| "-".to_owned(), variation),
        shorten(operation.scope, 48),
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
            row.flops_per_sec.value.map_or_else(|| "-".to_owned(), |rate| si(rate, "")),
            Cell::bar(row.share, 12),
        ]
    });
    Grid::new("Kernels by group", columns, rows).render(style)
}

fn page(report: &ProfileReport) -> Option<Markup> {
    let operations = operations_table(&report.analysis)?;
    Some(html! {
        (operations)
        @for table in noted(&report.analysis) { (grid(&table)) }
    })
}

fn roofline(report: &ProfileReport) -> Option<Markup> {
    let operations = operations(&report.analysis);
    let first = operations.first()?;
    let is_charted = !marks(&operations).is_empty();
    let why = &first.costliest.roofline.intensity.reason;
    Some(html! {
        @if is_charted {
            (chart("roofline", "Arithmetic rate over intensity; the area of a mark is its share of the time"))
            p.note { "The kernels' table has the same figures: FLOP/s, FLOP/B, share of the peak, and what bounds each." }
        } @else {
            p.empty {
                "There is no roofline: of no operation are both FLOPs and bytes known. Of the largest: "
                (why.as_deref().unwrap_or("it moves bytes and computes nothing")) "."
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
