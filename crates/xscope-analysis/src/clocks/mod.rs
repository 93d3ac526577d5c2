//! How far the clocks of files are apart, by what their devices did together.
//!
//! An exchange among devices says two things of their clocks: what is certain, for nobody leaves before the
//! last has come, and what is likely, for it ends at one time everywhere. Where
//! the estimate lies within what is certain it counts, with its own error; else the middle of what is
//! certain, and half of that as its error: on CPUs ends differ by more than clocks do. What contradicts
//! itself is said, and never averaged.
//!
//! The times that files state stay as they are unless they are proven wrong.

mod bounds;
mod estimate;
pub mod report;
mod shared;

use xscope_trace::model::{ClockVerdict, MeasuredClock, Source, SourceId};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::read::move_source;
use xscope_trace::{Picos, Trace};

use crate::clocks::bounds::certain;
use crate::clocks::estimate::{Estimate, estimate, middle};
use crate::clocks::shared::{Event, Joined, joined};
use crate::words::duration;

/// The most that a clock gains: oscillators of computers are within a tenth of a thousandth.
const MOST_DRIFT: f64 = 200e-6;

/// Measures the clocks of a trace's sources against each other, notes what comes of it in each, and
/// moves those that are proven wrong.
pub fn measure(trace: &mut Trace) {
    for joined in joined(trace) {
        let measured = measure_joined(&joined);
        apply(trace, &joined, measured);
    }
    let is_placed = |source: &Source| {
        let verdict = source.clock.measured.map(|measured| measured.verdict);
        source.clock.unix_epoch.is_some() || verdict == Some(ClockVerdict::Corrected)
    };
    let mut timed = trace.sources.iter().filter(|source| source.format.has_times());
    if timed.all(is_placed) {
        trace.findings.retain(|finding| finding.code != Code::ClockUnknown);
    }
}

/// The clock of one source before it is judged.
struct Found {
    estimate: Estimate,
    certain: (f64, f64),
    /// What it is ahead of the first, and how far off that may be; `None` if what is certain contradicts itself.
    ahead: Option<(f64, f64)>,
    drift: Option<f64>,
}

fn measure_joined(joined: &Joined) -> Vec<Found> {
    let count = joined.sources.len();
    let estimates = estimate(&joined.events, count);
    let middle = middle(&joined.events);
    // Where ends say nothing of clocks, they say nothing of drift; unless only a drift explains them.
    let plain = certain(&joined.events, count);
    let drifts: Vec<Option<f64>> = estimates
        .iter()
        .zip(&plain)
        .map(|(it, certain)| {
            let is_trusted = certain.0 > certain.1 || is_within(it, *certain);
            drift(it, &joined.events, middle).filter(|_| is_trusted)
        })
        .collect();
    let level = |event: &Event| {
        let mut event = event.clone();
        let at = event.end() - middle;
        for member in &mut event.members {
            let gained = drifts[member.source].unwrap_or(0.0) * at;
            (member.start, member.end) = (member.start - gained, member.end - gained);
        }
        event
    };
    let certain = match drifts.iter().all(Option::is_none) {
        true => plain,
        false => certain(&joined.events.iter().map(level).collect::<Vec<_>>(), count),
    };
    let found = |((estimate, certain), drift): ((Estimate, (f64, f64)), Option<f64>)| Found {
        ahead: choose(&estimate, certain),
        estimate,
        certain,
        drift,
    };
    estimates.into_iter().zip(certain).zip(drifts).map(found).collect()
}

/// A drift that is more than its error, and that matters in the time that was looked at.
fn drift(estimate: &Estimate, events: &[Event], middle: f64) -> Option<f64> {
    let span = events.iter().map(|event| (event.end() - middle).abs()).fold(0.0, f64::max);
    let is_one = estimate.drift.abs() > 3.0 * estimate.drift_error
        && estimate.drift.abs() <= MOST_DRIFT
        && estimate.drift.abs() * span > error(estimate);
    is_one.then_some(estimate.drift)
}

/// What a clock is ahead, and its error: the estimate where what is certain has nothing against it.
fn choose(estimate: &Estimate, (least, most): (f64, f64)) -> Option<(f64, f64)> {
    if least > most {
        return None;
    }
    let half = (most - least) / 2.0;
    match is_within(estimate, (least, most)) || !half.is_finite() {
        true => Some((estimate.ahead, error(estimate))),
        false => Some((f64::midpoint(least, most), half)),
    }
}

fn error(estimate: &Estimate) -> f64 {
    3.0 * estimate.error + estimate.spread
}

/// Whether nothing that is certain speaks against an estimate, and it says more than that.
fn is_within(estimate: &Estimate, (least, most): (f64, f64)) -> bool {
    let sure = 3.0 * estimate.error;
    least <= estimate.ahead - sure
        && estimate.ahead + sure <= most
        && estimate.scatter < (most - least) / 2.0
}

