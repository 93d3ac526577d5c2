//! Where requests' time went, and what their batches were.

use std::collections::BTreeMap;
use std::io;

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::requests::RequestsReport;
use xscope_analysis::requests::batches::BatchSummary;
use xscope_analysis::requests::by_point::PointReport;
use xscope_analysis::requests::latency::Latency;
use xscope_analysis::requests::measured::{PhaseCount, RequestCounts};
use xscope_analysis::requests::profiled::Profiled;
use xscope_analysis::requests::slow::SlowReport;
use xscope_analysis::requests::stages::{StageRow, stages as stages_of};
use xscope_analysis::requests::view::{RequestView, requests};
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};
use xscope_trace::{Metric, Picos, Trace};

use crate::colour::Tone;
use crate::csv::{Rows, Table, decimal, micros};
use crate::findings::finding_lines;
use crate::grid::{Cell, Column, Grid, columns, row};
use crate::markup::{chart, figure, grid, table};
use crate::sections::cut;
use crate::sections::differ::{Sides, cells, columns as sides_of, differences, joined};
use crate::sections::overhead::{overhead_grid, overhead_notes};
use crate::sections::view::{Content, Data, Empty, PageView, SectionView, compact};
use crate::text::{bar, metric, percent, shorten};
use xscope_trace::stage::{Stage, StageName};

const STAGES: &str = "Stages (share of all requests' wall time)";
const SLOW_STAGES: &str = "Where the slowest 1 % lose time (means)";
const SLOW_TRAITS: &str = "What the slowest 1 % have in common (means)";

const SLOW_SIZES: &str =
    "What the size of the slowest 1 % explains (by the tokens computed for them)";

/// How many slow requests are shown; JSON has all.
const SLOW: usize = 20;

/// How many batches are shown; JSON has all.
const BATCHES: usize = 50;

/// The column that is there only where stages of a request lie within or beside each other.
const INCLUSIVE: &str = "inclusive ms";

pub(crate) const SECTION: SectionView = SectionView {
    notes: |report| report.requests.iter().flat_map(|it| finding_lines(&it.findings)).collect(),
    pages: &[PageView { id: "latency", title: "Latency", content: Content::Own(latency) }],
    data: &[
        Data { name: "requests", json: |report| compact(&report.points) },
        Data { name: "histogram", json: |report| compact(&report.latency.histogram) },
        Data { name: "percentiles", json: |report| compact(&report.latency.percentiles) },
    ],
    tables: &[
        Table::new("requests", |trace, _, rows| request_rows(trace, rows)),
        Table::new("batches", |_, report, rows| rows.all(of(report, |it| &it.batch_rows))),
        Table::new("batch_parts", |_, report, rows| {
            let batches = report.requests.as_ref().and_then(|it| it.batches.as_ref());
            rows.all(batches.map_or(&[][..], |batches| &batches.parts))
        }),
        Table::new("stages", |_, report, rows| {
            rows.all(&by_point(report, |point| point.stages.as_slice()))
        }),
        Table::new("slow_stages", |_, report, rows| {
            rows.all(&by_point(report, |point| slow_of(point, |slow| &slow.stages)))
        }),
        Table::new("slow_requests", |_, report, rows| {
            rows.all(&by_point(report, |point| slow_of(point, |slow| &slow.requests)))
        }),
        Table::new("slow_traits", |_, report, rows| {
            rows.all(&by_point(report, |point| slow_of(point, |slow| &slow.traits)))
        }),
    ],
    difference: Some(difference),
    ..SectionView::new(
        Section::Requests,
        |report| report.requests.as_ref().map(grids).unwrap_or_default(),
        |_| {
            Empty::NotRecorded(
                "it knows of no requests: give the run directory of `xscope profile`, or start the \
                 server under `xscope run`",
            )
        },
        |report, none| SectionReport { requests: report.requests.as_ref(), ..none },
    )
};

/// Rows of the report on requests; none without requests.
fn of<T>(report: &AnalyzeReport, rows: impl Fn(&RequestsReport) -> &[T]) -> &[T] {
    report.requests.as_ref().map_or(&[], rows)
}

