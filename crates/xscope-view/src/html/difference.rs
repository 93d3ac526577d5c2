//! Two runs side by side.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::ProfileReport;
use xscope_analysis::compare::CompareReport;
use xscope_analysis::layers::LayerNode;
use xscope_trace::Metric;
use xscope_trace::stats::as_f64;

use crate::compare::{grids, headline};
use crate::grid::{Cell, Column, Style, row};
use crate::html::charts::{Charts, data};
use crate::html::operations::{Operation, operations};
use crate::html::pages::environment;
use crate::html::parts::{chart, findings, grid, stacked, stage_class, table, waterfall};
use crate::html::summary::width_ms;
use crate::html::{Page, Side, document};
use crate::text::{duration, metric};

/// Rows of a table of differences.
const ROWS: usize = 500;

const NO_OPERATION: &str = "Neither profile has an operation of a device.";

#[derive(Serialize)]
struct Both<'a> {
    a: Charts<'a>,
    b: Charts<'a>,
}

/// Two runs as one page of differences, with the verdicts of their comparison, or with the reason
/// why there are none.
pub fn difference_html(a: Side, b: Side, compared: Result<&CompareReport, &str>) -> String {
    let sides = [("A", a.cut().0), ("B", b.cut().0)];
    let names = [0, 1].map(|side| sides[side].1.title());
    let [(_, a), (_, b)] = &sides;
    let (a, b) = (&a.report, &b.report);
    let page = |id, title, content| Page { id, title, content };
    let pages = [
        page("summary", "Summary", summary([a, b], &names, compared)),
        page("figures", "Figures", figures(compared)),
        page("latency", "Latency", latency(a, b)),
        page(
            "layers",
            "Layers",
            html! {
                div.pair {
                    (chart("flame-a", "A: device time by scope; click to zoom"))
                    (chart("flame-b", "B: device time by scope; click to zoom"))
                }
                (layers(a, b))
            },
        ),
        page("kernels", "Kernels", kernels(a, b)),
        page("devices", "Devices", devices(a, b)),
        page("memory", "Memory", memory(a, b)),
        page("compiles", "Compilations", compiles(a, b)),
        page("collectives", "Collectives", collectives(a, b)),
        page(
            "quality",
            "Quality",
            html! {
                @for (name, side) in &sides { h3 { (name) } (findings(&side.report.analysis.quality)) }
            },
        ),
        page(
            "environment",
            "Environment",
            html! {
                @for (name, side) in &sides {
                    h3 { (name) }
                    (environment(&side.report, side.manifest.as_ref()))
                }
            },
        ),
    ];
    let title = format!("{} and {}", names[0], names[1]);
    document(&title, &pages, &Both { a: data(a), b: data(b) })
}

fn summary(
    reports: [&ProfileReport; 2],
    names: &[String; 2],
    compared: Result<&CompareReport, &str>,
) -> Markup {
    let width = width_ms(reports);
    html! {
        div.verdict {
            @match compared {
                Ok(report) => p { (headline(report, Style::Terminal).plain()) },
                Err(why) => p { "No verdict on the figures: " (why) },
            }
        }
        div.pair {
            @for (side, (report, name)) in ["A", "B"].iter().zip(reports.iter().zip(names)) {
                div {
                    h3 { (side) ": " bdi { (name) } }
                    @if !report.complete { p.notice { "This run did not come to its end." } }
                    @if report.requests.measured > 0 {
                        (waterfall("Typical request", &report.typical, width))
                        @if let Some(slowest) = &report.slowest { (waterfall("Slowest request", slowest, width)) }
                        (stacked(report.stages.iter().map(|stage| {
                            (stage.name.as_str(), stage_class(&stage.name), stage.share)
                        })))
                    } @else { p.empty { "No measured request." } }
                }
            }
        }
    }
}

