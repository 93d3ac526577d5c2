//! `memory_report_*.json` and `memory_summary.json`, as sglang-jax's memory profiler writes them: the
//! tensors at one point of a forward pass, and what all reports together say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Clock, Format, MemoryReport, ReportedTensor, Source, Trace};
use crate::quality::{Code, Finding};
use crate::strings::StrId;
use crate::time::{Bytes, Nanos};

/// Larger files are no reports: one of them is a few hundred bytes for each tensor.
const MOST_BYTES: usize = 64 << 20;

/// The name of the summary beside the reports.
pub const SUMMARY: &str = "memory_summary.json";

/// A report as it is in its file. MB are 2^20 bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    pub report_type: String,
    #[serde(default)]
    pub stage: String,
    pub layer_id: Option<i64>,
    pub total_memory_mb: f64,
    pub largest_tensor: Option<String>,
    #[serde(default)]
    pub largest_memory_mb: f64,
    /// The device's own peak until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<f64>,
    /// When it was made, on the machine's monotonic clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_nanos: Option<i64>,
    #[serde(default)]
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor of a [`Report`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tensor {
    #[serde(default)]
    pub memory_mb: f64,
    #[serde(default)]
    pub shape: Vec<i64>,
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
pub struct Summary {
    pub total_reports: u64,
    /// The largest report of each stage.
    pub peak_memory_by_stage: BTreeMap<String, f64>,
    pub memory_breakdown_by_type: BTreeMap<String, Vec<SummaryRow>>,
    /// Layer, then stage.
    pub layer_analysis: BTreeMap<String, BTreeMap<String, f64>>,
}

/// One report in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryRow {
    pub stage: String,
    pub memory_mb: f64,
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

/// Whether the bytes are such a report: an object that begins with the member `report_type`, or
/// any object under such a file's name.
pub(crate) fn is_report(path: &str, bytes: &[u8]) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let text = bytes.trim_ascii_start();
    let is_object = text.first() == Some(&b'{') && bytes.len() <= MOST_BYTES;
    let inner = text.get(1..).unwrap_or_default().trim_ascii_start();
    is_object && (is_report_name(name) || inner.starts_with(b"\"report_type\""))
}

/// Whether a file of this name is such a report, or the summary of reports.
pub(crate) fn is_report_name(name: &str) -> bool {
    name == SUMMARY || (name.starts_with("memory_report_") && name.ends_with(".json"))
}

/// Reads one report into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if it is no JSON or lacks what makes it a report.
pub(crate) fn read(path: &str, bytes: &[u8], trace: &mut Trace) -> Result<()> {
    let damaged = |error: serde_json::Error| Error::Damaged {
        path: path.into(),
        offset: offset_of(bytes, &error),
        what: format!("no memory report of sglang-jax: {error}"),
        hint: "if the server was killed while it wrote, there is nothing to save".to_owned(),
    };
    if path.rsplit('/').next() == Some(SUMMARY) {
        let summary: Summary = serde_json::from_slice(bytes).map_err(damaged)?;
        read_summary(path, bytes.len(), &summary, trace);
        return Ok(());
    }
    let report: Report = serde_json::from_slice(bytes).map_err(damaged)?;
    let source = trace.sources.next_id();
    let tensors: Vec<ReportedTensor> = report
        .tensors
        .iter()
        .map(|(name, tensor)| ReportedTensor {
            name: trace.strings.intern(name),
            memory_mb: tensor.memory_mb,
            shape: tensor.shape.clone(),
            dtype: trace.strings.intern(&tensor.dtype),
        })
        .collect();
    let sum: f64 = tensors.iter().map(|tensor| tensor.memory_mb).sum();
    if (sum - report.total_memory_mb).abs() > 0.01 * report.total_memory_mb.abs().max(1.0) {
        let message = format!(
            "{path}: the tensors add up to {sum:.3} MB, but the report's total is {:.3} MB",
            report.total_memory_mb
        );
        trace.findings.push(Finding::new(Code::MemoryReportSum, message));
    }
    let memory_report = MemoryReport {
        source,
        report_type: trace.strings.intern(&report.report_type),
        stage: trace.strings.intern(&report.stage),
        layer: report.layer_id,
        total_memory_mb: report.total_memory_mb,
        peak_memory_mb: report.peak_memory_mb,
        at: report.at_nanos.map(Nanos),
        tensors,
    };
    trace.memory_reports.push(memory_report);
    let largest = report.largest_tensor.map(|name| ("largest_tensor".to_owned(), name));
    push_source(path, bytes.len(), largest.into_iter().collect(), trace);
    Ok(())
}

fn push_source(path: &str, bytes: usize, facts: Vec<(String, String)>, trace: &mut Trace) {
    trace.sources.push(Source {
        path: path.to_owned(),
        format: Format::MemoryReport,
        size: Bytes(bytes as u64),
        host: StrId::EMPTY,
        clock: Clock::default(),
        facts,
    });
}

/// Adds the reports that a summary knows and the trace has not read themselves.
fn read_summary(path: &str, bytes: usize, summary: &Summary, trace: &mut Trace) {
    let source = trace.sources.next_id();
    for (report_type, rows) in &summary.memory_breakdown_by_type {
        for row in rows {
            let report = MemoryReport {
                source,
                report_type: trace.strings.intern(report_type),
                stage: trace.strings.intern(&row.stage),
                layer: row.layer_id,
                total_memory_mb: row.memory_mb,
                peak_memory_mb: None,
                at: None,
                tensors: Vec::new(),
            };
            let is_same = |known: &MemoryReport| {
                (known.report_type, known.stage, known.layer)
                    == (report.report_type, report.stage, report.layer)
            };
            if !trace.memory_reports.iter().any(is_same) {
                trace.memory_reports.push(report);
            }
        }
    }
    push_source(path, bytes, Vec::new(), trace);
}

/// Where in the file a JSON error is.
fn offset_of(bytes: &[u8], error: &serde_json::Error) -> u64 {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column().saturating_sub(1)) as u64
}
