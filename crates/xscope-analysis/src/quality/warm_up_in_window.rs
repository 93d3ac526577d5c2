//! Programs whose first execution in the window took much longer than all that followed.

use std::collections::BTreeMap;

use xscope_trace::Picos;
use xscope_trace::model::DeviceId;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{Percentile, sum};
use xscope_trace::strings::StrId;

use crate::quality::facts::Facts;
use crate::words::counted;

/// How many executions of a program there must be to call its first one an exception.
const ENOUGH: usize = 5;

/// How many times the median of the others the first one takes.
const MUCH_SLOWER: i64 = 3;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let mut durations: BTreeMap<(DeviceId, StrId), Vec<Picos>> = BTreeMap::new();
    for execution in facts.executions {
        let key = (execution.device, execution.program);
        durations.entry(key).or_default().push(execution.end - execution.start);
    }
    let lost: Vec<Picos> = durations.into_values().filter_map(|times| excess(&times)).collect();
    (!lost.is_empty()).then(|| {
        let message = format!(
            "the first execution of {} took over {MUCH_SLOWER} times as long as the slowest \
             later one, {:.3} ms more than the others in all: the window began before they were warm; \
             capture later, or look at it with --from",
            counted(lost.len() as u64, "program"),
            sum(&lost).as_micros() / 1e3
        );
        Finding::new(Code::WarmUpInWindow, message).times(lost.len() as u64)
    })
}

/// What the first of `times` took beyond the median of the others, if it is an exception.
fn excess(times: &[Picos]) -> Option<Picos> {
    let (&first, rest) = times.split_first()?;
    let slowest = *rest.iter().max()?;
    let is_exception = rest.len() + 1 >= ENOUGH && first.0 / MUCH_SLOWER > slowest.0;
    is_exception.then(|| {
        let mut rest = rest.to_vec();
        rest.sort_unstable();
        first - Percentile::P50.of(&rest).unwrap_or_default()
    })
}
