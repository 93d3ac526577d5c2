//! What chips can do: peak arithmetic and memory rates.
//!
//! Those that a user gives come first ([`of_chip`], or measured of a CPU), then those that a trace
//! states, then this table. Figures are of one device, dense (without sparsity), for products with 32-bit
//! accumulation. What a trace states or was measured is for 16-bit operands; what 32-bit and 8-bit
//! ones make of it is taken from the table.

use xscope_trace::Trace;
use xscope_trace::model::{Device, DeviceKind};

use crate::error::{Error, Result};

/// Peak rates of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Of products of 16-bit floats.
    pub flops_per_sec: f64,
    pub bytes_per_sec: f64,
    /// Where the figures are from: `given`, `measured`, `trace` or `table`.
    pub from: &'static str,
    /// What 32-bit and 8-bit operands make of `flops_per_sec`, as factors.
    widths: (f64, f64),
}

impl Peaks {
    /// Peaks that are the same for operands of all widths.
    pub fn new(flops_per_sec: f64, bytes_per_sec: f64, from: &'static str) -> Self {
        Self { flops_per_sec, bytes_per_sec, from, widths: (1.0, 1.0) }
    }

    /// The peaks for operands of so many bytes; of an unknown width those for 16 bits.
    pub(crate) fn of_width(self, bytes: Option<u64>) -> Self {
        let factor = match bytes {
            Some(1) => self.widths.1,
            Some(4) => self.widths.0,
            _ => 1.0,
        };
        Self { flops_per_sec: self.flops_per_sec * factor, ..self }
    }
}

/// A chip.
struct Chip {
    /// Words of its name.
    words: &'static [&'static str],
    /// TFLOP/s for products of 32-bit (as XLA computes them by default: TF32 where there is one),
    /// 16-bit and 8-bit operands.
    tflops: [f64; 3],
    gb_per_sec: f64,
}

const fn chip(words: &'static [&'static str], tflops: [f64; 3], gb_per_sec: f64) -> Chip {
    Chip { words, tflops, gb_per_sec }
}

