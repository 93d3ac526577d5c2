//! Shares over all devices: what headlines claim, and what the sections that they point to say.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::compiles::CompileRow;
use crate::reports::analyze_report::AnalyzeReport;
use crate::reports::claim::{Basis, Share};

/// Parts that have names, the largest first.
pub type Parts<'a> = Vec<(&'a str, Share)>;

/// How long the windows of all devices are together.
pub fn windows_us(report: &AnalyzeReport) -> f64 {
    report.devices.iter().map(|device| device.window_us).sum()
}

/// A time as a share of the windows.
pub fn of_windows(report: &AnalyzeReport, part_us: f64) -> Share {
    Share { part_us, whole_us: windows_us(report), of: Basis::Window }
}

/// How long devices idled.
pub fn idle(report: &AnalyzeReport) -> Share {
    of_windows(report, report.idle.iter().map(|row| row.idle_us).sum())
}

/// Why devices idled.
pub fn causes(report: &AnalyzeReport) -> Parts<'_> {
    let causes = report.idle.iter().flat_map(|row| &row.causes);
    let whole_us = idle(report).part_us;
    parts(causes.map(|cause| (cause.cause, cause.us)), whole_us, Basis::Idle)
}

/// What the host did while devices idled for a cause, by name; what has no name of its own is left out.
pub fn code<'a>(report: &'a AnalyzeReport, cause: &str) -> Parts<'a> {
    let whole =
        causes(report).iter().find(|(name, _)| *name == cause).map_or(0.0, |it| it.1.part_us);
    let rows = report.idle.iter().flat_map(|row| match cause {
        "host" => row.host_code.as_slice(),
        _ => row.causes.iter().find(|row| row.cause == cause).map_or(&[][..], |row| &row.calls),
    });
    let named = rows.filter(|row| !row.name.starts_with('('));
    parts(named.map(|row| (row.name.as_str(), row.us)), whole, Basis::Cause)
}

/// Communication that no computation hides.
pub fn exposed_communication(report: &AnalyzeReport) -> Share {
    of_windows(report, report.timeline.iter().map(|row| row.exposed_communication_us).sum())
}

/// Copies that neither computation nor communication hides.
pub fn exposed_copies(report: &AnalyzeReport) -> Share {
    of_windows(report, report.timeline.iter().map(|row| row.exposed_copy_us).sum())
}

/// How much of communication is known to be waiting for peers; `None` if no collective says it.
pub fn waiting(report: &AnalyzeReport) -> Option<Share> {
    let part_us =
        report.collectives.iter().filter_map(|row| row.wait_us.value).reduce(|a, b| a + b)?;
    let whole_us = report.collectives.iter().map(|row| row.total_us + row.barrier_us).sum();
    Some(Share { part_us, whole_us, of: Basis::Communication })
}

/// Compilations while requests were measured.
pub fn compiles(report: &AnalyzeReport) -> impl Iterator<Item = &CompileRow> {
    report.compiles.iter().filter(|row| row.in_window)
}

/// How long these took, one after the other; `None` if there were none.
pub fn compiling(report: &AnalyzeReport) -> Option<Share> {
    let took = compiles(report).map(|row| row.duration_us);
    let part_us = took.reduce(|a, b| a + b)?;
    Some(Share { part_us, whole_us: report.window_us, of: Basis::Capture })
}

/// Sums by name.
fn parts<'a>(rows: impl Iterator<Item = (&'a str, f64)>, whole_us: f64, of: Basis) -> Parts<'a> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, us) in rows {
        *sums.entry(name).or_default() += us;
    }
    let mut parts: Parts<'_> =
        sums.into_iter().map(|(name, part_us)| (name, Share { part_us, whole_us, of })).collect();
    let larger =
        |a: &Share, b: &Share| b.part_us.partial_cmp(&a.part_us).unwrap_or(Ordering::Equal);
    parts.sort_by(|a, b| larger(&a.1, &b.1).then_with(|| a.0.cmp(b.0)));
    parts
}
