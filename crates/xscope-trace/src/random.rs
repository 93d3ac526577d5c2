//! Numbers from a seed: the same everywhere and for ever, which no random crate promises.

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

#[cfg(test)]
mod tests {
    use super::SplitMix;

    #[test]
    fn it_is_the_published_generator() {
        // The first outputs of the authors' program for the seed 1234567.
        let mut random = SplitMix::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([random.bits(), random.bits()], expected);
        assert_eq!([0, 1].map(|n| SplitMix::nth(1_234_567, n)), expected);
    }
}
