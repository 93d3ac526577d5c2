//! One HTTP/1.1 connection and the times of what happens on it.
//!
//! Plain HTTP only. A connection is kept open between requests and opened again when the server
//! has closed it; a request is sent twice only if nothing of it was written the first time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::uri::Scheme,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};
use xscope_trace::{Nanos, clock::monotonic};

use crate::{
    check::{Failure, FailureKind},
    error::LoadError,
};

/// First pause between attempts to connect; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// How often a task looks again before it lets others run.
const MOST_LOOKS: u32 = 16;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Connections that a request is tried on while the server closes them under it.
const SEND_ATTEMPTS: u32 = 3;

/// Where a server is: `http://host:port`, with or without a path in front of the endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    host: String,
    port: u16,
    authority: HeaderValue,
    prefix: String,
    text: String,
}

impl BaseUrl {
    pub(crate) fn parse(url: &str) -> Result<Self, LoadError> {
        let fail = |reason: &str| LoadError::Url { url: url.to_owned(), reason: reason.to_owned() };
        if !url.contains("://") {
            return Err(fail("it has no scheme; write http:// in front"));
        }
        let uri: Uri = url.parse().map_err(|error| fail(&format!("{error}")))?;
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return Err(LoadError::Https { url: url.to_owned() });
        }
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(fail("only http:// is spoken"));
        }
        let authority = uri.authority().ok_or_else(|| fail("it names no host"))?;
        if authority.as_str().contains('@') {
            // The message leaves the secret out, too.
            let url = format!("http://…@{}", authority.host());
            let reason = "user names and passwords are not supported; leave them out".to_owned();
            return Err(LoadError::Url { url, reason });
        }
        if uri.query().is_some() {
            return Err(fail("it has a query (?...); leave that out"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            text: format!("http://{authority}{prefix}"),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|error| fail(&format!("{error}")))?,
            prefix,
        })
    }

    /// As text, without a final slash.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// A path below it, with its leading slash, as a request line has it.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, LoadError> {
        let path = format!("{}{path}", self.prefix);
        path.parse().map_err(|error| LoadError::Url {
            url: self.text.clone(),
            reason: format!("{path:?} is no path below it: {error}"),
        })
    }

    /// Such a path with the server in front.
    pub(crate) fn full(&self, uri: &Uri) -> String {
        let server = self.text.strip_suffix(&self.prefix).unwrap_or(&self.text);
        format!("{server}{uri}")
    }
}

/// How long and how much to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// For one attempt to connect.
    pub connect_attempt: Duration,
    /// For all attempts to connect together.
    pub connect: Duration,
    /// From the sending of a request to the last byte of its answer.
    pub request: Duration,
    /// Longest body that is read, in bytes.
    pub response_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_attempt: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            request: Duration::from_secs(120),
            response_bytes: 64 << 20,
        }
    }
}

/// One call: what to send.
#[derive(Debug, Clone)]
pub(crate) struct Call<'c> {
    pub method: Method,
    /// As [`BaseUrl::uri`] makes it.
    pub uri: Uri,
    /// Sent as `x-request-id`.
    pub request_id: Option<&'c str>,
    /// JSON; an empty body is sent without a content type.
    pub body: Bytes,
}

/// What one call saw. Times are on the monotonic clock.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// When the request was handed to an open connection.
    pub sent: Option<Nanos>,
    /// When the head of the answer was there.
    pub first_byte: Option<Nanos>,
    /// When the last byte was there, or the call was given up.
    pub end: Nanos,
    pub status: Option<u16>,
    /// The answer's `x-request-id`.
    pub request_id: Option<String>,
    /// Stage → milliseconds, from `server-timing`.
    pub server_timing: BTreeMap<String, f64>,
    /// Programs that were compiled for this request, from `x-cache-miss`.
    pub cache_misses: Option<u32>,
    /// If the answer is a stream of events: when each piece came, and the bytes until its end.
    pub frames: Vec<(Nanos, usize)>,
    /// Bytes of the body that were read.
    pub response_bytes: usize,
    /// The body, whatever the status.
    pub body: Result<Bytes, Failure>,
}

