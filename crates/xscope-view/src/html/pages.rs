//! The pages of a report.

use maud::{Markup, html};
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::html::benchmark::benchmark;
use crate::html::environment::environment;
use crate::html::side::Side;
use crate::html::summary::summary;
use crate::markup::{Page, chart, grid, sentence};
use crate::sections::view::{Content, PageView, SectionView};
use crate::sections::{self, LeftOut};

/// All pages in order; each is there, with a word if it is empty.
pub(crate) fn pages(side: &Side, left_out: &LeftOut) -> Vec<Page> {
    let report = &side.report;
    let page = |id, title, content| Page { id, title, content };
    let mut pages = vec![page("summary", "Summary", summary(side))];
    pages.extend(side.results.as_ref().map(|it| page("benchmark", "Benchmark", benchmark(it))));
    for &view in sections::ALL {
        let left_out = left_out.get(&view.section).copied().unwrap_or(0);
        let of_section = |it: &PageView| page(it.id, it.title, content(view, it, report, left_out));
        pages.extend(view.pages.iter().map(of_section));
    }
    let environment = environment(report, side.manifest.as_ref());
    pages.push(page("environment", "Environment", environment));
    pages
}

fn content(view: &SectionView, page: &PageView, report: &ProfileReport, left_out: usize) -> Markup {
    let analysis = &report.analysis;
    let content = match page.content {
        Content::Own(content) => content(report),
        Content::Tables { charts } => tables(view, charts, analysis),
    };
    html! {
        @if let Some(content) = content {
            (degraded(view, analysis))
            (content)
            @if left_out > 0 {
                p.notice { (left_out) " more are left out of this page, those with the least; report.json and `--json` have all." }
            }
        } @else {
            p.empty { (sentence(&view.nothing(analysis))) }
        }
    }
}

/// The charts and tables of a section, and its notes.
fn tables(view: &SectionView, charts: &[(&str, &str)], analysis: &AnalyzeReport) -> Option<Markup> {
    let grids = (view.grids)(analysis);
    grids.iter().any(|grid| !grid.rows.is_empty()).then(|| {
        html! {
            @for (name, label) in charts { (chart(name, label)) }
            @for table in &grids { (grid(table)) }
            @for note in (view.notes)(analysis) { p.note { (sentence(note.plain())) } }
        }
    })
}

/// What findings make doubtful in a section.
fn degraded(view: &SectionView, analysis: &AnalyzeReport) -> Markup {
    html! {
        @for row in sections::degraded(analysis, view.section) {
            p.notice { "Not to be relied on: " (row.figures.name()) ", see " a href="#quality" { (row.code) } }
        }
    }
}
