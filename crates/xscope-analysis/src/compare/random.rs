//! Seeded randomness: the same seed draws the same numbers on every machine.

use xscope_trace::random::SplitMix;

/// What resampling draws.
#[derive(Debug, Clone)]
pub struct Random(SplitMix);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// Uniform below `bound`, which is neither 0 nor above 2^32, by Lemire's multiplication. The
    /// bias is below `bound` / 2^32.
    pub fn below(&mut self, bound: usize) -> usize {
        let scaled = (self.0.bits() >> 32).wrapping_mul(bound as u64) >> 32;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let value = (self.0.bits() >> 11) as f64;
        value / 9_007_199_254_740_992.0
    }

    /// From the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut random = Random::new(7);
        let count = 100_000;
        let (mut sum, mut squares, mut uniform, mut fives) = (0.0, 0.0, 0.0, 0);
        for _ in 0..count {
            let x = random.normal();
            sum += x;
            squares += x * x;
            uniform += random.unit();
            fives += usize::from(random.below(6) == 5);
        }
        let n = f64::from(count);
        assert!((sum / n).abs() < 0.015, "{}", sum / n);
        assert!((squares / n - 1.0).abs() < 0.02);
        assert!((uniform / n - 0.5).abs() < 0.005);
        assert!((16_000..17_400).contains(&fives), "{fives}");
    }
}
