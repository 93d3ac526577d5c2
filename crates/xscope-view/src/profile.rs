//! The report on a profiled run, as text: the five levels on one page.

use xscope_analysis::ProfileReport;
use xscope_analysis::requests::by_point::PointReport;
use xscope_analysis::requests::profiled::Profiled;

use crate::colour::{Text, Tone};
use crate::findings::quality_text;
use crate::grid::{Column, Grid, Style};
use crate::sections::devices::devices;
use crate::sections::layers::shallow;
use crate::sections::memory::{owners, scopes};
use crate::sections::operations::largest;
use crate::sections::overhead::{overhead_grid, overhead_notes};
use crate::sections::requests::{counts_text, points, stages, titled, waterfall_rows};
use crate::targets::targets_text;
use crate::text::{metric, percent};

/// The report as text for a terminal.
pub fn profile_text(report: &ProfileReport) -> Text {
    let mut out = Text::default();
    request_level(report, &mut out);
    for point in &report.by_point {
        out += point_level(report, point);
    }
    out += batches_text(report);
    out += overhead_text(report);
    out += devices(&report.analysis).render(Style::Terminal);
    out += shallow(&report.analysis).render(Style::Terminal);
    out += largest(&report.analysis);
    for grid in [owners(&report.analysis), scopes(&report.analysis)] {
        out += grid.render(Style::Terminal);
    }
    out += targets_text(&report.checks, Style::Terminal);
    out += quality_text(&report.analysis.quality);
    let run = &report.run_dir;
    out.line(format!("\nRun directory: {run}"));
    out.line(format!(" the same as a page:    {run}/report.html"));
    out.line(format!(" its timeline:          xscope view {run}"));
    out.line(format!(" where requests waited: xscope analyze {run} requests"));
    out
}

fn overhead_text(report: &ProfileReport) -> Text {
    let Some(overhead) = &report.overhead else { return Text::default() };
    let mut out = overhead_grid(overhead).render(Style::Terminal);
    for note in overhead_notes(overhead) {
        out.line(format!(" {note}"));
    }
    out
}

fn request_level(report: &ProfileReport, out: &mut Text) {
    let counts = format!(
        "Requests: {}{}",
        counts_text(&report.requests),
        if report.complete { "" } else { " (the run was interrupted)" }
    );
    out.line(Tone::Title.of(&counts));
    if report.by_point.len() > 1 {
        *out += points(&report.by_point).render(Style::Terminal);
        return;
    }
    let latency = &report.latency;
    out.line(format!(
        "Latency ms (n = {}): p50 {}  p95 {}  p99 {}  mean {}   {} items/s",
        latency.n,
        metric(&latency.p50_ms, 2),
        metric(&latency.p95_ms, 2),
        metric(&latency.p99_ms, 2),
        metric(&latency.mean_ms, 2),
        metric(&latency.items_per_sec, 1),
    ));
}

/// Where the time of a point's requests went.
fn point_level(report: &ProfileReport, point: &PointReport) -> Text {
    let of_point = stages(&point.stages);
    let title = titled(&of_point.title, &report.by_point, &point.point);
    let mut out = Grid { title, ..of_point }.render(Style::Terminal);
    for (what, request) in
        [("Typical request", &point.typical), ("Slowest request", &point.slowest)]
    {
        if let Some(request) = request {
            out += waterfall(&titled(what, &report.by_point, &point.point), request);
        }
    }
    out
}

fn waterfall(title: &str, request: &Profiled) -> Text {
    if request.waterfall.is_empty() {
        return Text::default();
    }
    let title = format!(
        "{title} {}: {:.3} ms, {} items, {} tokens, device {} ms",
        request.request_id,
        request.total_latency_ms,
        request.num_items,
        metric(&request.tokens, 0),
        metric(&request.device_ms, 3),
    );
    let columns = [Column::Text("stage"), Column::Number("ms"), Column::Drawing];
    Grid::new(title, columns, waterfall_rows(request)).render(Style::Terminal)
}

fn batches_text(report: &ProfileReport) -> Text {
    let mut out = Text::default();
    if let Some(batches) = &report.batches {
        out.line(format!(
            "\nBatches: {} of {:.1} sequences on average, {:.2} ms on the device, {} of it for padding",
            batches.count,
            batches.mean_rows,
            batches.device_ms,
            batches.padding_share.value.map_or_else(|| "an unknown part".to_owned(), percent)
        ));
    }
    out
}
