//! Work inside the window that was there to warm the server up.

use std::collections::BTreeMap;

use xscope_trace::model::{DeviceId, TrackKind};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{Percentile, sum};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::devices::programs::Execution;
use crate::words::counted;

/// How many executions of a program there must be to call its first one an exception.
const ENOUGH: usize = 5;

/// How many times the median of the others the first one takes.
const MUCH_SLOWER: i64 = 3;

/// Programs whose first execution in the window took much longer than all that followed.
pub(super) fn slow_first_runs(executions: &[Execution]) -> Option<Finding> {
    let mut durations: BTreeMap<(DeviceId, StrId), Vec<Picos>> = BTreeMap::new();
    for execution in executions {
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

/// Requests that were sent to warm the server up while its devices were recorded.
pub(super) fn warm_up_requests(trace: &Trace) -> Option<Finding> {
    let mut warm_up = trace.client.iter().filter(|request| request.is_warmup).peekable();
    warm_up.peek()?;
    let extents = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    let extents: Vec<(Picos, Picos)> = extents.filter_map(|track| track.slices.extent()).collect();
    let inside = |end: Picos| extents.iter().any(|&(first, last)| first < end && end < last);
    let count = warm_up.filter(|request| inside(request.end)).count() as u64;
    (count > 0).then(|| {
        let message = format!(
            "{} of the warm-up ran inside the window of the device profile: kernels, \
             layers and busy time have their work in them, the requests' figures do not",
            counted(count, "request")
        );
        Finding::new(Code::WarmUpRequests, message).times(count)
    })
}
