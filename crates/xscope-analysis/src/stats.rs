//! Statistics of sets of durations.

use xscope_trace::Picos;

/// Percentile by nearest rank of sorted samples: the smallest sample that at least `percent` of
/// all samples do not exceed. Zero if there are none.
pub fn percentile(sorted: &[Picos], percent: u32) -> Picos {
    let rank = (sorted.len() as u64 * u64::from(percent)).div_ceil(100).max(1);
    let index = usize::try_from(rank - 1).unwrap_or(usize::MAX);
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(Picos::ZERO)
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

/// Milliseconds.
pub fn millis(time: Picos) -> f64 {
    time.as_micros() / 1e3
}

/// `total / count` in microseconds, 0 if there are none.
#[expect(clippy::cast_precision_loss, reason = "a mean is a derived, displayed figure")]
pub fn mean_micros(total: Picos, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total.as_micros() / count as f64 }
}

/// Standard deviation in microseconds, 0 for fewer than two samples.
#[expect(clippy::cast_precision_loss, reason = "a deviation is a derived, displayed figure")]
pub fn stddev_micros(samples: &[Picos]) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let mean = mean_micros(sum(samples), samples.len() as u64);
    let squares: f64 = samples.iter().map(|sample| (sample.as_micros() - mean).powi(2)).sum();
    (squares / samples.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;

    use super::percentile;

    #[test]
    fn nearest_rank() {
        let samples: Vec<Picos> = (1..=100).map(Picos).collect();
        assert_eq!(percentile(&samples, 50), Picos(50));
        assert_eq!(percentile(&samples, 99), Picos(99));
        assert_eq!(percentile(&samples[..1], 99), Picos(1));
        assert_eq!(percentile(&samples[..3], 50), Picos(2));
        assert_eq!(percentile(&[], 50), Picos(0));
    }
}
