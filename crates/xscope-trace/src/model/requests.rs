//! Requests and batches, as servers and clients tell of them.

use crate::model::{ArgCell, SourceId};
use crate::phase::Phase;
use crate::strings::StrId;
use crate::time::Picos;

/// The identity of a request or a batch, as its recorder wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKey {
    Number(i64),
    Text(StrId),
}

/// A span that carries the identity of requests or batches: what joins processes and devices.
#[derive(Debug, Clone)]
pub struct RequestSpan {
    pub name: StrId,
    pub source: SourceId,
    pub start: Picos,
    pub dur: Picos,
    /// The thread that it ran on.
    pub tid: u32,
    pub request: Option<SpanKey>,
    /// The batch; its device work carries the same number as `run_id`.
    pub batch: Option<SpanKey>,
    pub args: Vec<(StrId, ArgCell)>,
}

impl RequestSpan {
    pub fn end(&self) -> Picos {
        self.start.saturating_add(self.dur)
    }
}

/// What the client of a run saw of one request.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// The id that joins it to the server's spans.
    pub id: String,
    pub source: SourceId,
    /// The point of a matrix that it belongs to; empty if the load has none.
    pub point: String,
    pub phase: Phase,
    pub ok: bool,
    pub items: u64,
    pub labels: u64,
    pub intended: Picos,
    pub sent: Option<Picos>,
    pub end: Picos,
}
