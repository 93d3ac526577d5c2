//! The waterfall of each request: every moment of its wall time belongs to exactly one stage.
//!
//! The window of a request is what its client waited: from the intended send time to the end of
//! the answer, or, without a client, the server's `request` span. The server's stage spans are
//! laid into it; of those that overlap the one that began last counts, and a wait only where
//! nothing else goes on. What none covers is *unaccounted*. Stages therefore add up to the wall
//! time by construction, and the unaccounted rest says how good the instrumentation is. What a
//! stage's spans cover in all, others within them or beside them, is told beside it.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::model::{RequestSpan, SourceId, SpanKey};
use xscope_trace::stage::{REQUEST, Stage, StageName};
use xscope_trace::{Phase, Picos, Trace};

use crate::requests::join::{BatchKey, Join};
use crate::requests::launches::Launches;
use crate::requests::spans::{args, given_name, key_text, names_of_requests};

/// One request, cut into stages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestView {
    /// The id that the client knows, or the server's own.
    pub id: String,
    /// What the server's spans call it.
    pub key: Option<SpanKey>,
    pub start: Picos,
    pub total: Picos,
    /// Time in each stage; the values add up to `total`.
    pub stages: BTreeMap<StageName, Picos>,
    /// All that each stage's spans cover, also while another stage counts.
    pub inclusive: BTreeMap<StageName, Picos>,
    /// The batches that served it, in order.
    pub batches: Vec<SpanKey>,
    /// Tokens of each of its sequences, as the server counted them.
    pub sequence_tokens: Vec<u64>,
    /// As the client counts them, else the sequences that the server counted; 0 if nobody did.
    pub items: u64,
    pub labels: u64,
    /// The point of a matrix that it belongs to, as its client says; else empty.
    pub point: String,
    /// What its client sent it for; `Measure` if no client is known, so that all of a profile counts.
    pub phase: Phase,
    pub ok: bool,
    /// Whether the client's side is known.
    pub has_client: bool,
    /// Whether any span of the server is known.
    pub has_server: bool,
}

impl RequestView {
    /// Time in `stage`, zero if it was never there.
    pub(crate) fn stage(&self, stage: Stage) -> Picos {
        self.stages.get(&stage.into()).copied().unwrap_or_default()
    }
}

/// All requests of a trace, by start.
pub fn requests(trace: &Trace) -> Vec<RequestView> {
    let join = Join::of(trace);
    requests_of(trace, &join, &Launches::of(trace, &join))
}

pub(crate) fn requests_of(trace: &Trace, join: &Join, launches: &Launches) -> Vec<RequestView> {
    let mut spans = join.spans(trace);
    let names = names_of_requests(trace);
    let mut views = Vec::new();
    for client in &trace.client {
        let key = names.get(client.id.as_str()).copied();
        let server = key.and_then(|key| spans.remove(&key)).unwrap_or_default();
        let mut pieces = server_pieces(trace, &server, launches);
        let sent = client.sent.unwrap_or(client.intended);
        pieces.push(Piece::of(Stage::ClientWait, client.intended, sent));
        if let Some((start, end)) = server_window(trace, &server) {
            pieces.push(Piece::of(Stage::ClientSend, sent, start));
            pieces.push(Piece::of(Stage::ClientReceive, end, client.end));
        }
        let mut view = tile(client.id.clone(), (client.intended, client.end), pieces);
        describe(trace, &server, &mut view);
        view.has_client = true;
        view.key = key.filter(|_| view.has_server);
        (view.phase, view.ok) = (client.phase, client.ok);
        (view.items, view.labels) = (client.items, client.labels);
        view.point.clone_from(&client.point);
        views.push(view);
    }
    let mut rest: Vec<_> = spans.into_iter().collect();
    rest.sort_unstable_by_key(|(key, _)| *key);
    for (key, server) in rest {
        let Some(window) = server_window(trace, &server) else { continue };
        let given = server.iter().find_map(|span| given_name(trace, span));
        let name =
            given.map_or_else(|| key_text(trace, key), |id| trace.strings.get(id).to_owned());
        let mut view = tile(name, window, server_pieces(trace, &server, launches));
        describe(trace, &server, &mut view);
        view.ok = true;
        view.phase = if trace.client.is_empty() { Phase::Measure } else { Phase::Other };
        view.key = Some(key);
        views.push(view);
    }
    views.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
    views
}

