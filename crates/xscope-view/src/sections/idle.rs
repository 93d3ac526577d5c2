//! Why each device idled.

use maud::Markup;
use serde::Serialize;
use xscope_analysis::reports::claim::Share;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::reports::totals;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Column, Grid, row};
use crate::sections::cut::{DEVICES, truncate};
use crate::sections::differ::{Sides, differences, sums};
use crate::sections::view::{Content, Data, Empty, PageView, SectionView, compact, no_work_or};
use crate::text::{duration, percent, shorten};

pub(crate) const SECTION: SectionView = SectionView {
    notes,
    pages: &[PageView {
        id: "idle",
        title: "Idle time",
        content: Content::Tables { charts: &[("idle", "Idle time by cause")] },
    }],
    data: &[Data { name: "idle", json: |report| compact(&charted(&report.analysis)) }],
    cut: |report| truncate(&mut report.idle, DEVICES),
    tables: &[
        Table::new("idle", |_, report, rows| rows.all(&all_causes(report))),
        Table::new("host_code", |_, report, rows| rows.all(&all_code(report))),
    ],
    ..SectionView::new(
        Section::Idle,
        |report| vec![idle(report), host_code(report)],
        |report| {
            const NONE: Empty =
                Empty::Nothing("no device was idle between its first and its last operation");
            no_work_or(report, NONE)
        },
        |report, none| SectionReport { idle: Some(&report.idle), ..none },
    )
};

fn idle(report: &AnalyzeReport) -> Grid {
    let rows = report.idle.iter().filter(|row| row.idle_us > 0.0).map(|row| {
        let causes = row.causes.iter().map(|cause| {
            format!("{} {} ({})", cause.cause, duration(cause.us), percent(cause.share))
        });
        row![&row.device, duration(row.idle_us), causes.collect::<Vec<_>>().join(", ")]
    });
    let columns = [Column::Text("device"), Column::Number("idle"), Column::Text("causes")];
    Grid::new("Idle time by cause", columns, rows)
}

fn host_code(report: &AnalyzeReport) -> Grid {
    let rows = all_code(report).into_iter();
    let rows = rows.map(|row| row![row.device, duration(row.us), shorten(row.name, 64)]);
    let columns = [Column::Text("device"), Column::Number("time"), Column::Text("host code")];
    Grid::new("What the host did while a device waited for it", columns, rows)
}

/// Names of a cause that a note has.
const NAMED: usize = 3;

/// What all devices come to.
fn notes(report: &AnalyzeReport) -> Vec<Text> {
    let idle = totals::idle(report);
    let causes = totals::causes(report);
    if causes.is_empty() {
        return Vec::new();
    }
    let list = |parts: &[(&str, Share)]| {
        let parts = parts.iter().map(|(name, part)| format!("{name} {}", percent(part.value())));
        parts.collect::<Vec<_>>().join(", ")
    };
    let whole =
        format!("all devices idled {} of the window: {}", percent(idle.value()), list(&causes));
    let named = causes.iter().filter_map(|(cause, _)| {
        let code = totals::code(report, cause);
        let first = list(&code[..code.len().min(NAMED)]);
        (!first.is_empty()).then(|| format!("of `{cause}`: {first}").into())
    });
    [whole.into()].into_iter().chain(named).collect()
}

#[derive(Serialize)]
struct Cause<'a> {
    device: &'a str,
    cause: &'a str,
    us: f64,
    share: f64,
}

fn all_causes(report: &AnalyzeReport) -> Vec<Cause<'_>> {
    let causes = report.idle.iter().flat_map(|row| {
        row.causes.iter().map(|it| Cause {
            device: &row.device,
            cause: it.cause,
            us: it.us,
            share: it.share,
        })
    });
    causes.collect()
}

#[derive(Serialize)]
struct Code<'a> {
    device: &'a str,
    name: &'a str,
    us: f64,
}

fn all_code(report: &AnalyzeReport) -> Vec<Code<'_>> {
    let code = report.idle.iter().flat_map(|row| {
        row.host_code.iter().map(|it| Code { device: &row.device, name: &it.name, us: it.us })
    });
    code.collect()
}

/// Device, and its causes with microseconds.
fn charted(report: &AnalyzeReport) -> Vec<(String, Vec<(&str, f64)>)> {
    let rows = report.idle.iter().map(|row| {
        let causes = row.causes.iter().map(|cause| (cause.cause, cause.us));
        (shorten(&row.device, 80), causes.collect())
    });
    rows.collect()
}

/// The causes of both sides, over all devices.
pub(crate) fn causes(sides: &Sides<'_>) -> Option<Markup> {
    let causes = |report: &ProfileReport| {
        let rows = report.analysis.idle.iter().flat_map(|row| &row.causes);
        sums(rows.map(|row| (row.cause, row.us)))
    };
    differences("Idle time by cause, over all devices", "cause", sides.joined(causes, duration))
}
