//! The rows on top: requests with their stages, batches, and the arrows between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io::{self, Write};

use rustc_hash::{FxHashMap, FxHashSet};

use super::Writer;
use super::encode::{Annotations, Place};
use crate::model::{ArgCell, ArgValue};
use crate::model::{
    ClientRequest, RequestSpan, SliceRef, SourceId, SpanKey, Trace, Track, TrackKind,
};
use crate::strings::StrId;
use crate::time::Picos;
use crate::write::lanes::{Edge, Lanes, Step};
use crate::write::processes::Shown;

/// The process id of the rows on top; those of real processes are lower.
const PID: i32 = i32::MAX;

/// What a server calls its own part of a request.
const REQUEST: &str = "request";

/// A span as its recorder wrote it: what tells which row of a thread it is.
type RowKey = (i64, Picos, Picos, StrId);

/// A batch's number is unique in the process that gave it.
pub type BatchKey = (SourceId, SpanKey);

/// Who worked for which request, and what devices ran for which batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joins {
    pub requests: Vec<JoinedRequest>,
    /// Where the executions of each batch begin.
    pub work: BTreeMap<BatchKey, Vec<SliceRef>>,
}

/// The parts of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinedRequest {
    /// In [`Trace::client`].
    pub client: Option<usize>,
    /// Its own spans, in [`Trace::spans`].
    pub spans: Vec<usize>,
    /// The batches that it was in.
    pub batches: Vec<BatchKey>,
}

impl Joins {
    /// Joins by what is written alike: the client's id is the spans' request, a batch's number the
    /// devices' `run_id`.
    pub fn by_id(trace: &Trace) -> Self {
        let mut by_key: BTreeMap<SpanKey, JoinedRequest> = BTreeMap::new();
        let runs = trace.first_of_runs();
        let mut work = BTreeMap::new();
        for (index, span) in trace.spans.iter().enumerate() {
            let batch = span.batch.map(|batch| (span.source, batch));
            if let Some(request) = span.request {
                let request = by_key.entry(request).or_default();
                request.spans.push(index);
                request.batches.extend(batch);
            } else if let Some((_, SpanKey::Number(run))) = batch
                && let (Some(batch), Some(slices)) = (batch, runs.get(&run))
            {
                work.entry(batch).or_insert_with(|| slices.clone());
            }
        }
        let mut requests = Vec::new();
        for (index, client) in trace.client.iter().enumerate() {
            let key = trace.strings.find(&client.id).map(SpanKey::Text);
            let found = key.and_then(|key| by_key.remove(&key)).unwrap_or_default();
            requests.push(JoinedRequest { client: Some(index), ..found });
        }
        requests.extend(by_key.into_values());
        Self { requests, work }
    }
}

/// What is known of requests and batches.
#[derive(Debug, Default)]
pub(super) struct Requests {
    requests: Vec<Request>,
    /// Spans of batches that belong to no request, in the order of time.
    batches: Vec<usize>,
    /// Arrows into a batch, by the batch.
    into_batch: FxHashMap<BatchKey, Vec<u64>>,
    /// Arrows out of a request's span, by the span.
    out_of_span: FxHashMap<usize, Vec<u64>>,
    /// Arrows from a batch to what the devices ran for it.
    launches: BTreeMap<BatchKey, Vec<(SliceRef, u64)>>,
    /// The first span of each batch, which stands for it.
    first_of_batch: FxHashSet<usize>,
    /// Rows of threads that are shown here instead.
    rows: FxHashSet<RowKey>,
}

#[derive(Debug)]
struct Request {
    key: Option<SpanKey>,
    client: Option<usize>,
    start: Picos,
    end: Picos,
    spans: Vec<usize>,
    batches: Vec<BatchKey>,
    /// Arrows to batches that none of its spans names.
    out: Vec<u64>,
}

impl Requests {
    pub(super) fn of(trace: &Trace, joins: &Joins) -> Self {
        let spans = trace.spans.iter().enumerate();
        let mut found = Self {
            batches: spans.filter(|(_, it)| it.request.is_none()).map(|(index, _)| index).collect(),
            rows: trace.spans.iter().map(row_key).collect(),
            requests: joins.requests.iter().map(|joined| request(trace, joined)).collect(),
            ..Self::default()
        };
        found.batches.sort_by_key(|&index| order(&trace.spans[index]));
        found.requests.sort_by_key(|request| (request.start, Reverse(request.end)));
        found.link(trace, joins);
        found
    }

