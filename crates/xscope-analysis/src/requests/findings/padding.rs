//! Prompts just above the edge of a bucket, which are computed as if they filled the next one.
//!
//! What padding costs is measured, not assumed: by how much longer batches of a larger bucket take
//! than those of the one below it, if that is more than their further tokens can explain. Where
//! kernels skip what is padded it is nothing, however much is padded.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::Picos;
use xscope_trace::model::SpanKey;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{as_f64, median, median_interval, millis, sum};

use crate::requests::batches::BatchView;
use crate::requests::findings::facts::Facts;
use crate::words::{counted, percent};

/// What is saved must be worth a change: this share of the device time of all prompts.
const LEAST_SHARE: f64 = 0.05;

/// Buckets are multiples of this, so that kernels have whole tiles.
const TILE: u64 = 16;

/// Batches of one number of sequences that are padded to one number of tokens.
type Bucket<'a> = Vec<&'a BatchView>;

/// What a further bucket between two others would save.
struct Cliff {
    rows: u64,
    /// The bucket below, and the one that is computed.
    below: u64,
    padded: u64,
    /// The bucket that would save most, and how many batches would be in it.
    wanted: u64,
    batches: u64,
    /// Batches in the bucket, and the fewest tokens of one.
    all: u64,
    least_tokens: u64,
    /// Device time.
    padding_ms: f64,
    saved_ms: f64,
}

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let ours: BTreeSet<SpanKey> =
        facts.measured.iter().flat_map(|view| view.batches.iter().copied()).collect();
    let mut buckets: BTreeMap<(u64, u64), Bucket<'_>> = BTreeMap::new();
    let is_known = |batch: &&BatchView| {
        !batch.is_decode && batch.is_counted() && batch.prompts() > Picos::ZERO
    };
    for batch in facts.batches.iter().filter(is_known) {
        buckets.entry((batch.rows, batch.padded_tokens)).or_default().push(batch);
    }
    let prompts = buckets.values().flatten().filter(|batch| ours.contains(&batch.batch));
    let whole_ms = millis(sum(&prompts.map(|batch| batch.prompts()).collect::<Vec<_>>()));
    let buckets: Vec<_> = buckets.into_iter().collect();
    let cliffs = buckets.windows(2).filter_map(|pair| {
        let [((rows, below), lower), ((same, padded), upper)] = pair else { return None };
        let token_ms = (rows == same).then(|| time_of_padding(lower, upper))??;
        let upper = upper.iter().copied().filter(|batch| ours.contains(&batch.batch));
        cliff((*rows, *below, *padded), &upper.collect::<Vec<_>>(), token_ms)
    });
    let worst = cliffs.max_by(|a, b| a.saved_ms.total_cmp(&b.saved_ms))?;
    let share = worst.saved_ms / whole_ms;
    (share >= LEAST_SHARE).then(|| {
        let Cliff { rows, below, padded, wanted, batches, all, least_tokens, .. } = worst;
        let message = format!(
            "{batches} of {all} batches with {} and padded to {padded} tokens have {least_tokens} to \
             {wanted} tokens, just above the bucket of {below}: this padding takes {:.1} ms of the \
             devices, and a bucket of {wanted} would save {:.1} ms, {} of the device time of all \
             prompts ({wanted} among the sizes of --precompile-token-paddings)",
            counted(rows, "sequence"),
            worst.padding_ms,
            worst.saved_ms,
            percent(share),
        );
        Finding::new(Code::PaddingCliff, message).times(batches)
    })
}

/// Milliseconds of the devices for each token of padding, by the times of a bucket and of the one
/// below it; `None` where these do not show that it takes any.
fn time_of_padding(lower: &Bucket<'_>, upper: &Bucket<'_>) -> Option<f64> {
    let times = |bucket: &Bucket<'_>| -> Vec<f64> {
        bucket.iter().map(|batch| millis(batch.prompts())).collect()
    };
    let tokens = |bucket: &Bucket<'_>| median(bucket.iter().map(|b| as_f64(b.tokens)).collect());
    let (short, long) = (median(times(lower))?, median(times(upper))?);
    let (few, many) = (tokens(lower)?, tokens(upper)?);
    // All that a token of a request can take is what the smaller bucket took for each of its own. If
    // padding is computed as prompts are, they take nothing beside it.
    let explained = short / few * (many - few).max(0.0);
    let [_, at_most] = median_interval(&times(lower))?;
    let [at_least, _] = median_interval(&times(upper))?;
    let padding = as_f64(upper.first()?.padded_tokens - lower.first()?.padded_tokens);
    (at_least - at_most > explained).then(|| (long - short) / padding)
}

