//! How near an operation comes to what its device can do.
//!
//! Rates are the cost of one execution (as recorded, else estimated from the HLO's shapes) over the
//! mean *self* time. What bounds an operation is the resource of which it uses the larger share.

use std::borrow::Cow;

use serde::Serialize;
use xscope_trace::Metric;
use xscope_trace::results::KernelFigures;

use crate::kernels::peaks::Peaks;

/// What an operation achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Roofline {
    /// Floating-point operations per second.
    pub flops_per_sec: Metric,
    /// Bytes of memory, read and written, per second.
    pub bytes_per_sec: Metric,
    /// FLOPs for each byte.
    pub intensity: Metric,
    /// `compute` or `memory`, of which it uses the larger share of the peak; `dma` where its own stages say
    /// that it waited for copies for most of its time (`inside`); else `unknown`.
    pub bound_by: &'static str,
    /// The larger of the shares of both peaks.
    pub efficiency: Metric,
}

const NO_COST: &str = "the cost of this operation is not known";
const NO_PEAKS: &str = "the peaks of this device are not known: the trace names no chip of the table: add \
                        --chip NAME, or for a profile of this machine's CPU --measure-cpu";

const ABOVE: &str = "above the peak: the operation overlaps others, or its bytes were in a cache";

/// Why costs are not known.
fn no_cost(flops: &Metric, bytes: &Metric) -> Cow<'static, str> {
    let missing = [flops, bytes].into_iter().find(|cost| cost.value.is_none());
    missing.and_then(|cost| cost.reason.clone()).unwrap_or(Cow::Borrowed(NO_COST))
}

/// A rate that no device reaches is not valid.
fn doubt_above(rate: &mut Metric, peak: f64) {
    if rate.value.is_some_and(|value| value > peak) {
        rate.degrade(ABOVE);
    }
}

/// The roofline of the start or the end of an asynchronous operation.
pub(crate) fn of_async_half() -> Roofline {
    const WHY: &str = "the start or the end of an asynchronous operation: its bytes move between the \
                       two, beside other operations";
    Roofline {
        flops_per_sec: Metric::unavailable("FLOP/s", WHY),
        bytes_per_sec: Metric::unavailable("B/s", WHY),
        intensity: Metric::unavailable("FLOP/B", WHY),
        bound_by: "unknown",
        efficiency: Metric::unavailable("1", WHY),
    }
}

/// The roofline of an operation that takes `seconds` an execution.
pub(crate) fn roofline(
    flops: &Metric,
    bytes: &Metric,
    seconds: f64,
    peaks: Option<Peaks>,
) -> Roofline {
    let rate = |cost: &Metric, unit: &'static str| match cost.value.filter(|_| seconds > 0.0) {
        Some(value) => Metric { value: Some(value / seconds), unit: unit.into(), ..cost.clone() },
        None => Metric::unavailable(unit, cost.reason.clone().unwrap_or(NO_COST.into())),
    };
    let (mut flops_per_sec, mut bytes_per_sec) = (rate(flops, "FLOP/s"), rate(bytes, "B/s"));
    if let Some(peaks) = peaks {
        doubt_above(&mut flops_per_sec, peaks.flops_per_sec);
        doubt_above(&mut bytes_per_sec, peaks.bytes_per_sec);
    }
    let intensity = flops.value.zip(bytes.value).filter(|(_, bytes)| *bytes > 0.0);
    let intensity = intensity.map(|(flops, bytes)| flops / bytes);
    let shares = peaks.map(|peaks| {
        (
            flops_per_sec.value.map_or(0.0, |rate| rate / peaks.flops_per_sec),
            bytes_per_sec.value.map_or(0.0, |rate| rate / peaks.bytes_per_sec),
        )
    });
    let (bound_by, efficiency) = match shares {
        None => ("unknown", Metric::unavailable("1", NO_PEAKS)),
        Some((compute, memory)) if compute <= 0.0 && memory <= 0.0 => {
            ("unknown", Metric::unavailable("1", no_cost(flops, bytes)))
        }
        Some((compute, memory)) if flops.value.is_none() || bytes.value.is_none() => {
            const WHY: &str = "at least: only one of its costs, bytes or FLOPs, is known";
            let mut share = Metric::degraded(compute.max(memory), "1", WHY);
            doubt_above(&mut share, 1.0);
            ("unknown", share)
        }
        Some((compute, memory)) => {
            let bound = if compute > memory { "compute" } else { "memory" };
            let share = compute.max(memory);
            let efficiency = match share > 1.0 {
                true => Metric::degraded(share, "1", ABOVE),
                false => Metric::valid(share, "1"),
            };
            (bound, efficiency)
        }
    };
    Roofline {
        flops_per_sec,
        bytes_per_sec,
        intensity: match intensity {
            Some(value) => Metric::valid(value, "FLOP/B"),
            None => Metric::unavailable("FLOP/B", no_cost(flops, bytes)),
        },
        bound_by,
        efficiency,
    }
}

