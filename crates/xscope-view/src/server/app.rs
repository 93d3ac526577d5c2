//! What is looked at, and what each address answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use xscope_analysis::chain;

use crate::palette::stage_colours;
use crate::server::answer::{blocking, json, nothing, refuse, self_contained, unknown};
use crate::server::live::Live;
use crate::server::runs::Runs;
use crate::server::session::{ONLY, Session, Sessions};
use crate::server::{ask, pages};
use crate::timeline::Timeline;

/// Most findings that are told on the timeline; the report has all.
const MOST_FINDINGS: usize = 50;

/// Compares two run directories and gives the difference as a page, or says why it cannot.
pub type Compare = fn(&Path, &Path) -> Result<String, Box<dyn Error + Send + Sync>>;

/// What all routes share.
#[derive(Debug)]
pub(crate) struct App {
    sessions: Sessions,
    /// Absent if it was not a folder of runs that was given.
    runs: Option<Runs>,
    live: Option<Live>,
    compare: Compare,
}

impl App {
    pub(crate) fn new(paths: &[PathBuf], live: Option<String>, compare: Compare) -> Self {
        let runs = match paths {
            [folder] => Runs::of(folder),
            _ => None,
        };
        let sessions = Sessions::default();
        if runs.is_none() && !paths.is_empty() {
            // Reading begins before anybody asks: the first picture waits for it.
            sessions.open(ONLY, paths);
        }
        let tail = paths.first().cloned();
        let live = live.map(|url| Live::new(url, tail));
        Self { sessions, runs, live, compare }
    }

    /// The profile of this name; a run of the browser is opened when it is first asked for.
    fn session(&self, id: &str) -> Option<Arc<Session>> {
        match &self.runs {
            Some(runs) => Some(self.sessions.open(id, &[runs.path_of(id)?])),
            None => self.sessions.get(id),
        }
    }

    /// Answers with a timeline off the threads that talk to clients.
    async fn ask(
        &self,
        id: &str,
        answer: impl FnOnce(&Session, &Timeline) -> Response<Body> + Send + 'static,
    ) -> Response<Body> {
        let Some(session) = self.session(id) else { return unknown(id) };
        blocking(move || match session.timeline() {
            Some(Ok(timeline)) => answer(&session, timeline),
            Some(Err(why)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &chain(why)),
            None => refuse(StatusCode::SERVICE_UNAVAILABLE, "the profile is still being read"),
        })
        .await
    }
}

type RunPath = UrlPath<(String, String)>;
type Shared = State<Arc<App>>;

/// All addresses, below the token.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/{token}/", get(home))
        .route("/{token}/assets/{name}", get(asset))
        .route("/{token}/live", get(live))
        .route("/{token}/api/live", get(live_state))
        .route("/{token}/api/runs", get(runs))
        .route("/{token}/compare", get(compare))
        .route("/{token}/run/{id}/", get(timeline))
        .route("/{token}/run/{id}/report", get(report))
        .route("/{token}/run/{id}/api/status", get(status))
        .route("/{token}/run/{id}/api/tree", answer(ask::tree))
        .route("/{token}/run/{id}/api/items", answer(ask::items))
        .route("/{token}/run/{id}/api/window", answer(ask::window))
        .route("/{token}/run/{id}/api/names", post(names))
        .route("/{token}/run/{id}/api/slice", answer(ask::slice))
        .route("/{token}/run/{id}/api/search", answer(ask::search))
        .route("/{token}/run/{id}/api/stats", answer(ask::stats))
        .fallback(async || nothing())
        .with_state(Arc::new(app))
}

/// Asks the timeline of the run in the address.
fn answer<Q: DeserializeOwned + Send + 'static>(
    of: fn(&Timeline, &Q) -> Response<Body>,
) -> MethodRouter<Arc<App>> {
    get(move |State(app): Shared, UrlPath((_, id)): RunPath, Query(query): Query<Q>| async move {
        app.ask(&id, move |_, timeline| of(timeline, &query)).await
    })
}

async fn names(State(app): Shared, UrlPath((_, id)): RunPath, body: Bytes) -> Response<Body> {
    app.ask(&id, move |_, timeline| ask::names(timeline, &body)).await
}

/// The report of the same profile.
async fn report(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    let page = |session: &Session, timeline: &Timeline| {
        self_contained(session.report(timeline.trace()).to_owned())
    };
    app.ask(&id, page).await
}

async fn status(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    let Some(session) = app.session(&id) else { return unknown(&id) };
    let name = session.name();
    let home = app.runs.is_some();
    json(&match session.timeline() {
        None => json!({ "state": "reading", "name": name, "runs": home }),
        Some(Err(why)) => {
            json!({ "state": "failed", "name": name, "why": chain(why), "runs": home })
        }
        Some(Ok(timeline)) => {
            let trace = timeline.trace();
            let (start, end) = timeline.extent();
            json!({
                "state": "ready",
                "name": name,
                "runs": home,
                "live": app.live.is_some(),
                "length": end - start,
                "slices": trace.slice_count(),
                "tracks": trace.tracks.len(),
                "requests": trace.client.len(),
                "items": timeline.items().len(),
                "too_deep": timeline.too_deep(),
                "stage_colours": BTreeMap::from(stage_colours()),
                "findings": trace.findings.iter().take(MOST_FINDINGS).collect::<Vec<_>>(),
            })
        }
    })
}

/// The run browser, the live page, or straight to the only thing that there is to see.
async fn home(State(app): Shared) -> Response<Body> {
    if app.runs.is_some() {
        return pages::runs();
    }
    let there = match app.live {
        Some(_) => "live".to_owned(),
        None => format!("run/{ONLY}/"),
    };
    let mut response = refuse(StatusCode::SEE_OTHER, "");
    if let Ok(there) = HeaderValue::from_str(&there) {
        response.headers_mut().insert(header::LOCATION, there);
    }
    response
}

async fn asset(UrlPath((_, name)): RunPath) -> Response<Body> {
    pages::asset(&name)
}

async fn timeline(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    match app.session(&id) {
        Some(_) => pages::timeline(),
        None => unknown(&id),
    }
}

async fn live(State(app): Shared) -> Response<Body> {
    match app.live {
        Some(_) => pages::live(),
        None => nothing(),
    }
}

async fn live_state(State(app): Shared) -> Response<Body> {
    let Some(live) = &app.live else { return nothing() };
    let look = live.look().await;
    blocking(move || json(&look())).await
}

async fn runs(State(app): Shared) -> Response<Body> {
    blocking(move || app.runs.as_ref().map_or_else(nothing, |runs| json(&runs.rows()))).await
}

#[derive(Deserialize)]
struct CompareQuery {
    a: String,
    b: String,
}

/// The difference of two runs as a page.
async fn compare(State(app): Shared, Query(query): Query<CompareQuery>) -> Response<Body> {
    blocking(move || {
        let path = |id: &str| app.runs.as_ref().and_then(|runs| runs.path_of(id));
        match (path(&query.a), path(&query.b)) {
            (Some(a), Some(b)) => match (app.compare)(&a, &b) {
                Ok(page) => self_contained(page),
                Err(why) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &chain(&*why)),
            },
            (None, _) => unknown(&query.a),
            (_, None) => unknown(&query.b),
        }
    })
    .await
}
