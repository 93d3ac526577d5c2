//! What a report says of memory, written as sglang-jax's memory profiler writes it, for the tools that
//! read that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use xscope_trace::Bytes;
use xscope_trace::memory_report::{Report, SUMMARY, Summary, Tensor};
use xscope_trace::run::replace_file;
use xscope_trace::stats::as_f64;

use crate::error::{Error, Result};
use crate::layers::scope::is_layer;
use crate::memory::planned::{PlannedBuffer, PlannedLayer, PlannedRow};
use crate::reports::analyze_report::AnalyzeReport;

/// MB of memory reports are of this many bytes, those of xscope of a million.
const MIB: f64 = 1_048_576.0;
const MB: f64 = 1e6;

/// Writes the reports and their summary into a folder, which is made; how many reports there are.
///
/// # Errors
///
/// They cannot be written.
pub fn write(report: &AnalyzeReport, folder: &Path) -> Result<usize> {
    let files = memory_files(report);
    fs::create_dir_all(folder)
        .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    let mut texts = Vec::new();
    for file in &files {
        texts.push((file.file_name(), serde_json::to_vec_pretty(file)?));
    }
    texts.push((SUMMARY.to_owned(), serde_json::to_vec_pretty(&Summary::of(&files))?));
    for (name, text) in &texts {
        replace_file(&folder.join(name), text)?;
    }
    Ok(files.len())
}

/// The reports: those that were read, one of what each owner and one of what each layer had when most
/// was live, and one for each program and each layer of it, as planned.
pub fn memory_files(report: &AnalyzeReport) -> Vec<Report> {
    let mut files: Vec<Report> = report
        .reported_memory
        .iter()
        .map(|read| {
            let tensors = read.tensors.iter().map(|tensor| {
                let (memory_mb, shape) = (tensor.mb, tensor.shape.clone());
                (tensor.name.clone(), Tensor { memory_mb, shape, dtype: tensor.dtype.clone() })
            });
            let of = Report::of(&read.report_type, read.layer, &read.stage, tensors.collect());
            Report { total_memory_mb: read.total_mb, ..of }
        })
        .collect();
    let memory = &report.memory;
    let sized = |mb: f64| Tensor { memory_mb: mb * MB / MIB, ..Tensor::default() };
    let mut layers: BTreeMap<i64, BTreeMap<String, Tensor>> = BTreeMap::new();
    match &memory.peak_moment {
        Some(moment) => {
            let owners = moment.owners_mb.iter().map(|(owner, &mb)| (owner.clone(), sized(mb)));
            files.push(Report::of("owners", None, "peak", owners.collect()));
            for (scope, &mb) in &moment.activations_mb_by_scope {
                if let Some(layer) = layer_number(scope) {
                    layers.entry(layer).or_default().insert(scope.clone(), sized(mb));
                }
            }
        }
        // Their peaks were at other moments and are not added up.
        None => files.extend(memory.owners.iter().map(|row| {
            let owner = BTreeMap::from([(row.owner.clone(), sized(row.peak_mb))]);
            Report::of(&format!("owner_{}", row.owner), None, "peak", owner)
        })),
    }
    let of_layer = |(layer, tensors)| Report::of("activations", Some(layer), "peak", tensors);
    files.extend(layers.into_iter().map(of_layer));
    files.extend(report.memory.programs.iter().flat_map(of_program));
    files
}

fn of_program(row: &PlannedRow) -> Vec<Report> {
    let sized = |bytes: Bytes| Tensor { memory_mb: as_f64(bytes.0) / MIB, ..Tensor::default() };
    let parts = [
        ("arguments", row.argument_bytes),
        ("outputs", row.output_bytes),
        ("constants", row.constant_bytes),
        ("temporary", row.temporary_bytes),
    ];
    let parts = parts.into_iter().map(|(name, bytes)| (name.to_owned(), sized(bytes)));
    let mut files = vec![Report::of("program", None, &row.program, parts.collect())];
    let mut layers: BTreeMap<(&str, i64), BTreeMap<String, Tensor>> = BTreeMap::new();
    let numbered = row.layers.iter().filter_map(|layer| Some((layer, layer_number(&layer.scope)?)));
    for (layer, number) in numbered {
        let tensors = layers.entry((&layer.component, number)).or_default();
        tensors.extend(tensors_of(row, layer));
    }
    let report = |((component, layer), tensors): ((&str, i64), BTreeMap<String, Tensor>)| {
        Report::of(component, Some(layer), &row.program, tensors)
    };
    files.extend(layers.into_iter().map(report));
    files
}

/// A layer's buffers that are named, what else it holds, and its arguments.
fn tensors_of(row: &PlannedRow, layer: &PlannedLayer) -> Vec<(String, Tensor)> {
    let mut rest = layer.live_bytes.unwrap_or_default().0;
    let mut tensors = Vec::new();
    for buffer in row.buffers.iter().filter(|buffer| buffer.scope == layer.scope) {
        rest = rest.saturating_sub(buffer.bytes.0);
        tensors.push((buffer.name.clone(), tensor_of(buffer)));
    }
    for (name, bytes) in [("other buffers", rest), ("arguments", layer.argument_bytes.0)] {
        if bytes > 0 {
            let memory_mb = as_f64(bytes) / MIB;
            tensors.push((
                format!("{}/{name}", layer.scope),
                Tensor { memory_mb, ..Tensor::default() },
            ));
        }
    }
    tensors
}

fn tensor_of(buffer: &PlannedBuffer) -> Tensor {
    let (dtype, dims) = buffer.shape.split_once('[').unwrap_or((&buffer.shape, ""));
    let dims = dims.trim_end_matches(']').split(',');
    Tensor {
        memory_mb: as_f64(buffer.bytes.0) / MIB,
        shape: dims.filter_map(|dim| dim.parse().ok()).collect(),
        dtype: dtype.to_owned(),
    }
}

/// The number of the layer that a scope is in.
fn layer_number(scope: &str) -> Option<i64> {
    let part = scope.split('/').find(|part| is_layer(part))?;
    part.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
}
