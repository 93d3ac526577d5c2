//! Single calls beside the load: whether a server is ready, what it says of itself, and the
//! switches of its profiler.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Uri};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    client::{BaseUrl, Call, Client, ClientLimits, Exchange},
    error::LoadError,
};

const POLL: Duration = Duration::from_millis(100);
/// A health check that takes longer counts as none.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// A server that is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// Status of `GET /health`: 200, or 404 or 405 from a server that has no such endpoint.
    pub health_status: u16,
    /// What `GET /get_server_info` answered; `None` if the server has none or it is not JSON.
    pub server_info: Option<Value>,
}

/// An answer as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextAnswer {
    pub status: u16,
    pub text: String,
}

impl TextAnswer {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Asks `GET /health` until the server is ready, then `GET /get_server_info`.
pub async fn wait_ready(url: &str, timeout: Duration) -> Result<Ready, LoadError> {
    let base = BaseUrl::parse(url)?;
    let started = Instant::now();
    let limits = ClientLimits {
        connect_attempt: HEALTH_LIMIT.min(timeout),
        // One attempt: the loop here is the retry.
        connect: Duration::ZERO,
        request: HEALTH_LIMIT.min(timeout),
        ..ClientLimits::default()
    };
    let mut client = Client::new(base.clone(), limits);
    let get = |path| Ok::<_, LoadError>(get(base.uri(path)?));
    let health = get("/health")?;
    let health_status = loop {
        let exchange = client.call(&health).await;
        let last = match (exchange.status, exchange.body) {
            (Some(status @ (200 | 404 | 405)), Ok(_)) => break status,
            (Some(status), Ok(_)) => format!("GET /health answers with status {status}"),
            (_, Err(failure)) => failure.detail,
            (None, Ok(_)) => "GET /health gives no status".to_owned(),
        };
        if started.elapsed() + POLL > timeout {
            let url = base.as_str().to_owned();
            return Err(LoadError::NotReady { url, waited: started.elapsed(), last });
        }
        tokio::time::sleep(POLL).await;
    };
    let info = client.call(&get("/get_server_info")?).await;
    let server_info = match (info.status, info.body) {
        (Some(200), Ok(body)) => serde_json::from_slice(&body).ok(),
        _ => None,
    };
    Ok(Ready { health_status, server_info })
}

/// `GET`s a path. `timeout` is for the whole answer.
pub async fn get_text(url: &str, path: &str, timeout: Duration) -> Result<TextAnswer, LoadError> {
    let base = BaseUrl::parse(url)?;
    let call = get(base.uri(path)?);
    single_call(&base, &call, timeout).await
}

/// `POST`s JSON to a path. `timeout` is for the whole answer: stopping a profiler takes as long
/// as writing its files does. An answer of any status is an answer.
pub async fn post_json(
    url: &str,
    path: &str,
    body: &Value,
    timeout: Duration,
) -> Result<TextAnswer, LoadError> {
    let base = BaseUrl::parse(url)?;
    let body = Bytes::from(body.to_string());
    let call = Call { method: Method::POST, body, ..get(base.uri(path)?) };
    single_call(&base, &call, timeout).await
}

fn get(uri: Uri) -> Call<'static> {
    Call { method: Method::GET, uri, request_id: None, body: Bytes::new() }
}

async fn single_call(
    base: &BaseUrl,
    call: &Call<'_>,
    timeout: Duration,
) -> Result<TextAnswer, LoadError> {
    let limits = ClientLimits { request: timeout, ..ClientLimits::default() };
    let Exchange { status, body, .. } = Client::new(base.clone(), limits).call(call).await;
    match body {
        Ok(body) => Ok(TextAnswer {
            status: status.unwrap_or(0),
            text: String::from_utf8_lossy(&body).into_owned(),
        }),
        Err(failure) => Err(LoadError::Call {
            method: if call.method == Method::POST { "POST" } else { "GET" },
            url: base.full(&call.uri),
            failure,
        }),
    }
}
