//! What was compiled, why, and what waited.

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::compiles::CompileRow;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::reports::totals;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};
use xscope_trace::model::Format;
use xscope_trace::stats::as_f64;

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, row};
use crate::markup::{ROWS, chart, grid};
use crate::sections::cut::{more, truncate};
use crate::sections::differ::{Sides, differences, sums};
use crate::sections::view::{Content, Data, Empty, PageView, SectionView, compact};
use crate::text::{duration, known_duration, metric, percent, shorten};

/// Compilations whose requests a page names.
const WAITED_FOR: usize = 50;

pub(crate) const SECTION: SectionView = SectionView {
    notes,
    pages: &[PageView { id: "compiles", title: "Compilations", content: Content::Own(page) }],
    data: &[Data { name: "compiles", json: |report| compact(&charted(&report.analysis)) }],
    cut: |report| truncate(&mut report.compiles, ROWS),
    tables: &[Table::new("compiles", |_, report, rows| rows.all(&report.compiles))],
    difference: Some(difference),
    ..SectionView::new(
        Section::Compiles,
        |report| vec![compiles(report)],
        |report| match tells_compilations(report) {
            false => Empty::NotRecorded("neither a trace of the host nor a server's log is in it"),
            true => Empty::Nothing(
                "nothing was compiled in it, as far as host events and logs of servers say",
            ),
        },
        |report, none| SectionReport { compiles: Some(&report.compiles), ..none },
    )
};

/// Whether anything was read that would tell of compilations.
fn tells_compilations(report: &AnalyzeReport) -> bool {
    let mut recorders = report.recording.recorders.iter();
    let is_host = |recorder: &str| ["host_tracer", "python_tracer"].contains(&recorder);
    recorders.any(|row| is_host(row.recorder) && row.events > 0)
        || report.sources.iter().any(|source| source.format == Format::ServerLog.name())
}

fn compiles(report: &AnalyzeReport) -> Grid {
    let columns = [
        Column::Number("at"),
        Column::Number("took"),
        Column::Text("program"),
        Column::Text("thread"),
        Column::Number("batch"),
        Column::Text("seen in"),
        Column::Text("while"),
        Column::Number("requests waiting"),
        Column::Number("devices idle"),
        Column::Text("why"),
        Column::Text("advice"),
    ];
    Grid::new("Compilations", columns, report.compiles.iter().map(cells))
}

/// What all compilations come to.
fn notes(report: &AnalyzeReport) -> Vec<Text> {
    let longest = totals::compiles(report).map(|row| row.duration_us).fold(0.0, f64::max);
    let measured = totals::compiling(report).map(|took| {
        let (all, share) = (duration(took.part_us), percent(took.value()));
        let which = if report.compiles.iter().all(|row| row.in_window) {
            "all"
        } else {
            "those while measured"
        };
        format!("{which} took {all}, {share} of the capture, the longest {}", duration(longest))
    });
    let warm_up = report.compiles.iter().filter(|row| !row.in_window).map(|row| row.duration_us);
    let warm_up = warm_up.reduce(|a, b| a + b);
    let warm_up =
        warm_up.map(|took| format!("those of start-up and warm-up took {}", duration(took)));
    measured.into_iter().chain(warm_up).map(Text::from).collect()
}

fn cells(row: &CompileRow) -> Vec<Cell> {
    // A log says it to the second.
    let moment = |us: f64| match row.seen_in {
        "log" => format!("{:.0} s", us / 1e6),
        _ => duration(us),
    };
    row![
        moment(row.start_us),
        moment(row.duration_us),
        shorten(&row.program, 40),
        shorten(&row.thread, 24),
        row.batch.map_or_else(|| "-".to_owned(), |batch| batch.to_string()),
        row.seen_in,
        if row.in_window { "measured" } else { "warming up" },
        metric(&row.requests_waiting, 0),
        known_duration(&row.devices_idle_us),
        row.reason,
        &row.advice,
    ]
}

fn page(report: &ProfileReport) -> Option<Markup> {
    let analysis = &report.analysis;
    let waited = || analysis.compiles.iter().filter(|row| !row.waiting.is_empty());
    (!analysis.compiles.is_empty()).then(|| {
        html! {
            (chart("compiles", "Compilations, and the latency of requests by when they were due"))
            (grid(&compiles(analysis)))
            @if waited().next().is_some() {
                h3 { "Requests that waited" }
                ul { @for row in waited().take(WAITED_FOR) { li { (waiting(row)) } } }
                (more("compilations that requests waited for", WAITED_FOR, waited().count(), "report.json"))
            }
        }
    })
}

/// The requests that waited for a compilation.
fn waiting(row: &CompileRow) -> Markup {
    html! {
        (shorten(&row.program, 80)) ": "
        @for id in &row.waiting { code { (shorten(id, 60)) } " " }
        @let more = row.requests_waiting.value.unwrap_or(0.0) - as_f64(row.waiting.len() as u64);
        @if more > 0.0 { "and " (more) " more" }
    }
}

/// What it is called in charts and differences.
fn name(row: &CompileRow) -> &str {
    if row.program.is_empty() { &row.event } else { &row.program }
}

#[derive(Serialize)]
struct Compile<'a> {
    program: String,
    start_us: f64,
    duration_us: f64,
    waiting: Option<f64>,
    reason: &'a str,
}

fn charted(report: &AnalyzeReport) -> Vec<Compile<'_>> {
    let rows = report.compiles.iter().map(|row| Compile {
        program: shorten(name(row), 80),
        start_us: row.start_us,
        duration_us: row.duration_us,
        waiting: row.requests_waiting.value,
        reason: row.reason,
    });
    rows.collect()
}

fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let times = |report: &ProfileReport| {
        sums(report.analysis.compiles.iter().map(|row| (name(row), row.duration_us)))
    };
    differences("Time of compiling", "program", sides.joined(times, duration))
}
