//! Passes of training or serving.

use xscope_analysis::AnalyzeReport;
use xscope_analysis::framework::Framework;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;

use crate::csv::Table;
use crate::grid::{Column, Grid, columns, row};
use crate::markup::ROWS;
use crate::sections::cut::truncate;
use crate::sections::view::{Content, Empty, PageView, SectionView, no_work_or};
use crate::text::{duration, known_duration, percent, shorten};

pub(crate) const SECTION: SectionView = SectionView {
    pages: &[PageView { id: "steps", title: "Steps", content: Content::Tables { charts: &[] } }],
    cut: |report| truncate(&mut report.steps.steps, ROWS),
    tables: &[
        Table::new("step_groups", |_, report, rows| rows.all(&report.steps.groups)),
        Table::new("steps", |_, report, rows| rows.all(&report.steps.steps)),
    ],
    ..SectionView::new(
        Section::Steps,
        |report| vec![groups(report), steps(report)],
        |report| no_work_or(report, Empty::NotRecorded(how_to_number(report))),
        |report, none| SectionReport { steps: Some(&report.steps), ..none },
    )
};

/// Why there are no steps, and what would number them.
fn how_to_number(report: &AnalyzeReport) -> &'static str {
    match report.framework {
        Some(Framework::Jax) => {
            "its operations name no program, and no annotation numbers its steps: call the work of a \
             step inside jax.profiler.StepTraceAnnotation, or look at a window with --from and --to"
        }
        Some(Framework::PyTorch) => {
            "its operations name no program, and no annotation numbers its steps: call the profiler's \
             step() after each, or look at a window with --from and --to"
        }
        _ => {
            "its operations name no program, and no annotation numbers its steps: look at a window with \
             --from and --to"
        }
    }
}

fn groups(report: &AnalyzeReport) -> Grid {
    let names = ["count", "total", "mean", "min", "p50", "p99", "max", "devices busy"];
    let rows = report.steps.groups.iter().map(|row| {
        row![
            shorten(&row.name, 48),
            row.stage,
            shorten(&row.server, 24),
            row.count.to_string(),
            duration(row.total_us),
            duration(row.mean_us),
            duration(row.min_us),
            duration(row.p50_us),
            known_duration(&row.p99_us),
            duration(row.max_us),
            percent(row.busy_share),
        ]
    });
    let columns = columns(&["step", "stage", "server"], &names);
    without_server(report, Grid::new("Steps by stage", columns, rows))
}

fn steps(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Number("number")];
    columns.extend(["step", "stage", "server"].map(Column::Text));
    columns.extend(["at", "took", "devices", "busy", "executions"].map(Column::Number));
    let rows = report.steps.steps.iter().map(|row| {
        row![
            row.number.to_string(),
            shorten(&row.name, 48),
            row.stage,
            shorten(&row.server, 24),
            duration(row.start_us),
            duration(row.duration_us),
            row.devices.to_string(),
            duration(row.busy_us),
            row.executions.to_string(),
        ]
    });
    without_server(report, Grid::new("Steps (--step NUMBER shows one)", columns, rows))
}

/// A table of steps, which says of which server they are only where there are several.
fn without_server(report: &AnalyzeReport, grid: Grid) -> Grid {
    match report.steps.groups.iter().all(|row| row.server.is_empty()) {
        true => grid.without("server"),
        false => grid,
    }
}
