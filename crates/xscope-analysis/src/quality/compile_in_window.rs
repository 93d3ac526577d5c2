//! Compilations while requests were measured, and those before.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;
use crate::words::counted;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let (count, time) = sum(facts, true);
    (count > 0).then(|| {
        Finding::new(
            Code::CompileInWindow,
            format!(
                "{} ran inside the window and took {:.3} s; what waited for that is slow for that \
                 reason: warm up with the same shapes first",
                counted(count, "compilation"),
                time.as_micros() / 1e6
            ),
        )
        .times(count)
    })
}

/// What was compiled while a server started and was warmed up, which is as it should be.
pub(super) fn warm_up(facts: &Facts<'_>) -> Option<Finding> {
    let (count, time) = sum(facts, false);
    (count > 0).then(|| {
        let message = format!(
            "{} of start-up and warm-up, not of what was measured, took {:.3} s",
            counted(count, "compilation"),
            time.as_micros() / 1e6
        );
        Finding::new(Code::CompileWarmUp, message).times(count)
    })
}

/// How many compilations there were in the window or out of it, and how long all took.
fn sum(facts: &Facts<'_>, in_window: bool) -> (u64, Picos) {
    let rows = facts.compiles.iter().filter(|row| row.in_window == in_window);
    rows.fold((0, Picos::ZERO), |(count, time), row| (count + 1, time.saturating_add(row.duration)))
}
