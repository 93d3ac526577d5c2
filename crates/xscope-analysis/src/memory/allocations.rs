//! What holds the memory of a device, by the place in the code that allocated it, and what
//! sglang-jax reports of the tensors of its stages.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::Trace;
use xscope_trace::model::{MemoryReport, StackFrame, StackProfile};

/// Frames of these packages are not where a user's code allocates.
const LIBRARIES: [&str; 4] = ["jax/", "jaxlib/", "flax/", "numpy/"];

/// What runs inside a server for xscope, from a run's own folder.
const PROBES: &str = "/xscope_probe/";

/// One place that holds memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AllocationRow {
    /// The profile that it is from.
    pub profile: String,
    /// The innermost function outside of JAX and its like, `function (file:line)`.
    pub site: String,
    /// JAX's `buffer` or `executable`; empty if the profile does not say.
    pub kind: String,
    /// What it holds.
    pub bytes: i64,
    /// Allocations that are alive; 0 if the profile does not count them.
    pub count: i64,
    /// Of the bytes of the profile.
    pub share: f64,
}

/// One report of sglang-jax's memory profiler.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReportedMemory {
    /// The file.
    pub report: String,
    /// What the report is about.
    pub report_type: String,
    /// The stage that it was made at.
    pub stage: String,
    /// The layer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<i64>,
    /// All of it, in MiB (2^20 bytes).
    #[serde(rename = "total_mib")]
    pub total_mb: f64,
    /// Largest first.
    pub tensors: Vec<TensorRow>,
}

/// A tensor of a [`ReportedMemory`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TensorRow {
    /// The tensor's name.
    pub name: String,
    /// Its size, in MiB (2^20 bytes).
    #[serde(rename = "mib")]
    pub mb: f64,
    /// Its lengths.
    #[serde(rename = "dimensions")]
    pub shape: Vec<i64>,
    /// The type of its elements.
    pub dtype: String,
}

/// The places that hold memory, by profile, largest first. Profiles that count no bytes (CPU time)
/// have none.
pub(crate) fn allocations(trace: &Trace) -> Vec<AllocationRow> {
    let mut rows = Vec::new();
    for profile in &trace.profiles {
        let Some(bytes) = kind_in(trace, profile, "bytes") else { continue };
        rows.extend(sites(trace, profile, bytes));
    }
    rows
}

/// The last kind of value of a profile that is counted in `unit`.
fn kind_in(trace: &Trace, profile: &StackProfile, unit: &str) -> Option<usize> {
    profile.types.iter().rposition(|kind| trace.strings.get(kind.unit) == unit)
}

