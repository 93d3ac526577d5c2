//! Whether an answer is right. A fast wrong answer is a failed request.

use std::fmt;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Answers kept for comparison. Beyond this, later bodies are not checked for drift.
const MAX_REMEMBERED: usize = 1024;

/// Characters of a server's error text that a row keeps.
const EXCERPT_CHARS: usize = 200;

/// Why a request failed, in kinds that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The body is not the JSON of a score answer.
    Malformed,
    /// Not one list per item, or not one number per label.
    WrongShape,
    /// A number that is not in [0, 1].
    WrongValue,
    /// The labels of an item do not sum to 1 under softmax.
    WrongSum,
    /// An equal request got another answer before.
    Drift,
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
        Self { sum: 1e-3, drift: 1e-4 }
    }
}

/// What a right answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub items: usize,
    pub labels: usize,
    pub apply_softmax: bool,
}

/// One list per item, one number per label.
pub type Scores = Vec<Vec<f64>>;

/// The part of an answer that is used; other fields may come and go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ScoreAnswer {
    pub scores: Scores,
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// Token counts, where the server gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub prompt_tokens: Option<u64>,
}

/// Reads a body as an answer, if the status says that it is one.
pub fn parse_answer(status: u16, body: &Bytes) -> Result<ScoreAnswer, Failure> {
    if status != 200 {
        let text = excerpt(body);
        return Err(Failure::new(FailureKind::HttpStatus, format!("status {status}: {text}")));
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = excerpt(body);
        Failure::new(FailureKind::Malformed, format!("not a score answer: {error}: {text}"))
    })
}

/// Shape, range and sums.
pub fn check_scores(
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
        if let Some(score) = row.iter().find(|score| !(0.0..=1.0).contains(*score)) {
            let detail = format!("item {item} has a score of {score}, outside [0, 1]");
            return Err(Failure::new(FailureKind::WrongValue, detail));
        }
        let sum: f64 = row.iter().sum();
        if expected.apply_softmax && (sum - 1.0).abs() > tolerance.sum {
            let detail = format!("the labels of item {item} sum to {sum:.6}, not to 1");
            return Err(Failure::new(FailureKind::WrongSum, detail));
        }
    }
    Ok(())
}

/// First answers, by request. Equal requests have equal keys.
#[derive(Debug, Default)]
pub struct FirstAnswers {
    first: FxHashMap<u64, Scores>,
    compared: u64,
}

impl FirstAnswers {
    /// Remembers the first answer of a key and compares later ones with it. Both have the right
    /// shape already.
    pub fn check(&mut self, key: u64, scores: Scores, tolerance: Tolerance) -> Result<(), Failure> {
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
                         scored {before}"
                    );
                    return Err(Failure::new(FailureKind::Drift, detail));
                }
            }
        }
        Ok(())
    }

    /// Answers that were compared with an earlier one.
    pub fn compared(&self) -> u64 {
        self.compared
    }
}

fn excerpt(body: &Bytes) -> String {
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

    const SOFTMAX: Expected = Expected { items: 2, labels: 2, apply_softmax: true };

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
        let expected = Expected { apply_softmax: false, ..SOFTMAX };
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
        assert_eq!(check(1, 0.500_09), Ok(()));
        assert_eq!(check(1, 0.500_18), Err(FailureKind::Drift));
        assert_eq!(answers.compared(), 2);
    }

    #[test]
    fn long_error_pages_are_cut() {
        let body = Bytes::from("é".repeat(5000));
        let failure = parse_answer(500, &body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::HttpStatus);
        assert!(failure.detail.ends_with("é…") && failure.detail.chars().count() < 220);
        assert!(parse_answer(200, &Bytes::new()).unwrap_err().detail.ends_with("empty body"));
    }
}
