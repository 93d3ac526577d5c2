//! The sections of the report, each with all that is known of how to show it: a section is one file here
//! and a line in [`ALL`]. Terminal, Markdown, pages, differences, CSV and JSON go through this list.

mod clocks;
mod collectives;
mod compiles;
pub(crate) mod cut;
pub(crate) mod devices;
pub(crate) mod differ;
mod flame;
mod idle;
mod kernels;
pub(crate) mod layers;
pub(crate) mod memory;
pub(crate) mod operations;
pub(crate) mod overhead;
mod programs;
mod quality;
pub(crate) mod requests;
mod steps;
pub(crate) mod view;

use std::collections::BTreeMap;

use xscope_analysis::reports::analyze_report::DegradedRow;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::colour::{Text, Tone};
use crate::csv::{Table, trace};
use crate::grid::Style;
use view::SectionView;

pub use kernels::groups_text;

/// All sections, in the order of the pages of a report.
pub(crate) const ALL: &[&SectionView] = &[
    &requests::SECTION,
    &layers::SECTION,
    &kernels::SECTION,
    &devices::SECTION,
    &idle::SECTION,
    &memory::SECTION,
    &compiles::SECTION,
    &collectives::SECTION,
    &clocks::SECTION,
    &programs::SECTION,
    &steps::SECTION,
    &overhead::SECTION,
    &quality::SECTION,
];

const _: () = assert!(ALL.len() == Section::ALL.len(), "each section has one view");

fn view(section: Section) -> &'static SectionView {
    let found = ALL.iter().find(|view| view.section == section);
    found.expect("a test holds the views and the sections together")
}

/// A section in full.
pub fn section_text(report: &AnalyzeReport, section: Section, style: Style) -> Text {
    let view = view(section);
    let mut tables = match style {
        Style::Terminal => (view.drawing)(report),
        Style::Markdown => Text::default(),
    };
    (view.grids)(report).iter().for_each(|grid| tables += grid.render(style));
    let notes = (view.notes)(report);
    let is_empty = tables.is_empty() && notes.is_empty();
    let mut out = Text::default();
    if style == Style::Markdown {
        out.line(format!("\n## {}", section.name()));
    }
    let degraded = degraded(report, section).map(|row| {
        let mut line = Tone::Doubtful.of("degraded:");
        line += format!(" {} [{}]", row.figures.name(), row.code);
        line
    });
    out += paragraph(degraded.collect(), style);
    out += tables;
    if is_empty {
        out += paragraph(vec![view.nothing(report).into()], style);
    }
    out += paragraph(notes, style);
    out
}

/// Lines of text below or above tables.
fn paragraph(lines: Vec<Text>, style: Style) -> Text {
    let mut out = Text::default();
    if !lines.is_empty() {
        out += "\n";
    }
    for line in lines {
        out += if style == Style::Markdown { "- " } else { "" };
        out.line(line);
    }
    out
}

/// What findings make doubtful in a section.
pub(crate) fn degraded(
    report: &AnalyzeReport,
    section: Section,
) -> impl Iterator<Item = &DegradedRow> {
    report.degraded.iter().filter(move |row| row.sections.contains(&section))
}

/// A section in full, as it is in JSON.
pub fn section_report(report: &AnalyzeReport, section: Section) -> SectionReport<'_> {
    (view(section).json)(report, SectionReport::new(section))
}

/// All tables of a trace and of the report on it.
pub fn csv_tables() -> impl Iterator<Item = &'static Table> {
    trace::TABLES.iter().chain(ALL.iter().flat_map(|view| view.tables))
}

/// Rows that a page leaves out of each section.
pub(crate) type LeftOut = BTreeMap<Section, usize>;

/// Cuts a report to what pages can hold.
pub(crate) fn cut(report: &mut AnalyzeReport) -> LeftOut {
    report.sources.truncate(crate::markup::ROWS);
    ALL.iter().map(|view| (view.section, (view.cut)(report))).collect()
}

/// What the scripts of pages draw from, as JSON.
pub(crate) fn data(report: &ProfileReport) -> String {
    let data = ALL.iter().flat_map(|view| view.data);
    let fields: Vec<String> =
        data.map(|data| format!("\"{}\":{}", data.name, (data.json)(report))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xscope_analysis::analyze;

    use super::{Section, csv_tables, section_text, view};
    use crate::grid::Style;

    #[test]
    fn each_section_has_a_view() {
        for &section in Section::ALL {
            assert_eq!(view(section).section, section);
        }
    }

    #[test]
    fn tables_have_names_of_their_own_and_stand_in_the_manual() {
        let manual = include_str!("../../../../docs/export.md");
        let mut names: Vec<String> = csv_tables().map(|table| table.file_name()).collect();
        for name in names.iter().map(|name| name.trim_end_matches(".csv")) {
            assert!(manual.contains(&format!("`{name}`")), "docs/export.md has no {name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// Every section of every fixture has a heading, and its tables have as many cells in each row.
    #[test]
    fn markdown_is_whole() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xscope-trace/tests/fixtures");
        for name in
            ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto", "run", "pprof", "sglang_jax/server.log"]
        {
            let report = analyze(&xscope_trace::read_paths(&[fixtures.join(name)]).unwrap());
            for &section in Section::ALL {
                let title = section.name();
                let text = section_text(&report, section, Style::Markdown);
                let text = text.plain();
                let at = |line: &str| format!("{name} {title}: {line}");
                assert!(text.starts_with(&format!("\n## {title}\n\n")), "{}", at(text));
                // Blocks lie apart, and each is a heading, a list or a table.
                for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
                    let lines: Vec<&str> = block.lines().collect();
                    let cells = |line: &&str| line.replace("\\|", "").matches('|').count();
                    let is_whole = match lines[0] {
                        line if line.starts_with('#') => lines.len() == 1,
                        line if line.starts_with("- ") => {
                            lines.iter().all(|line| line.starts_with("- "))
                        }
                        line => {
                            cells(&line) > 1 && lines.iter().map(cells).all(|it| it == cells(&line))
                        }
                    };
                    assert!(is_whole, "{}", at(block));
                }
            }
        }
    }
}