/// The best bucket between two, for those that are in the upper one.
fn cliff(
    (rows, below, padded): (u64, u64, u64),
    upper: &[&BatchView],
    token_ms: f64,
) -> Option<Cliff> {
    let saved = |wanted: u64| {
        let batches = upper.iter().filter(|batch| batch.tokens <= wanted).count() as u64;
        (batches, as_f64(batches * (padded - wanted)) * token_ms)
    };
    let wanted = upper.iter().map(|batch| batch.tokens.next_multiple_of(TILE));
    let wanted = wanted.filter(|&wanted| wanted < padded);
    let best = wanted.max_by(|&a, &b| saved(a).1.total_cmp(&saved(b).1))?;
    let (batches, saved_ms) = saved(best);
    let padding: u64 = upper.iter().map(|batch| padded - batch.tokens).sum();
    Some(Cliff {
        rows,
        below,
        padded,
        wanted: best,
        batches,
        all: upper.len() as u64,
        least_tokens: upper.iter().map(|batch| batch.tokens).min()?,
        padding_ms: as_f64(padding) * token_ms,
        saved_ms,
    })
}

#[cfg(test)]
mod tests {
    use xscope_trace::model::SpanKey;
    use xscope_trace::{Picos, Trace};

    use super::{BatchView, Facts, finding};
    use crate::requests::join::Join;
    use crate::requests::launches::Launches;
    use crate::requests::view::RequestView;

    /// What is said of batches of so many tokens that are padded to so many and take so many us.
    fn said(batches: &[(u64, u64, i64)]) -> Option<String> {
        let views: Vec<BatchView> = (0..)
            .zip(batches)
            .map(|(number, &(tokens, padded_tokens, us))| BatchView {
                batch: SpanKey::Number(number),
                rows: 1,
                tokens,
                padded_tokens,
                device: Picos(us * 1_000_000),
                shares: Vec::new(),
                padding: Picos::ZERO,
                decode: Picos::ZERO,
                is_decode: false,
            })
            .collect();
        let request = RequestView {
            batches: views.iter().map(|view| view.batch).collect(),
            ..RequestView::default()
        };
        let trace = Trace::default();
        let join = Join::of(&trace);
        let launches = Launches::of(&trace, &join);
        let measured = [&request];
        let (trace, join, launches) = (&trace, &join, &launches);
        let facts =
            Facts { trace, join, launches, views: &[], measured: &measured, batches: &views };
        finding(&facts).map(|finding| finding.message)
    }

    /// Nine of ten prompts have 66 to 74 tokens, and 64 or 128 are computed for them in the times
    /// that `of` gives.
    fn nine_of_ten(of: impl Fn(u64, u64) -> i64) -> Vec<(u64, u64, i64)> {
        let tokens = (0..100).map(|i| if i % 10 == 0 { 56 + i / 20 } else { 66 + i % 9 });
        let batch = |tokens: u64| {
            let padded = if tokens <= 64 { 64 } else { 128 };
            (tokens, padded, of(tokens, padded) + i64::from(tokens.is_multiple_of(3)))
        };
        tokens.map(batch).collect()
    }

    #[test]
    fn a_bucket_that_would_save_time_is_named_with_what_it_saves() {
        let computed = |_, padded| 100 + 10 * i64::try_from(padded).unwrap();
        let message = said(&nine_of_ten(computed)).unwrap();
        // 90 batches of 128 tokens, 1380 us each, of which 80 instead save 480 us.
        assert!(
            message.contains("90 of 90 batches with 1 sequence and padded to 128"),
            "{message}"
        );
        assert!(message.contains("have 66 to 80 tokens, just above the bucket of 64"), "{message}");
        assert!(message.contains("a bucket of 80 would save 43.2 ms, 32.8 %"), "{message}");
        let flag = "(80 among the sizes of --precompile-token-paddings)";
        assert!(message.contains(flag), "{message}");
    }

    #[test]
    fn padding_that_takes_no_time_is_no_cliff() {
        let ragged = |tokens, _| 100 + 10 * i64::try_from(tokens).unwrap();
        assert_eq!(said(&nine_of_ten(ragged)), None, "kernels skip it");
        assert_eq!(said(&nine_of_ten(|_, _| 500)), None, "something else takes the time");
        let computed = |_, padded| 100 + 10 * i64::try_from(padded).unwrap();
        let few: Vec<_> = nine_of_ten(computed).into_iter().take(30).collect();
        assert_eq!(said(&few), None, "three batches below the edge say nothing for sure");
        let full = (0..60).map(|i| if i % 2 == 0 { (64, 64, 740) } else { (128, 128, 1380) });
        assert_eq!(said(&full.collect::<Vec<_>>()), None, "nothing is padded");
    }
}
