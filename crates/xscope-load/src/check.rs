//! Whether an answer is right. A fast wrong answer is a failed request.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Answers kept for comparison. Beyond this, later bodies are not checked for drift.
const MAX_REMEMBERED: usize = 1024;

/// Characters of a server's error text that a row keeps.
const EXCERPT_CHARS: usize = 200;

/// Why a request failed, in kinds that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// No connection could be made, with retries.
    Connect,
    /// No whole answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Closed,
    /// What came back is not HTTP.
    Protocol,
    /// The answer is longer than the limit.
    TooLarge,
    /// A status other than 200.
    HttpStatus,
    /// The body is not what this backend answers.
    Malformed,
    /// Not one list per item, not one number per label, not as many tokens as were asked for.
    WrongShape,
    /// A number that is not in [0, 1], or none.
    WrongValue,
    /// The labels of an item do not sum to 1 under softmax.
    WrongSum,
    /// An equal request got another answer before.
    Drift,
}

impl FailureKind {
    /// As it stands in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::HttpStatus => "http_status",
            Self::Malformed => "malformed",
            Self::WrongShape => "wrong_shape",
            Self::WrongValue => "wrong_value",
            Self::WrongSum => "wrong_sum",
            Self::Drift => "drift",
        }
    }

    /// Whether an answer came and was not right, which is graver than none.
    pub fn is_wrong_answer(self) -> bool {
        use FailureKind::{Drift, Malformed, WrongShape, WrongSum, WrongValue};
        matches!(self, Malformed | WrongShape | WrongValue | WrongSum | Drift)
    }
}

/// Why one request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// One sentence for a person.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// How near is near enough. Absolute, in probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Distance from 1 of the sum of an item's labels under softmax.
    pub sum: f64,
    /// Distance of a score from that of an equal request before.
    pub drift: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        // How a server batches requests changes the last bits of what it computes in 16 of them.
        Self { sum: 1e-3, drift: 1e-2 }
    }
}

/// What a right answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub items: usize,
    /// Numbers of an item.
    pub labels: usize,
    pub values: Values,
}

/// What the numbers of an item are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Probabilities that sum to 1.
    Shares,
    /// Probabilities, each by itself.
    Probabilities,
    /// Any finite number.
    Relevances,
}

/// One list per item, one number per label.
pub(crate) type Scores = Vec<Vec<f64>>;

/// Shape, range and sums.
pub(crate) fn check_scores(
    scores: &[Vec<f64>],
    expected: Expected,
    tolerance: Tolerance,
) -> Result<(), Failure> {
    let (items, labels) = (expected.items, expected.labels);
    if scores.len() != items {
        let got = scores.len();
        let detail = format!("{got} lists of scores for {items} items");
        return Err(Failure::new(FailureKind::WrongShape, detail));
    }
    for (item, row) in scores.iter().enumerate() {
        if row.len() != labels {
            let got = row.len();
            let detail = format!("item {item} has {got} scores for {labels} labels");
            return Err(Failure::new(FailureKind::WrongShape, detail));
        }
        // Not a number is in no range.
        let is_right = |score: &f64| match expected.values {
            Values::Relevances => score.is_finite(),
            Values::Shares | Values::Probabilities => (0.0..=1.0).contains(score),
        };
        if let Some(score) = row.iter().find(|score| !is_right(score)) {
            let detail = format!("item {item} has a score of {score}, outside [0, 1]");
            return Err(Failure::new(FailureKind::WrongValue, detail));
        }
        let sum: f64 = row.iter().sum();
        if expected.values == Values::Shares && (sum - 1.0).abs() > tolerance.sum {
            let detail = format!("the labels of item {item} sum to {sum:.6}, not to 1");
            return Err(Failure::new(FailureKind::WrongSum, detail));
        }
    }
    Ok(())
}

/// First answers, by request. Equal requests have equal keys.
#[derive(Debug, Default)]
pub(crate) struct FirstAnswers {
    first: FxHashMap<u64, Scores>,
    compared: u64,
}

impl FirstAnswers {
    /// Remembers the first answer of a key and compares later ones with it. Both have the right
    /// shape already.
    pub(crate) fn check(
        &mut self,
        key: u64,
        scores: Scores,
        tolerance: Tolerance,
    ) -> Result<(), Failure> {
        let Some(first) = self.first.get(&key) else {
            if self.first.len() < MAX_REMEMBERED {
                self.first.insert(key, scores);
            }
            return Ok(());
        };
        self.compared += 1;
        for (item, (before, after)) in first.iter().zip(&scores).enumerate() {
            for (label, (before, after)) in before.iter().zip(after).enumerate() {
                if (before - after).abs() > tolerance.drift {
                    let detail = format!(
                        "item {item}, label {label} scores {after} where an equal request \
                         scored {before}, more than {} apart",
                        tolerance.drift
                    );
                    return Err(Failure::new(FailureKind::Drift, detail));
                }
            }
        }
        Ok(())
    }

    /// Answers that were compared with an earlier one.
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }
}

/// The beginning of a body, for a message.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut kept: String = text.trim().chars().take(EXCERPT_CHARS).collect();
    if kept.is_empty() {
        "empty body".clone_into(&mut kept);
    } else if kept.len() < text.trim().len() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOFTMAX: Expected = Expected { items: 2, labels: 2, values: Values::Shares };

    #[test]
    fn scores_are_right_or_say_why_not() {
        let check = |scores: &[Vec<f64>], expected: Option<FailureKind>| {
            let got = check_scores(scores, SOFTMAX, Tolerance::default());
            assert_eq!(got.err().map(|failure| failure.kind), expected, "{scores:?}");
        };
        check(&[vec![0.25, 0.75], vec![1.0, 0.0]], None);
        check(&[vec![0.25, 0.7505], vec![1.0, 0.0]], None);
        check(&[vec![0.25, 0.752], vec![1.0, 0.0]], Some(FailureKind::WrongSum));
        check(&[vec![0.25, 0.75]], Some(FailureKind::WrongShape));
        check(&[vec![1.0], vec![0.5, 0.5]], Some(FailureKind::WrongShape));
        check(&[vec![f64::NAN, 0.75], vec![1.0, 0.0]], Some(FailureKind::WrongValue));
        check(&[vec![1.25, -0.25], vec![1.0, 0.0]], Some(FailureKind::WrongValue));
    }

    #[test]
    fn sums_are_free_without_softmax() {
        let expected = Expected { values: Values::Probabilities, ..SOFTMAX };
        let scores = [vec![0.1, 0.2], vec![1e-9, 0.0]];
        assert_eq!(check_scores(&scores, expected, Tolerance::default()), Ok(()));
    }

    #[test]
    fn drift_is_against_the_first_answer() {
        let mut answers = FirstAnswers::default();
        let mut check = |key, score| {
            answers.check(key, vec![vec![score]], Tolerance::default()).map_err(|f| f.kind)
        };
        assert_eq!(check(1, 0.5), Ok(()));
        assert_eq!(check(2, 0.9), Ok(()));
        // Each step is small, but the distance from the first adds up.
        assert_eq!(check(1, 0.509), Ok(()));
        assert_eq!(check(1, 0.518), Err(FailureKind::Drift));
        assert_eq!(answers.compared(), 2);
    }

    #[test]
    fn long_error_pages_are_cut() {
        let cut = excerpt("é".repeat(5000).as_bytes());
        assert!(cut.ends_with("é…") && cut.chars().count() < 220);
        assert_eq!(excerpt(b" "), "empty body");
    }
}