/// The server's `request` span, or the extent of its spans if that one was lost.
fn server_window(trace: &Trace, spans: &[&RequestSpan]) -> Option<(Picos, Picos)> {
    let whole = spans.iter().find(|span| trace.strings.get(span.name) == REQUEST);
    if let Some(span) = whole {
        return Some((span.start, span.end()));
    }
    let start = spans.iter().map(|span| span.start).min()?;
    let end = spans.iter().map(|span| span.end()).max()?;
    Some((start, end))
}

/// How much a piece says of what a request does at a moment; of the same rank the later begun
/// says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Decode,
    /// Between two processes, from the last sign of one to the first of the other.
    OnTheWay,
    Waits,
    Works,
    /// The device computes, whatever the host calls its waiting for that.
    Device,
}

/// A stretch of a request that one span, or a gap between two, accounts for.
#[derive(Debug, Clone)]
struct Piece {
    stage: StageName,
    start: Picos,
    end: Picos,
    rank: Rank,
}

impl Piece {
    fn of(stage: impl Into<StageName>, start: Picos, end: Picos) -> Self {
        let stage = stage.into();
        let rank = match stage {
            StageName::Known(Stage::Decode) => Rank::Decode,
            StageName::Known(Stage::QueueWait) => Rank::Waits,
            _ => Rank::Works,
        };
        Self { stage, start, end, rank }
    }
}

fn server_pieces(trace: &Trace, spans: &[&RequestSpan], launches: &Launches) -> Vec<Piece> {
    let mut spans: Vec<&RequestSpan> =
        spans.iter().copied().filter(|span| trace.strings.get(span.name) != REQUEST).collect();
    spans.sort_by_key(|span| (span.start, span.end()));
    let first = |wanted: Stage| -> BTreeMap<BatchKey, Picos> {
        let named = spans.iter().filter(|span| trace.strings.get(span.name) == wanted.name());
        let starts = named.filter_map(|span| Some(((span.source, span.batch?), span.start)));
        // Spans are in the order of their starts: of each batch the first one stays.
        starts.rev().collect()
    };
    let (forwards, mut decodes) = (first(Stage::Forward), first(Stage::Decode));
    // A batch that computes what its requests wait for, and then a step of them, is no decode step.
    decodes.retain(|batch, start| forwards.get(batch).is_none_or(|forward| forward >= start));
    let mut pieces = Vec::with_capacity(spans.len());
    let mut last: Option<(Picos, SourceId)> = None;
    for span in &spans {
        let stage = StageName::of(trace.strings.get(span.name));
        // Whatever a thread does for a decode step is not what the request waits for.
        let is_decode = stage == Stage::Decode
            || span.batch.is_some_and(|batch| decodes.contains_key(&(span.source, batch)));
        let stage = if is_decode { Stage::Decode.into() } else { stage };
        pieces.push(Piece::of(stage, span.start, span.end()));
        if is_decode {
            continue;
        }
        if let Some((end, source)) = last
            && end < span.start
            && source != span.source
        {
            let (stage, rank) = (Stage::IpcSend.into(), Rank::OnTheWay);
            pieces.push(Piece { stage, start: end, end: span.start, rank });
        }
        if last.is_none_or(|(end, _)| end <= span.end()) {
            last = Some((span.end(), span.source));
        }
    }
    pieces.extend(waits_for_forward(trace, &spans));
    for batch in forwards.keys().filter(|batch| !decodes.contains_key(batch)) {
        let extents = launches.extents.get(batch).into_iter().flatten();
        let piece = |&(start, end)| {
            let (stage, rank) = (Stage::Forward.into(), Rank::Device);
            Piece { stage, start, end, rank }
        };
        pieces.extend(extents.map(piece));
    }
    pieces
}

