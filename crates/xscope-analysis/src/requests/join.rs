//! Which request each span of a server worked for, across its processes.
//!
//! Only the process that speaks HTTP knows a request. To the others it is one or several *rids*,
//! and to the device it is part of a batch. The spans say how these hang together: those of the
//! HTTP process name the rids that it made (`rid` arguments), one span of a batch names the rids
//! that are in it. A span of a rid or of a batch then is a span of each request concerned.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xscope_trace::Trace;
use xscope_trace::model::ArgCell;
use xscope_trace::model::{RequestSpan, SourceId, SpanKey};

use crate::requests::spans::args;
use xscope_trace::stage::{REQUEST, Stage};

/// A batch's number is unique in the process that gave it.
pub(crate) type BatchKey = (SourceId, SpanKey);

/// The requests of a trace, what they are called, and who was in which batch.
#[derive(Debug, Default)]
pub(crate) struct Join {
    owners: FxHashMap<SpanKey, SpanKey>,
    members: BTreeMap<BatchKey, Vec<(SpanKey, u64)>>,
}

impl Join {
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut join = Self::default();
        for span in &trace.spans {
            let Some(request) = span.request else { continue };
            let is_owner =
                matches!(request, SpanKey::Number(_)) || trace.strings.get(span.name) == REQUEST;
            if is_owner {
                for rid in rids(trace, span) {
                    join.owners.insert(rid, request);
                }
            }
        }
        for span in &trace.spans {
            let Some(batch) = span.batch else { continue };
            let rids: Vec<SpanKey> = rids(trace, span).collect();
            let tokens: Vec<u64> = args(trace, span, "rid_tokens").collect();
            let members = rids.iter().enumerate().map(|(index, &rid)| {
                let own = if tokens.len() == rids.len() { tokens[index] } else { 1 };
                (join.owner(rid), own)
            });
            let members: Vec<_> = members.collect();
            if !members.is_empty() {
                join.members.insert((span.source, batch), members);
            }
        }
        join
    }

    /// Each request in a batch with the tokens of its rids there; empty if the spans of the batch
    /// name their requests themselves.
    pub(crate) fn members(&self, batch: BatchKey) -> &[(SpanKey, u64)] {
        self.members.get(&batch).map_or(&[], Vec::as_slice)
    }

    /// The spans of each request, in the order of the trace.
    pub(crate) fn spans<'a>(&self, trace: &'a Trace) -> FxHashMap<SpanKey, Vec<&'a RequestSpan>> {
        let mut spans: FxHashMap<SpanKey, Vec<&RequestSpan>> = FxHashMap::default();
        let mut owners = Vec::new();
        for span in &trace.spans {
            owners.clear();
            match (span.request, span.batch) {
                (Some(request), _) => {
                    owners.push(self.owner(request));
                    owners.extend(rids(trace, span).map(|rid| self.owner(rid)));
                }
                (None, Some(batch)) if Stage::named(trace.strings.get(span.name)).is_some() => {
                    owners.extend(self.members((span.source, batch)).iter().map(|&(key, _)| key));
                }
                _ => {}
            }
            owners.sort_unstable();
            owners.dedup();
            for &owner in &owners {
                spans.entry(owner).or_default().push(span);
            }
        }
        spans
    }

    /// The request that a key belongs to: itself, unless it is a rid of another one.
    fn owner(&self, key: SpanKey) -> SpanKey {
        self.owners.get(&key).copied().unwrap_or(key)
    }
}

fn rids(trace: &Trace, span: &RequestSpan) -> impl Iterator<Item = SpanKey> {
    span.args.iter().filter_map(|&(name, cell)| match cell {
        ArgCell::Str(rid) if trace.strings.get(name) == "rid" => Some(SpanKey::Text(rid)),
        _ => None,
    })
}
