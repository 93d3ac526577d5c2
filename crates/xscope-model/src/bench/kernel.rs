//! A kernel's point: its figures, and whether its answer was right.

use xscope_trace::Metric;
use xscope_trace::results::{Cause, CauseKind, KernelFigures, PointResult, PointShape, Validity};
use xscope_trace::stats::as_f64;

use super::Measured;
use crate::kernels::KernelShape;

/// Who ran a kernel, and how far its answer was off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RanBy<'a> {
    /// `engine`, or another program.
    pub by: &'a str,
    pub device: &'a str,
    /// Relative to the largest value.
    pub error: f64,
    /// What of that may be rounding.
    pub tolerance: f64,
}

/// The point of a kernel, whose rates nobody has compared with a peak yet.
pub fn kernel_point(shape: KernelShape, measured: Measured, ran: &RanBy<'_>) -> PointResult {
    let name = match ran.by {
        "engine" => shape.to_string(),
        by => format!("{shape}@{by}"),
    };
    let mut point = measured.point(name, PointShape::default(), 1);
    point.throughput_items_per_sec = Metric::unavailable("items/s", "a kernel has no items");
    for trial in &mut point.trials {
        trial.throughput_items_per_sec = Metric::unavailable("items/s", "a kernel has no items");
    }
    point.kernel = Some(Box::new(KernelFigures {
        by: ran.by.to_owned(),
        device: ran.device.to_owned(),
        flops: Metric::valid(as_f64(shape.flops()), "FLOP"),
        bytes_accessed: Metric::valid(as_f64(shape.bytes().0), "B"),
        answer_error: ran.error,
        ..KernelFigures::default()
    }));
    if ran.error.is_nan() || ran.error > ran.tolerance {
        let detail = format!(
            "the answer is off by {:.1e} of its largest value, {:.0e} is allowed",
            ran.error, ran.tolerance
        );
        let cause = Cause { cause: CauseKind::WrongAnswers, detail, spoils: Vec::new() };
        point.validity.causes.push(cause);
        point.validity = Validity::on(point.validity.causes, &["p50_ms"]);
    }
    point
}