fn sites(trace: &Trace, profile: &StackProfile, bytes: usize) -> Vec<AllocationRow> {
    let count = kind_in(trace, profile, "count");
    let mut sums: BTreeMap<(String, &str), (i64, i64)> = BTreeMap::new();
    for sample in 0..profile.len() {
        let labels = profile.labels_of(sample).iter();
        let kind = labels.rev().find(|label| trace.strings.get(label.key) == "kind");
        let kind = kind.map_or("", |label| trace.strings.get(label.text));
        let sum = sums.entry((site(trace, profile, sample), kind)).or_default();
        sum.0 = sum.0.saturating_add(profile.value(sample, bytes));
        let count = count.map_or(0, |count| profile.value(sample, count));
        sum.1 = sum.1.saturating_add(count);
    }
    let total = sums.values().fold(0_i64, |total, sum| total.saturating_add(sum.0));
    let path = profile.source.and_then(|id| trace.sources.get(id));
    let path = path.map_or("", |source| source.path.as_str());
    let mut rows: Vec<AllocationRow> = sums
        .into_iter()
        .map(|((site, kind), (bytes, count))| AllocationRow {
            profile: path.to_owned(),
            site,
            kind: kind.to_owned(),
            bytes,
            count,
            share: fraction(bytes, total),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    rows
}

#[expect(clippy::cast_precision_loss, reason = "a share is shown, not summed")]
fn fraction(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn site(trace: &Trace, profile: &StackProfile, sample: usize) -> String {
    let is_library = |frame: &&StackFrame| {
        let file = trace.strings.get(frame.file);
        let inside = file.rsplit_once("site-packages/").map_or(file, |(_, inside)| inside);
        if file.contains(PROBES) {
            return true;
        }
        LIBRARIES.iter().any(|library| inside.starts_with(library))
    };
    let own = profile.frames_of(sample).find(|frame| !is_library(frame));
    let Some(frame) = own.or_else(|| profile.frames_of(sample).next()) else {
        return "(no stack)".to_owned();
    };
    let file = trace.strings.get(frame.file);
    let function = trace.strings.get(frame.function);
    match (file.is_empty(), frame.line) {
        (true, _) => function.to_owned(),
        (false, 0) => format!("{function} ({file})"),
        (false, line) => format!("{function} ({file}:{line})"),
    }
}

/// What sglang-jax reports, in the order of the files.
pub(crate) fn reported_memory(trace: &Trace) -> Vec<ReportedMemory> {
    trace.memory_reports.iter().map(|report| reported(trace, report)).collect()
}

fn reported(trace: &Trace, report: &MemoryReport) -> ReportedMemory {
    let text = |id| trace.strings.get(id).to_owned();
    let mut tensors: Vec<TensorRow> = report
        .tensors
        .iter()
        .map(|tensor| TensorRow {
            name: text(tensor.name),
            mb: tensor.memory_mb,
            shape: tensor.shape.clone(),
            dtype: text(tensor.dtype),
        })
        .collect();
    tensors.sort_by(|a, b| b.mb.total_cmp(&a.mb));
    let source = trace.sources.get(report.source);
    ReportedMemory {
        report: source.map_or_else(String::new, |source| source.path.clone()),
        report_type: text(report.report_type),
        stage: text(report.stage),
        layer: report.layer,
        total_mb: report.total_memory_mb,
        tensors,
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::Trace;
    use xscope_trace::model::{StackFrame, StackProfile, StackValue};

    use super::{allocations, reported_memory};

    #[test]
    fn what_jax_and_the_probes_allocate_is_put_at_their_caller() {
        let mut trace = Trace::default();
        let mut text = |text| trace.strings.intern(text);
        let function = text("run");
        let files = [
            "/usr/lib/python3/site-packages/jax/_src/array.py",
            "/runs/1/probe/xscope_probe/wrap.py",
            "/srv/scheduler.py",
        ];
        let frames = files.into_iter().zip(1..);
        let frames = frames.map(|(file, line)| StackFrame { function, file: text(file), line });
        let profile = StackProfile {
            frames: frames.collect(),
            types: vec![StackValue { name: text("space"), unit: text("bytes") }],
            locations: vec![0..1, 1..2, 2..3],
            stack: vec![0, 1, 2, 0, 1],
            // The second one has no caller but those.
            stack_ends: vec![3, 5],
            values: vec![70, 30],
            ..StackProfile::default()
        };
        trace.profiles.push(profile);
        let rows = allocations(&trace);
        let found: Vec<_> = rows.iter().map(|row| (&*row.site, row.bytes)).collect();
        let jax = format!("run ({}:1)", files[0]);
        assert_eq!(found, [("run (/srv/scheduler.py:3)", 70), (&*jax, 30)]);
    }

    #[test]
    fn bytes_are_at_the_users_code_and_shares_add_up() {
        let paths = ["pprof", "memory_report"].map(xscope_testing::fixture);
        let trace = xscope_trace::read_paths(&paths).unwrap();
        let rows = allocations(&trace);
        assert!(rows[0].site.contains("tp_llama.py:"), "{}", rows[0].site);
        assert!(rows[0].bytes >= rows[rows.len() - 1].bytes && rows[0].bytes > 0);
        let shares: f64 = rows.iter().map(|row| row.share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        let reports = reported_memory(&trace);
        assert_eq!((reports[0].layer, reports[0].tensors.len()), (Some(2), 2));
    }
}
