//! Watching a server or a benchmark while it works.
//!
//! What a server says of itself comes from `/metrics` and `/get_server_info`; what a benchmark
//! measures, from the rows that it appends to `requests.jsonl` of its run, and from the spans
//! beside them. What nobody says is named, not guessed.

mod prometheus;
mod tail;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use xscope_analysis::chain;
use xscope_load::get_text;
use xscope_trace::{Nanos, clock};

use prometheus::ServerFigures;
use tail::{Tail, TailFigures};

/// Longest wait for an answer: a page that asks every second must not pile up questions.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server that is watched.
#[derive(Debug)]
pub(crate) struct Live {
    url: String,
    tail: Option<Arc<Mutex<Tail>>>,
}

/// One look at what is watched.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    url: String,
    /// Of the monotonic clock, for rates between two looks.
    at_ns: Nanos,
    info: Option<Value>,
    server: Option<ServerFigures>,
    run: Option<TailFigures>,
    /// What is not to be had, and why.
    missing: Vec<String>,
}

impl Live {
    pub(crate) fn new(url: String, run: Option<PathBuf>) -> Self {
        Self { url, tail: run.map(|run| Arc::new(Mutex::new(Tail::new(run)))) }
    }

    /// What is to be seen of the server right now, and of the run that is being written: the second part
    /// reads files, so it is for a thread that may wait.
    pub(crate) async fn look(&self) -> impl FnOnce() -> Look + Send + 'static + use<> {
        let (mut look, tail) = (self.look_at_server().await, self.tail.clone());
        move || {
            if let Some(tail) = tail {
                let run = tail.lock().unwrap_or_else(PoisonError::into_inner).look();
                look.missing.extend(run.missing());
                look.run = Some(run);
            }
            look
        }
    }

    async fn look_at_server(&self) -> Look {
        let (metrics, info) = tokio::join!(
            get_text(&self.url, "/metrics", PATIENCE),
            get_text(&self.url, "/get_server_info", PATIENCE)
        );
        let mut missing = Vec::new();
        let server = match metrics {
            Ok(answer) if answer.is_success() => Some(ServerFigures::of(&answer.text)),
            Ok(answer) => {
                missing.push(format!(
                    "the server's own figures: GET /metrics answers {} (a server of SGLang needs \
                     --enable-metrics)",
                    answer.status
                ));
                None
            }
            Err(error) => {
                missing.push(format!("the server: {}", chain(&error)));
                None
            }
        };
        if let Some(server) = &server {
            missing.extend(server.missing());
        }
        let info = info.ok().filter(|answer| answer.is_success());
        let info = info.and_then(|answer| serde_json::from_str(&answer.text).ok());
        if self.tail.is_none() {
            missing.push(
                "latencies as a client sees them, and spans: name the run directory that is being \
                 written, `xscope view --live URL RUN`"
                    .to_owned(),
            );
        }
        Look { url: self.url.clone(), at_ns: clock::monotonic(), info, server, run: None, missing }
    }
}
