//! A page as one file that needs nothing else: no network, no other file.
//!
//! Text and tables are written here, escaped, and are readable without scripts; the scripts of
//! `web/` sort, filter and draw charts from a JSON island in the page. The policy in the page lets
//! those scripts run, by their hashes, and nothing else; it forbids any connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::palette::stage_rules;
use crate::text::shorten;

/// The style sheet of all pages.
pub(crate) const STYLE: &str = include_str!("../../web/report.css");

/// The scripts of all pages, in the order in which they must run. They share one global,
/// `xscope`, beside that of Apache ECharts 6.1.0 (`dist/echarts.common.min.js` of its npm package,
/// unchanged); `xscope.start(document)` brings a page to life and runs by itself in a report.
pub(crate) const SCRIPTS: [(&str, &str); 5] = [
    ("echarts.min.js", include_str!("../../web/vendor/echarts/echarts.min.js")),
    ("tables.js", include_str!("../../web/tables.js")),
    ("flame.js", include_str!("../../web/flame.js")),
    ("charts.js", include_str!("../../web/charts.js")),
    ("start.js", include_str!("../../web/start.js")),
];

/// One part of a page that the navigation leads to.
pub(crate) struct Page {
    pub id: &'static str,
    pub title: &'static str,
    pub content: Markup,
}

/// The page; `data` is JSON, what its scripts draw from.
pub(crate) fn document(title: &str, pages: &[Page], data: &str) -> String {
    let title = shorten(title, 120);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(concat!("xscope ", env!("CARGO_PKG_VERSION")));
                title { (title) " - xscope" }
                style { (PreEscaped(STYLE)) (PreEscaped(stage_rules())) }
            }
            body {
                header {
                    h1 { span.mark { "xscope" } " " bdi { (title) } }
                    nav aria-label="Sections" {
                        @for page in pages { a href={ "#" (page.id) } { (page.title) } }
                    }
                }
                main {
                    noscript { p.notice { "Scripts are off: tables are complete, charts are not drawn." } }
                    @for page in pages {
                        section id=(page.id) {
                            h2 { (page.title) }
                            (page.content)
                        }
                    }
                }
                footer { "Written by xscope " (env!("CARGO_PKG_VERSION")) ". This file needs no network." }
                (island(data))
                @for (_, script) in SCRIPTS { script { (PreEscaped(script)) } }
            }
        }
    };
    page.into_string()
}

/// Data for the scripts. `<` does not occur in JSON but in strings, where it may be escaped: no
/// name can end the element.
fn island(json: &str) -> Markup {
    html! {
        script type="application/json" id="xscope-data" { (PreEscaped(json.replace('<', "\\u003c"))) }
    }
}

/// Nothing may be loaded or sent, and only the scripts above run. Styles are inline because widths
/// of bars are.
fn policy() -> String {
    let hashes = SCRIPTS.map(|(_, script)| {
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script.as_bytes())))
    });
    format!(
        "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:; \
         base-uri 'none'; form-action 'none'",
        hashes.join(" ")
    )
}
