//! Reads `memory_report_*.json`, which sglang-jax's memory profiler writes: the tensors at one
//! point of a forward pass.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::{Clock, Format, MemoryReport, ReportedTensor, Source, SourceId, Trace};
use crate::quality::{Finding, Severity};
use crate::strings::StrId;
use crate::time::Bytes;

/// Larger files are no reports: one of them is a few hundred bytes for each tensor.
const MOST_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
struct Report {
    report_type: String,
    #[serde(default)]
    stage: String,
    layer_id: Option<i64>,
    total_memory_mb: f64,
    largest_tensor: Option<String>,
    peak_memory_mb: Option<f64>,
    #[serde(default)]
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    #[serde(default)]
    memory_mb: f64,
    #[serde(default)]
    shape: Vec<i64>,
    #[serde(default)]
    dtype: String,
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

/// Whether a file of this name is such a report.
pub(crate) fn is_report_name(name: &str) -> bool {
    name.starts_with("memory_report_") && name.ends_with(".json")
}

/// Reads one report into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if it is no JSON or lacks what makes it a report.
pub(crate) fn read(path: &str, bytes: &[u8], trace: &mut Trace) -> Result<()> {
    let report: Report = serde_json::from_slice(bytes).map_err(|error| Error::Damaged {
        path: path.into(),
        offset: offset_of(bytes, &error),
        what: format!("no memory report of sglang-jax: {error}"),
        hint: "if the server was killed while it wrote, there is nothing to save".to_owned(),
    })?;
    let source = SourceId(u32::try_from(trace.sources.len()).unwrap_or(u32::MAX));
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
        trace.findings.push(Finding::new("memory_report.sum", Severity::Warning, message));
    }
    let memory_report = MemoryReport {
        source,
        report_type: trace.strings.intern(&report.report_type),
        stage: trace.strings.intern(&report.stage),
        layer: report.layer_id,
        total_memory_mb: report.total_memory_mb,
        peak_memory_mb: report.peak_memory_mb,
        tensors,
    };
    trace.memory_reports.push(memory_report);
    let largest = report.largest_tensor.map(|name| ("largest_tensor".to_owned(), name));
    trace.sources.push(Source {
        path: path.to_owned(),
        format: Format::MemoryReport,
        size: Bytes(bytes.len() as u64),
        host: StrId::EMPTY,
        clock: Clock::default(),
        facts: largest.into_iter().collect(),
    });
    Ok(())
}

/// Where in the file a JSON error is.
fn offset_of(bytes: &[u8], error: &serde_json::Error) -> u64 {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column().saturating_sub(1)) as u64
}
