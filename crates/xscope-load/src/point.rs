//! A point under load: its plan, how far it has come, and its first answers.

use std::sync::Arc;

use xscope_trace::{Nanos, Phase};

use crate::check::{Failure, FirstAnswers, Scores, Tolerance};
use crate::plan::Plan;
use crate::stretch::Stretch;

/// A point under load: what it sends, and what is known of its answers.
#[derive(Debug)]
pub struct Point {
    plan: Arc<Plan>,
    /// Requests sent so far, by phase, so that a stretch goes on where the last one ended.
    places: [u64; Phase::ALL.len()],
    stretches: u64,
    answers: FirstAnswers,
}

impl Point {
    pub fn new(plan: Plan) -> Self {
        let places = [0; Phase::ALL.len()];
        Self { plan: Arc::new(plan), places, stretches: 0, answers: FirstAnswers::default() }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn shared_plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }

    /// Another stretch begins.
    pub(crate) fn begin(&mut self) {
        self.stretches += 1;
    }

    /// The place of the next request of a phase.
    pub(crate) fn next_place(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Check => 0,
            phase => self.places[phase as usize],
        }
    }

    /// So many more requests of a phase were sent.
    pub(crate) fn advance(&mut self, phase: Phase, requests: u64) {
        self.places[phase as usize] += requests;
    }

    /// When the requests of the stretch that began last are due, from its start; `None` in a closed
    /// loop.
    pub(crate) fn schedule(
        &self,
        stretch: &Stretch,
    ) -> Option<impl Iterator<Item = Nanos> + Send + use<>> {
        if stretch.arrivals.concurrency().is_some() {
            return None;
        }
        let end = stretch.secs.map_or(Nanos(i64::MAX), Nanos::from_secs);
        let schedule = self.plan.schedule(&stretch.arrivals, self.stretches);
        Some(schedule.take_while(move |offset| *offset < end))
    }

    /// Compares an answer with the first one of an equal request, if this phase has any.
    pub(crate) fn compare(
        &mut self,
        phase: Phase,
        place: u64,
        scores: &Scores,
        tolerance: Tolerance,
    ) -> Result<(), Failure> {
        let repeats = phase.repeats() && self.plan.repeats();
        if !repeats && phase != Phase::Check {
            return Ok(());
        }
        let distinct = self.plan.workload().distinct.filter(|_| repeats);
        let place = place % u64::from(distinct.unwrap_or(u32::MAX));
        let key = (phase as u64) << 32 | place;
        self.answers.check(key, scores.clone(), tolerance)
    }

    /// Answers that were compared so far.
    pub(crate) fn compared(&self) -> u64 {
        self.answers.compared()
    }
}
