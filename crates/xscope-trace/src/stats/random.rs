//! Numbers from a seed: the same everywhere and for ever, which no random crate promises. Loads and
//! resampling are made of them.

/// What the state moves by.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough for loads and resampling.
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// What a generator of this seed gives after `n` others.
    pub fn nth(seed: u64, n: u64) -> u64 {
        Self(seed.wrapping_add(n.wrapping_mul(STEP))).bits()
    }
}

/// The distributions that loads and resamples are drawn from.
#[derive(Debug, Clone)]
pub struct Random(SplitMix);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// A stream of its own for each list of parts.
    pub fn of(parts: &[u64]) -> Self {
        let seed = |seed, part| SplitMix::new(seed ^ part).bits();
        Self::new(parts.iter().fold(0, seed))
    }

    /// A number below `bound`, or 0 if that is 0 (Lemire's multiplication; the bias is below
    /// `bound` / 2^32).
    pub fn below(&mut self, bound: u32) -> u32 {
        // The high half of a 32 x 32 bit product is below `bound`.
        let high = ((self.0.bits() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(high).expect("the product of two 32 bit numbers has a 32 bit high half")
    }

    /// A place in something of length `len`, at most 2^32; 0 if that is 0.
    pub fn place(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.place(of.len()))
    }

    /// Above 0 and at most 1, so that it has a logarithm.
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds exactly")]
        let steps = ((self.0.bits() >> 11) + 1) as f64;
        steps / 2.0_f64.powi(53)
    }

    /// Mean 0, deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Mean `shape`, scale 1 (Marsaglia and Tsang).
    pub fn gamma(&mut self, shape: f64) -> f64 {
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
    pub fn zipf(&mut self, exponent: f64, max: u32) -> f64 {
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
    use super::{Random, SplitMix};

    #[test]
    fn it_is_the_published_generator() {
        // The first outputs of the authors' program for the seed 1234567.
        let mut random = SplitMix::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([random.bits(), random.bits()], expected);
        assert_eq!([0, 1].map(|n| SplitMix::nth(1_234_567, n)), expected);
    }

    #[test]
    fn distributions_have_their_means() {
        let check = |name: &str, expected: f64, draw: fn(&mut Random) -> f64| {
            let mut random = Random::of(&[1]);
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
        check("below", 2.5, |random| f64::from(random.below(6)));
    }
}
