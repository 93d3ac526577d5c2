//! Answers: errors in sglang-jax's shape, JSON, and times as headers.

use std::fmt::Write as _;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;
use xscope_trace::Nanos;

use crate::{
    error::EngineError,
    error::chain,
    records::RequestIds,
    stage::{STAGES, Stage, StageClock},
};

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// The field of the body to blame.
    param: Option<&'static str>,
}

/// As sglang-jax words errors.
#[derive(Serialize)]
struct ErrorBody<'a> {
    object: &'static str,
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: u16,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None }
    }

    /// The request is wrong, in `param` if it is a field of the body.
    pub(crate) fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let body = ErrorBody {
            object: "error",
            message: &self.message,
            r#type: type_name(self.status),
            param: self.param,
            code: self.status.as_u16(),
        };
        let mut response = json(&body);
        *response.status_mut() = self.status;
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            EngineError::Busy | EngineError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            EngineError::CaptureInProgress { .. }
            | EngineError::CaptureIdle
            | EngineError::TelemetryOff => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, chain(&error))
    }
}

fn type_name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "BadRequestError",
        StatusCode::NOT_FOUND => "NotFoundError",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowedError",
        StatusCode::REQUEST_TIMEOUT => "RequestTimeoutError",
        StatusCode::CONFLICT => "ConflictError",
        StatusCode::PAYLOAD_TOO_LARGE => "PayloadTooLargeError",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequestsError",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableError",
        _ => "InternalServerError",
    }
}

/// A 200 with a JSON body.
pub(crate) fn json(body: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(body) {
        Ok(bytes) => typed(bytes, "application/json"),
        Err(error) => {
            // The types here serialize; a number that JSON lacks becomes null.
            let mut response = typed(error.to_string(), "text/plain; charset=utf-8");
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// A 200 with a body of that content type.
pub(crate) fn typed(body: impl Into<Body>, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Adds the times of a request's stages, in milliseconds to the nanosecond: the stages add up to
/// the total as printed.
pub(crate) fn add_times(response: &mut Response<Body>, clock: &StageClock) {
    let stages = clock.by_stage();
    let mut timing = String::with_capacity(320);
    for (stage, &time) in STAGES.iter().map(|&stage| (stage, &stages[stage as usize])) {
        // Writing to a string does not fail.
        write!(timing, "{};dur={}, ", stage.name(), millis(time)).unwrap_or_default();
    }
    write!(timing, "total;dur={}", millis(clock.total())).unwrap_or_default();
    for (name, value) in [
        ("server-timing", timing),
        ("x-total-time", millis(clock.total())),
        ("x-tokenization-time", millis(stages[Stage::Tokenize as usize])),
        ("x-queue-time", millis(stages[Stage::QueueWait as usize])),
        ("x-inference-time", millis(stages[Stage::Forward as usize])),
    ] {
        insert(response, name, &value);
    }
}

/// Adds both names of a request, so that a client can find it among the spans.
pub(crate) fn add_ids(response: &mut Response<Body>, ids: &RequestIds) {
    insert(response, "x-request-id", &ids.name);
    insert(response, "x-xscope-request", &ids.number.to_string());
}

fn insert(response: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

fn millis(time: Nanos) -> String {
    format!("{}.{:06}", time.0 / 1_000_000, time.0 % 1_000_000)
}