/// A row of a point's table, with the point.
#[derive(Serialize)]
struct OfPoint<'a, T> {
    point: &'a str,
    #[serde(flatten)]
    row: &'a T,
}

/// The rows of all points: no point has a figure in common with another.
fn by_point<T>(report: &AnalyzeReport, rows: impl Fn(&PointReport) -> &[T]) -> Vec<OfPoint<'_, T>> {
    let mut all = Vec::new();
    for point in of(report, |it| &it.by_point) {
        all.extend(rows(point).iter().map(|row| OfPoint { point: &point.point, row }));
    }
    all
}

fn slow_of<T>(point: &PointReport, rows: impl Fn(&SlowReport) -> &[T]) -> &[T] {
    point.slow.as_ref().map_or(&[], rows)
}

fn grids(report: &RequestsReport) -> Vec<Grid> {
    let mut grids = vec![summary(report)];
    if report.by_point.len() > 1 {
        grids.push(points(&report.by_point));
    }
    for point in &report.by_point {
        let title = |what: &str| titled(what, &report.by_point, &point.point);
        grids.push(Grid { title: title(STAGES), ..stages(&point.stages) });
        let typical = point.typical.as_ref();
        grids.extend(typical.map(|one| waterfall(title("Typical request"), one)));
        let slowest = point.slowest.as_ref();
        grids.extend(slowest.map(|one| waterfall(title("Slowest request"), one)));
        if let Some(slow) = &point.slow {
            grids.push(Grid { title: title(SLOW_STAGES), ..slow_stages(slow) });
            grids.push(Grid { title: title(SLOW_TRAITS), ..slow_traits(slow) });
            grids.push(slow_sizes(&title(SLOW_SIZES), slow));
        }
    }
    grids.extend(report.batches.as_ref().map(batch_parts));
    grids.push(batches(report));
    grids
}

/// The title of a table of one point, which is named where there are several.
pub(crate) fn titled(what: &str, all: &[PointReport], point: &str) -> String {
    if all.len() > 1 { format!("{what}, {point}") } else { what.to_owned() }
}

/// What the requests of each point took.
pub(crate) fn points(points: &[PointReport]) -> Grid {
    let names = ["measured", "p50 ms", "p95 ms", "p99 ms", "mean ms", "items/s"];
    let rows = points.iter().map(|point| {
        let latency = &point.latency;
        row![
            shorten(&point.point, 40),
            latency.n.to_string(),
            metric(&latency.p50_ms, 2),
            metric(&latency.p95_ms, 2),
            metric(&latency.p99_ms, 2),
            metric(&latency.mean_ms, 2),
            metric(&latency.items_per_sec, 1),
        ]
    });
    Grid::new("Latency by point", columns(&["point"], &names), rows)
}

/// How many requests there were, each count with what it is of.
pub(crate) fn counts_text(counts: &RequestCounts) -> String {
    let phase = |row: &PhaseCount| {
        let failed = match row.unanswered_requests {
            0 => String::new(),
            failed => format!(" ({failed} of them failed)"),
        };
        format!("{} {}{failed}", row.answered_requests + row.unanswered_requests, row.phase.name())
    };
    let outside = counts.phases.iter().filter(|row| !row.in_figures);
    let outside: Vec<String> = outside.map(phase).collect();
    let outside = match outside.as_slice() {
        [] => String::new(),
        outside => format!("; in no figure: {}", outside.join(", ")),
    };
    format!("{} measured, {} failed{outside}", counts.measured, counts.failed)
}

fn summary(report: &RequestsReport) -> Grid {
    let names = ["measured", "failed", "p50 ms", "p95 ms", "p99 ms", "mean ms", "items/s"];
    let (counts, latency) = (&report.requests, &report.latency);
    let row = row![
        counts.measured.to_string(),
        counts.failed.to_string(),
        metric(&latency.p50_ms, 3),
        metric(&latency.p95_ms, 3),
        metric(&latency.p99_ms, 3),
        metric(&latency.mean_ms, 3),
        metric(&latency.items_per_sec, 1),
    ];
    let title = format!("Requests: {}", counts_text(counts));
    Grid::new(title, columns(&[], &names), vec![row])
}

