//! Resampling.

use crate::stats::{Random, as_f64};

/// Below this many values stretches of them say nothing.
pub const FEWEST_FOR_BLOCKS: usize = 10;

/// The mean of as many values as there are, drawn with replacement.
pub fn mean_of_resample(values: &[f64], random: &mut Random) -> f64 {
    let sum: f64 = values.iter().filter_map(|_| random.pick(values)).sum();
    sum / as_f64(values.len() as u64)
}

/// As many values as there are, in stretches from random places, the end followed by the start (circular
/// block bootstrap): values that depend on their neighbours keep them.
pub fn block_resample(values: &[f64], random: &mut Random) -> Vec<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the root of a length"
    )]
    let length = (as_f64(values.len() as u64).sqrt().ceil() as usize).max(1);
    let mut drawn = Vec::with_capacity(values.len() + length);
    while drawn.len() < values.len() {
        let start = random.place(values.len());
        drawn.extend((start..start + length).map(|at| values[at % values.len()]));
    }
    drawn.truncate(values.len());
    drawn
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{block_resample, mean_of_resample};
    use crate::stats::Random;

    proptest! {
        #[test]
        fn resamples_are_made_of_the_values(
            values in proptest::collection::vec(1.0..2.0_f64, 1..50),
            seed in 0_u64..100,
        ) {
            let mut random = Random::new(seed);
            let drawn = block_resample(&values, &mut random);
            prop_assert_eq!(drawn.len(), values.len());
            prop_assert!(drawn.iter().all(|value| values.contains(value)));
            prop_assert!((1.0..2.0).contains(&mean_of_resample(&values, &mut random)));
        }
    }
}