/// Says of a kernel whose work is known how near it comes to `peaks` at its median time.
pub fn rate_kernel(kernel: &mut KernelFigures, p50_ms: &Metric, peaks: Option<Peaks>) {
    let seconds = p50_ms.value.unwrap_or(0.0) / 1e3;
    let rates = roofline(&kernel.flops, &kernel.bytes_accessed, seconds, peaks);
    kernel.flops_per_sec = rates.flops_per_sec;
    kernel.bytes_per_sec = rates.bytes_per_sec;
    kernel.intensity = rates.intensity;
    kernel.efficiency = rates.efficiency;
    rates.bound_by.clone_into(&mut kernel.bound_by);
    // It runs again and again on the same data, so this is no share of what memory can do.
    if let (Some(share), "memory") =
        (kernel.efficiency.value.filter(|it| *it > 1.0), rates.bound_by)
    {
        let reason = format!(
            "cache-resident: it moves {:.0} % of what memory can, so its {} bytes stayed in a cache \
             from run to run",
            100.0 * share,
            kernel.bytes_accessed.value.unwrap_or(0.0)
        );
        kernel.efficiency = Metric::unavailable("1", reason);
        "cache".clone_into(&mut kernel.bound_by);
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::Metric;
    use xscope_trace::metric::Status;
    use xscope_trace::results::KernelFigures;

    use super::{rate_kernel, roofline};
    use crate::kernels::peaks::Peaks;

    #[test]
    fn the_resource_with_the_larger_share_bounds() {
        let peaks = Peaks::new(100.0, 10.0, "table");
        let metric = |value| Metric::valid(value, "1");
        let result = roofline(&metric(80.0), &metric(4.0), 1.0, Some(peaks));
        assert_eq!((result.bound_by, result.efficiency.value), ("compute", Some(0.8)));
        let result = roofline(&metric(80.0), &metric(9.0), 1.0, Some(peaks));
        assert_eq!((result.bound_by, result.efficiency.value), ("memory", Some(0.9)));
        let unknown = roofline(&metric(80.0), &metric(9.0), 1.0, None);
        assert_eq!((unknown.bound_by, unknown.efficiency.value), ("unknown", None));
        let no_flops = Metric::unavailable("FLOP", "");
        let half = roofline(&no_flops, &metric(4.0), 1.0, Some(peaks));
        let status = half.efficiency.status;
        assert_eq!((half.bound_by, half.efficiency.value), ("unknown", Some(0.4)));
        assert_eq!(status, Status::Degraded, "what else it does is not known");
    }

    #[test]
    fn no_rate_above_the_peak_is_valid() {
        let peaks = Peaks::new(100.0, 10.0, "table");
        let metric = |value| Metric::valid(value, "1");
        for (flops, bytes, expected) in [
            (80.0, 9.0, [Status::Valid, Status::Valid]),
            (101.0, 9.0, [Status::Degraded, Status::Valid]),
            (80.0, 11.0, [Status::Valid, Status::Degraded]),
        ] {
            let found = roofline(&metric(flops), &metric(bytes), 1.0, Some(peaks));
            let rates = [&found.flops_per_sec, &found.bytes_per_sec];
            assert_eq!(rates.map(|rate| rate.status), expected, "{flops} {bytes}");
        }
    }

    #[test]
    fn what_stays_in_a_cache_has_no_share_of_memory() {
        let peaks = Some(Peaks::new(1e9, 1e6, "measured"));
        let rated = |bytes| {
            let mut kernel = KernelFigures {
                flops: Metric::valid(10.0, "FLOP"),
                bytes_accessed: Metric::valid(bytes, "B"),
                ..KernelFigures::default()
            };
            rate_kernel(&mut kernel, &Metric::valid(1.0, "ms"), peaks);
            (kernel.bound_by, kernel.efficiency)
        };
        assert_eq!(rated(500.0), ("memory".to_owned(), Metric::valid(0.5, "1")));
        let (bound_by, efficiency) = rated(1994.0);
        assert_eq!((bound_by.as_str(), efficiency.value), ("cache", None));
        let reason = efficiency.reason.unwrap();
        assert!(reason.contains("199 %") && reason.contains("1994 bytes"), "{reason}");
    }
}
