//! What a section is made of, wherever it is shown.

use maud::Markup;
use serde::Serialize;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::Grid;
use crate::sections::differ::Sides;

/// A section of the report, with all that is known of how to show it.
pub(crate) struct SectionView {
    pub section: Section,
    pub grids: fn(&AnalyzeReport) -> Vec<Grid>,
    /// Why it has nothing to show, and what would change that.
    pub empty: fn(&AnalyzeReport) -> Empty,
    /// What `analyze PATH SECTION --json` prints.
    pub json: SectionJson,
    /// What the tables do not say.
    pub notes: fn(&AnalyzeReport) -> Vec<Text>,
    /// What a terminal shows above the tables.
    pub drawing: fn(&AnalyzeReport) -> Text,
    /// Its pages in a report; the first one is called as the section is.
    pub pages: &'static [PageView],
    /// What scripts draw on the pages, by the names that they know.
    pub data: &'static [Data],
    /// Cuts its lists to what a page can hold, all but their beginnings, where what matters is; how many
    /// rows are left out.
    pub cut: fn(&mut AnalyzeReport) -> usize,
    /// Its tables as CSV.
    pub tables: &'static [Table],
    /// What a page of differences shows of it, on a page as the first one is called; `None` if neither side
    /// has any of it.
    pub difference: Option<fn(&Sides<'_>) -> Option<Markup>>,
}

/// A page of a report.
pub(crate) struct PageView {
    pub id: &'static str,
    pub title: &'static str,
    pub content: Content,
}

/// What a page shows.
pub(crate) enum Content {
    /// Charts by their names, each with what it shows, and the tables of the section.
    Tables { charts: &'static [(&'static str, &'static str)] },
    /// `None` if it is empty.
    Own(fn(&ProfileReport) -> Option<Markup>),
}

/// Puts the section's parts of a report into a document that has none yet.
pub(crate) type SectionJson = for<'a> fn(&'a AnalyzeReport, SectionReport<'a>) -> SectionReport<'a>;

/// What scripts draw from.
pub(crate) struct Data {
    pub name: &'static str,
    pub json: fn(&ProfileReport) -> String,
}

impl SectionView {
    /// A section of tables, which says no more than they do.
    pub(crate) const fn new(
        section: Section,
        grids: fn(&AnalyzeReport) -> Vec<Grid>,
        empty: fn(&AnalyzeReport) -> Empty,
        json: SectionJson,
    ) -> Self {
        Self {
            section,
            grids,
            empty,
            json,
            notes: |_| Vec::new(),
            drawing: |_| Text::from(String::new()),
            pages: &[],
            data: &[],
            cut: |_| 0,
            tables: &[],
            difference: None,
        }
    }

    /// Says that it has nothing to show, and why.
    pub(crate) fn nothing(&self, report: &AnalyzeReport) -> String {
        match (self.empty)(report) {
            Empty::NotRecorded(why) => format!("not recorded: {why}"),
            Empty::Nothing(what) => what.to_owned(),
        }
    }
}

/// Why a section has nothing to show.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Empty {
    /// What it is told from is not there; why, and what would change that.
    NotRecorded(&'static str),
    /// That was looked at, and nothing found.
    Nothing(&'static str),
}

/// Why a section about the work of devices is empty, if there is none.
pub(crate) fn no_work(report: &AnalyzeReport) -> Empty {
    Empty::NotRecorded(match report.events {
        0 => "no trace of devices is in it",
        _ => "no operation of any device is in it",
    })
}

/// Why a section about the work of devices is empty: `otherwise` if they did some.
pub(crate) fn no_work_or(report: &AnalyzeReport, otherwise: Empty) -> Empty {
    if report.kernels.is_empty() { no_work(report) } else { otherwise }
}

/// A value as part of a page's data.
pub(crate) fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
