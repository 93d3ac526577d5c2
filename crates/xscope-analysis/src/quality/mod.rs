//! What makes the figures of a profile wrong: what the readers found, and what only shows when
//! the whole is looked at, a file for each. Each finding says what to do about it.

mod clock_inverted;
mod compile_in_window;
mod counters_missing;
mod device_launched_before;
mod device_launches_lost;
mod device_missing;
mod device_operations_lost;
mod device_overlap;
pub(crate) mod facts;
mod gpu_command_buffers;
mod hlo_missing;
mod hosts_duplicate;
mod json_capped;
mod kernels_outlier;
mod python_tracer_on;
mod ranks_duplicate;
mod ranks_missing;
mod scopes_missing;
mod warm_up_in_window;
mod warm_up_requests;
mod window_idle;

use xscope_trace::Trace;
use xscope_trace::quality::Finding;

use crate::devices::{busy, devices};
use crate::framework::Framework;
use crate::layers::LayersReport;
use crate::quality::facts::Facts;

/// All that are told from the whole.
const FINDINGS: &[fn(&Facts<'_>) -> Option<Finding>] = &[
    clock_inverted::finding,
    compile_in_window::finding,
    compile_in_window::warm_up,
    counters_missing::finding,
    device_launched_before::finding,
    device_launches_lost::finding,
    device_missing::finding,
    device_operations_lost::finding,
    device_overlap::finding,
    gpu_command_buffers::finding,
    hlo_missing::finding,
    hosts_duplicate::finding,
    json_capped::finding,
    kernels_outlier::finding,
    python_tracer_on::finding,
    ranks_duplicate::finding,
    ranks_missing::finding,
    scopes_missing::finding,
    warm_up_in_window::finding,
    warm_up_requests::finding,
    window_idle::finding,
];

/// What is wrong with a profile that says nothing of its devices: they did nothing, or next to
/// nothing.
pub fn no_work(trace: &Trace) -> Option<Finding> {
    let devices = devices(trace, &busy(trace));
    let facts = Facts {
        trace,
        framework: Framework::of(trace),
        window: None,
        devices: &devices,
        kernels: &[],
        executions: &[],
        compiles: &[],
        layers: &LayersReport::default(),
    };
    device_missing::finding(&facts).or_else(|| window_idle::finding(&facts))
}

/// All findings, worst first; equal ones are counted together.
pub(crate) fn quality(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = facts.trace.findings.clone();
    findings.extend(FINDINGS.iter().filter_map(|finding| finding(facts)));
    findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then_with(|| (a.code, &a.message).cmp(&(b.code, &b.message)))
    });
    findings.dedup_by(|next, kept| {
        let same = next.code == kept.code && next.message == kept.message;
        if same {
            kept.count += next.count;
        }
        same
    });
    findings
}
