//! One profile that is looked at: read in the background, then asked for windows of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use xscope_analysis::reports::analyze::needs_host_slice;
use xscope_analysis::{RunFacts, profile};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::read::{ReadOptions, half_of_memory, read_paths_with};
use xscope_trace::run::RunDir;
use xscope_trace::{Picos, Trace};

use super::{App, RunPath, Shared, json, refuse, typed};
use crate::html::{Side, report_html};
use crate::timeline::{Direction, Timeline, WindowQuery};

/// The name of a profile that was named on the command line.
pub(crate) const ONLY: &str = "0";

/// Most profiles that are kept in memory.
const MOST_OPEN: usize = 3;

/// Most findings that are told on the timeline; the report has all.
const MOST_FINDINGS: usize = 50;

/// Most names of one question.
const MOST_NAMES: usize = 1 << 16;

/// Most lines of the list that are told at once.
const MOST_ITEMS: u32 = 4096;

/// The profiles that are open, the last used last.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<VecDeque<(String, Arc<Session>)>>,
}

impl Sessions {
    /// The session of this name, begun if there is none.
    pub(crate) fn open(&self, id: &str, paths: &[PathBuf]) -> Arc<Session> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(known, _)| known == id)
            && let Some(entry) = open.remove(at)
        {
            let session = Arc::clone(&entry.1);
            open.push_back(entry);
            return session;
        }
        let session = Session::begin(paths);
        open.push_back((id.to_owned(), Arc::clone(&session)));
        if open.len() > MOST_OPEN {
            open.pop_front();
        }
        session
    }

    fn get(&self, id: &str) -> Option<Arc<Session>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().find(|(known, _)| known == id).map(|(_, session)| Arc::clone(session))
    }
}

/// A profile, and what came of reading it.
#[derive(Debug)]
pub(crate) struct Session {
    paths: Vec<PathBuf>,
    timeline: OnceLock<Result<Timeline, String>>,
    report: OnceLock<String>,
}

impl Session {
    fn begin(paths: &[PathBuf]) -> Arc<Self> {
        let session = Arc::new(Self {
            paths: paths.to_vec(),
            timeline: OnceLock::new(),
            report: OnceLock::new(),
        });
        let reader = Arc::clone(&session);
        let begun = std::thread::Builder::new().name("xscope-read".to_owned()).spawn(move || {
            reader.timeline.get_or_init(|| read(&reader.paths));
        });
        if let Err(error) = begun {
            session.timeline.get_or_init(|| Err(format!("cannot start a thread: {error}")));
        }
        session
    }

    fn ready(&self) -> Option<&Timeline> {
        self.timeline.get().and_then(|read| read.as_ref().ok())
    }
}

fn read(paths: &[PathBuf]) -> Result<Timeline, String> {
    let options = ReadOptions { memory_limit: half_of_memory(), needed: needs_host_slice };
    let trace = match read_paths_with(paths, options) {
        Ok(trace) => trace,
        // What else is known of a run is still worth a look.
        Err(error) if paths.iter().any(|path| is_run(path)) => {
            let message = format!("nothing of the run can be read: {}", chain(&error));
            let finding = Finding::new(Code::RunUnreadable, message);
            Trace { findings: vec![finding], ..Trace::default() }
        }
        Err(error) => return Err(chain(&error)),
    };
    Ok(Timeline::new(trace))
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl App {
    /// The profile of this name; a run of the browser is opened when it is first asked for.
    pub(crate) fn session(&self, id: &str) -> Option<Arc<Session>> {
        match &self.runs {
            Some(runs) => Some(self.sessions.open(id, &[runs.path_of(id)?])),
            None => self.sessions.get(id),
        }
    }

    /// Answers with a timeline off the threads that talk to clients.
    async fn ask(
        &self,
        id: &str,
        answer: impl FnOnce(&Timeline) -> Response<Body> + Send + 'static,
    ) -> Response<Body> {
        let Some(session) = self.session(id) else { return unknown(id) };
        blocking(move || match session.ready() {
            Some(timeline) => answer(timeline),
            None => refuse(StatusCode::SERVICE_UNAVAILABLE, "the profile is still being read"),
        })
        .await
    }
}

pub(crate) fn unknown(id: &str) -> Response<Body> {
    let id: String = id.chars().take(100).collect();
    refuse(StatusCode::NOT_FOUND, &format!("there is no run of this name: {id}"))
}

/// Runs what computes where it keeps nobody waiting.
pub(crate) async fn blocking(
    answer: impl FnOnce() -> Response<Body> + Send + 'static,
) -> Response<Body> {
    match tokio::task::spawn_blocking(answer).await {
        Ok(response) => response,
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(crate) async fn status(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    let Some(session) = app.session(&id) else { return unknown(&id) };
    let name = session.paths.iter().map(|path| path.display().to_string());
    let name = name.collect::<Vec<_>>().join(", ");
    let home = app.runs.is_some();
    json(&match session.timeline.get() {
        None => json!({ "state": "reading", "name": name, "runs": home }),
        Some(Err(why)) => json!({ "state": "failed", "name": name, "why": why, "runs": home }),
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
                "findings": trace.findings.iter().take(MOST_FINDINGS).collect::<Vec<_>>(),
            })
        }
    })
}

/// What every line of the list is, and how many rows it has: `u8` each, then `u16` each.
pub(crate) async fn tree(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    app.ask(&id, |timeline| {
        let items = timeline.items();
        let mut out: Vec<u8> = items.iter().map(|item| item.kind.code()).collect();
        out.resize(out.len().next_multiple_of(2), 0);
        for item in items {
            let rows = u16::try_from(timeline.rows(item)).unwrap_or(u16::MAX);
            out.extend(rows.to_le_bytes());
        }
        typed("application/octet-stream", out)
    })
    .await
}

