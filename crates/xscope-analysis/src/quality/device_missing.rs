//! A profile in which no device did anything.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Figures, Finding, Severity};

use crate::devices::collectives::Barriers;
use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let has_profile = facts.trace.sources.iter().any(|s| s.format.has_operations());
    let busy = facts.devices.iter().any(|device| device.busy > Picos::ZERO);
    // What damage took may be the very part.
    let damage = facts.trace.findings.iter().find(|it| {
        it.severity == Severity::Error && it.code.touches().contains(&Figures::Operations)
    });
    (has_profile && !busy).then(|| {
        let message = match damage {
            Some(damage) => format!(
                "no operation of any device is in what could be read of the trace; it is damaged [{}]",
                damage.code
            ),
            None if facts.trace.devices.ids().any(|id| !Barriers::of(facts.trace, id).times().is_empty()) => {
                "no operation of any device ran in this time: chips were in a barrier, and waited for each \
                 other"
                    .to_owned()
            }
            None => "no operation of any device is in the trace; check that work was running while it \
                     was captured and that the device tracer was on"
                .to_owned(),
        };
        Finding::new(Code::DeviceMissing, message)
    })
}