fn figures(compared: Result<&CompareReport, &str>) -> Markup {
    html! {
        @match compared {
            Ok(report) => {
                @for table in &grids(report) { (grid(table)) }
                @if report.why.len() > 1 {
                    p.note { "What was changed together cannot be told apart: none of it alone is shown to be the cause." }
                }
                @if !report.findings.is_empty() { (findings(&report.findings)) }
            },
            Err(why) => p.empty { (why) },
        }
    }
}

/// A column of names, both values and their difference.
fn columns(name: &'static str) -> [Column; 5] {
    let numbers = ["A", "B", "B - A", "change"].map(Column::Number);
    let [a, b, difference, change] = numbers;
    [Column::Text(name), a, b, difference, change]
}

/// Cells of two values that may be missing.
fn cells(name: String, a: Option<f64>, b: Option<f64>, show: impl Fn(f64) -> String) -> Vec<Cell> {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), &show);
    let difference = a.zip(b).map(|(a, b)| b - a);
    let change = a.zip(difference).filter(|(a, _)| *a > 0.0).map(|(a, more)| 100.0 * more / a);
    row![
        name,
        shown(a),
        shown(b),
        shown(difference),
        change.map_or_else(|| "-".to_owned(), |percent| format!("{percent:+.1} %")),
    ]
}

fn latency(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let (of_a, of_b) = (&a.latency, &b.latency);
    let figures: [(&str, &Metric, &Metric); 5] = [
        ("p50 ms", &of_a.p50_ms, &of_b.p50_ms),
        ("p95 ms", &of_a.p95_ms, &of_b.p95_ms),
        ("p99 ms", &of_a.p99_ms, &of_b.p99_ms),
        ("mean ms", &of_a.mean_ms, &of_b.mean_ms),
        ("items/s", &of_a.items_per_sec, &of_b.items_per_sec),
    ];
    let figures = figures.map(|(name, a, b)| {
        let mut row = cells(name.to_owned(), a.value, b.value, |value| format!("{value:.3}"));
        (row[1], row[2]) = (metric(a, 3).into(), metric(b, 3).into());
        row
    });
    let mean = |report: &ProfileReport| -> BTreeMap<String, f64> {
        report.stages.iter().map(|stage| (stage.name.clone(), stage.mean_ms)).collect()
    };
    let stages = joined(&mean(a), &mean(b), |ms| format!("{ms:.3}"));
    html! {
        (chart("percentiles", "Latency by percentile"))
        (table(&columns("figure"), &figures))
        h3 { "Mean time in each stage, ms" }
        (table(&columns("stage"), &stages))
    }
}

/// Rows of what either side has, the largest difference first.
fn joined(
    a: &BTreeMap<String, f64>,
    b: &BTreeMap<String, f64>,
    show: impl Fn(f64) -> String + Copy,
) -> Vec<Vec<Cell>> {
    let mut names: Vec<&String> =
        a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))).collect();
    let apart = |name: &String| (b.get(name).unwrap_or(&0.0) - a.get(name).unwrap_or(&0.0)).abs();
    names.sort_by(|x, y| apart(y).total_cmp(&apart(x)).then_with(|| x.cmp(y)));
    let row = |name: &String| cells(name.clone(), a.get(name).copied(), b.get(name).copied(), show);
    names.into_iter().map(row).collect()
}

/// Device times compare by request where both sides have requests: runs differ in how many.
fn divisors(a: &ProfileReport, b: &ProfileReport) -> ([f64; 2], &'static str) {
    let counts = [a, b].map(|report| report.requests.measured + report.requests.warmup);
    match counts.contains(&0) {
        true => ([1.0; 2], "in all"),
        false => (counts.map(as_f64), "for each request, warm-up included"),
    }
}

fn layers(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let (divisors, what) = divisors(a, b);
    let times = |report: &ProfileReport, by: f64| {
        let mut times = BTreeMap::new();
        let root = &report.analysis.layers.root;
        root.children.iter().for_each(|child| paths(child, "", by, &mut times));
        times
    };
    let rows = joined(&times(a, divisors[0]), &times(b, divisors[1]), duration);
    html! {
        h3 { "Device time by scope, " (what) }
        (bounded("scope", rows, NO_OPERATION))
    }
}

