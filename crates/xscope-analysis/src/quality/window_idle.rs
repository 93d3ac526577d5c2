//! A window in which devices did next to nothing.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::share;

use crate::quality::facts::Facts;

/// Idle share above which a profile says little about the work.
const MOSTLY_IDLE: f64 = 0.9;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    // What the recorder was on for says nothing of a part of it.
    let sources = facts.trace.sources.iter().filter(|_| facts.window.is_none());
    let session = sources.filter_map(|source| source.clock.session).max();
    let own = facts.devices.iter().map(|device| device.window).max()?;
    let window = own.max(session.unwrap_or_default());
    let what = if window > own { "capture" } else { "window" };
    let busiest = facts.devices.iter().map(|device| device.busy).max()?;
    let idle = 1.0 - share(busiest, window);
    (busiest > Picos::ZERO && idle > MOSTLY_IDLE).then(|| {
        Finding::new(
            Code::WindowIdle,
            format!(
                "the busiest device was idle for {:.2} % of the {what} ({:.3} s); averages over \
                 it say little: capture under load, or look at single executions",
                100.0 * idle,
                window.as_micros() / 1e6
            ),
        )
    })
}
