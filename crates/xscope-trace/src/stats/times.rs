//! Sums, shares, means and deviations of times, which are summed as whole picoseconds.

use crate::stats::as_f64;
use crate::time::Picos;

/// Sum, saturating.
pub fn sum(samples: &[Picos]) -> Picos {
    samples.iter().fold(Picos::ZERO, |sum, &sample| sum.saturating_add(sample))
}

/// `part / whole`, 0 if the whole is empty.
#[expect(clippy::cast_precision_loss, reason = "a share is a derived, displayed figure")]
pub fn share(part: Picos, whole: Picos) -> f64 {
    if whole.0 == 0 { 0.0 } else { part.0 as f64 / whole.0 as f64 }
}

/// Milliseconds.
pub fn millis(time: Picos) -> f64 {
    time.as_micros() / 1e3
}

/// `total / count` in microseconds, 0 if there are none.
pub fn mean_micros(total: Picos, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total.as_micros() / as_f64(count) }
}

/// Standard deviation in microseconds, 0 for fewer than two samples; the same in any order of them.
#[expect(clippy::cast_precision_loss, reason = "a deviation is a derived, displayed figure")]
pub fn deviation_micros(samples: &[Picos]) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let count = samples.len() as i128;
    let total = samples.iter().fold(0_i128, |sum, sample| sum + i128::from(sample.0));
    // To a picosecond, and whole numbers have one sum.
    let mean = i64::try_from(total / count).unwrap_or(i64::MAX);
    let squares = samples.iter().fold(0_u128, |sum, sample| {
        let off = u128::from(sample.0.abs_diff(mean));
        sum.saturating_add(off * off)
    });
    (squares as f64 / count as f64).sqrt() / 1e6
}
