//! Lengths and counts that may differ from request to request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xscope_trace::stats::Random;

use crate::error::SpellingError;
use crate::limits::MAX_LENGTH;

/// A length, or how it is drawn. All that is drawn is at least 1.
///
/// As text, which is how it stands in a TOML file and on the command line: `20`, `[10, 20, 40]`,
/// `uniform:10-30`, `normal:20,5` (mean, deviation), `lognormal:20,0.5` (median, deviation of the
/// logarithm), `zipf:1.2,100` (exponent, longest).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "Spelled", into = "Spelled")]
pub enum Lengths {
    Fixed(u32),
    /// Each as likely as the others.
    List(Vec<u32>),
    Uniform {
        min: u32,
        max: u32,
    },
    Normal {
        mean: f64,
        deviation: f64,
    },
    LogNormal {
        median: f64,
        deviation: f64,
    },
    Zipf {
        exponent: f64,
        max: u32,
    },
    /// Text that is none of these; it is refused with the workload.
    Unreadable(String),
}

/// As it stands in a file.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
enum Spelled {
    Number(u32),
    List(Vec<u32>),
    Text(String),
}

impl From<Spelled> for Lengths {
    fn from(spelled: Spelled) -> Self {
        match spelled {
            Spelled::Number(length) => Self::Fixed(length),
            Spelled::List(lengths) => Self::List(lengths),
            Spelled::Text(text) => text.parse().unwrap_or(Self::Unreadable(text)),
        }
    }
}

impl From<Lengths> for Spelled {
    fn from(lengths: Lengths) -> Self {
        match lengths {
            Lengths::Fixed(length) => Self::Number(length),
            Lengths::List(lengths) => Self::List(lengths),
            other => Self::Text(other.to_string()),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::List(lengths) => write!(f, "{lengths:?}"),
            Self::Uniform { min, max } => write!(f, "uniform:{min}-{max}"),
            Self::Normal { mean, deviation } => write!(f, "normal:{mean},{deviation}"),
            Self::LogNormal { median, deviation } => write!(f, "lognormal:{median},{deviation}"),
            Self::Zipf { exponent, max } => write!(f, "zipf:{exponent},{max}"),
            Self::Unreadable(text) => f.write_str(text),
        }
    }
}

impl FromStr for Lengths {
    type Err = SpellingError;

    fn from_str(text: &str) -> Result<Self, SpellingError> {
        let wrong = || SpellingError::Length { text: text.to_owned() };
        if let Ok(length) = text.trim().parse() {
            return Ok(Self::Fixed(length));
        }
        if let Some(list) = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let lengths = list.split(',').map(|length| length.trim().parse().ok());
            return lengths.collect::<Option<_>>().map(Self::List).ok_or_else(wrong);
        }
        let (kind, values) = text.trim().split_once(':').ok_or_else(wrong)?;
        let separator = if kind == "uniform" { '-' } else { ',' };
        let (first, second) = values.split_once(separator).ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<f64>().ok().ok_or_else(wrong);
        let count = |text: &str| text.trim().parse::<u32>().ok().ok_or_else(wrong);
        match kind {
            "uniform" => Ok(Self::Uniform { min: count(first)?, max: count(second)? }),
            "normal" => Ok(Self::Normal { mean: number(first)?, deviation: number(second)? }),
            "lognormal" => {
                Ok(Self::LogNormal { median: number(first)?, deviation: number(second)? })
            }
            "zipf" => Ok(Self::Zipf { exponent: number(first)?, max: count(second)? }),
            _ => Err(wrong()),
        }
    }
}

