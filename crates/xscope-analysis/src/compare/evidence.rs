//! What trials say of a difference: an interval, a probability, and what could have been seen.
//!
//! Everything here works on logarithms, so that a difference is a ratio and A against B is the
//! mirror image of B against A. The sample is the trial, never the request: requests of one trial
//! share its server, its batches and its minute, and thousands of them say nothing of the next
//! trial.

use xscope_trace::stats::{
    POWER, Random, as_f64, mean_of_resample, moments, t_critical, t_two_sided,
};

/// How far off an estimate is, and how well that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub standard_error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

/// What is known of a difference of logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Evidence {
    pub estimate: f64,
    /// The interval at the confidence that was asked for.
    pub low: f64,
    pub high: f64,
    /// Probability of a difference at least this large if there is none.
    pub p: f64,
    /// The smallest difference that would be found four times out of five.
    pub detectable: f64,
}

impl Evidence {
    /// By Student's t distribution.
    pub(crate) fn of(estimate: f64, spread: Spread, alpha: f64) -> Self {
        let Spread { standard_error, freedom } = spread;
        let half = t_critical(alpha, freedom) * standard_error;
        let p = match standard_error > 0.0 {
            true => t_two_sided(estimate / standard_error, freedom),
            // Trials that agree to the last digit: any difference is one.
            false => f64::from(estimate == 0.0),
        };
        let detectable = half + t_critical(2.0 * (1.0 - POWER), freedom) * standard_error;
        Self { estimate, low: estimate - half, high: estimate + half, p, detectable }
    }

    /// The more cautious of two answers to one question.
    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            estimate: self.estimate,
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            p: self.p.max(other.p),
            detectable: self.detectable.max(other.detectable),
        }
    }
}

/// The difference of the means of two samples, `b - a`, and its spread: Welch's, or, where one
/// side has a single trial, with the other side's variance for both.
pub(crate) fn unpaired(a: &[f64], b: &[f64]) -> (f64, Option<Spread>) {
    let ((mean_a, var_a), (mean_b, var_b)) = (moments(a), moments(b));
    let (n_a, n_b) = (as_f64(a.len() as u64), as_f64(b.len() as u64));
    let spread = match (var_a, var_b) {
        (Some(var_a), Some(var_b)) => {
            let (part_a, part_b) = (var_a / n_a, var_b / n_b);
            let sum = part_a + part_b;
            let freedom = match sum > 0.0 {
                true => sum * sum / (part_a.powi(2) / (n_a - 1.0) + part_b.powi(2) / (n_b - 1.0)),
                false => n_a + n_b - 2.0,
            };
            Some(Spread { standard_error: sum.sqrt(), freedom })
        }
        (Some(variance), None) | (None, Some(variance)) => Some(Spread {
            standard_error: (variance * (1.0 / n_a + 1.0 / n_b)).sqrt(),
            freedom: n_a + n_b - 2.0,
        }),
        (None, None) => None,
    };
    (mean_b - mean_a, spread)
}

/// The mean of differences of pairs and its spread.
pub(crate) fn paired(differences: &[f64]) -> (f64, Option<Spread>) {
    let (mean, variance) = moments(differences);
    let n = as_f64(differences.len() as u64);
    let spread =
        variance.map(|variance| Spread { standard_error: (variance / n).sqrt(), freedom: n - 1.0 });
    (mean, spread)
}

/// How often to resample at most, and from which seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resampling {
    pub seed: u64,
    pub count: usize,
    /// What is less likely than this by Student's t is worth all resamples.
    pub rate: f64,
}

impl Resampling {
    /// As many resamples as a difference of probability `p` is worth.
    #[must_use]
    pub(crate) fn worth(self, p: f64) -> Self {
        let count = if p > self.rate { FIRST_RESAMPLES } else { self.count };
        Self { count, ..self }
    }
}

/// After so many resamples it is seen whether more would matter.
const FIRST_RESAMPLES: usize = 1000;
/// So many of them beyond zero, and the difference is none (Besag and Clifford 1991).
const ENOUGH_BEYOND: usize = 20;