fn paths(node: &LayerNode, above: &str, by: f64, times: &mut BTreeMap<String, f64>) {
    let path = if above.is_empty() { node.name.clone() } else { format!("{above}/{}", node.name) };
    for child in &node.children {
        paths(child, &path, by, times);
    }
    times.insert(path, node.total_us / by);
}

fn kernels(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let (divisors, what) = divisors(a, b);
    let times = |report: &ProfileReport, by: f64| -> BTreeMap<String, f64> {
        let path = |row: &Operation<'_>| match row.scope {
            "" => row.name.to_owned(),
            scope => format!("{} in {scope}", row.name),
        };
        operations(&report.analysis).iter().map(|row| (path(row), row.self_us / by)).collect()
    };
    let rows = joined(&times(a, divisors[0]), &times(b, divisors[1]), duration);
    html! {
        h3 { "Self time of operations, " (what) }
        (bounded("operation", rows, NO_OPERATION))
    }
}

/// Sums by name.
fn sums<'a>(rows: impl Iterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (name, value) in rows {
        *sums.entry(name.to_owned()).or_default() += value;
    }
    sums
}

/// What the devices' windows went into, and why they idled, over all devices.
fn devices(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let parts = |report: &ProfileReport| {
        sums(report.analysis.timeline.iter().flat_map(|row| {
            [
                ("computation", row.computation_us),
                ("exposed communication", row.exposed_communication_us),
                ("exposed copies", row.exposed_copy_us),
                ("idle", row.idle_us),
            ]
        }))
    };
    let causes = |report: &ProfileReport| {
        let rows = report.analysis.idle.iter().flat_map(|row| &row.causes);
        sums(rows.map(|row| (row.cause, row.us)))
    };
    html! {
        h3 { "What the devices' windows went into, over all devices" }
        (bounded("part", joined(&parts(a), &parts(b), duration), "Neither profile has a device."))
        h3 { "Idle time by cause, over all devices" }
        (bounded("cause", joined(&causes(a), &causes(b), duration), "No device idled."))
    }
}

fn memory(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let peaks = |report: &ProfileReport| {
        let memory = &report.analysis.memory;
        let mut peaks = sums(memory.owners.iter().map(|row| (row.owner.as_str(), row.peak_mb)));
        peaks.extend(memory.peak.value.map(|peak| ("all owners".to_owned(), peak)));
        peaks
    };
    let rows = joined(&peaks(a), &peaks(b), |mb| format!("{mb:.2}"));
    html! {
        h3 { "Peak by owner, MB" }
        (bounded("owner", rows, "Neither profile counts memory by owner."))
    }
}

fn compiles(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let times = |report: &ProfileReport| {
        let named = report.analysis.compiles.iter().map(|row| {
            let name = if row.program.is_empty() { &row.event } else { &row.program };
            (name.as_str(), row.duration_us)
        });
        sums(named)
    };
    html! {
        h3 { "Time of compiling" }
        (bounded("program", joined(&times(a), &times(b), duration), "Neither side compiled anything."))
    }
}

fn collectives(a: &ProfileReport, b: &ProfileReport) -> Markup {
    let (divisors, what) = divisors(a, b);
    let times = |report: &ProfileReport, by: f64| {
        let rows = report.analysis.collectives.iter();
        sums(rows.map(|row| (row.name.as_str(), row.total_us / by)))
    };
    let rows = joined(&times(a, divisors[0]), &times(b, divisors[1]), duration);
    html! {
        h3 { "Time in collectives, " (what) }
        (bounded("collective", rows, "No operation exchanges data between devices."))
    }
}

/// Rows of a table as far as a page can hold them, or a word if there are none.
fn bounded(name: &'static str, mut rows: Vec<Vec<Cell>>, empty: &str) -> Markup {
    let left_out = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    html! {
        @if rows.is_empty() { p.empty { (empty) } }
        @else { (table(&columns(name), &rows)) }
        @if left_out > 0 { p.notice { (left_out) " more, with smaller differences, are left out." } }
    }
}
