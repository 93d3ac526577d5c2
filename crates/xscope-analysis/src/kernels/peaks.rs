//! What chips can do: peak arithmetic and memory rates.
//!
//! The peaks that a trace states come first, then those that were measured and handed in, then
//! this table. Figures are of one chip, dense, in bf16, from the makers' data sheets as of 2026.

use xscope_trace::Trace;
use xscope_trace::model::{Device, DeviceKind};

/// Peak rates of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    pub flops_per_sec: f64,
    pub bytes_per_sec: f64,
    /// Where the figures are from: `trace`, `measured` or `table`.
    pub from: &'static str,
}

/// A chip: parts of its name, TFLOP/s in bf16, GB/s.
type Chip = (&'static [&'static str], f64, f64);

/// Names are compared in lower case; the first chip all of whose parts occur counts.
const CHIPS: [Chip; 24] = [
    // cloud.google.com/tpu/docs/system-architecture and the pages of each version; a JAX device of
    // v2, v3 is a core, of which a chip has two.
    (&["tpu", "v7"], 2307.0, 7380.0),
    (&["tpu", "v6"], 918.0, 1640.0),
    (&["tpu", "v5p"], 459.0, 2765.0),
    (&["tpu", "v5 lite"], 197.0, 819.0),
    (&["tpu", "v5e"], 197.0, 819.0),
    (&["tpu", "v5"], 459.0, 2765.0),
    (&["tpu", "v4"], 275.0, 1228.0),
    (&["tpu", "v3"], 61.5, 450.0),
    (&["tpu", "v2"], 23.0, 350.0),
    // nvidia.com data sheets, without sparsity, SXM unless said.
    (&["gb200"], 2500.0, 8000.0),
    (&["b200"], 2250.0, 8000.0),
    (&["gh200"], 989.4, 4000.0),
    (&["h200"], 989.4, 4800.0),
    (&["h100", "pcie"], 756.0, 2000.0),
    (&["h100"], 989.4, 3350.0),
    (&["a100", "80gb"], 312.0, 2039.0),
    (&["a100"], 312.0, 1555.0),
    (&["l40s"], 362.0, 864.0),
    (&["l4"], 121.0, 300.0),
    (&["a10"], 125.0, 600.0),
    (&["v100"], 125.0, 900.0),
    // amd.com data sheets.
    (&["mi355"], 2500.0, 8000.0),
    (&["mi325"], 1307.4, 6000.0),
    (&["mi300x"], 1307.4, 5300.0),
];

/// The peaks of a device, if they are known.
pub fn peaks(trace: &Trace, device: &Device, measured: Option<Peaks>) -> Option<Peaks> {
    if let Some((flops, bytes)) = device.peak_flops.zip(device.peak_bytes)
        && flops > 0.0
        && bytes > 0.0
    {
        return Some(Peaks { flops_per_sec: flops, bytes_per_sec: bytes, from: "trace" });
    }
    match device.kind {
        DeviceKind::Cpu => measured.map(|peaks| Peaks { from: "measured", ..peaks }),
        _ => of_model(trace.strings.get(device.model)),
    }
}

fn of_model(model: &str) -> Option<Peaks> {
    let lower = model.to_ascii_lowercase();
    let chip = CHIPS.iter().find(|(parts, ..)| parts.iter().all(|part| lower.contains(part)))?;
    Some(Peaks { flops_per_sec: chip.1 * 1e12, bytes_per_sec: chip.2 * 1e9, from: "table" })
}

#[cfg(test)]
mod tests {
    use super::of_model;

    #[test]
    fn chips_are_told_by_their_names() {
        for (model, tflops) in [
            ("TPU v6 Lite", 918.0),
            ("TPU v5 lite", 197.0),
            ("TPU v5p", 459.0),
            ("NVIDIA H100 80GB HBM3", 989.4),
            ("NVIDIA A100-SXM4-80GB", 312.0),
            ("AMD Instinct MI300X", 1307.4),
            ("NVIDIA L4", 121.0),
        ] {
            let found = of_model(model).map(|peaks| peaks.flops_per_sec / 1e12);
            assert!(found.is_some_and(|found| (found - tflops).abs() < 0.1), "{model}: {found:?}");
        }
        assert_eq!(of_model("Radeon"), None);
    }
}
