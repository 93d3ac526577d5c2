//! What makes the figures wrong.

use maud::html;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;

use crate::csv::Table;
use crate::findings::finding_lines;
use crate::markup::{ROWS, findings};
use crate::sections::cut::truncate;
use crate::sections::view::{Content, Empty, PageView, SectionView};

pub(crate) const SECTION: SectionView = SectionView {
    // A page marks findings by how much they hurt, so it has no other notes of them.
    notes: |report| finding_lines(&report.quality),
    pages: &[PageView {
        id: "quality",
        title: "Quality",
        content: Content::Own(|report| Some(findings(&report.analysis.quality))),
    }],
    cut: |report| truncate(&mut report.quality, ROWS),
    tables: &[Table::new("quality", |_, report, rows| rows.all(&report.quality))],
    difference: Some(|sides| {
        Some(html! {
            @for (name, side) in sides.named() { h3 { (name) } (findings(&side.analysis.quality)) }
        })
    }),
    ..SectionView::new(
        Section::Quality,
        |_| Vec::new(),
        |_| Empty::Nothing("nothing wrong was found"),
        |report, none| SectionReport { quality: Some(&report.quality), ..none },
    )
};
