//! `memory_report_*.json` and `memory_summary.json`, as sglang-jax's memory profiler writes them: the
//! tensors at one point of a forward pass, and what all reports together say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name of the summary beside the reports.
pub const SUMMARY: &str = "memory_summary.json";

/// A report as it is in its file. MB are 2^20 bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("additionalProperties" = true)))]
pub struct Report {
    /// What the report is about.
    pub report_type: String,
    /// The stage that it was made at.
    #[serde(default)]
    pub stage: String,
    /// The layer that it is about; `null`: no single one.
    pub layer_id: Option<i64>,
    /// All of it, in MiB (2^20 bytes).
    pub total_memory_mb: f64,
    /// The name of the largest tensor.
    pub largest_tensor: Option<String>,
    /// Its size, in MiB.
    #[serde(default)]
    pub largest_memory_mb: f64,
    /// The device's own peak until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<f64>,
    /// When it was made, on the machine's monotonic clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_nanos: Option<i64>,
    /// Tensors by name.
    #[serde(default)]
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor of a [`Report`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tensor {
    /// Its size, in MiB (2^20 bytes).
    #[serde(default)]
    pub memory_mb: f64,
    /// Its lengths.
    #[serde(default)]
    pub shape: Vec<i64>,
    /// The type of its elements.
    #[serde(default)]
    pub dtype: String,
}

impl Report {
    /// A report whose totals are those of its tensors.
    pub fn of(
        report_type: &str,
        layer_id: Option<i64>,
        stage: &str,
        tensors: BTreeMap<String, Tensor>,
    ) -> Self {
        let largest = tensors.iter().max_by(|a, b| a.1.memory_mb.total_cmp(&b.1.memory_mb));
        Self {
            report_type: report_type.to_owned(),
            stage: stage.to_owned(),
            layer_id,
            total_memory_mb: tensors.values().map(|tensor| tensor.memory_mb).sum(),
            largest_tensor: largest.map(|(name, _)| name.clone()),
            largest_memory_mb: largest.map_or(0.0, |(_, tensor)| tensor.memory_mb),
            tensors,
            ..Self::default()
        }
    }

    /// The name of its file, as sglang-jax names it.
    pub fn file_name(&self) -> String {
        let layer = self.layer_id.map_or_else(String::new, |layer| format!("_layer_{layer}"));
        let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        format!("memory_report_{}{layer}_{}.json", plain(&self.report_type), plain(&self.stage))
    }
}

/// What all reports of a folder say together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// How many reports there are.
    pub total_reports: u64,
    /// The largest report of each stage.
    pub peak_memory_by_stage: BTreeMap<String, f64>,
    /// Reports by their type.
    pub memory_breakdown_by_type: BTreeMap<String, Vec<SummaryRow>>,
    /// Layer, then stage.
    pub layer_analysis: BTreeMap<String, BTreeMap<String, f64>>,
}

/// One report in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryRow {
    /// The stage that it was made at.
    pub stage: String,
    /// Its size, in MiB (2^20 bytes).
    pub memory_mb: f64,
    /// The layer that it is about; `null`: no single one.
    pub layer_id: Option<i64>,
}

impl Summary {
    pub fn of(reports: &[Report]) -> Self {
        let mut summary = Self { total_reports: reports.len() as u64, ..Self::default() };
        for report in reports {
            let (stage, memory_mb) = (report.stage.clone(), report.total_memory_mb);
            let peak = summary.peak_memory_by_stage.entry(stage.clone()).or_insert(memory_mb);
            *peak = peak.max(memory_mb);
            if let Some(layer) = report.layer_id {
                let layer = summary.layer_analysis.entry(layer.to_string()).or_default();
                layer.insert(stage.clone(), memory_mb);
            }
            let rows = summary.memory_breakdown_by_type.entry(report.report_type.clone());
            let layer_id = report.layer_id;
            rows.or_default().push(SummaryRow { stage, memory_mb, layer_id });
        }
        summary
    }
}
