//! Two runs side by side.

use maud::{Markup, html};
use xscope_analysis::ProfileReport;
use xscope_analysis::compare::CompareReport;

use crate::compare::{grids, headline};
use crate::grid::Style;
use crate::html::environment::environment;
use crate::html::side::Side;
use crate::html::summary::width_ms;
use crate::markup::{Page, document, findings, grid, sentence, stacked, waterfall};
use crate::palette::stage_class;
use crate::sections;
use crate::sections::differ::Sides;
use crate::sections::view::SectionView;

/// Two runs as one page of differences, with the verdicts of their comparison, or with the reason
/// why there are none.
pub fn difference_html(mut a: Side, mut b: Side, compared: Result<&CompareReport, &str>) -> String {
    a.cut();
    b.cut();
    let names = [a.title(), b.title()];
    let sides = Sides { a: &a.report, b: &b.report };
    let page = |id, title, content| Page { id, title, content };
    let mut pages = vec![
        page("summary", "Summary", summary([&a.report, &b.report], &names, compared)),
        page("figures", "Figures", figures(compared)),
    ];
    for &view in sections::ALL {
        if let (Some(first), Some(difference)) = (view.pages.first(), view.difference) {
            let content = difference(&sides).unwrap_or_else(|| nothing(view, &sides));
            pages.push(page(first.id, first.title, content));
        }
    }
    let environments = html! {
        @for (name, side) in [("A", &a), ("B", &b)] {
            h3 { (name) }
            (environment(&side.report, side.manifest.as_ref()))
        }
    };
    pages.push(page("environment", "Environment", environments));
    let [of_a, of_b] = [&a, &b].map(|side| sections::data(&side.report));
    let data = format!("{{\"a\":{of_a},\"b\":{of_b}}}");
    document(&format!("{} and {}", names[0], names[1]), &pages, &data)
}

fn nothing(view: &SectionView, sides: &Sides<'_>) -> Markup {
    html! {
        @for (name, report) in sides.named() {
            p.empty { (name) ": " (sentence(&view.nothing(&report.analysis))) }
        }
    }
}

fn summary(
    reports: [&ProfileReport; 2],
    names: &[String; 2],
    compared: Result<&CompareReport, &str>,
) -> Markup {
    let width = width_ms(reports);
    html! {
        div.verdict {
            @match compared {
                Ok(report) => p { (headline(report, Style::Terminal).plain()) },
                Err(why) => p { "No verdict on the figures: " (why) },
            }
        }
        div.pair {
            @for (side, (report, name)) in ["A", "B"].iter().zip(reports.iter().zip(names)) {
                div {
                    h3 { (side) ": " bdi { (name) } }
                    @if !report.complete { p.notice { "This run did not come to its end." } }
                    @if report.requests.measured > 0 {
                        (waterfall("Typical request", &report.typical, width))
                        @if let Some(slowest) = &report.slowest { (waterfall("Slowest request", slowest, width)) }
                        (stacked(report.stages.iter().map(|stage| {
                            (stage.name.as_str(), stage_class(&stage.name), stage.share)
                        })))
                    } @else { p.empty { "No measured request." } }
                }
            }
        }
    }
}

fn figures(compared: Result<&CompareReport, &str>) -> Markup {
    html! {
        @match compared {
            Ok(report) => {
                @for table in &grids(report) { (grid(table)) }
                @if report.why.len() > 1 {
                    p.note { "What was changed together cannot be told apart: none of it alone is shown to be the cause." }
                }
                @if !report.findings.is_empty() { (findings(&report.findings)) }
            },
            Err(why) => p.empty { (why) },
        }
    }
}
