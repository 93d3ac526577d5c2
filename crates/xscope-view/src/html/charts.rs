//! What the charts of a page are drawn from.

use serde::Serialize;
use xscope_analysis::ProfileReport;
use xscope_analysis::compiles::CompileRow;
use xscope_analysis::layers::LayerNode;
use xscope_analysis::requests::latency::{Bin, RequestPoint};

use crate::html::operations::{Mark, marks, operations};
use crate::text::shorten;

/// Characters of a name in a chart.
const NAME: usize = 80;

#[derive(Serialize)]
pub(crate) struct Charts<'a> {
    layers: Scope,
    roofline: Vec<Mark<'a>>,
    /// Name and samples, microseconds and MB.
    memory: Vec<(String, Vec<(f64, f64)>)>,
    allocators: Vec<(String, Vec<(f64, f64)>)>,
    compiles: Vec<Compile<'a>>,
    requests: &'a [RequestPoint],
    histogram: &'a [Bin],
    percentiles: &'a [(f64, f64)],
    /// Device, and its causes with microseconds.
    idle: Vec<(String, Vec<(&'a str, f64)>)>,
    devices: Vec<Device>,
    collectives: Vec<Collective>,
}

/// A scope: name, time, time of its own, scopes in it. Letters, for there are thousands.
#[derive(Serialize)]
struct Scope {
    n: String,
    t: f64,
    s: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    c: Vec<Self>,
}

#[derive(Serialize)]
struct Compile<'a> {
    program: String,
    start_us: f64,
    duration_us: f64,
    waiting: Option<f64>,
    reason: &'a str,
}

#[derive(Serialize)]
struct Device {
    name: String,
    computation_us: f64,
    communication_us: f64,
    copy_us: f64,
    idle_us: f64,
}

#[derive(Serialize)]
struct Collective {
    name: String,
    wait_us: Option<f64>,
    transfer_us: Option<f64>,
    total_us: f64,
}

pub(crate) fn data(report: &ProfileReport) -> Charts<'_> {
    let analysis = &report.analysis;
    let mb = |samples: &[(f64, xscope_trace::Bytes)]| {
        let mb = |bytes: xscope_trace::Bytes| xscope_trace::stats::as_f64(bytes.0) / 1e6;
        samples.iter().map(|&(us, bytes)| (us, mb(bytes))).collect()
    };
    Charts {
        layers: scope(&analysis.layers.root),
        roofline: marks(&operations(analysis)),
        memory: analysis
            .memory
            .owners
            .iter()
            .map(|row| (name(&row.owner), row.series.clone()))
            .collect(),
        allocators: analysis
            .allocators
            .iter()
            .map(|row| (allocator(&row.name), mb(&row.samples)))
            .collect(),
        compiles: analysis.compiles.iter().map(compile).collect(),
        requests: &report.points,
        histogram: &report.latency.histogram,
        percentiles: &report.latency.percentiles,
        idle: analysis
            .idle
            .iter()
            .map(|row| {
                (
                    name(&row.device),
                    row.causes.iter().map(|cause| (cause.cause, cause.us)).collect(),
                )
            })
            .collect(),
        devices: analysis
            .timeline
            .iter()
            .map(|row| Device {
                name: name(&row.device),
                computation_us: row.computation_us,
                communication_us: row.exposed_communication_us,
                copy_us: row.exposed_copy_us,
                idle_us: row.idle_us,
            })
            .collect(),
        collectives: analysis
            .collectives
            .iter()
            .take(20)
            .map(|row| Collective {
                name: name(&row.name),
                wait_us: row.wait_us.value,
                transfer_us: row.transfer_us.value,
                total_us: row.total_us,
            })
            .collect(),
    }
}

fn allocator(given: &str) -> String {
    name(if given.is_empty() { "allocator" } else { given })
}

fn name(name: &str) -> String {
    shorten(name, NAME)
}

fn scope(node: &LayerNode) -> Scope {
    let round = |us: f64| (us * 1e3).round() / 1e3;
    Scope {
        n: name(&node.name),
        t: round(node.total_us),
        s: round(node.self_us),
        c: node.children.iter().map(scope).collect(),
    }
}

fn compile(row: &CompileRow) -> Compile<'_> {
    Compile {
        program: name(if row.program.is_empty() { &row.event } else { &row.program }),
        start_us: row.start_us,
        duration_us: row.duration_us,
        waiting: row.requests_waiting.value,
        reason: row.reason,
    }
}
