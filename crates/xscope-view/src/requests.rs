//! The requests of a run, as tables.

use xscope_analysis::requests::RequestsReport;
use xscope_analysis::requests::batches::BatchSummary;
use xscope_analysis::requests::profiled::Profiled;
use xscope_analysis::requests::slow::SlowReport;

use crate::grid::{Cell, Column, Grid, columns, row};
use crate::profile::waterfall_rows;
use crate::text::{metric, percent, shorten};

/// How many batches are shown; JSON has all.
const BATCHES: usize = 50;

pub(crate) fn request_grids(report: &RequestsReport) -> Vec<Grid> {
    let mut grids = vec![summary(report), stages(report)];
    grids.extend(report.typical.as_ref().map(|one| waterfall("Typical request", one)));
    grids.extend(report.slowest.as_ref().map(|one| waterfall("Slowest request", one)));
    grids.extend(report.slow.as_ref().map(slow_stages));
    grids.extend(report.slow.as_ref().map(slow_traits));
    grids.extend(report.batches.as_ref().map(batch_parts));
    grids.push(batches(report));
    grids
}

fn summary(report: &RequestsReport) -> Grid {
    let names =
        ["measured", "warm-up", "failed", "p50 ms", "p95 ms", "p99 ms", "mean ms", "items/s"];
    let (counts, latency) = (&report.requests, &report.latency);
    let row = row![
        counts.measured.to_string(),
        counts.warmup.to_string(),
        counts.failed.to_string(),
        metric(&latency.p50_ms, 3),
        metric(&latency.p95_ms, 3),
        metric(&latency.p99_ms, 3),
        metric(&latency.mean_ms, 3),
        metric(&latency.items_per_sec, 1),
    ];
    Grid::new("Requests", columns(&[], &names), vec![row])
}

fn stages(report: &RequestsReport) -> Grid {
    let mut columns = columns(&["stage"], &["p50 ms", "p99 ms", "mean ms"]);
    columns.extend([Column::Share("share"), Column::Drawing]);
    let rows = report.stages.iter().map(|stage| {
        let ms = |ms: f64| format!("{ms:.3}");
        let (p50, p99, mean) = (ms(stage.p50_ms), ms(stage.p99_ms), ms(stage.mean_ms));
        row![stage.name.clone(), p50, p99, mean, percent(stage.share), Cell::bar(stage.share, 24)]
    });
    Grid::new("Stages (share of all requests' wall time)", columns, rows)
}

fn waterfall(title: &'static str, request: &Profiled) -> Grid {
    let columns = vec![Column::Text("stage"), Column::Number("ms"), Column::Drawing];
    let mut rows = waterfall_rows(request);
    let id = shorten(&request.request_id, 40);
    rows.push(row!["whole".to_owned(), format!("{:.3}", request.total_latency_ms), id]);
    Grid::new(title, columns, rows)
}

fn slow_stages(slow: &SlowReport) -> Grid {
    let rows = slow.stages.iter().map(|stage| {
        let ms = |ms: f64| format!("{ms:.3}");
        row![stage.name.clone(), ms(stage.slow_ms), ms(stage.others_ms), ms(stage.added_ms)]
    });
    Grid::new(
        "Where the slowest 1 % lose time (means)",
        columns(&["stage"], &["slow ms", "others ms", "added ms"]),
        rows,
    )
}

fn slow_traits(slow: &SlowReport) -> Grid {
    let count = row!["requests".to_owned(), slow.slow.to_string(), slow.others.to_string()];
    let traits = slow
        .traits
        .iter()
        .map(|row| row![row.name.to_owned(), metric(&row.slow, 2), metric(&row.others, 2)]);
    Grid::new(
        "What the slowest 1 % have in common (means)",
        columns(&["trait"], &["slow", "others"]),
        std::iter::once(count).chain(traits),
    )
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
    Grid::new("Batches (the first 50; --json has all)", columns, rows)
}
