//! What filled the memory, as far as the trace counts it.

use serde::Serialize;
use xscope_trace::model::Counter;
use xscope_trace::{Metric, Trace};

/// Prefix of counters that count live bytes by owner: `memory.weights_bytes`.
const PREFIX: &str = "memory.";

/// Live memory of one owner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OwnerRow {
    /// `weights`, `kv`, `activations`, ...
    pub owner: String,
    /// Largest and last sample.
    pub peak_mb: f64,
    pub last_mb: f64,
    pub samples: u64,
}

/// The memory section of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    /// The largest sum over all owners at one moment.
    pub peak: Metric,
    /// Owners by peak, largest first.
    pub owners: Vec<OwnerRow>,
}

impl MemoryReport {
    /// Peak of one owner in MB, if it was counted.
    pub fn owner_peak(&self, owner: &str) -> Option<f64> {
        self.owners.iter().find(|row| row.owner == owner).map(|row| row.peak_mb)
    }
}

const BYTES_PER_MB: f64 = 1e6;

/// Memory by owner from the trace's counters. MB are 10^6 bytes.
pub fn memory(trace: &Trace) -> MemoryReport {
    let counters: Vec<(&str, &Counter)> = trace
        .counters
        .iter()
        .filter_map(|counter| {
            let name = trace.strings.get(counter.name).strip_prefix(PREFIX)?;
            Some((name.strip_suffix("_bytes").unwrap_or(name), counter))
        })
        .collect();
    let mut owners: Vec<OwnerRow> = counters
        .iter()
        .map(|(owner, counter)| OwnerRow {
            owner: (*owner).to_owned(),
            peak_mb: counter.value.iter().copied().fold(0.0, f64::max) / BYTES_PER_MB,
            last_mb: counter.value.last().copied().unwrap_or(0.0) / BYTES_PER_MB,
            samples: counter.value.len() as u64,
        })
        .collect();
    owners.sort_by(|a, b| b.peak_mb.total_cmp(&a.peak_mb).then_with(|| a.owner.cmp(&b.owner)));
    let peak = Metric::known(
        peak_of_sum(&counters).map(|bytes| bytes / BYTES_PER_MB),
        "MB",
        "the trace has no memory counters by owner",
    );
    MemoryReport { peak, owners }
}

/// The largest sum of all counters at one time; each holds its value until its next sample.
fn peak_of_sum(counters: &[(&str, &Counter)]) -> Option<f64> {
    let mut samples: Vec<_> = counters
        .iter()
        .enumerate()
        .flat_map(|(index, (_, counter))| {
            counter.at.iter().zip(&counter.value).map(move |(&at, &value)| (at, index, value))
        })
        .collect();
    samples.sort_by_key(|sample| (sample.0, sample.1));
    let mut live = vec![0.0; counters.len()];
    let mut peak: Option<f64> = None;
    let mut samples = samples.into_iter().peekable();
    while let Some((at, index, value)) = samples.next() {
        live[index] = value;
        // Samples of one moment belong together.
        if samples.peek().is_none_or(|next| next.0 > at) {
            let sum: f64 = live.iter().sum();
            peak = Some(peak.map_or(sum, |peak| peak.max(sum)));
        }
    }
    peak
}
