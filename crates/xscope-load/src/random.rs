//! The distributions that loads are made of.

use xscope_trace::random::SplitMix;

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(SplitMix);

impl Random {
    /// A stream of its own for each list of parts.
    pub(crate) fn new(parts: &[u64]) -> Self {
        let seed = |seed, part| SplitMix::new(seed ^ part).bits();
        Self(SplitMix::new(parts.iter().fold(0, seed)))
    }

    /// A number below `bound`, or 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // The high half of a 32 x 32 bit product is below `bound`.
        let high = ((self.0.bits() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(high).expect("the product of two 32 bit numbers has a 32 bit high half")
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let bound = u32::try_from(of.len()).unwrap_or(u32::MAX);
        of.get(self.below(bound) as usize)
    }

    /// Above 0 and at most 1, so that it has a logarithm.
    pub(crate) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds exactly")]
        let steps = ((self.0.bits() >> 11) + 1) as f64;
        steps / 2.0_f64.powi(53)
    }

    /// Mean 0, deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Mean `shape`, scale 1 (Marsaglia and Tsang).
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let small = self.unit().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * small;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A rank from 1 to `max`, its probability falling with its power `exponent`, which is above 1
    /// (Devroye's rejection).
    pub(crate) fn zipf(&mut self, exponent: f64, max: u32) -> f64 {
        let b = 2.0_f64.powf(exponent - 1.0);
        loop {
            let x = self.unit().powf(-1.0 / (exponent - 1.0)).floor();
            let t = (1.0 + 1.0 / x).powf(exponent - 1.0);
            if self.unit() * x * (t - 1.0) / (b - 1.0) <= t / b && x <= f64::from(max) {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_have_their_means() {
        let check = |name: &str, expected: f64, draw: fn(&mut Random) -> f64| {
            let mut random = Random::new(&[1]);
            let mean = (0..20_000).map(|_| draw(&mut random)).sum::<f64>() / 20_000.0;
            assert!((mean - expected).abs() < 0.03 * expected.max(1.0), "{name}: {mean}");
        };
        check("unit", 0.5, Random::unit);
        check("normal", 0.0, Random::normal);
        check("squared normal", 1.0, |random| random.normal().powi(2));
        check("exponential", 1.0, Random::exponential);
        check("gamma", 3.0, |random| random.gamma(3.0));
        check("bursty gamma", 0.25, |random| random.gamma(0.25));
        // Over ranks 1 to 3 with exponent 2: (1 + 1/2 + 1/3) / (1 + 1/4 + 1/9).
        check("zipf", 66.0 / 49.0, |random| random.zipf(2.0, 3));
    }
}
