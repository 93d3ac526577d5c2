//! No counter of the hardware says how busy the units of an accelerator were.

use xscope_trace::model::DeviceKind;
use xscope_trace::quality::{Code, Finding};

use crate::framework::Framework;
use crate::kernels::inside::has_samples;
use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let is_counted = |key: &str| key.ends_with("_utilization_percent");
    let stated = trace.sources.iter().flat_map(|source| &source.facts).any(|(key, value)| {
        // The runtime writes 0 where the chip's counters were not read.
        is_counted(key) && value.parse::<f64>().is_ok_and(|percent| percent > 0.0)
    });
    let mut counters = trace.counters.iter().map(|counter| trace.strings.get(counter.name));
    let counted =
        counters.any(is_of_units) || trace.tracks.iter().any(|track| has_samples(trace, track));
    let is_chip = |kind: DeviceKind| matches!(kind, DeviceKind::Tpu | DeviceKind::Gpu);
    let chips = trace.devices.iter().filter(|device| is_chip(device.kind)).count() as u64;
    (chips > 0 && !stated && !counted).then(|| {
        // PyTorch's profiles state no costs either.
        let costs = match facts.framework {
            Some(Framework::PyTorch) => "",
            _ => {
                "FLOP/s and bytes/s are costs stated by the compiler over measured time, and "
            }
        };
        let message = format!(
            "no hardware counters are in the trace: {costs}how busy the matrix units were cannot be \
             told"
        );
        Finding::new(Code::CountersMissing, message).times(chips)
    })
}

/// Whether a counter of this name says how busy something was: most count memory or requests.
fn is_of_units(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["util", "busy", "occupancy"].iter().any(|part| name.contains(part))
}
