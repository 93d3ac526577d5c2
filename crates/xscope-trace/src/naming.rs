//! What the names of planes, lines and files of JAX and XLA profiles mean, whatever format they are
//! written in.

use crate::model::{DeviceKind, TrackKind};
use crate::strings::{StrId, Strings};

/// What a plane is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaneKind {
    Host,
    Device(DeviceKind),
    Other,
}

/// A plane's kind and device number. Sub-process planes carry a ` [pid]` suffix, those of merged traces
/// begin with the `[TP00-EP01] ` of their rank.
pub(crate) fn classify(name: &str) -> (PlaneKind, i64) {
    let merged = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let name = merged.map_or(name, |(_, name)| name);
    let name = name.split_once(" [").map_or(name, |(plain, _)| plain);
    let number = |text: &str| {
        text.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    if let Some(rest) = name.strip_prefix("/device:TPU:") {
        let kind = match rest.bytes().all(|b| b.is_ascii_digit()) {
            true => DeviceKind::Tpu,
            false => DeviceKind::SparseCore,
        };
        return (PlaneKind::Device(kind), number(rest));
    }
    if let Some(rest) = name.strip_prefix("/device:GPU:") {
        return (PlaneKind::Device(DeviceKind::Gpu), number(rest));
    }
    if let Some(rest) = name.strip_prefix("/device:") {
        let kind = match rest.to_ascii_lowercase().contains("cpu") {
            true => DeviceKind::Cpu,
            false => DeviceKind::Custom,
        };
        return (PlaneKind::Device(kind), number(rest));
    }
    match name.starts_with("/host:") {
        true => (PlaneKind::Host, 0),
        false => (PlaneKind::Other, 0),
    }
}

/// The chip of an AMD GPU, whose plane names none, by what it says of itself; `None` for those that
/// have not been seen to say so.
pub(crate) fn amd_chip(
    capability: (i64, i64),
    units: i64,
    memory_bytes: i64,
    clock_khz: i64,
) -> Option<&'static str> {
    const GIB: i64 = 1 << 30;
    match (capability, units, memory_bytes / GIB) {
        ((9, 4), 304, 180..=192) => Some("AMD Instinct MI300X"),
        ((9, 4), 304, 240..=256) => Some("AMD Instinct MI325X"),
        // They differ in their clocks, 2.2 and 2.4 GHz.
        ((9, 5), 256, 250..=288) => match clock_khz {
            2_300_000.. => Some("AMD Instinct MI355X"),
            2_100_000.. => Some("AMD Instinct MI350X"),
            _ => None,
        },
        _ => None,
    }
}

/// What a line is, by its plane and its name. On GPUs streams are measured and everything else is
/// derived from them; on TPUs the `XLA Ops` line is measured. `names_device` says that the rows
/// name their device themselves, as operations of the CPU backend do.
pub(crate) fn track_kind(plane: PlaneKind, names_device: bool, line: &str) -> TrackKind {
    match plane {
        PlaneKind::Device(DeviceKind::Gpu) if line.starts_with("Stream #") => TrackKind::Ops,
        PlaneKind::Device(DeviceKind::Gpu) => match line {
            "XLA Modules" => TrackKind::Modules,
            "Steps" => TrackKind::Steps,
            _ => TrackKind::Derived,
        },
        PlaneKind::Device(_) => match line {
            "XLA Ops" | "Sparse Core Ops" => TrackKind::Ops,
            "Async XLA Ops" => TrackKind::AsyncOps,
            "XLA Modules" | "Sparse Core Modules" => TrackKind::Modules,
            "Steps" | "Sparse Core Steps" => TrackKind::Steps,
            _ => TrackKind::Derived,
        },
        PlaneKind::Host if names_device => TrackKind::Ops,
        PlaneKind::Host => TrackKind::HostThread,
        PlaneKind::Other => TrackKind::Other,
    }
}

/// `tf_op` is `scope/path:op_type`; the type is empty for JAX.
pub(crate) fn strip_op_type(raw: StrId, strings: &mut Strings) -> StrId {
    let text = strings.get(raw);
    match text.rsplit_once(':') {
        Some((path, kind)) if !kind.contains('/') => {
            let path = path.to_owned();
            strings.intern(&path)
        }
        _ => raw,
    }
}

/// The host that a file name in TensorBoard's layout (`<host><suffix>`) names; empty if it is no such
/// name.
pub(crate) fn host_from_path<'a>(path: &'a str, suffix: &str) -> &'a str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once(suffix).map_or("", |(host, _)| host)
}

/// The number of a program that its name ends with: 42 of `jit_f(42)`.
pub(crate) fn number_in(name: &str) -> Option<i64> {
    let (_, rest) = name.rsplit_once('(')?;
    rest.strip_suffix(')')?.parse::<u64>().ok().map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::amd_chip;

    #[test]
    fn an_amd_gpu_is_told_by_its_figures() {
        const GIB: i64 = 1 << 30;
        for (capability, units, gib, clock_mhz, expected) in [
            ((9, 4), 304, 192, 2100, Some("AMD Instinct MI300X")),
            ((9, 4), 304, 256, 2100, Some("AMD Instinct MI325X")),
            ((9, 5), 256, 288, 2400, Some("AMD Instinct MI355X")),
            ((9, 5), 256, 287, 2200, Some("AMD Instinct MI350X")),
            ((9, 5), 256, 288, 0, None),
            ((9, 0), 104, 64, 1700, None),
        ] {
            assert_eq!(amd_chip(capability, units, gib * GIB, clock_mhz * 1000), expected);
        }
    }
}
