//! The HTTP side: routes, and what every request goes through.

mod body;
mod info;
mod profile;
mod reply;
mod score;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Extensions, HeaderMap, Method, Response, StatusCode, Uri},
    middleware::{Next, from_fn_with_state},
    routing::{get, post},
};
use xscope_trace::{Bytes, Nanos, clock};

use crate::{
    capture::StatusBoard,
    http::reply::{ApiError, add_ids},
    queue::Queue,
    records::RequestIds,
    scheduler::{Budget, SchedulerHandle},
    telemetry::Telemetry,
    validate::{Encode, Limits},
};

/// What the routes share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) body_limit: Bytes,
    pub(crate) body_timeout: Duration,
    pub(crate) profile_root: PathBuf,
    pub(crate) model_path: String,
    pub(crate) served_model_name: String,
    pub(crate) load_format: &'static str,
    pub(crate) device: String,
    pub(crate) tokenizer: xscope_model::Tokenizer,
    pub(crate) queue: Arc<Queue>,
    pub(crate) scheduler: SchedulerHandle,
    /// False once the scheduler's thread has ended.
    pub(crate) scheduler_alive: Arc<AtomicBool>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) captures: Arc<StatusBoard>,
    pub(crate) requests: AtomicU64,
}

impl App {
    fn scheduler_runs(&self) -> bool {
        self.scheduler_alive.load(Ordering::Relaxed)
    }

    fn identify(&self, headers: &HeaderMap, start: Nanos) -> RequestIds {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let name = match given.filter(|id| sane_id(id)) {
            Some(id) => id.into(),
            None => format!("xscope-{:x}-{number}", start.0).into(),
        };
        RequestIds { number, name }
    }
}

impl Encode for xscope_model::Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.encode(text).map_err(|error| crate::error::chain(&error))
    }
}

/// An id from outside that may go into headers, files and logs as it is.
pub(crate) fn sane_id(id: &str) -> bool {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte);
    (1..=128).contains(&id.len()) && id.bytes().all(sane)
}

/// When a request came, and its names.
#[derive(Debug, Clone)]
struct Arrival {
    start: Nanos,
    ids: RequestIds,
}

impl Arrival {
    /// What the outermost layer has left with the request.
    fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().expect("the outermost layer inserts it into every request")
    }
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/score", post(score::score))
        .route("/start_profile", get(profile::start).post(profile::start))
        .route("/stop_profile", get(profile::stop).post(profile::stop))
        .route("/profile_status", get(profile::status))
        .route("/get_server_info", get(info::server_info))
        .route("/health", get(info::health))
        .route("/metrics", get(info::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), outermost))
        .with_state(app)
}

/// Where a request starts and ends: names it, counts it.
async fn outermost(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let start = clock::monotonic();
    let ids = app.identify(request.headers(), start);
    let mut count = CountOnDrop { status: CLIENT_LEFT, route: route(request.uri()), app: &app };
    request.extensions_mut().insert(Arrival { start, ids: ids.clone() });
    let mut response = next.run(request).await;
    add_ids(&mut response, &ids);
    count.status = response.status().as_u16();
    response
}

/// What nginx calls a request whose client left before the answer.
const CLIENT_LEFT: u16 = 499;

/// Counts a request, also one whose future is dropped half way.
struct CountOnDrop<'a> {
    app: &'a App,
    route: &'static str,
    status: u16,
}

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        self.app.telemetry.metrics.answered(self.route, self.status);
    }
}

/// The route for metrics. What is unknown shares one name, so that nobody can fill the memory
/// with names.
fn route(uri: &Uri) -> &'static str {
    const ROUTES: [&str; 7] = [
        "/v1/score",
        "/start_profile",
        "/stop_profile",
        "/profile_status",
        "/get_server_info",
        "/health",
        "/metrics",
    ];
    ROUTES.into_iter().find(|&route| route == uri.path()).unwrap_or("other")
}

async fn not_found(uri: Uri) -> Response<Body> {
    let path = crate::body::shorten(uri.path());
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is nothing at {path}: this server has /v1/score, /start_profile, /stop_profile, \
             /profile_status, /get_server_info, /health and /metrics"
        ),
    )
    .into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response<Body> {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}: see the header allow for what it takes", uri.path()),
    )
    .into_response()
}
