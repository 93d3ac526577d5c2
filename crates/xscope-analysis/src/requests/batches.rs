//! What each batch cost the device, and which request owes how much of it.
//!
//! A batch's device time is shared out among its requests by their tokens; the tokens that only
//! fill the batch up to its padded size are an entry of their own. Shares are integers and add up
//! to the batch exactly.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::model::{SpanKey, TrackKind};
use xscope_trace::stats::{millis, share};
use xscope_trace::{Metric, Picos, Trace};

use crate::intervals::Intervals;
use crate::requests::batch_work::BatchWork;
use crate::requests::join::{BatchKey, Join};
use crate::requests::launches::Launches;
use crate::requests::spans::arg;
use xscope_trace::stage::Stage;

/// One batch and its shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchView {
    pub batch: SpanKey,
    pub rows: u64,
    /// Tokens of its requests, and what the batch was padded to; 0 where no span says it.
    pub tokens: u64,
    pub padded_tokens: u64,
    /// Time in which at least one of its operations ran on a device.
    pub device: Picos,
    /// Each request's share, by request.
    pub shares: Vec<(SpanKey, Picos)>,
    /// The share of tokens that are no request's.
    pub padding: Picos,
    /// What making a further token took: what a score waits for in vain.
    pub decode: Picos,
    /// Whether that is all it did.
    pub is_decode: bool,
}

impl BatchView {
    /// What computing its prompts took.
    pub(crate) fn prompts(&self) -> Picos {
        self.device - self.decode
    }

    /// Whether it is known how much of it is padding.
    pub(crate) fn is_counted(&self) -> bool {
        self.tokens > 0 && self.padded_tokens > 0
    }
}

/// All batches together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchSummary {
    /// How many batches there were.
    pub count: u64,
    /// Sequences per batch, on average.
    #[serde(rename = "mean_sequences")]
    pub mean_rows: f64,
    /// Device time.
    pub device_ms: f64,
    /// Share of device time spent on padding; unavailable where the spans count no tokens.
    pub padding_share: Metric,
    /// What the batches' device time went into; they add up to `device_ms`.
    pub parts: Vec<BatchPart>,
}

/// Device time of one kind of work.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchPart {
    /// `prefill` (what requests asked for; with the padding where tokens are not counted),
    /// `padding`, or `decode` (steps that make a further token, which scoring throws away).
    pub name: &'static str,
    /// Batches with such work.
    #[serde(rename = "count")]
    pub batches: u64,
    /// Device time.
    pub device_ms: f64,
    /// Of the device time of all.
    pub share: f64,
}

/// All batches that a recorder gave an identity, by it.
pub(crate) fn batches_of(trace: &Trace, join: &Join, launches: &Launches) -> Vec<BatchView> {
    let mut members: BTreeMap<BatchKey, BTreeMap<SpanKey, u64>> = BTreeMap::new();
    let mut sizes: BTreeMap<BatchKey, (u64, u64)> = BTreeMap::new();
    let work = BatchWork::of(trace);
    for span in &trace.spans {
        let Some(batch) = span.batch.map(|batch| (span.source, batch)) else { continue };
        match span.request {
            Some(request) if trace.strings.get(span.name) == Stage::Forward.name() => {
                let tokens = arg(trace, span, "tokens").unwrap_or(0);
                *members.entry(batch).or_default().entry(request).or_default() += tokens;
            }
            None => {
                let figure = |key| arg(trace, span, key).unwrap_or(0);
                let size = sizes.entry(batch).or_default();
                *size = (size.0.max(figure("rows")), size.1.max(figure("padded_tokens")));
                if !members.contains_key(&batch) {
                    for &(request, tokens) in join.members(batch) {
                        *members.entry(batch).or_default().entry(request).or_default() += tokens;
                    }
                }
            }
            _ => {}
        }
    }
    let device = device_time_by_run(trace);
    members
        .into_iter()
        .map(|(key, members)| {
            let batch = key.1;
            let tokens: u64 = members.values().sum();
            let (rows, padded) = sizes.get(&key).copied().unwrap_or((0, 0));
            // A recorder that names its batches' rids knows nothing of the device's run ids.
            let time = match batch {
                _ if !join.members(key).is_empty() => launches.device.get(&key),
                SpanKey::Number(run) => device.get(&run),
                SpanKey::Text(_) => None,
            };
            let time = time.copied().unwrap_or_default();
            let whole = padded.max(tokens);
            let is_decode = work.decodes.contains(&key) && !work.prompts.contains(&key);
            let decode = if is_decode { None } else { launches.decode.get(&key).copied() };
            let decode = decode.unwrap_or_default();
            // A further token is made for who has prompts in the batch, and none for its padding.
            let share = |own| fraction(time - decode, own, whole) + fraction(decode, own, tokens);
            let shares: Vec<(SpanKey, Picos)> =
                members.into_iter().map(|(request, own)| (request, share(own))).collect();
            let given = shares.iter().fold(Picos::ZERO, |sum, &(_, time)| sum + time);
            BatchView {
                batch,
                rows,
                tokens,
                padded_tokens: if padded > 0 { whole } else { 0 },
                device: time,
                shares,
                padding: time - given,
                decode: if is_decode { time } else { decode },
                is_decode,
            }
        })
        .collect()
}