    /// Numbers the arrows: behind those of the trace.
    fn link(&mut self, trace: &Trace, joins: &Joins) {
        let mut next = trace.flows.len() as u64;
        let mut number = || {
            next += 1;
            next
        };
        let batch_of = |index: usize| {
            let span = &trace.spans[index];
            span.batch.map(|batch| (span.source, batch))
        };
        let mut known = BTreeSet::new();
        for &index in &self.batches {
            if batch_of(index).is_some_and(|batch| known.insert(batch)) {
                self.first_of_batch.insert(index);
            }
        }
        for request in &mut self.requests {
            let batches: BTreeSet<BatchKey> =
                request.batches.iter().filter(|it| known.contains(it)).copied().collect();
            for batch in batches {
                let id = number();
                self.into_batch.entry(batch).or_default().push(id);
                match request.spans.iter().find(|&&span| batch_of(span) == Some(batch)) {
                    Some(&span) => self.out_of_span.entry(span).or_default().push(id),
                    None => request.out.push(id),
                }
            }
        }
        for (batch, slices) in &joins.work {
            if known.contains(batch) {
                let arrows = slices.iter().map(|&slice| (slice, number())).collect();
                self.launches.insert(*batch, arrows);
            }
        }
    }

    /// The arrows that end in device rows.
    pub(super) fn launches(&self) -> impl Iterator<Item = (SliceRef, u64)> + '_ {
        self.launches.values().flatten().copied()
    }

    /// Rows of a thread that are shown among the requests: shown twice, they would count twice in
    /// every query. A profiler inside the server may have recorded the same.
    pub(super) fn hidden_rows(&self, trace: &Trace, track: &Track) -> FxHashSet<usize> {
        if self.rows.is_empty() || !matches!(track.kind, TrackKind::HostThread | TrackKind::Other) {
            return FxHashSet::default();
        }
        let slices = &track.slices;
        let is_hidden = |&row: &usize| {
            let name = trace.meta(slices.meta[row]).name;
            self.rows.contains(&(track.tid, slices.start[row], slices.dur[row], name))
        };
        (0..slices.len()).filter(is_hidden).collect()
    }

    pub(super) fn write<W: Write>(&self, writer: &mut Writer<'_, W>) -> io::Result<()> {
        if self.requests.is_empty() && self.batches.is_empty() {
            return Ok(());
        }
        let labels = StrId::EMPTY;
        let shown = Shown { pid: PID, name: String::new(), labels, host: 0, device: None };
        let process = writer.process(&shown, 0, "requests")?;
        self.write_requests(writer, process)?;
        self.write_batches(writer, process)
    }

    fn write_requests<W: Write>(&self, writer: &mut Writer<'_, W>, process: u64) -> io::Result<()> {
        let mut tracks: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        // Requests never share a lane at one time, even where one lies within another.
        let mut busy: BinaryHeap<Reverse<(Picos, usize)>> = BinaryHeap::new();
        for request in &self.requests {
            let is_free = |lane: &Reverse<(Picos, usize)>| lane.0.0 <= request.start;
            let lane = match busy.peek().filter(|lane| is_free(lane)) {
                Some(_) => busy.pop().map_or(0, |lane| lane.0.1),
                None => busy.len(),
            };
            busy.push(Reverse((request.end, lane)));
            self.write_request(writer, request, |writer, inner| {
                if let Some(&track) = tracks.get(&(lane, inner)) {
                    return Ok(track);
                }
                let track = writer.plain_track(0, process, "requests", 1 + lane as u64)?;
                tracks.insert((lane, inner), track);
                Ok(track)
            })?;
        }
        Ok(())
    }

    fn write_request<W: Write>(
        &self,
        writer: &mut Writer<'_, W>,
        request: &Request,
        mut track_of: impl FnMut(&mut Writer<'_, W>, usize) -> io::Result<u64>,
    ) -> io::Result<()> {
        let trace = writer.trace;
        let track = track_of(writer, 0)?;
        let place = Place { host: 0, track };
        let mut notes = Annotations::default();
        notes.flows.extend(&request.out);
        if let Some(client) = request.client {
            describe_client(writer, &mut notes, &trace.client[client]);
        } else if let Some(key) = request.key {
            describe_key(writer, &mut notes, "request", key);
        }
        writer.written.slices += 1;
        writer.encoder.begin_named(place, request.start, (REQUEST, REQUEST), &notes)?;
        let mut lanes = Lanes::default();
        let mut visit = |step: Step| {
            let track = track_of(writer, step.lane)?;
            self.step(writer, request.spans[step.row], step, track)
        };
        for (row, &index) in request.spans.iter().enumerate() {
            let span = &trace.spans[index];
            lanes.push(row, span.start, span.end().min(request.end), &mut visit)?;
        }
        lanes.finish(&mut visit)?;
        writer.encoder.end(place, request.end)
    }

    fn write_batches<W: Write>(&self, writer: &mut Writer<'_, W>, process: u64) -> io::Result<()> {
        let mut lanes = Lanes::default();
        let mut tracks = Vec::new();
        let trace = writer.trace;
        let mut visit = |step: Step| {
            while tracks.len() <= step.lane {
                tracks.push(writer.plain_track(0, process, "batches", 1 << 16)?);
            }
            self.step(writer, self.batches[step.row], step, tracks[step.lane])
        };
        for (row, &index) in self.batches.iter().enumerate() {
            let span = &trace.spans[index];
            lanes.push(row, span.start, span.end(), &mut visit)?;
        }
        lanes.finish(&mut visit)?;
        writer.written.clipped += lanes.clipped;
        Ok(())
    }

    fn step<W: Write>(
        &self,
        writer: &mut Writer<'_, W>,
        index: usize,
        step: Step,
        track: u64,
    ) -> io::Result<()> {
        let place = Place { host: 0, track };
        if step.edge == Edge::End {
            return writer.encoder.end(place, step.at);
        }
        let span = &writer.trace.spans[index];
        let mut notes = Annotations::default();
        for (key, value) in [("request", span.request), ("batch", span.batch)] {
            if let Some(value) = value {
                describe_key(writer, &mut notes, key, value);
            }
        }
        for &(key, cell) in &span.args {
            let key = writer.trace.strings.get(key);
            match cell {
                ArgCell::Int(value) => writer.encoder.number(0, &mut notes, key, value),
                ArgCell::Float(value) => {
                    writer.encoder.argument(0, &mut notes, key, &ArgValue::Float(value));
                }
                ArgCell::Str(id) => writer.encoder.text(0, &mut notes, key, id),
            }
        }
        notes.flows.extend(self.out_of_span.get(&index).into_iter().flatten());
        if let Some(batch) = span.batch.filter(|_| self.first_of_batch.contains(&index)) {
            let batch = (span.source, batch);
            notes.ended_flows.extend(self.into_batch.get(&batch).into_iter().flatten());
            notes.flows.extend(self.launches.get(&batch).into_iter().flatten().map(|it| it.1));
        }
        writer.written.slices += 1;
        // The slice around it is the request, as its client saw it: a sum over the name counts each once.
        if span.request.is_some() && writer.trace.strings.get(span.name) == REQUEST {
            return writer.encoder.begin_named(place, step.at, ("server", ""), &notes);
        }
        writer.encoder.begin(place, step.at, (span.name, StrId::EMPTY), &notes)
    }
}

