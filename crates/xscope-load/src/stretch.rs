//! A stretch of load on one point: which phase, how requests arrive, when it ends.

use xscope_trace::Phase;

use crate::arrivals::Arrivals;
use crate::plan::Plan;

/// What is asked of a load at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    pub phase: Phase,
    pub trial: u32,
    pub arrivals: Arrivals,
    /// No limit if `None`; the arrivals may have an end of their own.
    pub requests: Option<u64>,
    pub secs: Option<f64>,
}

impl Stretch {
    /// Warm-up as a closed loop: rounds of as many requests at once as when it is measured.
    pub fn warm_up(plan: &Plan, rounds: u32) -> Self {
        let arrivals = plan.workload().arrivals.warm_up();
        let at_once = arrivals.concurrency().unwrap_or(1);
        let at_once = at_once.min(plan.workload().requests.unwrap_or(u32::MAX));
        let requests = Some(u64::from(rounds) * u64::from(at_once));
        Self { phase: Phase::Warmup, trial: 0, arrivals, requests, secs: None }
    }

    /// A measured trial, as the workload says.
    pub fn measured(plan: &Plan, trial: u32) -> Self {
        Self::as_planned(plan, Phase::Measure, trial)
    }

    /// The same while a profiler runs.
    pub fn profiled(plan: &Plan) -> Self {
        Self::as_planned(plan, Phase::Profile, 0)
    }

    /// The same with more or less recording.
    pub fn with_recording(plan: &Plan, round: u32) -> Self {
        Self::as_planned(plan, Phase::Overhead, round)
    }

    /// A point's first request, once more.
    pub fn check() -> Self {
        let (phase, arrivals) = (Phase::Check, Arrivals::Closed(1));
        Self { phase, trial: 0, arrivals, requests: Some(1), secs: None }
    }

    fn as_planned(plan: &Plan, phase: Phase, trial: u32) -> Self {
        let workload = plan.workload();
        Self {
            phase,
            trial,
            arrivals: workload.arrivals.clone(),
            requests: workload.requests.map(u64::from),
            secs: workload.secs,
        }
    }
}
