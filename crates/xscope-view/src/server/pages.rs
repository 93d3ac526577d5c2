//! The pages and what they are made of, all of it in the program.

use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::{RunPath, Shared, guard, refuse, session, typed};
use crate::markup::{SCRIPTS, STYLE};

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

pub(crate) async fn asset(UrlPath((_, name)): RunPath) -> Response<Body> {
    if let Some((_, kind, text)) = ASSETS.iter().find(|(known, ..)| *known == name) {
        return typed(kind, *text);
    }
    if name == "report.css" {
        return typed(CSS, STYLE);
    }
    match SCRIPTS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => typed(SCRIPT, *text),
        None => guard::nothing().await,
    }
}

/// The run browser, the live page, or straight to the only thing that there is to see.
pub(crate) async fn home(State(app): Shared) -> Response<Body> {
    if app.runs.is_some() {
        return typed(HTML, include_str!("../../web/runs/runs.html"));
    }
    let there = match app.live {
        Some(_) => "live".to_owned(),
        None => format!("run/{}/", session::ONLY),
    };
    let mut response = refuse(StatusCode::SEE_OTHER, "");
    if let Ok(there) = HeaderValue::from_str(&there) {
        response.headers_mut().insert(header::LOCATION, there);
    }
    response
}

pub(crate) async fn timeline(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    match app.session(&id) {
        Some(_) => typed(HTML, include_str!("../../web/timeline/timeline.html")),
        None => session::unknown(&id),
    }
}

pub(crate) async fn live(State(app): Shared) -> Response<Body> {
    match app.live {
        Some(_) => typed(HTML, include_str!("../../web/live/live.html")),
        None => guard::nothing().await,
    }
}