/// From the end of the scheduling of a batch to its forward pass: a schedule that goes ahead of the
/// device has it wait for the thread that is busy with the last one.
fn waits_for_forward(trace: &Trace, spans: &[&RequestSpan]) -> Vec<Piece> {
    let mut scheduled: BTreeMap<BatchKey, Picos> = BTreeMap::new();
    let mut begun: BTreeMap<BatchKey, Picos> = BTreeMap::new();
    for span in spans {
        let Some(batch) = span.batch.map(|batch| (span.source, batch)) else { continue };
        match Stage::named(trace.strings.get(span.name)) {
            Some(Stage::Schedule) => {
                let end = scheduled.entry(batch).or_insert(span.end());
                *end = span.end().max(*end);
            }
            Some(Stage::Forward) => {
                let start = begun.entry(batch).or_insert(span.start);
                *start = span.start.min(*start);
            }
            _ => {}
        }
    }
    let waits = begun.into_iter().filter_map(|(batch, start)| {
        let end = *scheduled.get(&batch)?;
        let (stage, rank) = (Stage::QueueWait.into(), Rank::OnTheWay);
        (end < start).then_some(Piece { stage, start: end, end: start, rank })
    });
    waits.collect()
}

/// Lays pieces into a window so that every moment belongs to one.
fn tile(id: String, window: (Picos, Picos), mut pieces: Vec<Piece>) -> RequestView {
    let place = |piece: &Piece| (piece.start, piece.end);
    pieces.sort_by(|a, b| {
        place(a).cmp(&place(b)).then_with(|| a.stage.as_str().cmp(b.stage.as_str()))
    });
    let (start, end) = (window.0, window.1.max(window.0));
    // Moments at which a piece begins or ends, and what goes on between them, by what says most.
    let mut moments = Vec::with_capacity(2 * pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let (from, to) = (piece.start.clamp(start, end), piece.end.clamp(start, end));
        if from < to {
            moments.push((from, (piece.rank, index), true));
            moments.push((to, (piece.rank, index), false));
        }
    }
    moments.sort_unstable();
    let mut active: BTreeSet<(Rank, usize)> = BTreeSet::new();
    let mut tiles = Tiles::default();
    let mut at = start;
    for (moment, piece, begins) in moments {
        let counts = active.last().map(|&(_, index)| &pieces[index].stage);
        tiles.add(counts, moment - at);
        at = moment;
        let Piece { stage, rank, .. } = &pieces[piece.1];
        if begins {
            active.insert(piece);
            tiles.open(stage, *rank);
        } else {
            active.remove(&piece);
            tiles.close(stage, *rank);
        }
    }
    tiles.add(None, end - at);
    let Tiles { stages, inclusive, .. } = tiles;
    RequestView { id, start, total: end - start, stages, inclusive, ..RequestView::default() }
}

/// Time of stages, as it adds up from moment to moment.
#[derive(Default)]
struct Tiles {
    stages: BTreeMap<StageName, Picos>,
    inclusive: BTreeMap<StageName, Picos>,
    /// The spans that are open, by stage.
    open: BTreeMap<StageName, usize>,
}

impl Tiles {
    /// A gap between two processes is no span: it counts only where nothing else does.
    fn open(&mut self, stage: &StageName, rank: Rank) {
        if rank != Rank::OnTheWay {
            *self.open.entry(stage.clone()).or_default() += 1;
        }
    }

    fn close(&mut self, stage: &StageName, rank: Rank) {
        if rank != Rank::OnTheWay
            && let Some(open) = self.open.get_mut(stage)
        {
            *open -= 1;
        }
    }

    /// `time` in which `stage` counts, or none does.
    fn add(&mut self, stage: Option<&StageName>, time: Picos) {
        if time <= Picos::ZERO {
            return;
        }
        let unaccounted = StageName::Known(Stage::Unaccounted);
        let counts = stage.unwrap_or(&unaccounted);
        let longer = |sums: &mut BTreeMap<StageName, Picos>, stage: &StageName| {
            let sum = sums.entry(stage.clone()).or_default();
            *sum = sum.saturating_add(time);
        };
        longer(&mut self.stages, counts);
        longer(&mut self.inclusive, counts);
        for (stage, _) in self.open.iter().filter(|(stage, open)| **open > 0 && *stage != counts) {
            longer(&mut self.inclusive, stage);
        }
    }
}

