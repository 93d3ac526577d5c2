//! Tables, bars and figures of pages.

use maud::{Markup, html};
use xscope_analysis::requests::profiled::Profiled;
use xscope_trace::Metric;
use xscope_trace::metric::Status;
use xscope_trace::quality::{Finding, Severity};
use xscope_trace::stats::as_f64;

use crate::colour::Tone;
use crate::grid::{Cell, Column, Grid};
use crate::palette::stage_class;
use crate::text::{metric, percent, shorten};

/// Rows of a table that a page can hold.
pub(crate) const ROWS: usize = 2000;

/// Tables with more rows than this can be filtered.
const FEW: usize = 8;

/// A request so many times faster than another is drawn to a scale of its own.
const LARGEST_RATIO: f64 = 8.0;

/// A cell shows this many characters.
const CELL: usize = 400;

/// A table with its heading; nothing if it has no rows.
pub(crate) fn grid(grid: &Grid) -> Markup {
    html! {
        @if !grid.rows.is_empty() {
            h3 { (grid.title) }
            (table(&grid.columns, &grid.rows))
        }
    }
}

/// A table that can be sorted, and filtered if it is long. Columns without a name hold drawings
/// for terminals and are left out.
pub(crate) fn table(columns: &[Column], rows: &[Vec<Cell>]) -> Markup {
    let shown: Vec<(usize, &Column)> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| !matches!(column, Column::Drawing))
        .collect();
    html! {
        div.scroll tabindex="0" {
            table.sortable.filterable[rows.len() > FEW] {
                thead { tr {
                    @for (_, column) in &shown {
                        th scope="col" class=[column.is_number().then_some("num")] { (column.name()) }
                    }
                } }
                tbody {
                    @for row in rows { tr {
                        @for &(index, column) in &shown { (cell(column, row.get(index))) }
                    } }
                }
            }
        }
    }
}

fn cell(column: &Column, cell: Option<&Cell>) -> Markup {
    let text = cell.map(Cell::text).unwrap_or_default();
    let share = matches!(column, Column::Share(_)).then(|| text.strip_suffix(" %")).flatten();
    let share = share.and_then(|number| number.parse::<f64>().ok());
    // A scope's depth is in its leading blanks.
    let indent = text.len() - text.trim_start_matches(' ').len();
    html! {
        @if let Some(share) = share {
            td.num.share style={ "--share:" (format!("{share:.1}%")) } { (text) }
        } @else if column.is_number() {
            td.num { (text) }
        } @else {
            td class=[cell.and_then(Cell::tone).and_then(class)] style=[(indent > 0).then(|| format!("padding-left:calc(.7rem + {indent}ch)"))] {
                (shorten(text.trim_start_matches(' '), CELL))
            }
        }
    }
}

/// What a terminal says in a line, as a sentence.
pub(crate) fn sentence(line: &str) -> String {
    let mut letters = line.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

/// The class of what is something as a whole.
fn class(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Bad => Some("error"),
        Tone::Doubtful => Some("warning"),
        Tone::Good => Some("good"),
        Tone::Title | Tone::Aside | Tone::Drawing => None,
    }
}

/// A figure with its unit; why it is not to be trusted, if so.
pub(crate) fn figure(figure: &Metric, digits: usize) -> Markup {
    html! {
        (metric(figure, digits)) @if figure.value.is_some() { " " span.unit { (figure.unit) } }
        @if let (Some(reason), true) = (&figure.reason, figure.status != Status::Valid) {
            " " span.reason { (shorten(reason, CELL)) }
        }
    }
}

/// Where the time of one request went, a row for each stage, each where the one before it ends;
/// the width stands for `widest_ms`, so that requests can be compared, unless little were left to see.
pub(crate) fn waterfall(title: &str, request: &Profiled, widest_ms: f64) -> Markup {
    let fits = request.total_latency_ms * LARGEST_RATIO >= widest_ms;
    let width_ms = if fits { widest_ms } else { request.total_latency_ms };
    let percent_of = |ms: f64| 100.0 * ms / width_ms.max(f64::MIN_POSITIVE);
    let mut before = 0.0;
    html! {
        figure.waterfall {
            figcaption {
                strong { (title) } " " (format!("{:.3} ms", request.total_latency_ms))
                div.note {
                    bdi { (shorten(&request.request_id, 60)) } ": "
                    (request.num_items) " items, " (metric(&request.tokens, 0)) " tokens, device "
                    (figure(&request.device_ms, 3))
                    @if request.padding_ms.value.is_some() {
                        ", of forward for padding " (figure(&request.padding_ms, 3))
                    }
                    @if !fits { ". Drawn to its own scale." }
                }
            }
            @for (name, &ms) in &request.waterfall {
                div.row {
                    span.name { (shorten(name.as_str(), 40)) }
                    span.lane {
                        span class=(stage_class(name))
                            style=(format!("margin-left:{:.3}%;width:{:.3}%", percent_of(before), percent_of(ms))) {}
                    }
                    span.value { (format!("{ms:.3}")) }
                }
                @let () = before += ms;
            }
            div.row.axis { span.name {} span.lane { span { "0" } span { (format!("{width_ms:.1} ms")) } } span.value { "ms" } }
        }
    }
}

/// Parts of a whole in one bar, each with its share as text; a legend names them all.
pub(crate) fn stacked<'a>(parts: impl Iterator<Item = (&'a str, String, f64)> + Clone) -> Markup {
    html! {
        div.stacked role="img" aria-label="Shares of the whole; the figures follow" {
            @for (name, class, share) in parts.clone() {
                @if share > 0.0 {
                    span class=(class) style=(format!("width:{:.3}%", 100.0 * share))
                        title={ (shorten(name, 80)) " " (percent(share)) } {
                        @if share > 0.08 { b { (shorten(name, 18)) " " (percent(share)) } }
                    }
                }
            }
        }
        ul.legend {
            @for (name, class, share) in parts {
                li { span class=(class) {} (shorten(name, 80)) " " (percent(share)) }
            }
        }
    }
}

/// What is wrong with the input, with a word for how much it hurts.
pub(crate) fn findings(findings: &[Finding]) -> Markup {
    html! {
        @if findings.is_empty() { p.good { "Nothing is known to be wrong with the data." } }
        ul.findings {
            @for finding in findings {
                @let (class, word) = severity(finding.severity);
                li class=(class) {
                    strong { (word) } " " (shorten(&finding.message, 600))
                    @if finding.count > 1 { " (" (as_f64(finding.count)) "×)" }
                    " " code { (finding.code.as_str()) }
                }
            }
        }
    }
}

fn severity(severity: Severity) -> (&'static str, &'static str) {
    match severity {
        Severity::Error => ("error", "Error"),
        Severity::Warning => ("warning", "Warning"),
        Severity::Info => ("note", "Note"),
    }
}

/// A place that a script draws in.
pub(crate) fn chart(name: &str, label: &str) -> Markup {
    html! {
        figure.chart data-chart=(name) {
            figcaption { (label) }
        }
    }
}