/// `time * part / whole`, rounded down, without overflow.
fn fraction(time: Picos, part: u64, whole: u64) -> Picos {
    let product = i128::from(time.0) * i128::from(part);
    let quotient = product.checked_div(i128::from(whole)).unwrap_or(0);
    Picos(i64::try_from(quotient).unwrap_or(i64::MAX))
}

/// Time in which operations of each execution ran.
fn device_time_by_run(trace: &Trace) -> BTreeMap<i64, Picos> {
    let mut intervals: BTreeMap<i64, Vec<(Picos, Picos)>> = BTreeMap::new();
    let tracks = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    for slices in tracks.map(|track| &track.slices) {
        for row in 0..slices.run.len() {
            if let Some(run) = slices.run_of(row) {
                intervals.entry(run).or_default().push((slices.start[row], slices.end(row)));
            }
        }
    }
    intervals.into_iter().map(|(run, times)| (run, Intervals::of(times).total())).collect()
}

/// The summary of `views`; `None` if there are none.
#[expect(clippy::cast_precision_loss, reason = "counts of batches are small")]
pub(crate) fn summary(views: &[BatchView]) -> Option<BatchSummary> {
    if views.is_empty() {
        return None;
    }
    let total = |get: fn(&BatchView) -> Picos| {
        views.iter().fold(Picos::ZERO, |sum, view| sum.saturating_add(get(view)))
    };
    let device = total(|view| view.device);
    let counted = views.iter().all(BatchView::is_counted);
    let rows: u64 = views.iter().map(|view| view.rows).sum();
    Some(BatchSummary {
        count: views.len() as u64,
        mean_rows: rows as f64 / views.len() as f64,
        device_ms: millis(device),
        padding_share: Metric::known(
            counted.then(|| share(total(|view| view.padding), device)),
            "1",
            "the spans do not say of every batch how many tokens it has and is padded to",
        ),
        parts: parts(views, counted),
    })
}

