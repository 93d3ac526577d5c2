//! What is likely of clocks: an exchange ends at one time everywhere.
//!
//! Ends are that time, plus what the clock is ahead, plus what it drifts, plus what the ends differ. Medians
//! over sources and over exchanges in turns find the first three, whatever a few of them say.

use xscope_trace::stats;

use crate::clocks::shared::Event;

const ROUNDS: usize = 10;

/// From so many exchanges on a drift can be told from what ends differ.
const LEAST_FOR_DRIFT: usize = 10;

/// So many exchanges say as much of a drift as all.
const MOST_FOR_DRIFT: usize = 60;

/// What a median scatters, as a standard deviation: 1.4826 times the median distance.
const MAD: f64 = 1.4826;

/// How much more a median scatters than a mean.
const MEDIAN_ERROR: f64 = 1.2533;

/// Of one source, in picoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Estimate {
    /// What its clock is ahead in the middle of the exchanges.
    pub ahead: f64,
    /// What it gains in a picosecond.
    pub drift: f64,
    pub drift_error: f64,
    /// How much the ends on it scatter.
    pub scatter: f64,
    pub error: f64,
    /// By how much ends of one exchange differ.
    pub spread: f64,
    pub matched: usize,
}

/// The clocks of all sources, against the first.
pub(super) fn estimate(events: &[Event], count: usize) -> Vec<Estimate> {
    let mut found = vec![Estimate::default(); count];
    let middle = middle(events);
    // The place in the time of each exchange, from the middle.
    let at: Vec<f64> = events.iter().map(|event| event.end() - middle).collect();
    let mut ends: Vec<Vec<(usize, f64)>> = vec![Vec::new(); count];
    for (number, event) in events.iter().enumerate() {
        for member in &event.members {
            ends[member.source].push((number, member.end));
        }
    }
    let own = own_ahead(&at);
    for _ in 0..ROUNDS {
        let time = |(number, event): (usize, &Event)| {
            let ends = event.members.iter().map(|it| it.end - own(&found[it.source], number));
            median(ends.collect())
        };
        let times: Vec<f64> = events.iter().enumerate().map(time).collect();
        for (found, ends) in found.iter_mut().zip(&ends) {
            let apart: Vec<(f64, f64)> =
                ends.iter().map(|&(number, end)| (at[number], end - times[number])).collect();
            found.drift = drift(&apart);
            found.ahead = median(apart.iter().map(|(at, it)| it - found.drift * at).collect());
            let rest = apart.iter().map(|(at, it)| (it - found.ahead - found.drift * at).abs());
            found.scatter = MAD * median(rest.collect());
            found.matched = apart.len();
            #[expect(clippy::cast_precision_loss, reason = "a number of exchanges")]
            let root = (apart.len().max(1) as f64).sqrt();
            found.error = MEDIAN_ERROR * found.scatter / root;
            let spread = apart.iter().map(|(at, _)| at * at).sum::<f64>().sqrt();
            found.drift_error = if spread > 0.0 { found.scatter / spread } else { 0.0 };
        }
        let first = found[0];
        for found in &mut found {
            found.ahead -= first.ahead;
            found.drift -= first.drift;
        }
    }
    // What is known of a clock against the first is as uncertain as both are.
    let first = found[0];
    for found in &mut found[1..] {
        found.error += first.error;
        found.drift_error += first.drift_error;
        found.scatter += first.scatter;
    }
    found[0] = Estimate { matched: first.matched, ..Estimate::default() };
    let spread = spread(events, &found, own_ahead(&at));
    found.iter_mut().for_each(|found| found.spread = spread);
    found
}

/// What a clock is ahead at an exchange.
fn own_ahead(at: &[f64]) -> impl Fn(&Estimate, usize) -> f64 + Copy {
    move |found, number| found.ahead + found.drift * at[number]
}

/// By how much the ends of an exchange differ when clocks do not, typically.
fn spread(events: &[Event], found: &[Estimate], own: impl Fn(&Estimate, usize) -> f64) -> f64 {
    let of = |(number, event): (usize, &Event)| {
        let ends = event.members.iter().map(|it| it.end - own(&found[it.source], number));
        let (least, most) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), end| {
            (end.min(least), end.max(most))
        });
        (most - least).max(0.0)
    };
    median(events.iter().enumerate().map(of).collect())
}

/// The middle of the exchanges in time.
pub(super) fn middle(events: &[Event]) -> f64 {
    median(events.iter().map(Event::end).collect())
}

/// The slope of values over time: the median of those of pairs that are far apart (Theil and Sen).
fn drift(apart: &[(f64, f64)]) -> f64 {
    if apart.len() < LEAST_FOR_DRIFT {
        return 0.0;
    }
    let step = apart.len().div_ceil(MOST_FOR_DRIFT);
    let some: Vec<(f64, f64)> = apart.iter().copied().step_by(step).collect();
    let least = some.iter().map(|it| it.0).fold(f64::INFINITY, f64::min);
    let most = some.iter().map(|it| it.0).fold(f64::NEG_INFINITY, f64::max);
    let mut slopes = Vec::with_capacity(some.len() * some.len() / 2);
    for (index, a) in some.iter().enumerate() {
        for b in &some[index + 1..] {
            if (b.0 - a.0).abs() > (most - least) / 4.0 {
                slopes.push((b.1 - a.1) / (b.0 - a.0));
            }
        }
    }
    median(slopes)
}

/// Zero of nothing.
fn median(values: Vec<f64>) -> f64 {
    stats::median(values).unwrap_or(0.0)
}
