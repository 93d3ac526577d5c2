//! Following a request through processes down to its kernels: which spans are its own, and what the
//! devices ran first for each batch. For those who draw it; figures are in
//! [`view`](crate::requests::view) and [`batches`](crate::requests::batches).

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xscope_trace::model::{RequestSpan, SliceRef, SourceId, SpanKey, TrackKind};
use xscope_trace::write::Joins;
use xscope_trace::write::perfetto::JoinedRequest;
use xscope_trace::{Picos, Trace};

use crate::requests::join::Join;
use crate::requests::launches::Launches;
use crate::requests::view::{RequestView, requests_of};

/// What can be followed in a trace.
#[derive(Debug)]
pub struct Follow<'a> {
    /// By start.
    pub requests: Vec<Followed<'a>>,
    /// Where the executions of each batch begin on the devices. A batch's number is unique in the
    /// process that gave it.
    pub work: BTreeMap<(SourceId, SpanKey), Vec<SliceRef>>,
}

/// A request and the spans of all processes that worked for it.
#[derive(Debug)]
pub struct Followed<'a> {
    pub view: RequestView,
    pub spans: Vec<&'a RequestSpan>,
}

/// Finds the way of each request.
pub fn follow(trace: &Trace) -> Follow<'_> {
    let join = Join::of(trace);
    let launches = Launches::of(trace, &join);
    let mut spans = join.spans(trace);
    let requests = requests_of(trace, &join, &launches).into_iter().map(|view| {
        let spans = view.key.and_then(|key| spans.remove(&key)).unwrap_or_default();
        Followed { view, spans }
    });
    Follow { requests: requests.collect(), work: work(trace, &join, &launches) }
}

/// The same for a writer: by where spans stand. A span of a batch stands for the batch, not for each
/// request in it, so that no sum counts it twice.
pub fn joins(trace: &Trace) -> Joins {
    let found = follow(trace);
    let clients: FxHashMap<&str, usize> = trace
        .client
        .iter()
        .enumerate()
        .map(|(index, client)| (client.id.as_str(), index))
        .collect();
    let mut own: FxHashMap<*const RequestSpan, usize> = FxHashMap::default();
    own.extend(
        trace.spans.iter().enumerate().map(|(index, span)| (std::ptr::from_ref(span), index)),
    );
    let join = |request: &Followed<'_>| {
        let spans = request.spans.iter();
        JoinedRequest {
            client: clients
                .get(request.view.id.as_str())
                .copied()
                .filter(|_| request.view.has_client),
            spans: spans
                .clone()
                .filter(|span| span.request.is_some())
                .filter_map(|span| own.get(&std::ptr::from_ref(*span)).copied())
                .collect(),
            batches: spans.filter_map(|span| Some((span.source, span.batch?))).collect(),
        }
    };
    Joins { requests: found.requests.iter().map(join).collect(), work: found.work }
}

fn work(
    trace: &Trace,
    join: &Join,
    launches: &Launches,
) -> BTreeMap<(SourceId, SpanKey), Vec<SliceRef>> {
    let runs = trace.first_of_runs();
    let mut work: BTreeMap<_, Vec<SliceRef>> = BTreeMap::new();
    for span in &trace.spans {
        let Some(batch) = span.batch else { continue };
        let key = (span.source, batch);
        // A recorder that names its batches' rids knows nothing of the device's run ids.
        if let SpanKey::Number(run) = batch
            && join.members(key).is_empty()
            && let Some(slices) = runs.get(&run)
        {
            work.entry(key).or_insert_with(|| slices.clone());
        }
    }
    for (&batch, extents) in &launches.extents {
        let begun = extents.iter().flat_map(|&(start, _)| begun_at(trace, start));
        work.entry(batch).or_default().extend(begun);
    }
    work
}

/// The first operation on each track that begins at a time.
fn begun_at(trace: &Trace, start: Picos) -> impl Iterator<Item = SliceRef> {
    let tracks = trace.tracks.iter_ids().filter(|(_, track)| track.kind == TrackKind::Ops);
    tracks.filter_map(move |(id, track)| {
        let starts = &track.slices.start;
        let row = starts.partition_point(|&other| other < start);
        (starts.get(row) == Some(&start))
            .then(|| u32::try_from(row).ok())
            .flatten()
            .map(|row| SliceRef { track: id, row })
    })
}