fn parts(views: &[BatchView], counted: bool) -> Vec<BatchPart> {
    let whole = views.iter().fold(Picos::ZERO, |sum, view| sum.saturating_add(view.device));
    let mut sums: [(&'static str, u64, Picos); 3] =
        ["prefill", "padding", "decode"].map(|name| (name, 0, Picos::ZERO));
    let mut add = |at: usize, time: Picos| {
        sums[at].1 += 1;
        sums[at].2 = sums[at].2.saturating_add(time);
    };
    for view in views {
        let prompts = view.prompts();
        match counted {
            _ if view.is_decode => {}
            true => {
                add(0, prompts - view.padding);
                add(1, view.padding);
            }
            false => add(0, prompts),
        }
        if view.decode > Picos::ZERO || view.is_decode {
            add(2, view.decode);
        }
    }
    let rows = sums.into_iter().filter(|&(_, batches, _)| batches > 0);
    rows.map(|(name, batches, time)| BatchPart {
        name,
        batches,
        device_ms: millis(time),
        share: share(time, whole),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use xscope_trace::model::ArgCell;
    use xscope_trace::model::{
        DeviceId, MetaId, RequestSpan, Slices, SourceId, SpanKey, Track, TrackKind,
    };
    use xscope_trace::strings::StrId;
    use xscope_trace::{Picos, Trace};

    use super::{BatchView, Join, Launches, batches_of, summary};

    fn batches(trace: &Trace) -> Vec<BatchView> {
        let join = Join::of(trace);
        batches_of(trace, &join, &Launches::of(trace, &join))
    }

    /// A trace of one batch whose device work took `device`, padded to `padded` tokens.
    fn one_batch(device: i64, tokens: &[u64], padded: u64) -> Trace {
        let mut trace = Trace::default();
        let int = |value: u64| ArgCell::Int(i64::try_from(value).unwrap());
        let [forward, batch, tokens_key, padded_key] =
            ["forward", "batch", "tokens", "padded_tokens"].map(|name| trace.strings.intern(name));
        let mut span = |name, request, args| {
            trace.spans.push(RequestSpan {
                name,
                source: SourceId(0),
                start: Picos(0),
                dur: Picos(device),
                tid: 1,
                request,
                batch: Some(SpanKey::Number(7)),
                args,
            });
        };
        for (request, &own) in (1..).zip(tokens) {
            span(forward, Some(SpanKey::Number(request)), vec![(tokens_key, int(own))]);
        }
        span(batch, None, vec![(padded_key, int(padded))]);
        trace.tracks.push(Track {
            kind: TrackKind::Ops,
            name: StrId::EMPTY,
            source: SourceId(0),
            process: StrId::EMPTY,
            pid: 0,
            tid: 0,
            device: Some(DeviceId(0)),
            slices: Slices {
                start: vec![Picos(0)],
                dur: vec![Picos(device)],
                meta: vec![MetaId(0)],
                run: vec![7],
                ..Slices::default()
            },
        });
        trace
    }

    #[test]
    fn a_decode_step_is_an_entry_of_its_own() {
        let mut trace = one_batch(1000, &[10, 30], 80);
        let decode = trace.strings.intern("decode");
        for span in trace.spans.iter_mut().filter(|span| span.request.is_none()) {
            span.name = decode;
        }
        let [view] = &batches(&trace)[..] else { panic!("one batch expected") };
        assert!(view.is_decode);
        let parts = summary(std::slice::from_ref(view)).unwrap().parts;
        let [part] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!((part.name, part.batches), ("decode", 1));
        assert!((part.share - 1.0).abs() < 1e-12 && (part.device_ms - 1e-6).abs() < 1e-18);
    }

    #[test]
    fn a_batch_of_prompts_that_decodes_too_has_both() {
        let mut trace = one_batch(1000, &[10, 30], 80);
        let forward = trace.strings.intern("forward");
        for span in &mut trace.spans {
            span.name = forward;
        }
        let key = (SourceId(0), SpanKey::Number(7));
        let decode = [(key, Picos(200))].into();
        let launches = Launches { decode, ..Launches::default() };
        let views = batches_of(&trace, &Join::of(&trace), &launches);
        let [view] = &views[..] else { panic!("one batch expected") };
        let shares: Vec<i64> = view.shares.iter().map(|(_, time)| time.0).collect();
        assert_eq!(
            (shares, view.padding, view.prompts()),
            (vec![150, 450], Picos(400), Picos(800))
        );
        let parts = summary(&views).unwrap().parts;
        let parts: Vec<_> = parts.iter().map(|part| (part.name, part.share)).collect();
        assert_eq!(parts, [("prefill", 0.4), ("padding", 0.4), ("decode", 0.2)]);
    }

    #[test]
    fn padding_is_an_entry_of_its_own() {
        let views = batches(&one_batch(1000, &[10, 30], 80));
        let [view] = views.as_slice() else { panic!("one batch expected") };
        let shares: Vec<i64> = view.shares.iter().map(|(_, time)| time.0).collect();
        assert_eq!((shares, view.padding), (vec![125, 375], Picos(500)));
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_batch(
            device in 0_i64..i64::MAX / 2,
            tokens in proptest::collection::vec(0_u64..100_000, 1..20),
            padded in 0_u64..1_000_000,
        ) {
            let views = batches(&one_batch(device, &tokens, padded));
            let given: i64 = views[0].shares.iter().map(|(_, time)| time.0).sum();
            prop_assert!(views[0].padding >= Picos::ZERO);
            prop_assert_eq!(given + views[0].padding.0, device);
            let parts = summary(&views).unwrap().parts;
            let shares: f64 = parts.iter().map(|part| part.share).sum();
            prop_assert!(device == 0 || (shares - 1.0).abs() < 1e-9, "{parts:?}");
        }
    }
}