pub(crate) fn stages(stages: &[StageRow]) -> Grid {
    let mut columns = columns(&["stage"], &["p50 ms", "p99 ms", "mean ms", INCLUSIVE]);
    columns.extend([Column::Share("share"), Column::Drawing]);
    let rows = stages.iter().map(|stage| {
        row![
            stage.name.to_string(),
            metric(&stage.p50_ms, 3),
            metric(&stage.p99_ms, 3),
            metric(&stage.mean_ms, 3),
            metric(&stage.inclusive_ms, 3),
            percent(stage.share),
            Cell::bar(stage.share, 24)
        ]
    });
    let grid = Grid::new(STAGES, columns, rows);
    let is_shown = |stage: &StageRow| metric(&stage.inclusive_ms, 3) != metric(&stage.mean_ms, 3);
    if stages.iter().any(is_shown) { grid } else { grid.without(INCLUSIVE) }
}

fn waterfall(title: String, request: &Profiled) -> Grid {
    let columns = vec![Column::Text("stage"), Column::Number("ms"), Column::Drawing];
    let mut rows = waterfall_rows(request);
    let id = shorten(&request.request_id, 40);
    rows.push(row!["whole".to_owned(), format!("{:.3}", request.total_latency_ms), id]);
    Grid::new(title, columns, rows)
}

fn slow_stages(slow: &SlowReport) -> Grid {
    let rows = slow.stages.iter().map(|stage| {
        let ms = |ms: f64| format!("{ms:.3}");
        row![stage.name.to_string(), ms(stage.slow_ms), ms(stage.others_ms), ms(stage.added_ms)]
    });
    Grid::new(SLOW_STAGES, columns(&["stage"], &["slow ms", "others ms", "added ms"]), rows)
}

fn slow_traits(slow: &SlowReport) -> Grid {
    let count = row!["requests".to_owned(), slow.slow.to_string(), slow.others.to_string()];
    let traits = slow
        .traits
        .iter()
        .map(|row| row![row.name.to_owned(), metric(&row.slow, 2), metric(&row.others, 2)]);
    Grid::new(
        SLOW_TRAITS,
        columns(&["trait"], &["slow", "others"]),
        std::iter::once(count).chain(traits),
    )
}

fn slow_sizes(title: &str, slow: &SlowReport) -> Grid {
    let rows = slow.requests.iter().take(SLOW).map(|one| {
        row![
            shorten(&one.request, 40),
            format!("{:.3}", one.latency_ms),
            metric(&one.tokens, 0),
            metric(&one.expected_ms, 3),
            metric(&one.residual_ms, 3),
            one.slow_by.to_owned(),
        ]
    });
    let mut columns =
        columns(&["request"], &["ms", "computed tokens", "expected ms", "residual ms"]);
    columns.push(Column::Text("slow by"));
    Grid::new(cut::titled(title, SLOW, slow.requests.len()), columns, rows)
}

fn batch_parts(summary: &BatchSummary) -> Grid {
    let rows = summary.parts.iter().map(|part| {
        let device = format!("{:.3}", part.device_ms);
        row![part.name.to_owned(), part.batches.to_string(), device, percent(part.share)]
    });
    let mut columns = columns(&["part"], &["batches", "device ms"]);
    columns.push(Column::Share("share"));
    Grid::new("What the device time of batches went into", columns, rows)
}

