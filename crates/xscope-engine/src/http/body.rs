//! Reading a request's body within limits of size and time.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    http::StatusCode,
};
use xscope_trace::Bytes;

use crate::http::reply::ApiError;

/// Reads all of `body`.
pub(crate) async fn read(body: Body, limit: Bytes, timeout: Duration) -> Result<Vec<u8>, ApiError> {
    if body.size_hint().lower() > limit.0 {
        return Err(too_large(limit));
    }
    tokio::time::timeout(timeout, collect(body, limit)).await.unwrap_or_else(|_| {
        Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} s", timeout.as_secs()),
        ))
    })
}

async fn collect(mut body: Body, limit: Bytes) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(None, format!("the body could not be read: {error}"))
        })?;
        // What is no data is a trailer, which no route uses.
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if u64::try_from(bytes.len()).is_ok_and(|len| len > limit.0) {
            return Err(too_large(limit));
        }
    }
    Ok(bytes)
}

fn too_large(limit: Bytes) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the body is larger than {} bytes, the most that this server takes: split the items \
             over several requests, or start the server with a higher limit",
            limit.0
        ),
    )
}
