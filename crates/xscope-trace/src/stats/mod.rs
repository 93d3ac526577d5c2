//! Statistics of samples, in one place: a figure has one value and one status wherever it is shown.
//!
//! Percentiles are nearest-rank, so each is a sample that was seen. One that so few samples cannot
//! give (on average none lies above it) is unavailable and says how many it needs; the policy is
//! [`Percentile::metric`]'s alone. Randomness is seeded: the same seed draws the same numbers on
//! every machine.

mod bootstrap;
mod line;
mod median;
mod moments;
mod percentile;
mod random;
mod student;
mod times;

pub use bootstrap::{FEWEST_FOR_BLOCKS, block_resample, mean_of_resample};
pub use line::Line;
pub use median::{FEWEST_FOR_INTERVAL, MEDIAN_CONFIDENCE, median, median_interval};
pub use moments::{mean, moments, population_deviation};
pub use percentile::{Percentile, Sample, select};
pub use random::{Random, SplitMix};
pub use student::{POWER, t_critical, t_two_sided};
pub use times::{deviation_micros, mean_micros, millis, share, sum};

/// A count or a size as a float, to be shown or divided.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^53")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}