/// Percentile bootstrap of the difference of means: resamples each side's trials.
pub(crate) fn bootstrap_unpaired(a: &[f64], b: &[f64], alpha: f64, how: Resampling) -> Evidence {
    let draw = |random: &mut Random| mean_of_resample(b, random) - mean_of_resample(a, random);
    percentile_interval(moments(b).0 - moments(a).0, draws(draw, how), alpha)
}

/// Percentile bootstrap of the mean of differences: resamples the pairs.
pub(crate) fn bootstrap_paired(differences: &[f64], alpha: f64, how: Resampling) -> Evidence {
    let draw = |random: &mut Random| mean_of_resample(differences, random);
    percentile_interval(moments(differences).0, draws(draw, how), alpha)
}

/// Few draws where they lie on both sides of zero, all where the rare ones count.
fn draws(mut draw: impl FnMut(&mut Random) -> f64, how: Resampling) -> Vec<f64> {
    let mut random = Random::new(how.seed);
    let first = how.count.min(FIRST_RESAMPLES);
    let mut draws: Vec<f64> = (0..first).map(|_| draw(&mut random)).collect();
    let below = draws.iter().filter(|&&draw| draw < 0.0).count();
    let above = draws.iter().filter(|&&draw| draw > 0.0).count();
    if below.max(above) + ENOUGH_BEYOND > first {
        draws.extend((first..how.count).map(|_| draw(&mut random)));
    }
    draws
}

/// The interval that holds all but `alpha` of the draws. A percentile bootstrap of few trials is
/// too narrow, which is why it only ever widens what Student's t says (skewed samples, stalls).
fn percentile_interval(estimate: f64, mut draws: Vec<f64>, alpha: f64) -> Evidence {
    draws.sort_unstable_by(f64::total_cmp);
    let n = as_f64(draws.len() as u64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below the number of draws, not negative"
    )]
    let cut = (n * alpha / 2.0).floor() as usize;
    let below = draws.partition_point(|&draw| draw < 0.0);
    let above = draws.len() - draws.partition_point(|&draw| draw <= 0.0);
    let rarer = as_f64(below.min(above) as u64) + as_f64((draws.len() - below - above) as u64);
    Evidence {
        estimate,
        low: draws[cut],
        high: draws[draws.len() - 1 - cut],
        p: (2.0 * (rarer + 1.0) / (n + 1.0)).min(1.0),
        detectable: 0.0,
    }
}

