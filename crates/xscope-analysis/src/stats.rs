//! Statistics of sets of durations.

use xscope_trace::Picos;

/// Percentile by nearest rank of sorted samples: the smallest sample that at least `percent` of
/// all samples do not exceed. Zero if there are none.
pub fn percentile(sorted: &[Picos], percent: u32) -> Picos {
    sorted.get(index_of(percent, sorted.len())).copied().unwrap_or(Picos::ZERO)
}

/// Several [percentiles](percentile) of samples in any order, the largest first; puts some of them in
/// order, which takes less than to sort all.
pub fn percentiles<const N: usize>(samples: &mut [Picos], percents: [u32; N]) -> [Picos; N] {
    debug_assert!(percents.is_sorted_by(|a, b| a >= b), "what is more is put in order first");
    let count = samples.len();
    let mut not_more = samples;
    percents.map(|percent| {
        let index = index_of(percent, count);
        if index >= not_more.len() {
            return Picos::ZERO;
        }
        let found = *not_more.select_nth_unstable(index).1;
        not_more = &mut std::mem::take(&mut not_more)[..=index];
        found
    })
}

/// Which of so many sorted samples a percentile is.
fn index_of(percent: u32, count: usize) -> usize {
    let rank = (count as u64 * u64::from(percent)).div_ceil(100).max(1);
    usize::try_from(rank - 1).unwrap_or(usize::MAX).min(count.saturating_sub(1))
}

/// Sum, saturating.
pub fn sum(samples: &[Picos]) -> Picos {
    samples.iter().fold(Picos::ZERO, |sum, &sample| sum.saturating_add(sample))
}

/// `part / whole`, 0 if the whole is empty.
#[expect(clippy::cast_precision_loss, reason = "a share is a derived, displayed figure")]
pub fn share(part: Picos, whole: Picos) -> f64 {
    if whole.0 == 0 { 0.0 } else { part.0 as f64 / whole.0 as f64 }
}

/// A count or a size as a float, to be shown or divided.
#[expect(clippy::cast_precision_loss, reason = "derived figures are shown to a few digits")]
pub fn as_f64(value: u64) -> f64 {
    value as f64
}

/// So many of something that takes an `s` in the plural.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Milliseconds.
pub fn millis(time: Picos) -> f64 {
    time.as_micros() / 1e3
}

/// `total / count` in microseconds, 0 if there are none.
#[expect(clippy::cast_precision_loss, reason = "a mean is a derived, displayed figure")]
pub fn mean_micros(total: Picos, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total.as_micros() / count as f64 }
}

/// Standard deviation in microseconds, 0 for fewer than two samples; the same in any order of them.
#[expect(clippy::cast_precision_loss, reason = "a deviation is a derived, displayed figure")]
pub fn stddev_micros(samples: &[Picos]) -> f64 {
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

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::{percentile, percentiles};

    #[test]
    fn nearest_rank() {
        let samples: Vec<Picos> = (1..=100).map(Picos).collect();
        assert_eq!(percentile(&samples, 50), Picos(50));
        assert_eq!(percentile(&samples, 99), Picos(99));
        assert_eq!(percentile(&samples[..1], 99), Picos(1));
        assert_eq!(percentile(&samples[..3], 50), Picos(2));
        assert_eq!(percentile(&[], 50), Picos(0));
    }

    #[test]
    fn percentiles_need_no_order() {
        for count in [0, 1, 2, 3, 49, 100, 101] {
            let sorted: Vec<Picos> = (0..count).map(Picos).collect();
            let mut mixed: Vec<Picos> =
                (0..count).map(|at| Picos(at * 37 % count.max(1))).collect();
            let expected = [100, 99, 50, 50, 0].map(|percent| percentile(&sorted, percent));
            assert_eq!(percentiles(&mut mixed, [100, 99, 50, 50, 0]), expected, "{count}");
        }
    }
}
