//! No counter of the hardware says how busy the units of an accelerator were.

use xscope_trace::model::DeviceKind;
use xscope_trace::quality::{Code, Finding};

use crate::kernels::inside::has_samples;
use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let is_counted = |key: &str| key.ends_with("_utilization_percent");
    let stated = trace.sources.iter().flat_map(|source| &source.facts).any(|(key, value)| {
        // The runtime writes 0 where the chip's counters were not read.
        is_counted(key) && value.parse::<f64>().is_ok_and(|percent| percent > 0.0)
    });
    let counted =
        !trace.counters.is_empty() || trace.tracks.iter().any(|track| has_samples(trace, track));
    let is_chip = |kind: DeviceKind| matches!(kind, DeviceKind::Tpu | DeviceKind::Gpu);
    let chips = trace.devices.iter().filter(|device| is_chip(device.kind)).count() as u64;
    (chips > 0 && !stated && !counted).then(|| {
        Finding::new(
            Code::CountersMissing,
            "no hardware counters are in the trace: FLOP/s and bytes/s are costs stated by the \
             compiler over measured time, and how busy the matrix units were cannot be told",
        )
        .times(chips)
    })
}