/// A client with at most one connection.
#[derive(Debug)]
pub(crate) struct Client {
    base: BaseUrl,
    limits: ClientLimits,
    connection: Option<Connection>,
}

impl Client {
    /// Does not connect yet.
    pub(crate) fn new(base: BaseUrl, limits: ClientLimits) -> Self {
        Self { base, limits, connection: None }
    }

    /// With other limits, on the same connection.
    #[must_use]
    pub(crate) fn limited(self, limits: ClientLimits) -> Self {
        Self { limits, ..self }
    }

    /// Opens the connection if it is not open, with retries.
    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        if let Some(connection) = &mut self.connection
            && poll_fn(|context| Poll::Ready(connection.is_open(context))).await
        {
            return Ok(());
        }
        self.open().await
    }

    async fn open(&mut self) -> Result<(), Failure> {
        self.connection = None;
        let started = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let error = match open(&self.base, self.limits.connect_attempt).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(error) => error,
            };
            if started.elapsed() + backoff > self.limits.connect {
                let (url, seconds) = (self.base.as_str(), started.elapsed().as_secs_f64());
                let detail = format!("cannot connect to {url}, tried for {seconds:.1} s: {error}");
                return Err(Failure::new(FailureKind::Connect, detail));
            }
            tokio::time::sleep(backoff).await;
            backoff *= 2;
        }
    }

    /// Makes one call. All that can go wrong is in the exchange, with the times until then.
    pub(crate) async fn call(&mut self, call: &Call<'_>) -> Exchange {
        let mut exchange = Exchange {
            sent: None,
            first_byte: None,
            end: Nanos::ZERO,
            status: None,
            request_id: None,
            server_timing: BTreeMap::new(),
            cache_misses: None,
            frames: Vec::new(),
            response_bytes: 0,
            body: Ok(Bytes::new()),
        };
        let body = self.call_into(call, &mut exchange).await;
        exchange.end = monotonic();
        if body.is_err() {
            // Whatever is still on its way would be taken for the next answer.
            self.connection = None;
        }
        exchange.body = body;
        exchange
    }

    async fn call_into(
        &mut self,
        call: &Call<'_>,
        exchange: &mut Exchange,
    ) -> Result<Bytes, Failure> {
        for _ in 0..SEND_ATTEMPTS {
            if self.connection.is_none() {
                self.open().await?;
            }
            let request = self.request(call)?;
            let Some(Connection { sender, wire }) = &mut self.connection else {
                return Err(Failure::new(FailureKind::Connect, "no connection"));
            };
            let limits = self.limits;
            let answer = wire.drive(async {
                // The connection may still be busy with the end of the answer before.
                if sender.ready().await.is_err() {
                    return Ok(None);
                }
                exchange.sent = Some(monotonic());
                match sender.try_send_request(request).await {
                    Ok(response) => {
                        receive(response, limits.response_bytes, exchange).await.map(Some)
                    }
                    Err(error) if error.message().is_some() => Ok(None),
                    Err(error) => Err(describe(error.error(), 0)),
                }
            });
            match tokio::time::timeout(limits.request, answer).await {
                Ok(Ok(Some(body))) => return Ok(body),
                // The server closed an idle connection; it saw nothing of this request.
                Ok(Ok(None)) => {
                    exchange.sent = None;
                    self.connection = None;
                }
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    let seconds = limits.request.as_secs_f64();
                    let part = if exchange.status.is_some() { "whole answer" } else { "answer" };
                    let detail = format!("no {part} within {seconds:.1} s");
                    return Err(Failure::new(FailureKind::Timeout, detail));
                }
            }
        }
        let detail = format!("the server closed {SEND_ATTEMPTS} connections before a request");
        Err(Failure::new(FailureKind::Closed, detail))
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, Failure> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.base.authority.clone());
        headers.insert(header::ACCEPT, JSON);
        if !call.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        if let Some(id) = &call.request_id {
            let id = HeaderValue::from_str(id).map_err(|error| {
                Failure::new(FailureKind::Protocol, format!("cannot send this id: {error}"))
            })?;
            headers.insert(REQUEST_ID, id);
        }
        Ok(request)
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    wire: Wire,
}

