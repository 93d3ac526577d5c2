//! The report on a profiled run, as text: the five levels on one page.

use xscope_analysis::ProfileReport;
use xscope_analysis::requests::pipeline::PIPELINE;
use xscope_analysis::requests::profiled::Profiled;

use crate::analyze::{devices, kernels_text, layers_text};
use crate::colour::{Text, Tone};
use crate::findings::quality_text;
use crate::grid::{Cell, Column, Grid, Style, row};
use crate::memory::{owners, scopes};
use crate::overhead::{overhead_grid, overhead_notes};
use crate::targets::targets_text;
use crate::text::{bar, metric, percent};

/// The report as text for a terminal.
pub fn profile_text(report: &ProfileReport) -> Text {
    let mut out = Text::default();
    request_level(report, &mut out);
    out += stage_level(report);
    out += waterfalls(report);
    out += batches_text(report);
    out += overhead_text(report);
    out += devices(&report.analysis).render(Style::Terminal);
    out += layers_text(&report.analysis.layers);
    out += kernels_text(&report.analysis.kernels);
    for grid in [owners(&report.analysis), scopes(&report.analysis)] {
        out += grid.render(Style::Terminal);
    }
    out += targets_text(&report.checks, Style::Terminal);
    out += quality_text(&report.analysis.quality);
    out.line(format!("\nRun directory: {}", report.run_dir));
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
    let latency = &report.latency;
    let counts = format!(
        "Requests: {} measured, {} warm-up, {} failed{}",
        report.requests.measured,
        report.requests.warmup,
        report.requests.failed,
        if report.complete { "" } else { " (the run was interrupted)" }
    );
    out.line(Tone::Title.of(&counts));
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

fn stage_level(report: &ProfileReport) -> Text {
    let columns = [
        Column::Text("stage"),
        Column::Number("p50 ms"),
        Column::Number("p99 ms"),
        Column::Number("mean ms"),
        Column::Share("share"),
        Column::Drawing,
    ];
    let rows = report.stages.iter().map(|stage| {
        row![
            stage.name.clone(),
            format!("{:.3}", stage.p50_ms),
            format!("{:.3}", stage.p99_ms),
            format!("{:.3}", stage.mean_ms),
            percent(stage.share),
            Cell::bar(stage.share, 24),
        ]
    });
    Grid::new("Stages (share of all requests' wall time)", columns, rows).render(Style::Terminal)
}

/// Width of a waterfall in characters.
const WATERFALL: u8 = 50;

fn waterfalls(report: &ProfileReport) -> Text {
    let mut out = waterfall("Typical request", &report.typical);
    if let Some(slowest) = &report.slowest {
        out += waterfall("Slowest request", slowest);
    }
    out
}

/// The rows of a request's waterfall: stage, milliseconds, and a bar where it lies. Below the forward
/// pass stands what of it padding took, which is an estimate and no stage.
pub(crate) fn waterfall_rows(request: &Profiled) -> Vec<Vec<Cell>> {
    let mut stages: Vec<_> = request.waterfall.iter().collect();
    stages.sort_by_key(|(name, _)| PIPELINE.iter().position(|stage| stage == name).unwrap_or(100));
    let mut before = 0.0;
    let padding = request.padding_ms.value.is_some().then(|| {
        let of = "of forward, by tokens".to_owned();
        row!["  padding".to_owned(), metric(&request.padding_ms, 3), of]
    });
    let rows = stages.into_iter().flat_map(|(name, &ms)| {
        let share = |ms: f64| ms / request.total_latency_ms;
        let indent = " ".repeat(bar(share(before), WATERFALL).chars().count());
        before += ms;
        let drawn = bar(share(ms), WATERFALL);
        let drawn = if drawn.is_empty() { "▏" } else { &drawn };
        let drawn = Cell::of(Tone::Drawing, indent + drawn);
        let row = row![name, format!("{ms:.3}"), drawn];
        let below = padding.clone().filter(|_| name == "forward");
        std::iter::once(row).chain(below)
    });
    rows.collect()
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
