//! A kernel of which one execution took more than all others together.

use xscope_trace::quality::{Code, Finding};

use crate::devices::timeline::{Class, class};
use crate::kernels::row::KernelRow;
use crate::quality::facts::Facts;
use crate::words::{duration, percent};

/// How many executions there must be to call one an exception.
const ENOUGH: u64 = 5;

/// Share of the operations' time from which on it matters.
const MUCH: f64 = 0.1;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let whole: f64 = facts.kernels.iter().map(|kernel| kernel.self_us).sum();
    let worst = facts.kernels.iter().filter(|kernel| is_one(kernel));
    let worst = worst.max_by(|a, b| a.max_us.total_cmp(&b.max_us))?;
    let part = worst.max_us / whole;
    (part >= MUCH).then(|| {
        let message = format!(
            "one of {} executions of {} took {}, more than all others together and {} of the operations' \
             time: means and shares are those of that one; see what it waited for in the timeline, or \
             leave it out with --from or --to",
            worst.count,
            worst.name,
            duration(worst.max_us),
            percent(part)
        );
        Finding::new(Code::KernelsOutlier, message)
    })
}

/// Whether one execution outweighs the others. That of a collective may have waited for a late device, of
/// which `collectives` tells.
fn is_one(kernel: &KernelRow) -> bool {
    kernel.count >= ENOUGH
        && 2.0 * kernel.max_us > kernel.total_us
        && 2.0 * kernel.self_us > kernel.total_us
        && class(&kernel.category) != Class::Communication
}
