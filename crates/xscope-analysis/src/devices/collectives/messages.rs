//! What an operation among devices sends: as PyTorch's profiler says of each (`Out msg nelems`, `dtype`),
//! and how much of it passes the slowest link, as NCCL's own benchmarks count it.

use std::hash::BuildHasher as _;

use rustc_hash::FxBuildHasher;
use xscope_trace::Trace;
use xscope_trace::model::{ArgValue, Format, Track};
use xscope_trace::stats::as_f64;

/// What one execution exchanges, as its event says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Message {
    /// Of the result on one device.
    pub bytes: u64,
    /// Devices that exchange it; 0 if it does not say.
    pub group_size: u32,
    /// Which devices those are, as a number that is the same for the same ones; `None` if it does not say.
    pub group: Option<u32>,
    /// Bytes that pass a device's link; `None` if it is not known for this kind.
    pub bus_bytes: Option<f64>,
}

/// What an execution exchanges, if its event says it.
pub(super) fn message(trace: &Trace, track: &Track, row: usize) -> Option<Message> {
    // Decoding the arguments of all operations would cost more than all else, and XLA's say no sizes.
    if trace.sources[track.source].format != Format::ChromeJson {
        return None;
    }
    let (mut elements, mut width, mut group_size, mut kind) = (None, None, 0, None);
    let mut group = Vec::new();
    for (key, value) in track.slices.args.get(row, &trace.strings) {
        match (key, &value) {
            ("Out msg nelems", _) => {
                elements = value.as_i64().and_then(|it| u64::try_from(it).ok());
            }
            ("dtype", ArgValue::Text(name)) => width = width_of(name),
            ("Group size", _) => {
                group_size = value.as_i64().and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
            }
            ("Process Group Name" | "Process Group Ranks", ArgValue::Text(text)) => {
                group.push((key.to_owned(), text.clone()));
            }
            ("Collective name", ArgValue::Text(name)) => kind = Some(name.clone()),
            _ => {}
        }
    }
    let bytes = elements?.checked_mul(width?)?;
    let kind = kind.unwrap_or_else(|| trace.label(track.slices.meta[row]).to_owned());
    let bus_bytes = bus_factor(&kind, group_size).map(|factor| factor * as_f64(bytes));
    group.sort_unstable();
    Some(Message {
        bytes,
        group_size,
        group: (!group.is_empty()).then(|| number(&group)),
        bus_bytes,
    })
}

/// A number for what is said of a group.
fn number(said: &[(String, String)]) -> u32 {
    let hash = FxBuildHasher.hash_one(said);
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// A name without what differs between the ways to write it: `all-reduce.3`, `ncclKernel_AllReduce`.
fn letters(name: &str) -> String {
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
    letters.to_ascii_lowercase()
}

/// Whether nobody leaves an operation before all devices have come to it, by what it is called; what sends
/// in one direction only does not wait for who receives.
pub(crate) fn synchronises(name: &str) -> bool {
    let letters = letters(name);
    // NCCL sends all to all by pairs of calls in one kernel.
    [
        "allreduce",
        "reducescatter",
        "allgather",
        "alltoall",
        "ncclkernelsendrecv",
        "nccldevkernelsendrecv",
    ]
    .iter()
    .any(|name| letters.contains(name))
}

/// How many times the bytes of the result on one device pass its link, in a group of so many: the bus
/// bandwidth of NCCL's benchmarks, which the speed of the link bounds whatever the operation.
pub(super) fn bus_factor(name: &str, group_size: u32) -> Option<f64> {
    let letters = letters(name);
    let others = f64::from(group_size.checked_sub(1)?);
    let size = f64::from(group_size);
    let is = |names: &[&str]| names.iter().any(|name| letters.contains(name));
    if is(&["allreduce"]) {
        Some(2.0 * others / size)
    } else if is(&["reducescatter"]) {
        Some(others)
    } else if is(&["allgather", "alltoall"]) {
        Some(others / size)
    } else if is(&["broadcast", "sendrecv", "collectivepermute"])
        || matches!(&*letters, "send" | "recv")
    {
        Some(1.0)
    } else {
        None
    }
}

/// Bytes of an element of a type, as PyTorch calls it.
fn width_of(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "Bool" | "Byte" | "Char" => 1,
        _ if dtype.starts_with("Float8") => 1,
        "Half" | "BFloat16" | "Short" => 2,
        "Float" | "Int" => 4,
        "Double" | "Long" | "ComplexFloat" => 8,
        "ComplexDouble" => 16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::bus_factor;

    #[test]
    fn the_bus_carries_what_nccl_counts() {
        for (name, size, expected) in [
            ("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 4, Some(1.5)),
            ("all-reduce.3", 2, Some(1.0)),
            ("_allgather_base", 8, Some(0.875)),
            ("reduce-scatter.1", 4, Some(3.0)),
            ("all_to_allv", 4, Some(0.75)),
            ("ncclKernel_SendRecv_RING_SIMPLE", 8, Some(1.0)),
            ("send", 2, Some(1.0)),
            ("all-reduce.3", 0, None),
            ("barrier", 8, None),
        ] {
            assert_eq!(bus_factor(name, size), expected, "{name} of {size}");
        }
    }
}