/// Names are compared word by word in lower case; the first chip all of whose words occur counts.
const CHIPS: &[Chip] = &[
    // Google, "TPU architecture" and the page of each version. Of v2, v3 and 7x a device is a core,
    // of which a chip has two. 32-bit products run in bf16 by default.
    chip(&["tpu7x"], [1153.5, 1153.5, 2307.0], 3690.0),
    chip(&["tpu", "v7x"], [1153.5, 1153.5, 2307.0], 3690.0),
    chip(&["tpu", "v6"], [918.0, 918.0, 1836.0], 1640.0),
    chip(&["tpu", "v6e"], [918.0, 918.0, 1836.0], 1640.0),
    chip(&["tpu", "v5p"], [459.0, 459.0, 918.0], 2765.0),
    chip(&["tpu", "v5", "lite"], [197.0, 197.0, 394.0], 819.0),
    chip(&["tpu", "v5e"], [197.0, 197.0, 394.0], 819.0),
    chip(&["tpu", "v5"], [459.0, 459.0, 918.0], 2765.0),
    chip(&["tpu", "v4"], [275.0, 275.0, 275.0], 1228.0),
    chip(&["tpu", "v3"], [61.5, 61.5, 61.5], 450.0),
    chip(&["tpu", "v2"], [23.0, 23.0, 23.0], 350.0),
    // "NVIDIA GB200 NVL72", one of two GPUs of a superchip; "NVIDIA HGX" (B200).
    chip(&["gb200"], [1250.0, 2500.0, 5000.0], 8000.0),
    chip(&["b200"], [1125.0, 2250.0, 4500.0], 8000.0),
    // "NVIDIA GH200 Grace Hopper Superchip", with HBM3e and with HBM3.
    chip(&["gh200", "hbm3e"], [494.7, 989.4, 1978.9], 4900.0),
    chip(&["gh200"], [494.7, 989.4, 1978.9], 4000.0),
    // "NVIDIA H200 Tensor Core GPU", NVL and SXM.
    chip(&["h200", "nvl"], [417.5, 835.5, 1670.5], 4800.0),
    chip(&["h200"], [494.7, 989.4, 1978.9], 4800.0),
    // "NVIDIA H100 Tensor Core GPU", NVL, PCIe and SXM.
    chip(&["h100", "nvl"], [417.5, 835.5, 1670.5], 3900.0),
    chip(&["h100", "pcie"], [378.0, 756.0, 1513.0], 2000.0),
    chip(&["h100"], [494.7, 989.4, 1978.9], 3350.0),
    // "NVIDIA A100 Tensor Core GPU", 80 GB as PCIe and SXM, 40 GB.
    chip(&["a100", "80gb", "pcie"], [156.0, 312.0, 624.0], 1935.0),
    chip(&["a100", "80gb"], [156.0, 312.0, 624.0], 2039.0),
    chip(&["a100"], [156.0, 312.0, 624.0], 1555.0),
    // "NVIDIA L40S", "NVIDIA L4 Tensor Core GPU", "NVIDIA A10 Tensor Core GPU", "NVIDIA A10G".
    chip(&["l40s"], [183.0, 362.05, 733.0], 864.0),
    chip(&["l4"], [60.0, 121.0, 242.5], 300.0),
    chip(&["a10"], [62.5, 125.0, 250.0], 600.0),
    chip(&["a10g"], [35.0, 70.0, 140.0], 600.0),
    // "NVIDIA T4", "NVIDIA V100 Tensor Core GPU": no TF32.
    chip(&["t4"], [8.1, 65.0, 130.0], 320.0),
    chip(&["v100s"], [16.4, 130.0, 130.0], 1134.0),
    chip(&["v100", "pcie"], [14.0, 112.0, 112.0], 900.0),
    chip(&["v100"], [15.7, 125.0, 125.0], 900.0),
    // "NVIDIA RTX Blackwell GPU Architecture" and "NVIDIA Ada GPU Architecture", with FP32 accumulate.
    chip(&["rtx", "5090"], [104.8, 209.5, 419.0], 1792.0),
    chip(&["rtx", "4090"], [82.6, 165.2, 330.3], 1008.0),
    // "AMD Instinct MI355X", "MI325X", "MI300X", "MI250X" and "MI250": no TF32 by default; of an
    // MI250 a device is one of two dies.
    chip(&["mi355x"], [157.3, 2516.6, 5033.2], 8000.0),
    chip(&["mi325x"], [163.4, 1307.4, 2614.9], 6000.0),
    chip(&["mi300x"], [163.4, 1307.4, 2614.9], 5300.0),
    chip(&["mi250x"], [47.9, 191.5, 191.5], 1638.4),
    chip(&["mi250"], [45.3, 181.0, 181.0], 1638.4),
];

/// Words of names of chips that are less than the one they name: slower kinds, or a part of one.
const OTHERS: [&str; 4] = ["laptop", "d", "max", "mig"];

/// What a user says of devices.
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenPeaks {
    /// Measured ones of the CPU.
    pub cpu: Option<Peaks>,
    /// Of the chip that all other devices are.
    pub chip: Option<Peaks>,
}

/// The peaks of a device, if they are known.
pub fn peaks(trace: &Trace, device: &Device, given: GivenPeaks) -> Option<Peaks> {
    if device.kind == DeviceKind::Cpu && given.cpu.is_some() {
        return given.cpu;
    }
    if device.kind != DeviceKind::Cpu && given.chip.is_some() {
        return given.chip;
    }
    let known = of_model(trace.strings.get(device.model));
    if let Some((flops, bytes)) = device.peak_flops.zip(device.peak_bytes)
        && flops > 0.0
        && bytes > 0.0
    {
        let widths = known.map_or((1.0, 1.0), |known| known.widths);
        return Some(Peaks { widths, ..Peaks::new(flops, bytes, "trace") });
    }
    known.filter(|_| device.kind != DeviceKind::Cpu)
}

/// The peaks of the chip that a user names by the words of the table: `MI300X`, `H100 PCIe`, `TPU v6e`.
///
/// # Errors
/// With the names that are known, if this is none of them.
pub fn of_chip(name: &str) -> Result<Peaks> {
    let known = of_model(name).map(|peaks| Peaks { from: "given", ..peaks });
    known.ok_or_else(|| {
        let known = CHIPS.iter().map(|chip| chip.words.join(" ")).collect();
        Error::UnknownChip { known }
    })
}