impl Connection {
    /// Reads the end of a connection that the server has closed meanwhile.
    fn is_open(&mut self, context: &mut Context<'_>) -> bool {
        self.wire.poll(context);
        !self.sender.is_closed()
    }
}

/// The part of a connection that reads and writes. It goes on only while somebody waits for what it
/// brings, in the same task: a task of its own would be two more switches for each request.
#[derive(Debug)]
struct Wire {
    /// None after its end, which is also that of the request on it, and is reported there.
    connection: Option<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
    /// That of the task which drove it last.
    bell: Option<Arc<Bell>>,
}

impl Wire {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(&mut **connection).poll(context).is_ready()
        {
            self.connection = None;
        }
    }

    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let bell = match self.bell.take().filter(|bell| bell.task.will_wake(context.waker())) {
                Some(bell) => bell,
                None => Arc::new(Bell::of(context.waker().clone())),
            };
            self.bell = Some(Arc::clone(&bell));
            let waker = Waker::from(Arc::clone(&bell));
            let mut context = Context::from_waker(&waker);
            bell.answer(|| {
                let done = work.as_mut().poll(&mut context);
                if done.is_pending() {
                    self.poll(&mut context);
                }
                done
            })
        })
        .await
    }
}

/// Wakes a task, unless the task is there already: what reads and what waits for it wake each other
/// several times for each request, which is to be no way through the runtime.
#[derive(Debug)]
struct Bell {
    task: Waker,
    is_there: AtomicBool,
    has_rung: AtomicBool,
}

impl Bell {
    fn of(task: Waker) -> Self {
        Self { task, is_there: AtomicBool::new(false), has_rung: AtomicBool::new(false) }
    }

    /// Looks until nothing rings any more.
    fn answer<T>(&self, mut look: impl FnMut() -> Poll<T>) -> Poll<T> {
        self.is_there.store(true, Ordering::SeqCst);
        for _ in 0..MOST_LOOKS {
            self.has_rung.store(false, Ordering::SeqCst);
            let seen = look();
            if seen.is_ready() || !self.has_rung.load(Ordering::SeqCst) {
                self.is_there.store(false, Ordering::SeqCst);
                // It may have rung between the two.
                if seen.is_pending() && self.has_rung.load(Ordering::SeqCst) {
                    self.task.wake_by_ref();
                }
                return seen;
            }
        }
        self.is_there.store(false, Ordering::SeqCst);
        self.task.wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        if !self.is_there.load(Ordering::SeqCst) {
            self.task.wake_by_ref();
        }
    }
}

/// Why one attempt to connect failed.
#[derive(Debug, thiserror::Error)]
enum NotConnected {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
    #[error("no connection within {:.1} s", limit.as_secs_f64())]
    Late { limit: Duration },
}

