//! When to stop measuring: at looks that are fixed beforehand, each with its share of the error.
//!
//! Looking after every pair and stopping at the first difference finds one sooner or later where
//! there is none. Here the looks are few, known before the first measurement, and share the error
//! among them (Bonferroni), so that the whole series of looks is wrong as rarely as a single one
//! would be. That costs some pairs against a rule made for one test statistic, and holds for any
//! verdict.

use crate::compare::rules::Rules;
use crate::compare::verdict::Verdict;
use crate::compare::{CompareReport, Options};

/// The fewest pairs that say anything.
const FIRST: usize = 4;

/// After how many pairs to look, if there can be `most` of them: 4, 6, 8, 12, 16, 24 ... and at the
/// end.
pub fn looks(most: usize) -> Vec<usize> {
    let steps = (0..).flat_map(|power| [FIRST << power, (FIRST + FIRST / 2) << power]);
    let mut looks: Vec<usize> = steps.take_while(|&pairs| pairs < most).collect();
    looks.push(most);
    looks
}

/// The options for each of `count` looks.
#[must_use]
pub fn share_error(options: &Options, count: usize) -> Options {
    let count = xscope_trace::stats::as_f64(count.max(1) as u64);
    let rules = Rules {
        confidence: 1.0 - (1.0 - options.rules.confidence) / count,
        false_discovery_rate: options.rules.false_discovery_rate / count,
        ..options.rules.clone()
    };
    Options { rules, ..options.clone() }
}

/// Whether all figures that were asked for have an answer; tails need more requests than time
/// allows, so that they need not be among these.
pub fn is_decided(report: &CompareReport, asked: &[String]) -> bool {
    asked.iter().all(|metric| {
        let mut rows = report.rows.iter().filter(|row| row.metric == *metric).peekable();
        rows.peek().is_some() && rows.all(|row| row.verdict != Verdict::CannotTell)
    })
}

#[cfg(test)]
mod tests {
    use super::{Options, looks, share_error};

    #[test]
    fn looks_are_few_and_end_with_the_last_pair() {
        assert_eq!(looks(40), [4, 6, 8, 12, 16, 24, 32, 40]);
        assert_eq!(looks(4), [4]);
        assert_eq!(looks(2), [2]);
        let shared = share_error(&Options::default(), 10);
        assert!((shared.rules.confidence - 0.999).abs() < 1e-12);
    }
}
