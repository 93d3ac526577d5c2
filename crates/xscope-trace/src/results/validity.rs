//! Whether a figure means what its name says, and if not, why.

use serde::{Deserialize, Serialize};

/// Whether a point's figures can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// A file of another tool, which does not judge.
    #[default]
    Unknown,
    /// The figures that were asked for can be used.
    Valid,
    /// They cannot.
    Invalid,
}

/// The verdict on one point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Validity {
    /// Invalid if a cause spoils a figure that was asked for.
    pub status: Judgement,
    /// All that is wrong, gravest first; also what only spoils figures that were not asked for.
    pub causes: Vec<Cause>,
}

impl Validity {
    /// The verdict on a point of which the figures `asked` (field names) were wanted.
    pub fn on(mut causes: Vec<Cause>, asked: &[&str]) -> Self {
        causes.sort_by_key(|cause| cause.cause);
        let spoils = |cause: &Cause| {
            cause.spoils.is_empty() || cause.spoils.iter().any(|name| asked.contains(&&**name))
        };
        let status = match causes.iter().any(spoils) {
            true => Judgement::Invalid,
            false => Judgement::Valid,
        };
        Self { status, causes }
    }

    /// Whether the figure of this name may be used.
    pub fn spoils(&self, figure: &str) -> bool {
        self.causes
            .iter()
            .any(|cause| cause.spoils.is_empty() || cause.spoils.iter().any(|name| name == figure))
    }
}

/// One thing that is wrong with a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cause {
    /// What it is.
    pub cause: CauseKind,
    /// One sentence for a person, with the log line where there is one.
    pub detail: String,
    /// The fields whose figures mean something else because of it; empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoils: Vec<String>,
}

/// What can be wrong with a point, gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CauseKind {
    /// The server went away while it was measured.
    ServerDied,
    /// Stopped by the user before its end.
    Interrupted,
    /// Answers came that were not right.
    WrongAnswers,
    /// Requests were refused, timed out or broke off, and the server was still there.
    FailedRequests,
    /// The client did not send what the schedule asked for, or had no processor left.
    ClientLimited,
    /// A program was compiled in the measured window.
    CompileInWindow,
    /// Times still changed, or programs were still compiled, when warm-up was given up.
    NotWarm,
    /// The server served all that was offered: its rate is that of the offer.
    OfferedLimited,
    /// Requests waited longer and longer: figures depend on how long was measured.
    Overloaded,
    /// A percentile was asked for that so few samples cannot give.
    TooFewSamples,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(cause: CauseKind, spoils: &[&str]) -> Cause {
        let spoils = spoils.iter().map(|&name| name.to_owned()).collect();
        Cause { cause, detail: "because".to_owned(), spoils }
    }

    #[test]
    fn a_point_is_invalid_if_a_figure_that_was_asked_for_is_spoiled() {
        let offered = || cause(CauseKind::OfferedLimited, &["throughput_items_per_sec"]);
        let check = |causes, asked: &[&str], status| {
            assert_eq!(Validity::on(causes, asked).status, status, "{asked:?}");
        };
        check(vec![], &["p50_ms"], Judgement::Valid);
        check(vec![offered()], &["p50_ms"], Judgement::Valid);
        check(vec![offered()], &["throughput_items_per_sec"], Judgement::Invalid);
        check(vec![cause(CauseKind::ServerDied, &[])], &["p50_ms"], Judgement::Invalid);
    }

    #[test]
    fn the_gravest_cause_comes_first_and_figures_know_it() {
        let few = cause(CauseKind::TooFewSamples, &["p99_ms"]);
        let verdict =
            Validity::on(vec![few, cause(CauseKind::OfferedLimited, &["x"])], &["p50_ms"]);
        assert_eq!(verdict.causes[0].cause, CauseKind::OfferedLimited);
        assert!(verdict.spoils("p99_ms") && !verdict.spoils("p50_ms"));
    }
}
