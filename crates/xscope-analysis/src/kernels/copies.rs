//! How much each execution of a copy moved.

use xscope_trace::Trace;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{DeviceId, DeviceKind, MetaId, Track};

use crate::kernels::category::Kind;

/// Whether executions of this operation say one by one how much they copy.
pub(crate) fn is_copy(trace: &Trace, device: DeviceId, meta: MetaId, kind: &Kind) -> bool {
    trace.devices[device].kind == DeviceKind::Gpu
        && trace.meta(meta).bytes.is_none()
        && kind.category == "copy"
}

/// What one execution of a copy moved: Kineto's `bytes`, or the `size:` in XPlane's text, in which
/// XProf looks for another key and finds 0.
pub(crate) fn copied_bytes(trace: &Trace, track: &Track, row: usize) -> Option<u64> {
    let args = track.slices.args.get(row, &trace.strings);
    args.into_iter().find_map(|(key, value)| match (key, value) {
        ("bytes", ArgValue::Int(bytes)) => u64::try_from(bytes).ok(),
        ("bytes", ArgValue::Uint(bytes)) => Some(bytes),
        ("memcpy_details", ArgValue::Text(text)) => {
            text.split_whitespace().find_map(|part| part.strip_prefix("size:")?.parse().ok())
        }
        _ => None,
    })
}
