//! The report on a profiled run, as text: the five levels on one page.

use xscope_analysis::ProfileReport;
use xscope_analysis::requests::pipeline::PIPELINE;
use xscope_analysis::requests::profiled::Profiled;

use crate::analyze::{devices_text, kernels_text, layers_text, line, quality_text, section};
use crate::memory::{owners, scopes};
use crate::overhead::{overhead_grid, overhead_notes};
use crate::sections::{Grid, Style};
use crate::targets::targets_text;
use crate::text::{Column, bar, metric, percent};

/// The report as text for a terminal.
pub fn profile_text(report: &ProfileReport) -> String {
    let mut out = String::new();
    request_level(report, &mut out);
    out += &stage_level(report);
    out += &waterfalls(report);
    out += &batches_text(report);
    out += &overhead_text(report);
    out += &devices_text(&report.analysis);
    out += &layers_text(&report.analysis.layers);
    out += &kernels_text(&report.analysis.kernels);
    for Grid { title, columns, rows } in [owners(&report.analysis), scopes(&report.analysis)] {
        out += &section(title, &columns, rows);
    }
    out += &targets_text(&report.checks, Style::Terminal);
    out += &quality_text(&report.analysis.quality);
    line(&mut out, &format!("\nRun directory: {}", report.run_dir));
    out
}

fn overhead_text(report: &ProfileReport) -> String {
    let Some(overhead) = &report.overhead else { return String::new() };
    let Grid { title, columns, rows } = overhead_grid(overhead);
    let mut out = section(title, &columns, rows);
    for note in overhead_notes(overhead) {
        line(&mut out, &format!(" {note}"));
    }
    out
}

fn request_level(report: &ProfileReport, out: &mut String) {
    let latency = &report.latency;
    line(
        out,
        &format!(
            "Requests: {} measured, {} warm-up, {} failed{}",
            report.requests.measured,
            report.requests.warmup,
            report.requests.failed,
            if report.complete { "" } else { " (the run was interrupted)" }
        ),
    );
    line(
        out,
        &format!(
            "Latency ms (n = {}): p50 {}  p95 {}  p99 {}  mean {}   {} items/s",
            latency.n,
            metric(&latency.p50_ms, 2),
            metric(&latency.p95_ms, 2),
            metric(&latency.p99_ms, 2),
            metric(&latency.mean_ms, 2),
            metric(&latency.items_per_sec, 1),
        ),
    );
}

fn stage_level(report: &ProfileReport) -> String {
    let columns = [
        Column::Text("stage"),
        Column::Number("p50 ms"),
        Column::Number("p99 ms"),
        Column::Number("mean ms"),
        Column::Number("share"),
        Column::Text(""),
    ];
    let rows = report.stages.iter().map(|stage| {
        vec![
            stage.name.clone(),
            format!("{:.3}", stage.p50_ms),
            format!("{:.3}", stage.p99_ms),
            format!("{:.3}", stage.mean_ms),
            percent(stage.share),
            bar(stage.share, 24),
        ]
    });
    section("Stages (share of all requests' wall time)", &columns, rows.collect())
}

/// Width of a waterfall in characters.
const WATERFALL: u8 = 50;

fn waterfalls(report: &ProfileReport) -> String {
    let mut out = waterfall("Typical request", &report.typical);
    if let Some(slowest) = &report.slowest {
        out += &waterfall("Slowest request", slowest);
    }
    out
}

/// The rows of a request's waterfall: stage, milliseconds, and a bar where it lies. Below the forward
/// pass stands what of it padding took, which is an estimate and no stage.
pub(crate) fn waterfall_rows(request: &Profiled) -> Vec<Vec<String>> {
    let mut stages: Vec<_> = request.waterfall.iter().collect();
    stages.sort_by_key(|(name, _)| PIPELINE.iter().position(|stage| stage == name).unwrap_or(100));
    let mut before = 0.0;
    let padding = request.padding_ms.value.is_some().then(|| {
        let of = "of forward, by tokens".to_owned();
        vec!["  padding".to_owned(), metric(&request.padding_ms, 3), of]
    });
    let rows = stages.into_iter().flat_map(|(name, &ms)| {
        let share = |ms: f64| ms / request.total_latency_ms;
        let indent = bar(share(before), WATERFALL).chars().count();
        before += ms;
        let drawn = bar(share(ms), WATERFALL);
        let drawn = if drawn.is_empty() { "▏".to_owned() } else { drawn };
        let row = vec![name.clone(), format!("{ms:.3}"), format!("{}{drawn}", " ".repeat(indent))];
        let below = padding.clone().filter(|_| name == "forward");
        std::iter::once(row).chain(below)
    });
    rows.collect()
}

fn waterfall(title: &str, request: &Profiled) -> String {
    if request.waterfall.is_empty() {
        return String::new();
    }
    let title = format!(
        "{title} {}: {:.3} ms, {} items, {} tokens, device {} ms",
        request.request_id,
        request.total_latency_ms,
        request.num_items,
        metric(&request.tokens, 0),
        metric(&request.device_ms, 3),
    );
    section(
        &title,
        &[Column::Text("stage"), Column::Number("ms"), Column::Text("")],
        waterfall_rows(request),
    )
}

fn batches_text(report: &ProfileReport) -> String {
    let mut out = String::new();
    if let Some(batches) = &report.batches {
        line(
            &mut out,
            &format!(
                "\nBatches: {} of {:.1} sequences on average, {:.2} ms on the device, {} of it for padding",
                batches.count,
                batches.mean_rows,
                batches.device_ms,
                batches.padding_share.value.map_or_else(|| "an unknown part".to_owned(), percent)
            ),
        );
    }
    out
}
