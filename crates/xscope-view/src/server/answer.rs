//! Answers to a browser.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// JSON, and nothing that a browser keeps.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed("application/json", bytes),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(crate) fn typed(kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Numbers as bytes.
pub(crate) fn bytes(body: Vec<u8>) -> Response<Body> {
    typed("application/octet-stream", body)
}

/// A page with its own policy in it, which allows its own scripts by their hashes.
pub(crate) fn self_contained(page: String) -> Response<Body> {
    let mut response = typed("text/html; charset=utf-8", page);
    let policy = HeaderValue::from_static("frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Says why there is no answer.
pub(crate) fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", why.to_owned());
    *response.status_mut() = status;
    response
}

pub(crate) fn nothing() -> Response<Body> {
    refuse(StatusCode::NOT_FOUND, "there is nothing at this address")
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
