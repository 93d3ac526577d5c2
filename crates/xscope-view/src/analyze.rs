//! The report on any profile, as text.

use std::fmt::Write as _;

use xscope_analysis::AnalyzeReport;
use xscope_analysis::kernels::{KernelRow, by_name_and_scope};
use xscope_analysis::layers::{LayerNode, LayersReport};
use xscope_analysis::stats::as_f64;
use xscope_trace::quality::{Finding, Severity};

use crate::sections::{Grid, Section};
use crate::text::{Column, bar, duration, metric, percent, shorten, si, table};

/// How many rows a table of the first page has.
const ROWS: usize = 12;

/// How deep the layer tree is shown, and how small a share is left out.
const LAYER_DEPTH: usize = 4;
const LAYER_SHARE: f64 = 0.005;

/// The first page: what was read, what matters most, what is wrong with it, and where to look on; of
/// files that know of no device, what they say of memory.
pub fn analyze_text(report: &AnalyzeReport) -> String {
    let mut out = String::new();
    sources(report, &mut out);
    devices_line(report, &mut out);
    headlines_text(report, &mut out);
    quality_line(&report.quality, &mut out);
    if report.devices.is_empty() {
        out += &memory_page(report);
    }
    let names: Vec<&str> = Section::ALL.iter().map(|&(name, _)| name).collect();
    line(&mut out, &format!("more: xscope analyze PATH {}", names.join("|")));
    out
}

/// Everything that is known of memory.
pub(crate) fn memory_page(report: &AnalyzeReport) -> String {
    memory_text(report) + &allocations_text(report) + &reported_memory_text(report)
}

/// What matters most, and what to do next.
fn headlines_text(report: &AnalyzeReport, out: &mut String) {
    for (number, headline) in (1..).zip(&report.headlines) {
        line(out, &format!("{number}. {}", shorten(&headline.text, 400)));
        line(out, &format!("   next: {} [{}]", shorten(&headline.next, 300), headline.section));
    }
}

fn sources(report: &AnalyzeReport, out: &mut String) {
    let Some(first) = report.sources.first() else { return };
    let host = if first.host.is_empty() { "" } else { " on " };
    let others = match report.sources.len() - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let bytes = report.sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.bytes));
    line(
        out,
        &format!(
            "{}{others} ({}, {}{host}{}): {} events in {}",
            first.path,
            first.format,
            si(as_f64(bytes), "B"),
            first.host,
            report.events,
            duration(report.window_us)
        ),
    );
}

/// How busy the devices were, in one line.
fn devices_line(report: &AnalyzeReport, out: &mut String) {
    let shares = || report.devices.iter().map(|device| device.busy_share);
    let (least, most) = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
    let busy = match report.devices.len() {
        0 => "no devices".to_owned(),
        1 => format!("1 device, busy for {} of its time", percent(most)),
        count => format!("{count} devices, busy for {} to {}", percent(least), percent(most)),
    };
    line(out, &busy);
}

/// What is wrong, in one line: how many findings and the gravest.
fn quality_line(findings: &[Finding], out: &mut String) {
    let Some(worst) = findings.first().filter(|worst| worst.severity > Severity::Info) else {
        return;
    };
    let grave = findings.iter().filter(|finding| finding.severity > Severity::Info).count();
    let others = match grave - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let message = shorten(&worst.message, 200);
    line(out, &format!("{}: {message} [{}]{others}", mark(worst.severity), worst.code));
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

pub(crate) fn quality_text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let mark = mark(finding.severity);
        let times =
            if finding.count > 1 { format!(" ({}x)", finding.count) } else { String::new() };
        line(
            &mut out,
            &format!("{mark}: {}{times} [{}]", shorten(&finding.message, 400), finding.code),
        );
    }
    if out.is_empty() { out } else { format!("\nQuality\n{out}") }
}

pub(crate) fn devices_text(report: &AnalyzeReport) -> String {
    let Grid { title, columns, rows } = devices(report);
    section(title, &columns, rows)
}

pub(crate) fn devices(report: &AnalyzeReport) -> Grid {
    let is_one_host = report.devices.iter().all(|device| device.host == report.devices[0].host);
    let rows = report.devices.iter().map(|device| {
        vec![
            match is_one_host {
                true => shorten(&device.name, 40),
                false => shorten(&format!("{} of {}", device.name, device.host), 40),
            },
            shorten(&device.model, 24),
            duration(device.window_us),
            duration(device.busy_us),
            duration(device.idle_us),
            percent(device.busy_share),
            bar(device.busy_share, 12),
        ]
    });
    Grid {
        title: "Devices",
        columns: vec![
            Column::Text("device"),
            Column::Text("model"),
            Column::Number("window"),
            Column::Number("busy"),
            Column::Number("idle"),
            Column::Number("busy share"),
            Column::Text(""),
        ],
        rows: rows.collect(),
    }
}

