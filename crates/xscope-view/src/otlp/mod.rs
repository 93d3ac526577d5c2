//! Requests as OpenTelemetry traces: OTLP in its JSON encoding, with the GenAI conventions.
//!
//! Each request is a trace: what its client waited for, and in it the spans of all processes that
//! worked for it. A batch serves many requests, so it is a trace of its own with what the devices
//! ran for it, linked to each of them and they to it. Ids come from the profile's start and the
//! order of its spans: what is exported twice is the same twice.

mod encode;
mod tree;

use std::collections::BTreeMap;

use serde_json::Value;
use xscope_analysis::requests::follow::{Follow, Followed, follow};
use xscope_trace::model::ArgCell;
use xscope_trace::model::{RequestSpan, SliceRef, SourceId, SpanKey, Track, TrackKind};
use xscope_trace::run::RunManifest;
use xscope_trace::stats::SplitMix;
use xscope_trace::write::unix_zero;
use xscope_trace::{Nanos, Picos, Trace};

use encode::{KeyValue, Link, Span, Status, attribute, chunks};
use tree::parents;

use crate::text::shorten;
use xscope_trace::stage::{Stage, StageName};

/// Longest text that is sent, in characters: names may be of any length, collectors refuse much.
const TEXT: usize = 2000;

/// Why a profile has no OpenTelemetry traces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    #[error("the profile knows of no request; export a run directory, or a profile with spans")]
    NoRequests,
    #[error("the profile does not say its wall time, and a trace without it has no place in time")]
    NoWallTime,
}

/// What a collector takes, as many documents as it needs at a size that every collector accepts.
/// How many spans there are, and the documents.
///
/// # Errors
/// The profile knows of no request, or not when it was taken.
pub fn otlp(
    trace: &Trace,
    manifest: Option<&RunManifest>,
) -> Result<(usize, Vec<Value>), OtlpError> {
    let found = follow(trace);
    if found.requests.is_empty() {
        return Err(OtlpError::NoRequests);
    }
    let zero = unix_zero(trace).ok_or(OtlpError::NoWallTime)?;
    let mut builder = Builder {
        trace,
        zero,
        model: stated(manifest, "served_model_name").or_else(|| stated(manifest, "model_path")),
        provider: provider(manifest),
        server: manifest.and_then(|manifest| address(&manifest.target)),
        spans: Vec::new(),
        batches: BTreeMap::new(),
    };
    builder.number_batches(&found);
    for request in &found.requests {
        builder.request(request);
    }
    builder.batches(&found);
    let spans = builder.spans;
    Ok((spans.len(), chunks(&resources(trace, manifest), &spans)))
}

/// What the server says of itself.
fn stated(manifest: Option<&RunManifest>, field: &str) -> Option<String> {
    let info = manifest?.other.get("server_info")?;
    info.get(field)?.as_str().map(str::to_owned)
}

/// Whose model answers, by the name that the server or the table of its probes has.
fn provider(manifest: Option<&RunManifest>) -> String {
    let probed = manifest.and_then(|manifest| {
        let tables = manifest.other.get("probes")?.get("tables")?.as_array()?;
        tables.iter().filter_map(Value::as_str).find(|name| *name != "http").map(str::to_owned)
    });
    stated(manifest, "engine").or(probed).unwrap_or_else(|| "unknown".to_owned())
}

/// Host and port of a URL.
fn address(target: &str) -> Option<(String, i64)> {
    let place = target.strip_prefix("http://")?.split('/').next()?;
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "80"));
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// One resource for the client and one for each file, because each process writes its own.
fn resources(trace: &Trace, manifest: Option<&RunManifest>) -> Vec<Vec<KeyValue>> {
    let run = manifest.map(|manifest| attribute("xscope.run.id", shorten(&manifest.id, TEXT)));
    let hostname = manifest.and_then(|manifest| manifest.host.hostname.as_deref());
    let version = || attribute("service.version", env!("CARGO_PKG_VERSION").to_owned());
    let mut client = vec![attribute("service.name", "xscope".to_owned()), version()];
    client.extend(run.clone());
    let mut all = vec![client];
    for (source, id) in trace.sources.iter().zip(0..) {
        let track = trace.tracks.iter().find(|track| track.source == SourceId(id));
        let process = track.map(|track| trace.strings.get(track.process)).unwrap_or_default();
        let name = if process.is_empty() { provider(manifest) } else { process.to_owned() };
        let host = Some(trace.strings.get(source.host)).filter(|host| !host.is_empty());
        let mut resource = vec![
            attribute("service.name", shorten(&name, TEXT)),
            attribute("service.instance.id", shorten(&source.path, TEXT)),
        ];
        let host = host.or(hostname);
        resource.extend(host.map(|host| attribute("host.name", shorten(host, TEXT))));
        resource.extend(track.filter(|it| it.pid > 0).map(|it| attribute("process.pid", it.pid)));
        resource.extend(run.clone());
        all.push(resource);
    }
    all
}

/// A batch's number is unique in the process that gave it.
type BatchKey = (SourceId, SpanKey);