fn of_model(model: &str) -> Option<Peaks> {
    let lower = model.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    if words.iter().any(|word| OTHERS.contains(word)) {
        return None;
    }
    let chip = CHIPS.iter().find(|chip| chip.words.iter().all(|word| words.contains(word)))?;
    let [wide, half, narrow] = chip.tflops;
    let widths = (wide / half, narrow / half);
    Some(Peaks { widths, ..Peaks::new(half * 1e12, chip.gb_per_sec * 1e9, "table") })
}

#[cfg(test)]
mod tests {
    use super::{of_chip, of_model};

    #[test]
    fn chips_are_told_by_the_names_that_recorders_write() {
        for (model, tflops, gb_per_sec) in [
            ("TPU v2", 23.0, 350.0),
            ("TPU v4", 275.0, 1228.0),
            ("TPU v5 lite", 197.0, 819.0),
            ("TPU v5p", 459.0, 2765.0),
            ("TPU v6 Lite", 918.0, 1640.0),
            ("TPU v6e", 918.0, 1640.0),
            ("TPU7x", 1153.5, 3690.0),
            ("NVIDIA A100-SXM4-40GB", 312.0, 1555.0),
            ("NVIDIA A100-PCIE-40GB", 312.0, 1555.0),
            ("NVIDIA A100-SXM4-80GB", 312.0, 2039.0),
            ("NVIDIA A100 80GB PCIe", 312.0, 1935.0),
            ("NVIDIA H100 80GB HBM3", 989.4, 3350.0),
            ("NVIDIA H100 PCIe", 756.0, 2000.0),
            ("NVIDIA H100 NVL", 835.5, 3900.0),
            ("NVIDIA H200", 989.4, 4800.0),
            ("NVIDIA GH200 144G HBM3e", 989.4, 4900.0),
            ("NVIDIA GH200 480GB", 989.4, 4000.0),
            ("NVIDIA B200", 2250.0, 8000.0),
            ("NVIDIA GB200", 2500.0, 8000.0),
            ("NVIDIA L4", 121.0, 300.0),
            ("NVIDIA L40S", 362.05, 864.0),
            ("NVIDIA A10", 125.0, 600.0),
            ("NVIDIA A10G", 70.0, 600.0),
            ("Tesla T4", 65.0, 320.0),
            ("Tesla V100-SXM2-16GB", 125.0, 900.0),
            ("Tesla V100-PCIE-32GB", 112.0, 900.0),
            ("NVIDIA GeForce RTX 4090", 165.2, 1008.0),
            ("NVIDIA GeForce RTX 5090", 209.5, 1792.0),
            ("AMD Instinct MI250X", 191.5, 1638.4),
            ("AMD Instinct MI300X VF", 1307.4, 5300.0),
            ("AMD Instinct MI325X", 1307.4, 6000.0),
            ("AMD Instinct MI355X", 2516.6, 8000.0),
        ] {
            let found = of_model(model);
            let rates = found.map(|found| (found.flops_per_sec / 1e12, found.bytes_per_sec / 1e9));
            let is_same = |(flops, bytes): (f64, f64)| {
                (flops - tflops).abs() < 1e-6 && (bytes - gb_per_sec).abs() < 1e-6
            };
            assert!(rates.is_some_and(is_same), "{model}: {found:?}");
        }
    }

    #[test]
    fn another_chip_is_none_that_is_known() {
        for model in [
            "",
            "Radeon",
            "NVIDIA L40",
            "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
            "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA GeForce RTX 4090 D",
            "AMD Instinct MI300A",
        ] {
            assert_eq!(of_model(model), None, "{model}");
        }
    }

    #[test]
    fn a_user_can_name_a_chip_and_learns_which_there_are() {
        assert_eq!(of_chip("MI300X").unwrap().from, "given");
        let error = of_chip("MI9000").unwrap_err().to_string();
        assert!(error.contains("h100 pcie") && error.contains("tpu v6e"), "{error}");
    }

    #[test]
    fn the_width_of_operands_decides_the_peak() {
        let h100 = of_model("NVIDIA H100 80GB HBM3").unwrap();
        for (width, tflops) in
            [(Some(1), 1978.9), (Some(2), 989.4), (Some(4), 494.7), (None, 989.4)]
        {
            let found = h100.of_width(width).flops_per_sec / 1e12;
            assert!((found - tflops).abs() < 1e-6, "{width:?}: {found}");
        }
    }
}