async fn open(base: &BaseUrl, limit: Duration) -> Result<Connection, NotConnected> {
    let connect = async {
        let stream = TcpStream::connect((base.host.as_str(), base.port)).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let stream = match tokio::time::timeout(limit, connect).await {
        Ok(stream) => stream?,
        Err(_) => return Err(NotConnected::Late { limit }),
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    Ok(Connection { sender, wire: Wire { connection: Some(Box::new(connection)), bell: None } })
}

async fn receive(
    response: Response<Incoming>,
    limit: usize,
    exchange: &mut Exchange,
) -> Result<Bytes, Failure> {
    exchange.first_byte = Some(monotonic());
    exchange.status = Some(response.status().as_u16());
    let headers = response.headers();
    exchange.request_id =
        headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    exchange.server_timing = server_timing(headers);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    exchange.cache_misses = text("x-cache-miss").and_then(|count| count.trim().parse().ok());
    let is_stream = text("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));

    let mut incoming = response.into_body();
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| describe(&error, body.len()))?;
        let Ok(data) = frame.into_data() else { continue };
        exchange.response_bytes += data.len();
        if exchange.response_bytes > limit {
            let detail = format!("the answer is longer than the limit of {limit} bytes");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        body.extend_from_slice(&data);
        if is_stream {
            exchange.frames.push((monotonic(), body.len()));
        }
    }
    Ok(body.freeze())
}

fn describe(error: &hyper::Error, bytes_read: usize) -> Failure {
    if error.is_parse() {
        let detail = format!("the answer is not HTTP/1.1: {error}");
        return Failure::new(FailureKind::Protocol, detail);
    }
    let cause = std::error::Error::source(error).map_or(String::new(), |c| format!(": {c}"));
    let detail = match bytes_read {
        0 => format!("the server closed the connection before it answered: {error}{cause}"),
        n => {
            format!("the server closed the connection after {n} bytes of the body: {error}{cause}")
        }
    };
    Failure::new(FailureKind::Closed, detail)
}

/// Durations in `server-timing` headers: `name;dur=1.5;desc="..."`, comma-separated. Entries
/// without a duration are left out, and those that occur twice are added up.
fn server_timing(headers: &HeaderMap) -> BTreeMap<String, f64> {
    let mut stages = BTreeMap::new();
    for value in headers.get_all("server-timing") {
        let Ok(value) = value.to_str() else { continue };
        for entry in split_unquoted(value, ',') {
            let mut parts = split_unquoted(entry, ';').into_iter().map(str::trim);
            let Some(name) = parts.next().filter(|name| !name.is_empty()) else { continue };
            let duration = parts
                .filter_map(|part| part.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case("dur"))
                .and_then(|(_, ms)| ms.trim().trim_matches('"').parse::<f64>().ok())
                .filter(|ms| ms.is_finite() && *ms >= 0.0);
            if let Some(ms) = duration {
                *stages.entry(name.to_owned()).or_insert(0.0) += ms;
            }
        }
    }
    stages
}

/// Splits at `separator`, except inside double quotes.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        c == separator && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |url: &str, expected: Result<(&str, u16, &str), &str>| match (
            BaseUrl::parse(url),
            expected,
        ) {
            (Ok(got), Ok((host, port, path))) => {
                assert_eq!((got.host.as_str(), got.port), (host, port), "{url}");
                assert_eq!(got.uri("/x").unwrap(), path, "{url}");
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{url}: {error}");
            }
            (got, expected) => panic!("{url}: {got:?}, not {expected:?}"),
        };
        check("http://localhost:30000", Ok(("localhost", 30000, "/x")));
        check("http://10.0.0.1/", Ok(("10.0.0.1", 80, "/x")));
        check("http://[::1]:8080/api/", Ok(("::1", 8080, "/api/x")));
        check("https://localhost:30000", Err("https is not supported"));
        check("localhost:30000", Err("write http:// in front"));
        check("ftp://localhost", Err("only http://"));
        check("http://me:secret@host", Err("passwords"));
        check("http://host/?a=1", Err("query"));
        check("http://", Err("cannot use"));
    }

    #[test]
    fn server_timings() {
        let check = |lines: &[&'static str], expected: &[(&str, f64)]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("server-timing", HeaderValue::from_static(line));
            }
            let got = server_timing(&headers);
            let got: Vec<_> = got.iter().map(|(name, ms)| (name.as_str(), *ms)).collect();
            assert_eq!(got, expected, "{lines:?}");
        };
        check(&[], &[]);
        check(&["tokenize;dur=1.5, forward;dur=20"], &[("forward", 20.0), ("tokenize", 1.5)]);
        check(&["a;desc=\"x, y; dur=9\";dur=2"], &[("a", 2.0)]);
        check(&["a;desc=\"\\\",\";DUR=2,b ; dur = \"3\""], &[("a", 2.0), ("b", 3.0)]);
        check(&["a;dur=1", "a;dur=2"], &[("a", 3.0)]);
        check(&["cache, a;dur=NaN, b;dur=-1, ;dur=2, c;dur=x"], &[]);
    }
}
