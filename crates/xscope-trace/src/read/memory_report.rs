//! Reads memory reports of sglang-jax.

use crate::error::{Error, Result};
use crate::memory_report::{Report, SUMMARY, Summary};
use crate::model::{Clock, Format, MemoryReport, ReportedTensor, Source, Trace};
use crate::quality::{Code, Finding};
use crate::strings::StrId;
use crate::time::{Bytes, Nanos};

/// Larger files are no reports: one of them is a few hundred bytes for each tensor.
const MOST_BYTES: usize = 64 << 20;

/// Whether a file is such a report: an object that begins with the member `report_type`, or any
/// object under such a file's name.
pub(super) fn is_report(name: &str, head: &[u8]) -> bool {
    let Some(inner) = head.trim_ascii_start().strip_prefix(b"{") else { return false };
    let is_named =
        name == SUMMARY || (name.starts_with("memory_report_") && name.ends_with(".json"));
    is_named || inner.trim_ascii_start().starts_with(b"\"report_type\"")
}

/// Reads one report into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if it is no JSON or lacks what makes it a report.
pub(super) fn read(path: &str, bytes: &[u8], trace: &mut Trace) -> Result<()> {
    let damaged = |error: serde_json::Error| Error::Damaged {
        path: path.into(),
        offset: offset_of(bytes, &error),
        what: format!("no memory report of sglang-jax: {error}"),
        hint: "if the server was killed while it wrote, there is nothing to save".to_owned(),
    };
    if bytes.len() > MOST_BYTES {
        let what = format!("{} bytes, which no memory report of sglang-jax has", bytes.len());
        return Err(Error::NothingFound { path: path.into(), what });
    }
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
        server: StrId::EMPTY,
        rank: None,
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