/// Probabilities adjusted for how many questions were asked (Benjamini and Hochberg 1995): calling
/// all at most `q` discoveries, a share of `q` of those that are called is false on average.
pub(crate) fn adjust_for_many(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&i, &j| probabilities[i].total_cmp(&probabilities[j]));
    let mut adjusted = vec![1.0; probabilities.len()];
    let count = as_f64(probabilities.len() as u64);
    let mut least = 1.0_f64;
    for (rank, &index) in order.iter().enumerate().rev() {
        least = least.min(probabilities[index] * count / as_f64(rank as u64 + 1));
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};
    use xscope_trace::stats::Random;

    use super::{
        Evidence, Resampling, Spread, adjust_for_many, bootstrap_paired, bootstrap_unpaired,
        paired, unpaired,
    };

    const HOW: Resampling = Resampling { seed: 1, count: 4000, rate: 0.01 };

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() <= 1e-9, "{value} is not {expected}");
    }

    /// `scipy.stats.ttest_ind(b, a, equal_var=False)` and `ttest_rel(b, a)` with their
    /// `confidence_interval(0.99)`, on the users' own trials of two branches.
    #[test]
    fn tests_are_those_of_scipy() {
        let a = [32.21, 31.60, 31.82].map(f64::ln);
        let b = [32.46, 33.10, 32.64].map(f64::ln);
        let (estimate, spread) = unpaired(&a, &b);
        let welch = Evidence::of(estimate, spread.unwrap(), 0.01);
        for (value, expected) in [
            (welch.estimate, WELCH[0]),
            (welch.p, WELCH[1]),
            (welch.low, WELCH[2]),
            (welch.high, WELCH[3]),
        ] {
            close(value, expected);
        }
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
        let (estimate, spread) = paired(&differences);
        let pairs = Evidence::of(estimate, spread.unwrap(), 0.01);
        for (value, expected) in [
            (pairs.estimate, WELCH[0]),
            (pairs.p, PAIRED[0]),
            (pairs.low, PAIRED[1]),
            (pairs.high, PAIRED[2]),
        ] {
            close(value, expected);
        }
    }

    /// `scipy.stats.false_discovery_control`.
    #[test]
    fn adjustment_is_that_of_scipy() {
        let adjusted = adjust_for_many(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        for (value, expected) in adjusted.into_iter().zip([0.025, 0.05, 0.05, 0.025, 0.5]) {
            close(value, expected);
        }
        assert!(adjust_for_many(&[]).is_empty());
    }

    #[test]
    fn trials_that_agree_to_the_last_digit() {
        let same = Spread { standard_error: 0.0, freedom: 4.0 };
        assert!(Evidence::of(0.0, same, 0.01).p >= 1.0);
        assert!(Evidence::of(0.1, same, 0.01).p <= 0.0);
        assert!(bootstrap_paired(&[0.0, 0.0, 0.0], 0.01, HOW).p >= 1.0);
        assert!(bootstrap_paired(&[0.1, 0.1, 0.1], 0.01, HOW).p < 0.01);
    }

    #[test]
    fn one_trial_against_many_takes_their_variance() {
        let (estimate, spread) = unpaired(&[1.0], &[2.0, 3.0, 4.0]);
        close(estimate, 2.0);
        let spread = spread.unwrap();
        close(spread.standard_error, (4.0_f64 / 3.0).sqrt());
        close(spread.freedom, 2.0);
        assert_eq!(unpaired(&[1.0], &[2.0]).1, None);
    }

    /// Of normal samples, the interval misses the truth as often as it says.
    #[test]
    fn the_interval_holds_the_truth() {
        let mut random = Random::new(3);
        let mut missed = 0;
        for _ in 0..4000 {
            let sample: Vec<f64> = (0..5).map(|_| 1.0 + random.normal()).collect();
            let (estimate, spread) = paired(&sample);
            let evidence = Evidence::of(estimate, spread.unwrap(), 0.05);
            missed += u32::from(evidence.low > 1.0 || evidence.high < 1.0);
        }
        assert!((160..240).contains(&missed), "{missed} of 4000 at 5 %");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A against B mirrors B against A.
        #[test]
        fn sides_can_be_swapped(a in vec(1.0..2.0_f64, 2..6), b in vec(1.0..2.0_f64, 2..6)) {
            let of = |a: &[f64], b: &[f64]| {
                let (estimate, spread) = unpaired(a, b);
                Evidence::of(estimate, spread.unwrap(), 0.01)
            };
            let (there, back) = (of(&a, &b), of(&b, &a));
            prop_assert!((there.low + back.high).abs() < 1e-9);
            prop_assert!((there.p - back.p).abs() < 1e-12);
        }

        /// A bootstrap lies within the range of the data, and the estimate within it.
        #[test]
        fn resamples_stay_in_range(a in vec(0.0..1.0_f64, 1..8), b in vec(0.0..1.0_f64, 1..8)) {
            let evidence = bootstrap_unpaired(&a, &b, 0.01, HOW);
            prop_assert!(evidence.low >= -1.0 && evidence.high <= 1.0);
            prop_assert!(evidence.low <= evidence.estimate + 1e-9);
            prop_assert!(evidence.high >= evidence.estimate - 1e-9);
        }

        /// Adjusting keeps the order and never makes anything likelier.
        #[test]
        fn adjusted_probabilities_keep_their_order(p in vec(0.0..1.0_f64, 1..20)) {
            let adjusted = adjust_for_many(&p);
            for i in 0..p.len() {
                prop_assert!(adjusted[i] >= p[i] - 1e-12 && adjusted[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j] + 1e-12);
                }
            }
        }
    }

    const WELCH: [f64; 4] =
        [0.026517089239918246, 0.030300641903193613, -0.010636809519800582, 0.06367098799963708];
    const PAIRED: [f64; 3] = [0.1408616393686119, -0.08432982840174788, 0.13736400688158407];
}
