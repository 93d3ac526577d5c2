//! Which figures a finding touches: a finding names a kind of figure by its code, and every
//! [`Metric`] of that kind is degraded with the finding as reason.
//!
//! This is the only place that knows both codes and figures. A code that is not listed touches
//! none: what it means is in the finding's own words.

use serde::Serialize;
use xscope_trace::Metric;
use xscope_trace::quality::{Finding, Severity};

use crate::analyze::AnalyzeReport;
use crate::profile::Profiled;
use crate::request_report::RequestsReport;
use crate::section::Section;

/// A kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figures {
    /// Counts and times of operations, and what is made of them: busy, idle, waiting, rates.
    Operations,
    /// Arithmetic and bytes of operations, and rates.
    Costs,
    /// What is an average over the window: busy shares and idle time.
    Averages,
    /// Times of host code: latencies, stages, what the host did while a device idled.
    HostTimes,
    /// Stages of requests.
    Stages,
    /// What is joined across clocks: device time and padding of requests and batches.
    Joins,
    Memory,
}

impl Figures {
    pub const ALL: [Self; 7] = [
        Self::Operations,
        Self::Costs,
        Self::Averages,
        Self::HostTimes,
        Self::Stages,
        Self::Joins,
        Self::Memory,
    ];

    /// What to call them in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operations => "counts and times of operations",
            Self::Costs => "costs of operations",
            Self::Averages => "averages over the window",
            Self::HostTimes => "times of host code",
            Self::Stages => "stages of requests",
            Self::Joins => "device time of requests",
            Self::Memory => "memory",
        }
    }

    /// The sections that show such figures.
    pub fn sections(self) -> &'static [Section] {
        use Section::{
            Collectives, Compiles, Devices, Idle, Kernels, Layers, Memory, Programs, Requests,
        };
        match self {
            Self::Operations => &[Layers, Kernels, Devices, Idle, Collectives, Programs],
            Self::Costs => &[Layers, Kernels, Collectives],
            Self::Averages => &[Devices, Idle],
            Self::HostTimes => &[Idle, Compiles, Requests],
            Self::Stages | Self::Joins => &[Requests],
            Self::Memory => &[Memory],
        }
    }

    /// What a finding of this code touches.
    fn touched_by(code: &str) -> &'static [Self] {
        match code {
            "json.capped"
            | "source.unreadable"
            | "xplane.damaged_line"
            | "xplane.damaged_plane"
            | "xplane.truncated"
            | "chrome.unfinished"
            | "chrome.unmatched_end" => &[Self::Operations, Self::HostTimes],
            "xplane.damaged_hlo" | "hlo.not_rejoined" | "hlo.variants" => &[Self::Costs],
            "window.idle" => &[Self::Averages],
            "python_tracer.on" => &[Self::HostTimes],
            "requests.unjoined" | "requests.unaccounted" => &[Self::Stages],
            "batches.joined_by_time" | "clock.unknown" | "clock.far_apart" => &[Self::Joins],
            "pprof.truncated" | "pprof.dangling" | "memory_report.sum" => &[Self::Memory],
            _ => &[],
        }
    }
}

/// Figures that a finding touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DegradedRow {
    pub figures: Figures,
    /// The code of the finding.
    pub code: String,
    /// The sections that show such figures.
    pub sections: &'static [Section],
}

/// Degrades every metric that a warning or an error of the report touches, and says which kinds of
/// figures those are.
pub(crate) fn degrade(report: &mut AnalyzeReport) {
    let of_requests = report.requests.iter().flat_map(|requests| &requests.findings);
    let findings = report.quality.iter().chain(of_requests);
    let mut touched: Vec<(Figures, Finding)> = Vec::new();
    for finding in findings.filter(|finding| finding.severity > Severity::Info) {
        let figures = Figures::touched_by(&finding.code).iter();
        touched.extend(figures.map(|&figures| (figures, finding.clone())));
    }
    for (figures, finding) in &touched {
        let reason = format!("{} [{}]", finding.message, finding.code);
        visit(report, *figures, &mut |metric| metric.degrade(&reason));
    }
    let row = |(figures, finding): (Figures, Finding)| DegradedRow {
        figures,
        code: finding.code,
        sections: figures.sections(),
    };
    report.degraded = touched.into_iter().map(row).collect();
    report.degraded.sort();
    report.degraded.dedup();
}

/// Calls `change` on every metric of a kind.
fn visit(report: &mut AnalyzeReport, figures: Figures, change: &mut dyn FnMut(&mut Metric)) {
    for kernel in &mut report.kernels {
        let rates = &mut kernel.roofline;
        if matches!(figures, Figures::Operations | Figures::Costs) {
            change(&mut rates.flops_per_sec);
            change(&mut rates.bytes_per_sec);
            change(&mut rates.efficiency);
        }
        if figures == Figures::Costs {
            change(&mut rates.intensity);
            change(&mut kernel.flops);
            change(&mut kernel.bytes);
        }
    }
    for row in &mut report.collectives {
        match figures {
            Figures::Operations => {
                change(&mut row.wait_us);
                change(&mut row.transfer_us);
                change(&mut row.bytes_per_sec);
            }
            Figures::Costs => {
                change(&mut row.bytes);
                change(&mut row.bytes_per_sec);
            }
            _ => {}
        }
    }
    if figures == Figures::Memory {
        change(&mut report.memory.peak);
    }
    if let Some(requests) = &mut report.requests {
        visit_requests(requests, figures, change);
    }
}

fn visit_requests(
    report: &mut RequestsReport,
    figures: Figures,
    change: &mut dyn FnMut(&mut Metric),
) {
    for request in report.typical.iter_mut().chain(&mut report.slowest) {
        visit_request(request, figures, change);
    }
    match figures {
        Figures::HostTimes => {
            let latency = &mut report.latency;
            change(&mut latency.p50_ms);
            change(&mut latency.p95_ms);
            change(&mut latency.p99_ms);
            change(&mut latency.mean_ms);
            change(&mut latency.items_per_sec);
        }
        Figures::Joins => {
            report.batches.iter_mut().for_each(|batches| change(&mut batches.padding_share));
        }
        _ => {}
    }
}

fn visit_request(request: &mut Profiled, figures: Figures, change: &mut dyn FnMut(&mut Metric)) {
    match figures {
        Figures::HostTimes | Figures::Stages => {
            change(&mut request.tokenization_ms);
            change(&mut request.queue_wait_ms);
            change(&mut request.model_forward_ms);
            change(&mut request.padding_ms);
            change(&mut request.logprob_extraction_ms);
            change(&mut request.softmax_ms);
        }
        Figures::Operations | Figures::Joins => change(&mut request.device_ms),
        Figures::Memory => {
            change(&mut request.peak_hbm_mb);
            change(&mut request.activation_memory_mb);
        }
        Figures::Costs | Figures::Averages => {}
    }
}
