//! Executions of programs.

use xscope_analysis::AnalyzeReport;
use xscope_analysis::framework::Framework;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;

use crate::csv::Table;
use crate::grid::{Column, Grid, columns, row};
use crate::markup::ROWS;
use crate::sections::cut::truncate;
use crate::sections::view::{Content, Empty, PageView, SectionView, no_work_or};
use crate::text::{duration, known_duration, shorten};

pub(crate) const SECTION: SectionView = SectionView {
    pages: &[PageView {
        id: "programs",
        title: "Programs",
        content: Content::Tables { charts: &[] },
    }],
    cut: |report| truncate(&mut report.programs, ROWS),
    tables: &[Table::new("programs", |_, report, rows| rows.all(&report.programs))],
    ..SectionView::new(
        Section::Programs,
        |report| vec![programs(report)],
        |report| {
            let why = match report.framework {
                Some(Framework::PyTorch) => "its operations name no program: PyTorch has none",
                Some(Framework::Jax) => {
                    "its operations name no program: XLA names none in kernels that it launched as whole \
                     graphs"
                }
                _ => "its operations name no program",
            };
            no_work_or(report, Empty::NotRecorded(why))
        },
        |report, none| SectionReport { programs: Some(&report.programs), ..none },
    )
};

fn programs(report: &AnalyzeReport) -> Grid {
    let names = ["devices", "count", "total", "mean", "p50", "p99"];
    let mut columns = columns(&["program", "stage"], &names);
    columns.push(Column::Text("follows"));
    let rows = report.programs.iter().map(|row| {
        let follows = row.follows.iter().map(|it| format!("{} ({}x)", it.name, it.count));
        row![
            shorten(&row.name, 48),
            row.part_of.map_or_else(|| row.stage.to_owned(), |of| format!("{} of {of}", row.stage)),
            row.devices.to_string(),
            row.count.to_string(),
            duration(row.total_us),
            duration(row.mean_us),
            duration(row.p50_us),
            known_duration(&row.p99_us),
            follows.collect::<Vec<_>>().join(", "),
        ]
    });
    Grid::new("Executions of programs", columns, rows)
}
