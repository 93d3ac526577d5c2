//! What the server says of itself: `/health`, `/get_server_info`, `/metrics`.

use std::sync::Arc;

use axum::{body::Body, extract::State, http::Response, http::StatusCode};
use serde_json::json;
use xscope_model::Owner;
use xscope_trace::{Bytes, clock};

use crate::{
    http::{
        App,
        reply::{self, ApiError, typed},
    },
    memory,
    metrics::Gauges,
};

/// 200 as long as requests can be scored.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response<Body> {
    if app.scheduler_runs() {
        reply::json(&json!({ "status": "ok" }))
    } else {
        let message = "the scheduler has ended, so nothing can be scored: restart the server";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    }
}

pub(crate) async fn server_info(State(app): State<Arc<App>>) -> Response<Body> {
    let limits = &app.limits;
    reply::json(&json!({
        "engine": "xscope",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "model_path": app.model_path,
        "served_model_name": app.served_model_name,
        "load_format": app.load_format,
        "device": app.device,
        "vocab_size": limits.vocab_size,
        "context_length": limits.context_length,
        "max_batch_tokens": app.budget.max_padded_tokens,
        "token_paddings": app.budget.token_paddings,
        "max_batch_rows": app.budget.max_rows,
        "batch_wait_ms": app.budget.wait.as_secs_f64() * 1e3,
        "queue_limit_items": app.queue.limit(),
        "max_items": limits.max_items,
        "max_labels": limits.max_labels,
        "body_limit_bytes": app.body_limit,
        "profile_root": app.profile_root,
        "telemetry": app.telemetry.enabled(),
        "monotonic_ns": clock::monotonic(),
        "memory_live_bytes": memory::live().map(by_owner),
    }))
}

fn by_owner(bytes: [Bytes; Owner::COUNT]) -> serde_json::Map<String, serde_json::Value> {
    Owner::ALL
        .iter()
        .zip(bytes)
        .map(|(owner, bytes)| (owner.as_str().to_owned(), json!(bytes)))
        .collect()
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
    let gauges = Gauges {
        queue_items: count(app.queue.waiting()),
        queue_limit: count(app.queue.limit()),
        capture_active: app.captures.read().output_dir.is_some(),
        spans_recorded: app.telemetry.recorded(),
        spans_dropped: app.telemetry.dropped(),
        memory_live: memory::live(),
    };
    typed(app.telemetry.metrics.render(&gauges), "text/plain; version=0.0.4; charset=utf-8")
}
