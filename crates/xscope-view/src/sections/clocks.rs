//! How far the clocks of files are apart.

use xscope_analysis::AnalyzeReport;
use xscope_analysis::clocks::report::{ClockRow, Method};
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;

use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, columns, row};
use crate::markup::ROWS;
use crate::sections::cut::truncate;
use crate::sections::view::{Content, Empty, PageView, SectionView};
use crate::text::{duration, known_duration, shorten};

pub(crate) const SECTION: SectionView = SectionView {
    pages: &[PageView { id: "clocks", title: "Clocks", content: Content::Tables { charts: &[] } }],
    cut: |report| truncate(&mut report.clocks, ROWS),
    tables: &[Table::new("clocks", |_, report, rows| rows.all(&report.clocks))],
    ..SectionView::new(
        Section::Clocks,
        |report| if report.clocks.len() > 1 { vec![clocks(report)] } else { Vec::new() },
        |_| Empty::Nothing("there are no two files whose clocks could differ"),
        |report, none| SectionReport { clocks: Some(&report.clocks), ..none },
    )
};

fn clocks(report: &AnalyzeReport) -> Grid {
    let mut columns = columns(&["file", "host", "rank", "placed by"], &["ahead", "error"]);
    columns.extend(["at least", "at most", "drift ppm", "exchanges", "moved"].map(Column::Number));
    Grid::new("Clocks, against the first file", columns, report.clocks.iter().map(cells))
}

fn cells(row: &ClockRow) -> Vec<Cell> {
    let drift = match (row.drift_ppm.value, row.drift_error_ppm.value) {
        (Some(drift), Some(error)) => format!("{drift:.1} ± {error:.1}"),
        (None, Some(error)) => format!("< {error:.1}"),
        _ => "-".to_owned(),
    };
    row![
        shorten(&row.source, 48),
        row.hostname.clone(),
        row.rank.clone(),
        row.method.name().to_owned(),
        known_duration(&row.ahead_us),
        known_duration(&row.error_us),
        known_duration(&row.certain_least_us),
        known_duration(&row.certain_most_us),
        drift,
        row.exchanges.to_string(),
        match row.method {
            Method::Exchanges => duration(row.moved_us),
            _ => "-".to_owned(),
        },
    ]
}
