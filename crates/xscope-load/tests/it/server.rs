//! A small HTTP server that answers as each test wants.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

/// What the server does with one request.
pub(crate) enum Reply {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Promises a body, sends a part of it and closes the connection.
    CloseMidBody,
    /// Closes the connection at once.
    Close,
    /// Leaves the client waiting.
    Never,
    /// Sends these pieces as they are, each by itself.
    Stream(Vec<String>),
    /// Answers when the other one has been asked.
    When(Arc<Notify>, Box<Self>),
}

/// What the tests look at in a score request.
#[derive(Deserialize)]
pub(crate) struct ScoreRequest {
    pub(crate) items: Vec<Value>,
    pub(crate) label_token_ids: Vec<u32>,
}

impl Reply {
    pub(crate) fn json(body: impl Into<String>) -> Self {
        Self::Answer(200, Vec::new(), body.into())
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Answer(status, Vec::new(), body.to_owned())
    }

    /// A right answer: equal shares, which depend on nothing but the shape.
    pub(crate) fn right(request: &Asked) -> Self {
        Self::json(right_answer(&request.score()))
    }
}

pub(crate) fn right_answer(request: &ScoreRequest) -> String {
    let labels = request.label_token_ids.len();
    let share = 1.0 / f64::from(u32::try_from(labels).expect("few labels"));
    let scores = vec![vec![share; labels]; request.items.len()];
    serde_json::json!({ "scores": scores, "object": "scoring", "usage": null }).to_string()
}

/// What a client asked.
pub(crate) struct Asked {
    /// How many requests came before, over all connections.
    pub(crate) number: u64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) request_id: Option<String>,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn score(&self) -> ScoreRequest {
        serde_json::from_slice(&self.body).expect("the client sends score requests")
    }
}

/// A running server; dropping it closes its port and its connections.
pub(crate) struct Server {
    pub(crate) url: String,
    connections: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

type Handler = Arc<dyn Fn(Asked) -> Reply + Send + Sync>;

impl Server {
    pub(crate) async fn start(handler: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        let handler: Handler = Arc::new(handler);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let connections = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, handler, Arc::clone(&connections)));
        Self { url, connections, tasks }
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// As `kill -9` would, as far as a client sees.
    pub(crate) fn kill(&mut self) {
        self.tasks.abort_all();
    }
}

/// An address where nothing listens.
pub(crate) async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("a bound socket"))
}

async fn accept(listener: TcpListener, handler: Handler, connections: Arc<AtomicU64>) {
    let requests = Arc::new(AtomicU64::new(0));
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.fetch_add(1, Ordering::Relaxed);
        let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
        open.spawn(async move {
            let service = service_fn(move |request| {
                answer(Arc::clone(&handler), requests.fetch_add(1, Ordering::Relaxed), request)
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    handler: Handler,
    number: u64,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Gone>>, Gone> {
    let (head, body) = request.into_parts();
    let asked = Asked {
        number,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        request_id: head
            .headers
            .get("x-request-id")
            .map(|id| id.to_str().expect("ids are ASCII").to_owned()),
        body: body.collect().await.map_err(|_cut| Gone)?.to_bytes(),
    };
    let mut reply = handler(asked);
    while let Reply::When(asked, then) = reply {
        asked.notified().await;
        reply = *then;
    }
    match reply {
        Reply::When(..) => unreachable!("it has been waited for"),
        Reply::Stream(pieces) => {
            let response = Response::builder().header("content-type", "text/event-stream");
            let body = Pieces { left: pieces.into_iter().rev().collect(), wait: false };
            Ok(response.body(body.boxed_unsync()).expect("a valid header"))
        }
        Reply::Answer(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
            Ok(response.body(body.boxed_unsync()).expect("tests write valid headers"))
        }
        Reply::CloseMidBody => {
            let response = Response::builder().header("content-length", 1000);
            Ok(response.body(HalfBody { polls: 0 }.boxed_unsync()).expect("a valid header"))
        }
        Reply::Close => Err(Gone),
        Reply::Never => std::future::pending().await,
    }
}

#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Gone {}

/// A body in pieces, with time to write each out.
struct Pieces {
    left: Vec<String>,
    wait: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Gone;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        self.wait = !self.wait;
        if !self.wait {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.pop().map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}

struct HalfBody {
    polls: u32,
}

impl Body for HalfBody {
    type Data = Bytes;
    type Error = Gone;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        self.polls += 1;
        match self.polls {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{\"scores\":"))))),
            // Writes out what there is before the end.
            2 => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Some(Err(Gone))),
        }
    }
}