fn batches(report: &RequestsReport) -> Grid {
    let rows = report.batch_rows.iter().take(BATCHES).map(|batch| {
        let shares = batch.shares.iter().take(4);
        let shares = shares.map(|share| format!("{} {:.3}", share.request, share.device_ms));
        let mut shares: Vec<String> = shares.filter(|_| batch.tokens > 0).collect();
        if batch.tokens > 0 && batch.shares.len() > shares.len() {
            shares.push(format!("{} more", batch.shares.len() - shares.len()));
        }
        row![
            batch.batch.clone(),
            batch.stage.to_owned(),
            batch.rows.to_string(),
            batch.tokens.to_string(),
            batch.padded_tokens.to_string(),
            format!("{:.3}", batch.device_ms),
            batch.padding_share.value.map_or_else(|| "-".to_owned(), percent),
            shares.join(", "),
        ]
    });
    let names = ["sequences", "tokens", "padded to", "device ms", "padding"];
    let mut columns = columns(&["batch", "stage"], &names);
    columns.push(Column::Text("device ms of each request"));
    Grid::new(cut::titled("Batches", BATCHES, report.batch_rows.len()), columns, rows)
}

/// Width of a waterfall in characters.
const WATERFALL: u8 = 50;

/// The rows of a request's waterfall: stage, milliseconds, and a bar where it lies. Below the forward
/// pass stands what of it padding took, which is an estimate and no stage.
pub(crate) fn waterfall_rows(request: &Profiled) -> Vec<Vec<Cell>> {
    let mut before = 0.0;
    let padding = request
        .padding_ms
        .value
        .is_some()
        .then(|| row!["  padding", metric(&request.padding_ms, 3), "of forward, by tokens"]);
    let rows = request.waterfall.iter().flat_map(|(name, &ms)| {
        let share = |ms: f64| ms / request.total_latency_ms;
        let indent = " ".repeat(bar(share(before), WATERFALL).chars().count());
        before += ms;
        let drawn = bar(share(ms), WATERFALL);
        let drawn = if drawn.is_empty() { "▏" } else { &drawn };
        let row =
            row![name.to_string(), format!("{ms:.3}"), Cell::of(Tone::Drawing, indent + drawn)];
        let below = padding.clone().filter(|_| *name == Stage::Forward);
        std::iter::once(row).chain(below)
    });
    rows.collect()
}

fn latency(report: &ProfileReport) -> Option<Markup> {
    let (counts, latency) = (&report.requests, &report.latency);
    if counts.measured == 0 {
        return (!counts.phases.is_empty())
            .then(|| html! { p.empty { "No request was measured: " (counts_text(counts)) "." } });
    }
    if report.by_point.len() > 1 {
        return Some(latency_by_point(report));
    }
    let percentiles = latency.percentiles.iter();
    let percentiles: Vec<_> = percentiles
        .map(|it| row![format!("p{}", it.percent), format!("{:.3}", it.latency_ms)])
        .collect();
    Some(html! {
        p {
            "Requests: " (counts_text(counts)) ". Mean " (figure(&latency.mean_ms, 3)) "; "
            (figure(&latency.items_per_sec, 1)) ". Latency counts from when a request was due."
        }
        div.pair {
            (chart("histogram", "Requests by latency"))
            (chart("percentiles", "Latency by percentile"))
        }
        div.pair {
            div { h3 { "Percentiles" } (table(&columns(&["percentile"], &["ms"]), &percentiles)) }
            div { (grid(&stages(&report.stages))) }
        }
        @if let Some(overhead) = &report.overhead {
            (grid(&overhead_grid(overhead)))
            @for note in overhead_notes(overhead) { p.note { (note) } }
        }
    })
}

/// The page of requests of several points, which have no figure in common.
fn latency_by_point(report: &ProfileReport) -> Markup {
    let (counts, all) = (&report.requests, &report.by_point);
    html! {
        p {
            "Requests: " (counts_text(counts)) "; at " (all.len()) " points. Latency counts from when a request was due."
        }
        (grid(&points(all)))
        @for point in all {
            (grid(&Grid { title: titled(STAGES, all, &point.point), ..stages(&point.stages) }))
        }
        @if let Some(overhead) = &report.overhead {
            (grid(&overhead_grid(overhead)))
            @for note in overhead_notes(overhead) { p.note { (note) } }
        }
    }
}