impl Lengths {
    /// Why no length can be drawn from this, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        let within = |length: u32| (1..=MAX_LENGTH).contains(&length);
        let is_usable = match self {
            Self::Fixed(length) => within(*length),
            Self::List(lengths) => !lengths.is_empty() && lengths.iter().all(|&l| within(l)),
            Self::Uniform { min, max } => within(*min) && within(*max) && min <= max,
            Self::Normal { mean, deviation } | Self::LogNormal { median: mean, deviation } => {
                (1.0..=f64::from(MAX_LENGTH)).contains(mean) && (0.0..=1e6).contains(deviation)
            }
            Self::Zipf { exponent, max } => (1.01..=100.0).contains(exponent) && within(*max),
            Self::Unreadable(text) => {
                return text.parse::<Self>().err().map(|error| error.to_string());
            }
        };
        (!is_usable).then(|| {
            format!("is {self}: lengths are from 1 to {MAX_LENGTH}, exponents of zipf above 1")
        })
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let drawn = match self {
            Self::Fixed(length) => return *length,
            Self::List(lengths) => return random.pick(lengths).copied().unwrap_or(1),
            Self::Uniform { min, max } => return min + random.below(max - min + 1),
            Self::Normal { mean, deviation } => mean + deviation * random.normal(),
            Self::LogNormal { median, deviation } => median * (deviation * random.normal()).exp(),
            Self::Zipf { exponent, max } => random.zipf(*exponent, *max),
            Self::Unreadable(_) => 1.0,
        };
        whole(drawn).min(self.most())
    }

    /// The longest that is drawn; of tails without end, what lies six deviations out.
    pub(crate) fn most(&self) -> u32 {
        match self {
            Self::Fixed(length) => *length,
            Self::List(lengths) => lengths.iter().copied().max().unwrap_or(1),
            Self::Uniform { max, .. } | Self::Zipf { max, .. } => *max,
            Self::Normal { mean, deviation } => whole(mean + 6.0 * deviation),
            Self::LogNormal { median, deviation } => whole(median * (6.0 * deviation).exp()),
            Self::Unreadable(_) => 1,
        }
    }

    /// The length, if all are equal.
    pub fn fixed(&self) -> Option<u32> {
        match self {
            Self::Fixed(length) => Some(*length),
            _ => None,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a range that fits"
)]
fn whole(length: f64) -> u32 {
    length.round().clamp(1.0, f64::from(MAX_LENGTH)) as u32
}

impl From<u32> for Lengths {
    fn from(length: u32) -> Self {
        Self::Fixed(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_drawn() {
        let check = |text: &str, mean: f64| {
            let lengths: Lengths = text.parse().unwrap();
            assert_eq!(lengths.problem(), None, "{text}");
            assert_eq!(lengths.to_string().parse::<Lengths>().unwrap(), lengths, "{text}");
            let json = serde_json::to_string(&lengths).unwrap();
            assert_eq!(serde_json::from_str::<Lengths>(&json).unwrap(), lengths, "{json}");
            let mut random = Random::of(&[3]);
            let drawn: Vec<u32> = (0..10_000).map(|_| lengths.draw(&mut random)).collect();
            let got = drawn.iter().map(|&length| f64::from(length)).sum::<f64>() / 10_000.0;
            assert!((got - mean).abs() < 0.03 * mean, "{text}: {got}");
            assert!(drawn.iter().all(|length| (1..=lengths.most()).contains(length)), "{text}");
        };
        check("20", 20.0);
        check("[10, 20, 60]", 30.0);
        check("uniform:10-30", 20.0);
        check("normal:100,10", 100.0);
        check("lognormal:100,0.5", 100.0 * (0.125_f64).exp());
        check("zipf:2,3", 66.0 / 49.0);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_with_a_way_out() {
        let check = |text: &str, words: &str| {
            let lengths: Lengths = serde_json::from_value(text.into()).unwrap();
            let problem = lengths.problem().unwrap();
            assert!(problem.contains(words), "{text}: {problem}");
        };
        check("0", "from 1");
        check("uniform:30-10", "uniform:30-10");
        check("uniform:0-10", "from 1");
        check("zipf:1,100", "above 1");
        check("normal:NaN,1", "from 1");
        check("gauss:1,2", "write 20");
        check("[]", "write 20");
    }
}