fn describe(trace: &Trace, spans: &[&RequestSpan], view: &mut RequestView) {
    view.has_server = !spans.is_empty();
    let mut batches: Vec<(Picos, SpanKey)> = Vec::new();
    for span in spans {
        if trace.strings.get(span.name) == Stage::Forward.name() {
            batches.extend(span.batch.map(|batch| (span.start, batch)));
        }
        view.sequence_tokens.extend(args(trace, span, "sequence_tokens"));
    }
    batches.sort_unstable();
    batches.dedup_by_key(|(_, batch)| *batch);
    view.batches = batches.into_iter().map(|(_, batch)| batch).collect();
    view.items = view.sequence_tokens.len() as u64;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use xscope_trace::model::ArgCell;
    use xscope_trace::model::{RequestSpan, SourceId, SpanKey};
    use xscope_trace::stage::StageName;
    use xscope_trace::{Picos, Trace};

    use super::{Piece, requests, tile};
    use crate::requests::stages::stages;

    fn stage(pieces: &[(&'static str, i64, i64)], window: (i64, i64)) -> Vec<(String, i64)> {
        let pieces = pieces
            .iter()
            .map(|&(name, s, e)| Piece::of(StageName::of(name), Picos(s), Picos(e)))
            .collect();
        let view = tile("r".to_owned(), (Picos(window.0), Picos(window.1)), pieces);
        view.stages.into_iter().map(|(name, time)| (name.to_string(), time.0)).collect()
    }

    fn named(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
        rows.iter().map(|&(name, time)| (name.to_owned(), time)).collect()
    }

    #[test]
    fn gaps_are_unaccounted_and_a_wait_counts_only_where_nothing_goes_on() {
        let pieces = [("tokenize", 10, 20), ("forward", 30, 60), ("queue.wait", 15, 40)];
        assert_eq!(
            stage(&pieces, (0, 70)),
            named(&[("tokenize", 10), ("queue.wait", 10), ("forward", 30), ("unaccounted", 20)])
        );
    }

    #[test]
    fn of_pieces_that_overlap_the_one_that_began_last_counts() {
        let pieces = [("schedule", 0, 50), ("forward", 10, 40), ("decode", 45, 80)];
        assert_eq!(
            stage(&pieces, (0, 80)),
            named(&[("schedule", 20), ("forward", 30), ("decode", 30)])
        );
    }

    #[test]
    fn without_a_client_the_server_says_how_many_items_there_are() {
        let mut trace = Trace::default();
        let [send, tokens] = ["ipc.send", "sequence_tokens"].map(|name| trace.strings.intern(name));
        for item in 0..2 {
            trace.spans.push(RequestSpan {
                name: send,
                source: SourceId(0),
                start: Picos(item),
                dur: Picos(1),
                tid: 1,
                request: Some(SpanKey::Number(7)),
                batch: None,
                args: vec![(tokens, ArgCell::Int(10 + item))],
            });
        }
        let views = requests(&trace);
        assert_eq!((views[0].items, views[0].sequence_tokens.as_slice()), (2, &[10, 11][..]));
    }

    /// The stages of a request with these spans: stage, start, end, batch.
    fn stages_of(spans: &[(&str, i64, i64, Option<i64>)]) -> Vec<(String, i64)> {
        let mut trace = Trace::default();
        for &(name, start, end, batch) in spans {
            trace.spans.push(RequestSpan {
                name: trace.strings.intern(name),
                source: SourceId(0),
                start: Picos(start),
                dur: Picos(end - start),
                tid: 1,
                request: Some(SpanKey::Number(7)),
                batch: batch.map(SpanKey::Number),
                args: Vec::new(),
            });
        }
        let stages = requests(&trace).remove(0).stages;
        stages.into_iter().map(|(name, time)| (name.to_string(), time.0)).collect()
    }

    #[test]
    fn a_batch_that_is_scheduled_ahead_waits_for_the_one_before() {
        let spans = [
            ("request", 0, 100, None),
            ("schedule", 10, 20, Some(2)),
            ("forward", 60, 90, Some(2)),
            ("schedule", 70, 75, Some(3)),
        ];
        let expected = [("queue.wait", 40), ("schedule", 15), ("forward", 25), ("unaccounted", 20)];
        assert_eq!(stages_of(&spans), named(&expected));
    }

    #[test]
    fn what_threads_do_for_a_decode_step_hides_no_stage_that_the_request_waits_for() {
        let spans = [
            ("request", 0, 100, None),
            ("forward", 0, 50, Some(1)),
            ("decode", 40, 95, Some(2)),
            ("softmax", 60, 80, None),
            // Another thread's wait for the decode step, and what it makes of its results.
            ("forward", 65, 90, Some(2)),
            ("logprob.extract", 70, 92, Some(2)),
            ("http.respond", 80, 100, None),
        ];
        let expected = [("forward", 50), ("decode", 10), ("softmax", 20), ("http.respond", 20)];
        assert_eq!(stages_of(&spans), named(&expected));
    }

    #[test]
    fn a_batch_that_decodes_after_its_prefill_keeps_its_stages() {
        let spans = [
            ("request", 0, 100, None),
            ("schedule", 0, 10, Some(1)),
            ("forward", 10, 60, Some(1)),
            ("decode", 60, 90, Some(1)),
            ("detokenize", 90, 100, None),
        ];
        let expected = [("schedule", 10), ("forward", 50), ("decode", 30), ("detokenize", 10)];
        assert_eq!(stages_of(&spans), named(&expected));
    }

    #[test]
    fn pieces_outside_the_window_do_not_count() {
        let pieces = [("a", -10, 5), ("b", 90, 120), ("c", 200, 300)];
        assert_eq!(stage(&pieces, (0, 100)), named(&[("unaccounted", 85), ("a", 5), ("b", 10)]));
    }

    #[test]
    fn what_a_stage_covers_in_all_is_told_beside() {
        let pieces = [("detokenize", 0, 30), ("forward", 10, 40), ("detokenize", 20, 25)];
        let pieces = pieces.map(|(name, s, e)| Piece::of(StageName::of(name), Picos(s), Picos(e)));
        let view = tile("r".to_owned(), (Picos(0), Picos(40)), pieces.to_vec());
        let times = |sums: BTreeMap<StageName, Picos>| -> Vec<(String, i64)> {
            sums.into_iter().map(|(name, time)| (name.to_string(), time.0)).collect()
        };
        assert_eq!(times(view.stages), named(&[("forward", 25), ("detokenize", 15)]));
        assert_eq!(times(view.inclusive), named(&[("forward", 30), ("detokenize", 30)]));
    }

    proptest! {
        #[test]
        fn stages_add_up_to_the_wall_time(
            pieces in proptest::collection::vec((0_usize..4, -20_i64..120, -5_i64..60), 0..12),
            end in 0_i64..100,
        ) {
            let names = ["a", "b", "c", "d"];
            let pieces: Vec<_> = pieces
                .into_iter()
                .map(|(name, start, dur)| {
                    Piece::of(StageName::of(names[name]), Picos(start), Picos(start + dur))
                })
                .collect();
            let view = tile("r".to_owned(), (Picos(0), Picos(end)), pieces.clone());
            let total: i64 = view.stages.values().map(|time| time.0).sum();
            prop_assert_eq!(total, end);
            for name in names.map(StageName::of) {
                let covers = |at: i64| {
                    let covers = |it: &Piece| it.start.0 <= at && at < it.end.0;
                    pieces.iter().any(|piece| piece.stage == name && covers(piece))
                };
                let covered: i64 = (0..end).map(|at| i64::from(covers(at))).sum();
                prop_assert_eq!(view.inclusive.get(&name).map_or(0, |it| it.0), covered);
            }
            let shares: f64 = stages(&[&view]).iter().map(|row| row.share).sum();
            let expected = if end > 0 { 1.0 } else { 0.0 };
            prop_assert!((shares - expected).abs() < 1e-9, "{shares}");
        }
    }
}
