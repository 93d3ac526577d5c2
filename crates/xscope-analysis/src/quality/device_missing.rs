//! A profile in which no device did anything.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let has_profile = facts.trace.sources.iter().any(|s| s.format.has_operations());
    let busy = facts.devices.iter().any(|device| device.busy > Picos::ZERO);
    (has_profile && !busy).then(|| {
        Finding::new(
            Code::DeviceMissing,
            "no operation of any device is in the trace; check that work was running while it \
             was captured and that the device tracer was on",
        )
    })
}
