//! Who waited in one execution of a collective, and for whom.

use serde::Serialize;
use xscope_trace::model::{DeviceId, SourceId};
use xscope_trace::{Picos, Trace};

use crate::devices::collectives::runs::CollectiveRun;

/// What tells how long devices waited for each other, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitFrom {
    /// The runtime recorded it.
    Rendezvous,
    /// The device noted how long it was in the barrier before the exchange, which all devices of the
    /// program enter.
    Barrier,
    /// Until the last device of the group began, by a clock that they share, or whose error is known.
    Arrivals,
    /// What an execution took longer than that of the device that was done soonest, whose share is all
    /// exchange: no clock is needed, but all are taken to end together.
    Durations,
    /// Nothing tells it.
    Unknown,
}

/// The executions of one collective, of one number and one group, on its devices.
pub(super) struct Waits {
    pub from: WaitFrom,
    /// How long each device waited, in the order of the runs.
    pub waited: Vec<Picos>,
    /// Of that, what is no part of the operation itself.
    pub before: Vec<Picos>,
    /// Who came last, and kept the others waiting; nobody if two of them are within the clocks' error.
    pub late: Vec<DeviceId>,
    /// Whether somebody waited, and the clocks do not say for whom.
    pub is_undecided: bool,
}

impl Waits {
    /// Of the runs of a group, all of whose devices are there.
    pub(super) fn of(trace: &Trace, runs: &[CollectiveRun]) -> Self {
        let source = |run: &CollectiveRun| trace.devices[run.device].source;
        let is_one_source = runs.windows(2).all(|two| source(&two[0]) == source(&two[1]));
        let recorded = runs.iter().map(|run| run.waited).collect::<Option<Vec<Picos>>>();
        if let Some(waited) = recorded.filter(|_| is_one_source) {
            // Each replica group has a last device, which finds all others there.
            let late = runs.iter().filter(|run| run.waited == Some(Picos::ZERO));
            let late = late.map(|run| run.device).collect();
            return Self::decided(WaitFrom::Rendezvous, waited, late);
        }
        let error = |run: &CollectiveRun| clock_error(trace, source(run));
        match runs.iter().map(error).collect::<Option<Vec<Picos>>>() {
            Some(errors) if !is_one_source => {
                let by_ends = |run: &CollectiveRun| {
                    trace.sources[source(run)].clock.measured.is_some_and(|it| it.by_ends)
                };
                // Where exchanges end at one time, this one says how far off the clocks are now.
                let ends = runs.iter().map(CollectiveRun::end);
                let spread = ends.clone().max().zip(ends.min()).map(|(last, first)| last - first);
                let most = spread.filter(|_| runs.iter().all(by_ends)).unwrap_or(Picos(i64::MAX));
                arrivals(runs, &errors, most)
            }
            _ if is_one_source => arrivals(runs, &vec![Picos::ZERO; runs.len()], Picos::ZERO),
            _ => {
                let taken: Vec<Picos> = runs.iter().map(|run| run.dur).collect();
                shortest(WaitFrom::Durations, runs, &taken)
            }
        }
    }

    /// Of all runs of an execution, if each device noted the barrier before it: how long it was in there.
    pub(super) fn in_barrier(runs: &[CollectiveRun]) -> Option<Self> {
        let waited = runs.iter().map(|run| run.barrier).collect::<Option<Vec<Picos>>>()?;
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|&at| waited[at]);
        // A device that is not in the trace may have come after all of these, at most by what the last of
        // them waited: who leads by more kept the others waiting whatever those did.
        let late = match order.as_slice() {
            &[last, next, ..] if waited[next] - waited[last] > waited[last] => {
                vec![runs[last].device]
            }
            _ => Vec::new(),
        };
        let is_undecided = late.is_empty() && waited.iter().any(|&it| it > Picos::ZERO);
        let before = waited.clone();
        Some(Self { from: WaitFrom::Barrier, waited, before, late, is_undecided })
    }

    fn decided(from: WaitFrom, waited: Vec<Picos>, late: Vec<DeviceId>) -> Self {
        let before = vec![Picos::ZERO; waited.len()];
        Self { from, waited, before, late, is_undecided: false }
    }
}

/// How far off the clock of a source may be from that of the others, if that was measured.
fn clock_error(trace: &Trace, source: SourceId) -> Option<Picos> {
    trace.sources[source].clock.error
}

/// By times that are the longer the longer a device waited: who has the shortest came last.
fn shortest(from: WaitFrom, runs: &[CollectiveRun], times: &[Picos]) -> Waits {
    let least = times.iter().copied().min().unwrap_or_default();
    let waited: Vec<Picos> = times.iter().map(|&time| time - least).collect();
    let somebody_waited = waited.iter().any(|&waited| waited > Picos::ZERO);
    let late = runs.iter().zip(times).filter(|&(_, &time)| somebody_waited && time == least);
    let late = late.map(|(run, _)| run.device).collect();
    Waits::decided(from, waited, late)
}

/// Until the last of the group began; its lead must be above the error of the clocks, which is `most` at
/// most.
fn arrivals(runs: &[CollectiveRun], errors: &[Picos], most: Picos) -> Waits {
    let arrival = runs.iter().map(|run| run.start).max().unwrap_or_default();
    let waited: Vec<Picos> =
        runs.iter().map(|run| arrival.clamp(run.start, run.end()) - run.start).collect();
    // Who came at the same time as all others is not late.
    let somebody_waited = waited.iter().any(|&waited| waited > Picos::ZERO);
    let is_last = |run: &CollectiveRun| somebody_waited && run.start == arrival;
    let late: Vec<DeviceId> =
        runs.iter().filter(|run| is_last(run)).map(|run| run.device).collect();
    let error_of = |wanted: &dyn Fn(&CollectiveRun) -> bool| {
        let errors = runs.iter().zip(errors).filter(|(run, _)| wanted(run));
        errors.map(|(_, &error)| error).max().unwrap_or_default()
    };
    let last_error = error_of(&is_last);
    let is_close = runs.iter().zip(errors).any(|(run, &error)| {
        let error = error.saturating_add(last_error).min(most);
        !is_last(run) && error > Picos::ZERO && arrival - run.start <= error
    });
    let mut waits = Waits::decided(WaitFrom::Arrivals, waited, late);
    if somebody_waited && is_close {
        waits.late.clear();
        waits.is_undecided = true;
    }
    waits
}
