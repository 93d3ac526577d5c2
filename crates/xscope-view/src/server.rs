//! The viewer: a server for one person on this machine.
//!
//! It listens on the loopback interface, answers nothing without the token that its address has,
//! and reads nothing but the paths that it was given. Every answer forbids the page to load
//! anything from elsewhere.

mod guard;
mod live;
mod pages;
mod runs;
mod session;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{Response, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde::Serialize;
use tokio::net::TcpListener;

use guard::Guard;
use live::Live;
use runs::Runs;
use session::Sessions;

/// What keeps the viewer from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error(
        "cannot listen on 127.0.0.1:{port}; choose another with --port, or none for a free one"
    )]
    Listen { port: u16, source: std::io::Error },
    #[error("cannot make a token from /dev/urandom")]
    Token { source: std::io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("nothing to look at: give a run, a profile, a folder of runs, or --live URL")]
    Nothing,
    #[error("the server stopped")]
    Serve { source: std::io::Error },
}

/// Compares two run directories and gives the difference as a page, or says why it cannot.
pub type Compare = fn(&Path, &Path) -> Result<String, String>;

/// What is looked at.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    pub paths: Vec<PathBuf>,
    /// A server to watch while it works.
    pub live: Option<String>,
    /// 0 for any that is free.
    pub port: u16,
    pub compare: Compare,
}

/// A viewer that listens.
#[derive(Debug)]
pub struct Viewer {
    listener: TcpListener,
    router: Router,
    url: String,
}

/// What all routes share.
#[derive(Debug)]
struct App {
    sessions: Sessions,
    /// Absent if it was not a folder of runs that was given.
    runs: Option<Runs>,
    live: Option<Live>,
    compare: Compare,
}

impl Viewer {
    /// Begins to listen, and to read what is looked at.
    ///
    /// # Errors
    ///
    /// A path does not exist, or the port is taken.
    pub async fn start(options: ViewOptions) -> Result<Self, ServerError> {
        for path in &options.paths {
            std::fs::metadata(path)
                .map_err(|source| ServerError::Read { path: path.clone(), source })?;
        }
        if options.paths.is_empty() && options.live.is_none() {
            return Err(ServerError::Nothing);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listen = |source| ServerError::Listen { port: options.port, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        let guard = Arc::new(Guard::new(port).map_err(|source| ServerError::Token { source })?);
        let url = format!("http://127.0.0.1:{port}/{}/", guard.token());
        let app = Arc::new(App::new(options));
        Ok(Self { listener, router: router(app, guard), url })
    }

    /// Where to look: address and token.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until the future is dropped.
    ///
    /// # Errors
    ///
    /// The listener failed.
    pub async fn serve(self) -> Result<(), ServerError> {
        axum::serve(self.listener, self.router)
            .await
            .map_err(|source| ServerError::Serve { source })
    }
}

impl App {
    fn new(options: ViewOptions) -> Self {
        let runs = match &options.paths[..] {
            [folder] => Runs::of(folder),
            _ => None,
        };
        let sessions = Sessions::default();
        if runs.is_none() && !options.paths.is_empty() {
            // Reading begins before anybody asks: the first picture waits for it.
            sessions.open(session::ONLY, &options.paths);
        }
        let tail = options.paths.first().cloned();
        let live = options.live.map(|url| Live::new(url, tail));
        Self { sessions, runs, live, compare: options.compare }
    }
}

fn router(app: Arc<App>, guard: Arc<Guard>) -> Router {
    Router::new()
        .route("/{token}/", get(pages::home))
        .route("/{token}/assets/{name}", get(pages::asset))
        .route("/{token}/live", get(pages::live))
        .route("/{token}/api/live", get(live::state))
        .route("/{token}/api/runs", get(runs::list))
        .route("/{token}/compare", get(runs::compare))
        .route("/{token}/run/{id}/", get(pages::timeline))
        .route("/{token}/run/{id}/report", get(session::report))
        .route("/{token}/run/{id}/api/status", get(session::status))
        .route("/{token}/run/{id}/api/tree", get(session::tree))
        .route("/{token}/run/{id}/api/items", get(session::items))
        .route("/{token}/run/{id}/api/window", get(session::window))
        .route("/{token}/run/{id}/api/names", post(session::names))
        .route("/{token}/run/{id}/api/slice", get(session::slice))
        .route("/{token}/run/{id}/api/search", get(session::search))
        .route("/{token}/run/{id}/api/stats", get(session::stats))
        .fallback(guard::nothing)
        .layer(from_fn_with_state(guard, guard::check))
        .with_state(app)
}

/// JSON, and nothing that a browser keeps.
fn json<T: Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed("application/json", bytes),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Says why there is no answer.
fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", why.to_owned());
    *response.status_mut() = status;
    response
}

type RunPath = UrlPath<(String, String)>;
type Shared = State<Arc<App>>;
