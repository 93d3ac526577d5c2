//! The pages and what they are made of, all of it in the program.

use axum::body::Body;
use axum::http::Response;

use crate::markup::{SCRIPTS, STYLE};
use crate::server::answer::{nothing, typed};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Files of the pages by name. What the report has too comes from there.
const ASSETS: [(&str, &str, &str); 7] = [
    ("timeline.js", SCRIPT, include_str!("../../web/timeline/timeline.js")),
    ("draw.js", SCRIPT, include_str!("../../web/timeline/draw.js")),
    ("data.js", SCRIPT, include_str!("../../web/timeline/data.js")),
    ("timeline.css", CSS, include_str!("../../web/timeline/timeline.css")),
    ("runs.js", SCRIPT, include_str!("../../web/runs/runs.js")),
    ("live.js", SCRIPT, include_str!("../../web/live/live.js")),
    ("pages.css", CSS, include_str!("../../web/runs/pages.css")),
];

/// A file of the pages.
pub(crate) fn asset(name: &str) -> Response<Body> {
    if let Some((_, kind, text)) = ASSETS.iter().find(|(known, ..)| *known == name) {
        return typed(kind, *text);
    }
    if name == "report.css" {
        return typed(CSS, STYLE);
    }
    match SCRIPTS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => typed(SCRIPT, *text),
        None => nothing(),
    }
}

pub(crate) fn runs() -> Response<Body> {
    typed(HTML, include_str!("../../web/runs/runs.html"))
}

pub(crate) fn timeline() -> Response<Body> {
    typed(HTML, include_str!("../../web/timeline/timeline.html"))
}

pub(crate) fn live() -> Response<Body> {
    typed(HTML, include_str!("../../web/live/live.html"))
}
