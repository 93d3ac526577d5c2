//! Percentiles by nearest rank, and what too few samples give.

use crate::metric::Metric;
use crate::stats::millis;
use crate::time::{Nanos, Picos};

/// What percentiles are taken of.
pub trait Sample: Copy + Ord {
    fn as_millis(self) -> f64;
}

impl Sample for Picos {
    fn as_millis(self) -> f64 {
        millis(self)
    }
}

impl Sample for Nanos {
    fn as_millis(self) -> f64 {
        self.as_millis()
    }
}

/// A share of the samples, in hundredths of a percent: the percentile is the smallest sample that at least this
/// share of all samples do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentile(u32);

impl Percentile {
    pub const P50: Self = Self(5_000);
    pub const P90: Self = Self(9_000);
    pub const P95: Self = Self(9_500);
    pub const P99: Self = Self(9_900);
    pub const MAX: Self = Self(10_000);

    /// What a curve of latencies is drawn through.
    pub const CURVE: [Self; 9] = [
        Self(1_000),
        Self(2_500),
        Self::P50,
        Self(7_500),
        Self::P90,
        Self::P95,
        Self::P99,
        Self(9_990),
        Self(9_999),
    ];

    /// In percent, for example 99.0.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// The fewest samples of which one lies above it on average: 2 for the median, 20 for the 95th, 100
    /// for the 99th. Below that it is the largest sample or near it, whatever the distribution.
    pub fn samples_needed(self) -> u64 {
        10_000_u64.div_ceil(10_000 - u64::from(self.0.min(9_999)))
    }

    /// Which of so many sorted samples it is, however few they are; 0 if there are none.
    pub fn index(self, count: usize) -> usize {
        let rank = (count as u64 * u64::from(self.0)).div_ceil(10_000).max(1);
        usize::try_from(rank - 1).unwrap_or(usize::MAX).min(count.saturating_sub(1))
    }

    /// It of sorted samples, however few; `None` if there are none. What is shown is
    /// [`given`](Self::given).
    pub fn of<T: Copy>(self, sorted: &[T]) -> Option<T> {
        sorted.get(self.index(sorted.len())).copied()
    }

    /// Why so many samples do not give it, if they do not.
    pub fn refusal(self, count: u64) -> Option<String> {
        let needed = self.samples_needed();
        (count < needed).then(|| match count {
            0 => "no samples".to_owned(),
            _ => format!("needs {needed} samples, has {count}"),
        })
    }

    /// It of sorted samples; `None` if they are too few.
    pub fn given<T: Copy>(self, sorted: &[T]) -> Option<T> {
        self.of(sorted).filter(|_| self.refusal(sorted.len() as u64).is_none())
    }

    /// It of sorted samples in milliseconds; unavailable if they are too few.
    pub fn metric<T: Sample>(self, sorted: &[T]) -> Metric {
        let millis = self.of(sorted).map_or(0.0, T::as_millis);
        self.judged(millis, sorted.len() as u64, "ms")
    }

    /// It of sorted samples in microseconds; unavailable if they are too few.
    pub fn micros(self, sorted: &[Picos]) -> Metric {
        let micros = self.of(sorted).unwrap_or_default().as_micros();
        self.judged(micros, sorted.len() as u64, "us")
    }

    /// A value of it of so many samples; unavailable if they are too few.
    pub fn judged(self, value: f64, count: u64, unit: &'static str) -> Metric {
        match self.refusal(count) {
            None => Metric::valid(value, unit),
            Some(refusal) => Metric::unavailable(unit, refusal),
        }
    }
}

/// Several percentiles of samples in any order, the largest first; puts some of them in order, which
/// takes less than to sort all. `None` if there are no samples.
pub fn select<T: Ord + Copy, const N: usize>(
    samples: &mut [T],
    percentiles: [Percentile; N],
) -> Option<[T; N]> {
    debug_assert!(percentiles.is_sorted_by(|a, b| a >= b), "what is more is put in order first");
    let count = samples.len();
    let mut found = [*samples.first()?; N];
    let mut not_more = samples;
    for (place, percentile) in found.iter_mut().zip(percentiles) {
        let index = percentile.index(count);
        *place = *not_more.select_nth_unstable(index).1;
        not_more = &mut std::mem::take(&mut not_more)[..=index];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::{Percentile, select};
    use crate::metric::{Metric, Status};
    use crate::time::Nanos;

    const ALL: [Percentile; 3] = [Percentile::P50, Percentile::P95, Percentile::P99];

    #[test]
    fn the_nearest_rank_takes_the_upper_sample_between_two() {
        let check = |count: u32, expected: [u32; 3]| {
            let sorted: Vec<u32> = (1..=count).collect();
            assert_eq!(ALL.map(|percentile| percentile.of(&sorted)), expected.map(Some), "{count}");
        };
        // ceil(0.5 * 5) = 3rd, ceil(0.95 * 21) = 20th, ceil(0.99 * 101) = 100th.
        check(1, [1, 1, 1]);
        check(3, [2, 3, 3]);
        check(5, [3, 5, 5]);
        check(21, [11, 20, 21]);
        check(100, [50, 95, 99]);
        check(101, [51, 96, 100]);
        assert_eq!(Percentile::P50.of::<u32>(&[]), None);
        assert_eq!(Percentile::MAX.of(&[1, 2, 3]), Some(3));
        let many: Vec<u32> = (1..=10_000).collect();
        let last = Percentile::CURVE.last().unwrap();
        assert_eq!((last.of(&many), last.percent()), (Some(9999), 99.99));
        assert_eq!(last.given(&many[1..]), None);
    }

    #[test]
    fn too_few_samples_give_none_and_say_how_many_are_needed() {
        let check = |count: i64, given: [bool; 3]| {
            let sorted: Vec<Nanos> = (1..=count).map(|ms| Nanos(ms * 1_000_000)).collect();
            let status = ALL.map(|percentile| percentile.metric(&sorted).status);
            assert_eq!(status.map(|status| status == Status::Valid), given, "{count}");
        };
        check(0, [false, false, false]);
        check(1, [false, false, false]);
        check(2, [true, false, false]);
        check(19, [true, false, false]);
        check(20, [true, true, false]);
        check(99, [true, true, false]);
        check(100, [true, true, true]);
        let forty: Vec<Nanos> = (1..=40).map(Nanos).collect();
        let expected = Metric::unavailable("ms", "needs 100 samples, has 40");
        assert_eq!(Percentile::P99.metric(&forty), expected);
    }

    #[test]
    fn selecting_needs_no_order() {
        let percentiles = [Percentile::MAX, Percentile::P99, Percentile::P50, Percentile::P50];
        for count in [1, 2, 3, 49, 100, 101_u64] {
            let sorted: Vec<u64> = (0..count).collect();
            let mut mixed: Vec<u64> = (0..count).map(|at| at * 37 % count).collect();
            let expected = percentiles.map(|percentile| percentile.of(&sorted).unwrap());
            // 37 and these counts have no common factor, so `mixed` is a permutation.
            assert_eq!(select(&mut mixed, percentiles), Some(expected), "{count}");
        }
        assert_eq!(select::<u64, 1>(&mut [], [Percentile::P50]), None);
    }
}