struct Builder<'a> {
    trace: &'a Trace,
    zero: i64,
    model: Option<String>,
    provider: String,
    server: Option<(String, i64)>,
    spans: Vec<Span>,
    /// The trace and root span of each batch, and the roots of the requests in it.
    batches: BTreeMap<BatchKey, (Link, Vec<Link>)>,
}

impl<'a> Builder<'a> {
    /// A number that no other of this profile has, and that looks random: collectors sample by it.
    fn id(&self, kind: u64, number: usize) -> u64 {
        SplitMix::nth(self.zero.cast_unsigned() ^ (kind << 56), number as u64).max(1)
    }

    /// A trace and its root.
    fn root(&self, kind: u64, number: usize) -> Link {
        let [high, low, span] = [0, 1, 2].map(|part| self.id(8 * kind + part, number));
        Link { trace_id: format!("{high:016x}{low:016x}"), span_id: format!("{span:016x}") }
    }

    fn number_batches(&mut self, found: &Follow<'_>) {
        let spans = self.trace.spans.iter().filter(|span| span.request.is_none());
        let named = spans.filter_map(|span| Some((span.source, span.batch?)));
        let mut keys: Vec<BatchKey> = named.chain(found.work.keys().copied()).collect();
        keys.sort_unstable();
        keys.dedup();
        for (number, key) in keys.into_iter().enumerate() {
            let root = self.root(1, number);
            self.batches.insert(key, (root, Vec::new()));
        }
    }

    fn unix(&self, time: Picos) -> Nanos {
        Nanos(self.zero.saturating_add(time.0.div_euclid(1000)))
    }

    fn request(&mut self, request: &Followed<'a>) {
        let view = &request.view;
        let root = self.root(0, self.spans.len());
        let generates = view.stages.contains_key(&Stage::Decode.into())
            || (view.has_client && view.labels == 0);
        let operation = if generates { "text_completion" } else { "score" };
        let name = match &self.model {
            Some(model) => format!("{operation} {model}"),
            None => operation.to_owned(),
        };
        self.spans.push(Span {
            trace_id: root.trace_id.clone(),
            span_id: root.span_id.clone(),
            name: shorten(&name, TEXT),
            // Measured by who sent it, or by the server alone.
            kind: if view.has_client { encode::CLIENT } else { encode::SERVER },
            start: self.unix(view.start),
            end: self.unix(view.start + view.total),
            attributes: self.request_attributes(request, operation),
            status: (!view.ok).then(Status::error),
            resource: if view.has_client { 0 } else { resource_of(&request.spans) },
            ..Span::default()
        });
        self.below(&root, &request.spans, &root);
    }

    fn request_attributes(&self, request: &Followed<'_>, operation: &str) -> Vec<KeyValue> {
        let view = &request.view;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut all = vec![
            attribute("gen_ai.operation.name", operation.to_owned()),
            attribute("gen_ai.provider.name", self.provider.clone()),
            attribute("http.request.header.x-request-id", vec![shorten(&view.id, TEXT)]),
        ];
        all.extend(
            self.model
                .as_ref()
                .map(|model| attribute("gen_ai.request.model", shorten(model, TEXT))),
        );
        let tokens: u64 = view.sequence_tokens.iter().sum();
        if tokens > 0 {
            all.push(attribute("gen_ai.usage.input_tokens", number(tokens)));
        }
        if let Some((host, port)) = &self.server {
            all.push(attribute("server.address", host.clone()));
            all.push(attribute("server.port", *port));
        }
        if !view.ok {
            all.push(attribute("error.type", "_OTHER".to_owned()));
        }
        if view.has_client {
            all.push(attribute("xscope.items", number(view.items)));
            all.push(attribute("xscope.labels", number(view.labels)));
            all.push(attribute("xscope.phase", view.phase.name().to_owned()));
        }
        // What the report says: every moment is in one stage, and they add up to the span.
        let stage = |(name, time): (&StageName, &Picos)| {
            attribute(
                &format!("xscope.stage.{}_ms", shorten(name.as_str(), 80)),
                time.as_micros() / 1e3,
            )
        };
        all.extend(view.stages.iter().map(stage));
        all
    }