/// The figures of a point on both sides.
fn compared(of_a: &Latency, of_b: &Latency) -> [Vec<Cell>; 5] {
    let figures: [(&str, &Metric, &Metric); 5] = [
        ("p50 ms", &of_a.p50_ms, &of_b.p50_ms),
        ("p95 ms", &of_a.p95_ms, &of_b.p95_ms),
        ("p99 ms", &of_a.p99_ms, &of_b.p99_ms),
        ("mean ms", &of_a.mean_ms, &of_b.mean_ms),
        ("items/s", &of_a.items_per_sec, &of_b.items_per_sec),
    ];
    figures.map(|(name, a, b)| {
        let mut row = cells(name, a.value, b.value, |value| format!("{value:.3}"));
        (row[1], row[2]) = (metric(a, 3).into(), metric(b, 3).into());
        row
    })
}

/// What both sides measured, point by point: those of one name, or the only one of each.
fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let Sides { a, b } = sides;
    if a.requests.measured + b.requests.measured == 0 {
        return None;
    }
    let is_matrix = a.by_point.len().max(b.by_point.len()) > 1;
    let of_b = |point: &PointReport| match is_matrix {
        true => b.by_point.iter().find(|other| other.point == point.point),
        false => b.by_point.first(),
    };
    let both: Vec<_> = a.by_point.iter().filter_map(|point| Some((point, of_b(point)?))).collect();
    let mean = |point: &PointReport| -> BTreeMap<String, f64> {
        let stages = point.stages.iter();
        stages.map(|stage| (stage.name.to_string(), stage.mean_ms.value.unwrap_or(0.0))).collect()
    };
    let stages = |of_a: &PointReport, of_b: &PointReport| {
        let rows = joined(&mean(of_a), &mean(of_b), |ms| format!("{ms:.3}"));
        differences("Mean time in each stage, ms", "stage", rows)
    };
    Some(html! {
        @if both.is_empty() { p.empty { "No point was measured on both sides." } }
        @if !is_matrix { (chart("percentiles", "Latency by percentile")) }
        @for (of_a, of_b) in both {
            @if is_matrix { h3 { (shorten(&of_a.point, 80)) } }
            (table(&sides_of("figure"), &compared(&of_a.latency, &of_b.latency)))
            @if let Some(stages) = stages(of_a, of_b) { (stages) }
        }
    })
}

/// One row for each request, with a column for each stage that any of them has.
fn request_rows(trace: &Trace, rows: &mut Rows<'_>) -> io::Result<u64> {
    let views = requests(trace);
    if views.is_empty() {
        return Ok(0);
    }
    let all: Vec<&RequestView> = views.iter().collect();
    let stages: Vec<StageName> = stages_of(&all).into_iter().map(|stage| stage.name).collect();
    let columns = [
        "request",
        "point",
        "phase",
        "start_us",
        "latency_ms",
        "items",
        "labels",
        "tokens",
        "warmup",
        "ok",
    ];
    let stage_columns = stages.iter().map(|stage| format!("{stage}_ms"));
    rows.heading(columns.into_iter().map(str::to_owned).chain(stage_columns))?;
    let zero = trace.start();
    for view in &views {
        request_row(view, zero, &stages, rows)?;
    }
    Ok(views.len() as u64)
}

fn request_row(
    view: &RequestView,
    zero: Picos,
    stages: &[StageName],
    rows: &mut Rows<'_>,
) -> io::Result<()> {
    let millis = |time: Picos| decimal(time, 9);
    // Only the client says how many; 0 would be a figure.
    let sent = |count: u64| if view.has_client { count.to_string() } else { String::new() };
    let tokens: u64 = view.sequence_tokens.iter().sum();
    rows.text(&view.id)?;
    rows.text(&view.point)?;
    rows.text(view.phase.name())?;
    rows.number(&micros(view.start - zero))?;
    rows.number(&millis(view.total))?;
    rows.number(&sent(view.items))?;
    rows.number(&sent(view.labels))?;
    rows.number(&if tokens > 0 { tokens.to_string() } else { String::new() })?;
    rows.number(&(!view.phase.is_measured()).to_string())?;
    rows.number(&view.ok.to_string())?;
    for stage in stages {
        rows.number(&view.stages.get(stage).map_or_else(String::new, |&it| millis(it)))?;
    }
    rows.end()
}