fn describe_key<W: Write>(
    writer: &mut Writer<'_, W>,
    notes: &mut Annotations,
    name: &str,
    key: SpanKey,
) {
    match key {
        SpanKey::Number(number) => writer.encoder.number(0, notes, name, number),
        SpanKey::Text(text) => writer.encoder.text(0, notes, name, text),
    }
}

fn describe_client<W: Write>(
    writer: &mut Writer<'_, W>,
    notes: &mut Annotations,
    client: &ClientRequest,
) {
    let encoder = &mut writer.encoder;
    encoder.argument(0, notes, "request", &ArgValue::Text(client.id.clone()));
    encoder.number(0, notes, "items", client.items);
    encoder.number(0, notes, "labels", client.labels);
    encoder.number(0, notes, "ok", i64::from(client.ok));
    encoder.argument(0, notes, "phase", &ArgValue::Text(client.phase.name().to_owned()));
    if let Some(sent) = client.sent {
        let waited = sent.0.saturating_sub(client.intended.0).div_euclid(1000);
        encoder.number(0, notes, "client_wait_ns", waited);
    }
}

fn request(trace: &Trace, joined: &JoinedRequest) -> Request {
    let JoinedRequest { client, mut spans, batches } = joined.clone();
    spans.sort_by_key(|&index| order(&trace.spans[index]));
    let client_extent = client.map(|index| {
        let client = &trace.client[index];
        (client.intended, client.end.max(client.intended))
    });
    let extents = spans.iter().map(|&index| (trace.spans[index].start, trace.spans[index].end()));
    let whole = extents.chain(client_extent).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (start, end) = whole.unwrap_or_default();
    let key = spans.iter().find_map(|&index| trace.spans[index].request);
    Request { key, client, start, end, spans, batches, out: Vec::new() }
}

fn order(span: &RequestSpan) -> (Picos, Reverse<Picos>) {
    (span.start, Reverse(span.end()))
}

fn row_key(span: &RequestSpan) -> RowKey {
    (i64::from(span.tid), span.start, span.dur, span.name)
}