#[expect(clippy::cast_possible_truncation, reason = "beyond what an axis holds it is at its end")]
fn picos(value: f64) -> Picos {
    Picos(value.round() as i64)
}

fn apply(trace: &mut Trace, joined: &Joined, all: Vec<Found>) {
    let knows_times = |id: SourceId| trace.sources[id].clock.unix_epoch.is_some();
    // What most clocks say is taken for the time: the one in the middle stays where it is.
    let middle = typical(all.iter().filter_map(|it| Some(it.ahead?.0)).collect());
    let are_known = joined.sources.iter().all(|&id| knows_times(id));
    let is_wrong = |found: &Found| {
        found.ahead.is_some_and(|(ahead, error)| {
            !are_known || {
                let (least, most) = found.certain;
                least > 0.0 || most < 0.0 || ahead.abs() > 3.0 * error
            }
        })
    };
    let is_wrong = all.iter().any(is_wrong);
    let pivot = estimate::middle(&joined.events);
    for (&id, found) in joined.sources.iter().zip(all) {
        let (least, most) = found.certain;
        let verdict = match (found.ahead, is_wrong) {
            (None, _) => ClockVerdict::Contradiction,
            (Some(_), true) => ClockVerdict::Corrected,
            (Some(_), false) => ClockVerdict::Kept,
        };
        let (ahead, error) = found.ahead.unwrap_or_default();
        // A clock that stays is off by what was measured of it, as well.
        let error =
            if is_wrong { error } else { error.max(ahead.abs() + error).min(most.max(-least)) };
        let moved = match verdict {
            ClockVerdict::Corrected => picos(ahead - middle),
            _ => Picos::ZERO,
        };
        let drift = found.drift.filter(|_| verdict == ClockVerdict::Corrected);
        move_source(trace, id, moved, drift.map(|drift| (drift, picos(pivot))));
        let clock = &mut trace.sources[id].clock;
        clock.error = (verdict != ClockVerdict::Contradiction).then(|| picos(error.max(0.0)));
        clock.measured = Some(MeasuredClock {
            verdict,
            ahead: picos(ahead),
            certain: (picos(least), picos(most)),
            drift_ppm: found.drift.map(|drift| drift * 1e6),
            drift_error_ppm: 3e6 * found.estimate.drift_error,
            // The first is where all others are counted from.
            by_ends: id == joined.sources[0] || is_within(&found.estimate, found.certain),
            matched: found.estimate.matched as u64,
            moved,
        });
    }
    tell(trace, joined);
}

/// The one in the middle; of two, that which is less.
fn typical(mut ahead: Vec<f64>) -> f64 {
    ahead.sort_by(f64::total_cmp);
    let middle = ahead.len() / 2;
    let two = [ahead.len().checked_sub(middle + 1), Some(middle)];
    let two = two.into_iter().flatten().filter_map(|at| ahead.get(at).copied());
    two.min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0)
}

/// Says what was found.
fn tell(trace: &mut Trace, joined: &Joined) {
    let of = |verdict| {
        let of = |id: &SourceId| {
            let measured = trace.sources[*id].clock.measured?;
            (measured.verdict == verdict).then_some((*id, measured))
        };
        joined.sources.iter().filter_map(of).collect::<Vec<_>>()
    };
    let (corrected, contradicted) = (of(ClockVerdict::Corrected), of(ClockVerdict::Contradiction));
    let farthest = corrected.iter().max_by_key(|(_, it)| it.moved.0.abs());
    if let Some((id, measured)) = farthest.filter(|(_, it)| it.moved != Picos::ZERO) {
        let direction = if measured.moved > Picos::ZERO { "ahead" } else { "behind" };
        let message = format!(
            "the clocks of {} files were apart; that of {} was {} {direction} (±{}, by {} exchanges): \
             their times are corrected",
            corrected.len(),
            trace.sources[*id].path,
            duration(measured.moved.as_micros().abs()),
            duration(trace.sources[*id].clock.error.unwrap_or_default().as_micros()),
            measured.matched,
        );
        trace.findings.push(Finding::new(Code::ClockCorrected, message));
    }
    if let Some((id, _)) = contradicted.first() {
        let message = format!(
            "exchanges of {} with the others contradict each other, whatever its clock says: they are of \
             different executions, or do not wait for each other; its clock is left as it is and nobody is \
             called late by it",
            trace.sources[*id].path,
        );
        trace
            .findings
            .push(Finding::new(Code::ClockContradiction, message).times(contradicted.len() as u64));
    }
    if joined.is_ambiguous {
        let message = "sessions began or ended at different times, and executions are too alike to tell \
                       which is which: they are matched by the clocks of the files";
        trace.findings.push(Finding::new(Code::ClockAmbiguousStep, message));
    }
}
