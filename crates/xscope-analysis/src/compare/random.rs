//! Seeded randomness: the same seed draws the same numbers on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough for resampling.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `bound`, which is neither 0 nor above 2^32, by Lemire's multiplication. The
    /// bias is below `bound` / 2^32.
    pub fn below(&mut self, bound: usize) -> usize {
        let scaled = (self.bits() >> 32).wrapping_mul(bound as u64) >> 32;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let value = (self.bits() >> 11) as f64;
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