    /// Spans below `root`, each within the innermost that encloses it. What was done for a batch
    /// is linked to it, and the batch to `request`.
    fn below(&mut self, root: &Link, spans: &[&'a RequestSpan], request: &Link) {
        let mut ordered = spans.to_vec();
        ordered.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end())));
        let mut ids: Vec<String> = Vec::with_capacity(ordered.len());
        for (span, parent) in ordered.iter().zip(parents(&ordered)) {
            let id = format!("{:016x}", self.id(100, self.spans.len()));
            let mut made = self.span(root, span);
            made.span_id.clone_from(&id);
            made.parent_span_id = Some(parent.map_or(&root.span_id, |at| &ids[at]).clone());
            if let Some(batch) = span.batch
                && let Some((batch, members)) = self.batches.get_mut(&(span.source, batch))
                && batch != root
            {
                made.links.push(batch.clone());
                if !members.contains(request) {
                    members.push(request.clone());
                }
            }
            ids.push(id);
            self.spans.push(made);
        }
    }

    fn span(&self, root: &Link, span: &RequestSpan) -> Span {
        let text = |id| shorten(self.trace.strings.get(id), TEXT);
        let mut attributes = Vec::new();
        if let Some(batch) = span.batch {
            attributes.push(attribute("xscope.batch", self.key_text(batch)));
        }
        for &(key, cell) in &span.args {
            let key = text(key);
            attributes.push(match cell {
                ArgCell::Int(value) => attribute(&key, value),
                ArgCell::Float(value) => attribute(&key, value),
                ArgCell::Str(id) => attribute(&key, text(id)),
            });
        }
        let name = self.trace.strings.get(span.name);
        Span {
            trace_id: root.trace_id.clone(),
            name: text(span.name),
            kind: if name == "request" { encode::SERVER } else { encode::INTERNAL },
            start: self.unix(span.start),
            end: self.unix(span.end().max(span.start)),
            attributes: unique(attributes),
            resource: span.source.0 as usize + 1,
            ..Span::default()
        }
    }

    fn key_text(&self, key: SpanKey) -> String {
        match key {
            SpanKey::Number(number) => number.to_string(),
            SpanKey::Text(id) => shorten(self.trace.strings.get(id), TEXT),
        }
    }

    fn batches(&mut self, found: &Follow<'a>) {
        let mut spans: BTreeMap<BatchKey, Vec<&'a RequestSpan>> = BTreeMap::new();
        for span in self.trace.spans.iter().filter(|span| span.request.is_none()) {
            if let Some(batch) = span.batch {
                spans.entry((span.source, batch)).or_default().push(span);
            }
        }
        for (key, (root, members)) in std::mem::take(&mut self.batches) {
            let own = spans.remove(&key).unwrap_or_default();
            let work = found.work.get(&key).map(Vec::as_slice).unwrap_or_default();
            self.batch(key, &root, members, (&own, work));
        }
    }

    fn batch(
        &mut self,
        key: BatchKey,
        root: &Link,
        links: Vec<Link>,
        (own, work): (&[&'a RequestSpan], &[SliceRef]),
    ) {
        let runs = work.iter().filter_map(|&slice| {
            let (start, end) = execution(&self.trace.tracks[slice.track], slice.row)?;
            Some((slice, start, end))
        });
        let runs: Vec<(SliceRef, Picos, Picos)> = runs.collect();
        let extents = own.iter().map(|span| (span.start, span.end()));
        let extents = extents.chain(runs.iter().map(|&(_, start, end)| (start, end)));
        let Some((start, end)) = extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return;
        };
        self.spans.push(Span {
            trace_id: root.trace_id.clone(),
            span_id: root.span_id.clone(),
            name: "batch".to_owned(),
            kind: encode::INTERNAL,
            start: self.unix(start),
            end: self.unix(end),
            attributes: vec![attribute("xscope.batch", self.key_text(key.1))],
            links,
            resource: key.0.0 as usize + 1,
            ..Span::default()
        });
        self.below(root, own, root);
        for (slice, start, end) in runs {
            let span = self.execution(root, slice, (start, end));
            self.spans.push(span);
        }
    }

    fn execution(&self, root: &Link, slice: SliceRef, (start, end): (Picos, Picos)) -> Span {
        let track = &self.trace.tracks[slice.track];
        let device = track.device.map(|id| self.trace.device_label(id)).unwrap_or_default();
        Span {
            trace_id: root.trace_id.clone(),
            span_id: format!("{:016x}", self.id(101, self.spans.len())),
            parent_span_id: Some(root.span_id.clone()),
            name: match track.kind {
                TrackKind::Modules => {
                    shorten(self.trace.label(track.slices.meta[slice.row as usize]), TEXT)
                }
                _ => "device".to_owned(),
            },
            kind: encode::INTERNAL,
            start: self.unix(start),
            end: self.unix(end),
            attributes: vec![attribute("xscope.device", shorten(device, TEXT))],
            resource: track.source.0 as usize + 1,
            ..Span::default()
        }
    }
}

/// What a device ran for a batch, from its first row: the program, or all operations of the run
/// that a device without programs numbers them by.
fn execution(track: &Track, row: u32) -> Option<(Picos, Picos)> {
    let (slices, row) = (&track.slices, row as usize);
    let start = *slices.start.get(row)?;
    if track.kind == TrackKind::Modules {
        return Some((start, slices.end(row)));
    }
    let run = slices.run_of(row)?;
    let rows = (row..slices.len()).take_while(|&row| slices.run_of(row) == Some(run));
    Some((start, rows.map(|row| slices.end(row)).max()?))
}

/// The process that a request without a client came to first.
fn resource_of(spans: &[&RequestSpan]) -> usize {
    spans.iter().min_by_key(|span| span.start).map_or(0, |span| span.source.0 as usize + 1)
}

/// Several values of one key become a list of them: keys of OpenTelemetry are unique.
fn unique(attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    let mut all: Vec<KeyValue> = Vec::with_capacity(attributes.len());
    for one in attributes {
        match all.iter_mut().find(|known| known.key == one.key) {
            Some(known) => known.add(one),
            None => all.push(one),
        }
    }
    all
}
