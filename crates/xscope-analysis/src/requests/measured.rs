//! What is measured: how many requests of which phase there are, and when those were under way that
//! figures are made of.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::{Phase, Picos, Trace};

use crate::intervals::Intervals;
use crate::requests::view::RequestView;

/// How many requests there were, and of what kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestCounts {
    /// Requests in the figures.
    #[serde(rename = "measured_requests")]
    pub measured: u64,
    /// Requests that warmed the server up; in no figure.
    #[serde(rename = "warmup_requests")]
    pub warmup: u64,
    /// Measured requests without a right answer.
    #[serde(rename = "failed_requests")]
    pub failed: u64,
    /// All of them by what they were sent for.
    pub phases: Vec<PhaseCount>,
}

/// The requests of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PhaseCount {
    /// What they were sent for.
    pub phase: Phase,
    /// Whether figures are made of them.
    pub in_figures: bool,
    /// Requests with a right answer.
    pub answered_requests: u64,
    /// Requests without one.
    pub unanswered_requests: u64,
}

impl RequestCounts {
    pub(crate) fn of(views: &[RequestView]) -> Self {
        let mut phases: BTreeMap<(bool, Phase), PhaseCount> = BTreeMap::new();
        for view in views {
            let phase = view.phase;
            let in_figures = phase.is_measured();
            let row = phases.entry((!in_figures, phase)).or_insert(PhaseCount {
                phase,
                in_figures,
                answered_requests: 0,
                unanswered_requests: 0,
            });
            row.answered_requests += u64::from(view.ok);
            row.unanswered_requests += u64::from(!view.ok);
        }
        let phases: Vec<PhaseCount> = phases.into_values().collect();
        let figures = || phases.iter().filter(|row| row.in_figures);
        let warmup = phases.iter().filter(|row| row.phase == Phase::Warmup);
        Self {
            measured: figures().map(|row| row.answered_requests).sum(),
            failed: figures().map(|row| row.unanswered_requests).sum(),
            warmup: warmup.map(|row| row.answered_requests + row.unanswered_requests).sum(),
            phases,
        }
    }
}

/// When requests were measured: of each point from the first that was due to the end of the last.
/// `None` if no client is known, so that all of a profile is measured.
pub(crate) fn measured_windows(trace: &Trace) -> Option<Intervals> {
    if trace.client.is_empty() {
        return None;
    }
    let mut points: BTreeMap<&str, (Picos, Picos)> = BTreeMap::new();
    for request in trace.client.iter().filter(|request| request.phase.is_measured()) {
        let window = points.entry(&request.point).or_insert((request.intended, request.end));
        *window = (window.0.min(request.intended), window.1.max(request.end));
    }
    Some(Intervals::of(points.into_values().collect()))
}

#[cfg(test)]
mod tests {
    use xscope_trace::Phase;

    use super::RequestCounts;
    use crate::requests::view::RequestView;

    #[test]
    fn every_count_says_of_which_phase_it_is() {
        let view = |phase, ok| RequestView { phase, ok, ..RequestView::default() };
        let counts = RequestCounts::of(&[
            view(Phase::Warmup, false),
            view(Phase::Measure, true),
            view(Phase::Measure, false),
            view(Phase::Overhead, true),
            view(Phase::Other, true),
        ]);
        assert_eq!((counts.measured, counts.warmup, counts.failed), (1, 1, 1));
        let phases: Vec<_> = counts
            .phases
            .iter()
            .map(|row| (row.phase.name(), row.answered_requests, row.unanswered_requests))
            .collect();
        let expected = [("measure", 1, 1), ("warmup", 0, 1), ("overhead", 1, 0), ("other", 1, 0)];
        assert_eq!(phases, expected);
    }
}
