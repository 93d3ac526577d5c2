//! The viewer: a server for one person on this machine.
//!
//! It listens on the loopback interface, answers nothing without the token that its address has,
//! and reads nothing but the paths that it was given. Every answer forbids the page to load
//! anything from elsewhere.

mod answer;
mod app;
mod ask;
mod guard;
mod live;
mod pages;
mod runs;
mod session;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;

use app::{App, router};
use guard::Guard;

pub use app::Compare;

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
        let app = App::new(&options.paths, options.live, options.compare);
        let router = router(app).layer(from_fn_with_state(guard, guard::check));
        Ok(Self { listener, router, url })
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
