//! Student's t distribution, which a mean of a few trials follows.

/// Probability with which a difference of the minimal detectable size is found.
pub const POWER: f64 = 0.8;

/// Probability that `|T|` exceeds `|t|` with `freedom` degrees of freedom.
pub fn t_two_sided(t: f64, freedom: f64) -> f64 {
    if t.is_nan() || freedom.is_nan() || freedom <= 0.0 {
        return 1.0;
    }
    if t.is_infinite() {
        return 0.0;
    }
    regularized_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The `t` that `|T|` exceeds with probability `alpha`, between 0 and 1.
pub fn t_critical(alpha: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 2.0);
    // Heavy tails: with one degree of freedom, 0.001 is exceeded at 637.
    while t_two_sided(high, freedom) > alpha && high < 1e12 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if t_two_sided(middle, freedom) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Regularized incomplete beta function by its continued fraction (DLMF 8.17.22), which converges
/// quickly on the side of the mean that is taken.
fn regularized_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction, by the method of Lentz.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guarded = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / guarded(1.0 - (a + b) * x / (a + 1.0)));
    let mut result = d;
    for step in 1..300 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / guarded(1.0 + term * d);
            c = guarded(1.0 + term / c);
            factor = c * d;
            result *= factor;
        }
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

/// Logarithm of the gamma function for positive `x`, by the approximation of Lanczos (g = 7).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum = (1..)
        .zip(TERMS)
        .fold(0.999_999_999_999_809_9, |sum, (index, term)| sum + term / (x + f64::from(index)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::{ln_gamma, t_critical, t_two_sided};

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{value} {expected}");
    }

    #[test]
    fn values_are_those_of_scipy() {
        // scipy.stats.t.sf(t, df) * 2
        for (t, freedom, expected) in SCIPY_TWO_SIDED {
            close(t_two_sided(t, freedom), expected);
            close(t_two_sided(-t, freedom), expected);
        }
        // scipy.stats.t.isf(alpha / 2, df)
        for (alpha, freedom, expected) in SCIPY_CRITICAL {
            close(t_critical(alpha, freedom), expected);
        }
        close(ln_gamma(0.5), 0.572_364_942_924_700_4);
        close(ln_gamma(10.0), 12.801_827_480_081_469);
    }

    #[test]
    fn what_cannot_be_said_is_no_evidence() {
        for (t, freedom) in [(f64::NAN, 3.0), (1.0, 0.0), (1.0, f64::NAN)] {
            assert!(t_two_sided(t, freedom) >= 1.0);
        }
        assert!(t_two_sided(f64::INFINITY, 3.0) <= 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn quantile_and_probability_are_inverse(alpha in 1e-6..0.999_f64, freedom in 1.0..200.0_f64) {
            let t = t_critical(alpha, freedom);
            prop_assert!((t_two_sided(t, freedom) / alpha - 1.0).abs() < 1e-6);
            prop_assert!(t_two_sided(t * 1.1 + 1e-3, freedom) < alpha);
        }
    }

    const SCIPY_TWO_SIDED: [(f64, f64, f64); 6] = [
        (0.5, 1.0, 0.7048327646991335),
        (2.0, 2.0, 0.18350341907227397),
        (3.3, 4.0, 0.029933420084126066),
        (2.5, 9.5, 0.03258505778960436),
        (6.0, 30.0, 1.3942768767204764e-06),
        (12.0, 3.0, 0.0012450158007893362),
    ];
    const SCIPY_CRITICAL: [(f64, f64, f64); 5] = [
        (0.05, 1.0, 12.706204736174705),
        (0.05, 4.0, 2.7764451051977943),
        (0.01, 9.0, 3.2498355415921263),
        (0.001, 2.5, 18.277893528130647),
        (0.01, 120.0, 2.617421145106866),
    ];
}
