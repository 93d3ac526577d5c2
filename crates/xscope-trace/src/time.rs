//! Newtypes for the quantities of a profile, so that a unit is never a guess.

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A time or a duration in picoseconds, counted from the epoch of one trace.
///
/// Picoseconds are what XPlane records; an `i64` of them spans 106 days, longer than any trace.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Picos(pub i64);

/// A time or a duration in nanoseconds: on the monotonic clock of one machine where it is a
/// point in time, unless the name says otherwise.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Nanos(pub i64);

/// A size in bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Picos {
    pub const ZERO: Self = Self(0);
    /// The duration of what never ended, as Perfetto writes it.
    pub const UNFINISHED: Self = Self(-1);

    /// Microseconds, for display and for the JSON contract.
    #[expect(clippy::cast_precision_loss, reason = "display: 2^53 ps is 2.5 hours to the ps")]
    pub fn as_micros(self) -> f64 {
        self.0 as f64 / 1e6
    }

    pub fn saturating_add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Nanos {
    pub const ZERO: Self = Self(0);

    /// To the nearest; saturates at the range of an `i64`, and what is no number is 0.
    pub fn from_secs(secs: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a float saturates as an integer")]
        let nanos = (secs * 1e9).round() as i64;
        Self(nanos)
    }

    /// Milliseconds, for display and for the JSON contract.
    #[expect(clippy::cast_precision_loss, reason = "display: 2^53 ns is 104 days to the ns")]
    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<Nanos> for Picos {
    /// Saturates at the range of [`Picos`].
    fn from(nanos: Nanos) -> Self {
        Self(nanos.0.saturating_mul(1000))
    }
}

// Sums and differences saturate: a damaged file holds times at both ends of the range, and neither
// a panic nor a negative window is an answer.
impl Add for Picos {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub for Picos {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Picos;

    #[test]
    fn arithmetic_ends_at_the_ends_of_the_range() {
        let (first, last) = (Picos(i64::MIN), Picos(i64::MAX));
        assert_eq!((last - first, first - last), (last, first));
        assert_eq!((last + Picos(1), first + Picos(-1)), (last, first));
    }
}