pub(crate) fn kernels_text(kernels: &[KernelRow]) -> String {
    let columns = [
        Column::Text("kernel"),
        Column::Number("devices"),
        Column::Number("count"),
        Column::Number("self time"),
        Column::Number("mean"),
        Column::Number("p99"),
        Column::Number("FLOP"),
        Column::Number("bytes"),
        Column::Text("scope"),
    ];
    let groups = by_name_and_scope(kernels);
    let rows = groups.iter().take(ROWS).map(|kernel| {
        let cost = |value: Option<f64>, unit| value.map_or_else(|| "-".to_owned(), |v| si(v, unit));
        vec![
            shorten(kernel.name, 36),
            kernel.devices.to_string(),
            kernel.count.to_string(),
            duration(kernel.self_time.as_micros()),
            duration(kernel.total.as_micros() / as_f64(kernel.count)),
            duration(kernel.p99_us),
            cost(kernel.flops, ""),
            cost(kernel.bytes, "B"),
            shorten(kernel.scope, 48),
        ]
    });
    let mut out = section("Kernels by self time", &columns, rows.collect());
    if groups.len() > ROWS {
        line(&mut out, &format!(" ({} more: --json has all, by device)", groups.len() - ROWS));
    }
    out
}

pub(crate) fn layers_text(layers: &LayersReport) -> String {
    let root = &layers.root;
    if root.total_us == 0.0 {
        return String::new();
    }
    let columns =
        [Column::Text("scope"), Column::Number("time"), Column::Number("share"), Column::Text("")];
    let mut rows = Vec::new();
    layer_rows(root, root.total_us, 0, &mut rows);
    section("Layers (device time by named scope)", &columns, rows)
}

fn layer_rows(node: &LayerNode, whole: f64, depth: usize, rows: &mut Vec<Vec<String>>) {
    let share = node.total_us / whole;
    if depth > LAYER_DEPTH || share < LAYER_SHARE {
        return;
    }
    rows.push(vec![
        format!("{}{}", "  ".repeat(depth), shorten(&node.name, 40)),
        duration(node.total_us),
        percent(share),
        bar(share, 12),
    ]);
    for child in &node.children {
        layer_rows(child, whole, depth + 1, rows);
    }
}

pub(crate) fn memory_text(report: &AnalyzeReport) -> String {
    let memory = &report.memory;
    if memory.owners.is_empty() {
        return String::new();
    }
    let columns = [Column::Text("owner"), Column::Number("peak MB"), Column::Number("last MB")];
    let rows = memory.owners.iter().map(|owner| {
        vec![owner.owner.clone(), format!("{:.2}", owner.peak_mb), format!("{:.2}", owner.last_mb)]
    });
    let mut out = section("Memory by owner", &columns, rows.collect());
    line(&mut out, &format!(" peak of all together: {} MB", metric(&memory.peak, 2)));
    let columns =
        [Column::Text("layer"), Column::Number("peak MB"), Column::Number("activations MB")];
    let rows = memory.scopes.iter().take(ROWS / 2).map(|scope| {
        vec![
            shorten(&scope.scope, 48),
            format!("{:.2}", scope.peak_mb),
            format!("{:.2}", scope.activations_mb),
        ]
    });
    out += &section("Memory by layer", &columns, rows.collect());
    out
}

fn allocations_text(report: &AnalyzeReport) -> String {
    let columns = [
        Column::Text("allocated at"),
        Column::Text("kind"),
        Column::Number("count"),
        Column::Number("bytes"),
        Column::Number("share"),
        Column::Text(""),
    ];
    let mut out = String::new();
    for profile in report.allocations.chunk_by(|a, b| a.profile == b.profile) {
        let total: i64 = profile.iter().fold(0, |sum, row| row.bytes.saturating_add(sum));
        let bytes = |bytes: i64| si(as_f64(bytes.unsigned_abs()), "B");
        let rows = profile.iter().take(ROWS).map(|row| {
            vec![
                shorten(&row.site, 56),
                row.kind.clone(),
                row.count.to_string(),
                bytes(row.bytes),
                percent(row.share),
                bar(row.share, 12),
            ]
        });
        let title = format!("Allocations: {} in {}", bytes(total), profile[0].profile);
        out += &section(&title, &columns, rows.collect());
        if profile.len() > ROWS {
            line(&mut out, &format!(" ({} more: --json has all)", profile.len() - ROWS));
        }
    }
    out
}

fn reported_memory_text(report: &AnalyzeReport) -> String {
    let columns = [
        Column::Text("report"),
        Column::Text("stage"),
        Column::Number("layer"),
        Column::Number("total MB"),
        Column::Text("largest"),
        Column::Number("MB"),
    ];
    let rows = report.reported_memory.iter().map(|row| {
        let largest = row.tensors.first();
        vec![
            row.report_type.clone(),
            row.stage.clone(),
            row.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string()),
            format!("{:.3}", row.total_mb),
            largest.map_or_else(String::new, |tensor| shorten(&tensor.name, 40)),
            largest.map_or_else(String::new, |tensor| format!("{:.3}", tensor.mb)),
        ]
    });
    section("Memory as sglang-jax reports it", &columns, rows.collect())
}

/// A titled table, nothing if it has no rows.
pub(crate) fn section(title: &str, columns: &[Column], rows: Vec<Vec<String>>) -> String {
    match rows.is_empty() {
        true => String::new(),
        false => format!("\n{title}\n{}", table(columns, rows)),
    }
}

pub(crate) fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    writeln!(out, "{text}").unwrap_or_default();
}
