//! Requests and batches as tracks: each request in a lane, with its spans of all processes below.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rustc_hash::FxHashMap;
use xscope_analysis::requests::follow::{Follow, Followed, follow};
use xscope_trace::ids::Id as _;
use xscope_trace::model::{ArgCell, ArgStore, ArgTable};
use xscope_trace::model::{
    EventMeta, MetaId, RequestSpan, SliceRef, Slices, SourceId, SpanKey, Track, TrackId, TrackKind,
};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use super::arrows::Arrow;

/// What stands above the tracks of a trace.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// Tracks of requests, in order; the last one is of batches, if there are any.
    pub trace: Trace,
    /// With tracks numbered behind those of the trace that they lead into.
    pub arrows: Vec<Arrow>,
}

pub(crate) fn of(trace: &Trace) -> Overlay {
    let found = follow(trace);
    let mut builder = Builder {
        source: trace,
        out: Trace::default(),
        metas: FxHashMap::default(),
        threads: threads(trace),
        arrows: Vec::new(),
        first_track: trace.tracks.len(),
    };
    let batches = builder.batches(&found);
    for (lane, number) in lanes(&found.requests).into_iter().zip(1..) {
        builder.lane(&lane, number, &batches);
    }
    if let Some(track) = batches.track {
        builder.out.tracks.push(track);
    }
    // Rows of batches were numbered before the number of their track was known.
    let track = TrackId::at((builder.first_track + builder.out.tracks.len()).saturating_sub(1));
    for end in builder.arrows.iter_mut().flat_map(|it| [&mut it.from, &mut it.to]) {
        if end.track == BATCHES {
            end.track = track;
        }
    }
    Overlay { trace: builder.out, arrows: builder.arrows }
}

/// The number of the batches' track until it is known.
const BATCHES: TrackId = TrackId(u32::MAX);

type BatchKey = (SourceId, SpanKey);

#[derive(Default)]
struct Batches {
    track: Option<Track>,
    /// The row that stands for a batch.
    rows: BTreeMap<BatchKey, SliceRef>,
}

struct Builder<'a> {
    source: &'a Trace,
    out: Trace,
    metas: FxHashMap<StrId, MetaId>,
    /// Tracks of threads by source and thread.
    threads: BTreeMap<(SourceId, i64), Vec<TrackId>>,
    arrows: Vec<Arrow>,
    /// How many tracks the trace itself has.
    first_track: usize,
}

/// A row before rows are sorted.
struct Draft<'a> {
    start: Picos,
    dur: Picos,
    meta: MetaId,
    args: Vec<(StrId, ArgCell)>,
    span: Option<&'a RequestSpan>,
}

impl<'a> Builder<'a> {
    /// Spans of batches that are of no single request.
    fn batches(&mut self, found: &Follow<'a>) -> Batches {
        let spans = self.source.spans.iter();
        let mut drafts: Vec<Draft<'a>> = spans
            .filter(|span| span.request.is_none() && span.batch.is_some())
            .map(|span| self.draft(span))
            .collect();
        if drafts.is_empty() {
            return Batches::default();
        }
        let mut batches = Batches::default();
        sort(&mut drafts);
        for (draft, row) in drafts.iter().zip(0..) {
            let Some(span) = draft.span else { continue };
            let Some(batch) = span.batch.map(|batch| (span.source, batch)) else { continue };
            let here = SliceRef { track: BATCHES, row };
            if batches.rows.contains_key(&batch) {
                continue;
            }
            batches.rows.insert(batch, here);
            let work = found.work.get(&batch).into_iter().flatten();
            let arrows = work.map(|&to| Arrow { from: here, to, owner: None });
            self.arrows.extend(arrows);
            if let Some(thread) = self.thread_slice(span) {
                self.arrows.push(Arrow { from: here, to: thread, owner: None });
            }
        }
        batches.track = Some(self.track("batches", drafts));
        batches
    }