#[derive(Deserialize)]
pub(crate) struct ItemsQuery {
    from: u32,
    count: u32,
}

pub(crate) async fn items(
    State(app): Shared,
    UrlPath((_, id)): RunPath,
    Query(query): Query<ItemsQuery>,
) -> Response<Body> {
    app.ask(&id, move |timeline| {
        let items = timeline.items().iter().skip(query.from as usize);
        let names = items.take(query.count.min(MOST_ITEMS) as usize);
        json(&names.map(|item| timeline.item_name(item)).collect::<Vec<_>>())
    })
    .await
}

#[derive(Deserialize)]
pub(crate) struct RangeQuery {
    /// In ps from the start of the trace, as all times.
    from: f64,
    to: f64,
    #[serde(default)]
    px: u32,
    #[serde(default)]
    items: String,
}

pub(crate) async fn window(
    State(app): Shared,
    UrlPath((_, id)): RunPath,
    Query(query): Query<RangeQuery>,
) -> Response<Body> {
    app.ask(&id, move |timeline| {
        let zero = timeline.extent().0;
        let query = WindowQuery {
            from: absolute(zero, query.from),
            to: absolute(zero, query.to),
            pixels: query.px.clamp(1, 16_384),
            items: ranges(&query.items),
        };
        typed("application/octet-stream", timeline.window(&query))
    })
    .await
}

pub(crate) async fn stats(
    State(app): Shared,
    UrlPath((_, id)): RunPath,
    Query(query): Query<RangeQuery>,
) -> Response<Body> {
    app.ask(&id, move |timeline| {
        let zero = timeline.extent().0;
        let (from, to) = (absolute(zero, query.from), absolute(zero, query.to));
        json(&timeline.stats(from, to, &ranges(&query.items)))
    })
    .await
}

/// The texts of names, whose numbers are the body, as `u32`.
pub(crate) async fn names(
    State(app): Shared,
    UrlPath((_, id)): RunPath,
    body: Bytes,
) -> Response<Body> {
    app.ask(&id, move |timeline| {
        let (ids, _) = body.as_chunks::<4>();
        let ids = ids.iter().take(MOST_NAMES).map(|bytes| u32::from_le_bytes(*bytes));
        json(&ids.map(|id| timeline.name(id)).collect::<Vec<_>>())
    })
    .await
}

#[derive(Deserialize)]
pub(crate) struct SliceQuery {
    item: u32,
    slice: u32,
}

pub(crate) async fn slice(
    State(app): Shared,
    UrlPath((_, id)): RunPath,
    Query(query): Query<SliceQuery>,
) -> Response<Body> {
    app.ask(&id, move |timeline| {
        let found = timeline.slice_ref(query.item, query.slice);
        match found.and_then(|slice| timeline.detail(slice)) {
            Some(detail) => json(&detail),
            None => refuse(StatusCode::NOT_FOUND, "there is no such slice"),
        }
    })
    .await
}

#[derive(Deserialize)]
pub(crate) struct SearchQuery {
    text: String,
    /// The match to go on from.
    item: Option<u32>,
    slice: Option<u32>,
    #[serde(default)]
    back: bool,
}

pub(crate) async fn search(
    State(app): Shared,
    UrlPath((_, id)): RunPath,
    Query(query): Query<SearchQuery>,
) -> Response<Body> {
    app.ask(&id, move |timeline| {
        let from = query.item.zip(query.slice);
        let from = from.and_then(|(item, slice)| timeline.slice_ref(item, slice));
        let cursor = from.and_then(|slice| timeline.cursor(slice));
        let direction = if query.back { Direction::Previous } else { Direction::Next };
        json(&timeline.search(&query.text, cursor, direction))
    })
    .await
}

/// The report of the same profile, made when it is first asked for.
pub(crate) async fn report(State(app): Shared, UrlPath((_, id)): RunPath) -> Response<Body> {
    let Some(session) = app.session(&id) else { return unknown(&id) };
    blocking(move || match session.timeline.get() {
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "the profile is still being read"),
        Some(Err(why)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, why),
        Some(Ok(timeline)) => {
            let page = session.report.get_or_init(|| report_page(&session.paths, timeline.trace()));
            self_contained(page.clone())
        }
    })
    .await
}

fn report_page(paths: &[PathBuf], trace: &Trace) -> String {
    let run = match paths {
        [path] => RunDir::open(path).ok(),
        _ => None,
    };
    let name = |path: &PathBuf| path.display().to_string();
    let facts = match &run {
        Some(run) => RunFacts::of(run, run.read_json(&run.overhead_path())),
        None => RunFacts {
            run_dir: paths.iter().map(name).collect::<Vec<_>>().join(", "),
            complete: true,
            ..RunFacts::default()
        },
    };
    let report = profile(trace, &facts);
    report_html(match &run {
        Some(run) => Side::of_run(report, run),
        None => Side::of_profile(report),
    })
}

/// A page with its own policy in it, which allows its own scripts by their hashes.
pub(crate) fn self_contained(page: String) -> Response<Body> {
    let mut response = typed("text/html; charset=utf-8", page);
    let policy = HeaderValue::from_static("frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A time of the trace.
#[expect(clippy::cast_possible_truncation, reason = "saturates; NaN is 0")]
fn absolute(zero: Picos, time: f64) -> Picos {
    zero + Picos(time as i64)
}

/// Ranges as `3-5,9-10`, ends excluded; what is no range is passed over.
fn ranges(text: &str) -> Vec<Range<u32>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-')?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

/// Whether a path is a run directory.
pub(crate) fn is_run(path: &Path) -> bool {
    path.join("run.json").is_file()
}