    /// Requests of which no two overlap, and their spans.
    fn lane(&mut self, requests: &[&Followed<'a>], number: u64, batches: &Batches) {
        let mut drafts = Vec::new();
        for request in requests {
            let view = &request.view;
            let name = self.out.strings.intern(&view.id);
            let args = self.request_args(request);
            let meta = self.meta(name);
            drafts.push(Draft { start: view.start, dur: view.total, meta, args, span: None });
            for span in &request.spans {
                drafts.push(self.draft(span));
            }
        }
        sort(&mut drafts);
        let track = TrackId::at(self.first_track + self.out.tracks.len());
        let mut owner = None;
        let mut before: Option<(SourceId, SliceRef)> = None;
        for (draft, row) in drafts.iter().zip(0..) {
            let here = SliceRef { track, row };
            let Some(span) = draft.span else {
                (owner, before) = (Some(here), None);
                continue;
            };
            let Some(request) = owner else { continue };
            let thread = self.thread_slice(span);
            // One arrow for each step into another process, not one for each span.
            if let Some(thread) = thread {
                if before.is_none_or(|(source, _)| source != span.source) {
                    let from = before.map_or(request, |(_, slice)| slice);
                    self.arrows.push(Arrow { from, to: thread, owner });
                }
                before = Some((span.source, thread));
            }
            let batch = span.batch.and_then(|batch| batches.rows.get(&(span.source, batch)));
            if let Some(&to) = batch {
                self.arrows.push(Arrow { from: request, to, owner });
            }
        }
        let track = self.track(&format!("requests {number}"), drafts);
        self.out.tracks.push(track);
    }

    fn request_args(&mut self, request: &Followed<'_>) -> Vec<(StrId, ArgCell)> {
        let view = &request.view;
        let number = |value: u64| ArgCell::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let mut args = vec![
            ("items", number(view.items)),
            ("labels", number(view.labels)),
            ("ok", ArgCell::Int(i64::from(view.ok))),
        ];
        if view.has_client {
            args.push(("phase", ArgCell::Str(self.out.strings.intern(view.phase.name()))));
        }
        let tokens: u64 = view.sequence_tokens.iter().sum();
        if tokens > 0 {
            args.push(("tokens", number(tokens)));
        }
        for (stage, time) in &view.stages {
            args.push((stage.as_str(), ArgCell::Float(time.as_micros() / 1e3)));
        }
        args.into_iter()
            .map(|(key, cell)| {
                let key = match cell {
                    ArgCell::Float(_) => format!("{key} ms"),
                    _ => key.to_owned(),
                };
                (self.out.strings.intern(&key), cell)
            })
            .collect()
    }

    fn draft(&mut self, span: &'a RequestSpan) -> Draft<'a> {
        let name = self.copied(span.name);
        let mut args = Vec::new();
        for (key, value) in [("request", span.request), ("batch", span.batch)] {
            let Some(value) = value else { continue };
            let cell = match value {
                SpanKey::Number(number) => ArgCell::Int(number),
                SpanKey::Text(text) => ArgCell::Str(self.copied(text)),
            };
            args.push((self.out.strings.intern(key), cell));
        }
        for &(key, cell) in &span.args {
            let cell = match cell {
                ArgCell::Str(text) => ArgCell::Str(self.copied(text)),
                other => other,
            };
            args.push((self.copied(key), cell));
        }
        let meta = self.meta(name);
        Draft { start: span.start, dur: span.dur, meta, args, span: Some(span) }
    }

    fn copied(&mut self, text: StrId) -> StrId {
        self.out.strings.intern(self.source.strings.get(text))
    }

    fn meta(&mut self, name: StrId) -> MetaId {
        let metas = &mut self.out.metas;
        *self.metas.entry(name).or_insert_with(|| {
            metas.push(EventMeta { name, ..EventMeta::default() });
            MetaId(u32::try_from(metas.len() - 1).unwrap_or(u32::MAX))
        })
    }

    fn track(&mut self, name: &str, drafts: Vec<Draft<'_>>) -> Track {
        let mut slices = Slices::default();
        let mut table = ArgTable::default();
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        for draft in drafts {
            slices.start.push(draft.start);
            slices.dur.push(draft.dur);
            slices.meta.push(draft.meta);
            table.rows.push((number(table.keys.len()), number(draft.args.len())));
            for (key, cell) in draft.args {
                table.keys.push(key);
                table.values.push(cell);
            }
        }
        slices.args = ArgStore::Table(table);
        Track {
            kind: TrackKind::Other,
            name: self.out.strings.intern(name),
            source: SourceId(u32::MAX),
            process: StrId::EMPTY,
            pid: Track::NO_PROCESS,
            tid: 0,
            device: None,
            slices,
        }
    }

    /// The slice of a thread that a span was recorded as.
    fn thread_slice(&self, span: &RequestSpan) -> Option<SliceRef> {
        let tracks = self.threads.get(&(span.source, i64::from(span.tid)))?;
        tracks.iter().find_map(|&track| {
            let slices = &self.source.tracks[track].slices;
            let first = slices.start.partition_point(|&start| start < span.start);
            let same = slices.start[first..].iter().take_while(|&&start| start == span.start);
            let row = (first..first + same.count()).find(|&row| {
                let name = self.source.meta(slices.meta[row]).name;
                slices.dur[row] == span.dur && name == span.name
            })?;
            Some(SliceRef { track, row: u32::try_from(row).ok()? })
        })
    }
}

fn threads(trace: &Trace) -> BTreeMap<(SourceId, i64), Vec<TrackId>> {
    let mut threads: BTreeMap<_, Vec<TrackId>> = BTreeMap::new();
    if trace.spans.is_empty() {
        return threads;
    }
    for (id, track) in trace.tracks.iter_ids() {
        threads.entry((track.source, track.tid)).or_default().push(id);
    }
    threads
}

/// Puts a request before its spans, and a span before what it encloses.
fn sort(drafts: &mut [Draft<'_>]) {
    drafts.sort_by_key(|draft| (draft.start, Reverse(draft.dur)));
}

/// Requests in the first lane that is free.
fn lanes<'a, 'b>(requests: &'b [Followed<'a>]) -> Vec<Vec<&'b Followed<'a>>> {
    let mut lanes: Vec<Vec<&Followed<'_>>> = Vec::new();
    let mut used: BinaryHeap<Reverse<(Picos, usize)>> = BinaryHeap::new();
    let mut free: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    for request in requests {
        // Spans may begin before the client's clock says so, and end after.
        let start = request.spans.iter().map(|span| span.start).fold(request.view.start, Ord::min);
        let end = request.view.start.saturating_add(request.view.total);
        let end = request.spans.iter().map(|span| span.end()).fold(end, Ord::max);
        while let Some(&Reverse((until, lane))) = used.peek()
            && until <= start
        {
            used.pop();
            free.push(Reverse(lane));
        }
        let lane = free.pop().map_or(lanes.len(), |lane| lane.0);
        if lane == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[lane].push(request);
        used.push(Reverse((end, lane)));
    }
    lanes
}
