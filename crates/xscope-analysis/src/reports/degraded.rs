//! What findings do to figures: every [`Metric`] of a kind that a finding touches is degraded with the
//! finding as reason.

use xscope_trace::Metric;
use xscope_trace::quality::{Figures, Finding};

use crate::reports::analyze_report::{AnalyzeReport, DegradedRow};
use crate::requests::RequestsReport;
use crate::requests::profiled::Profiled;
use crate::section::Section;

/// Degrades every metric that a warning or an error of the report touches, and says which kinds of
/// figures those are.
pub(crate) fn degrade(report: &mut AnalyzeReport) {
    let of_requests = report.requests.iter().flat_map(|requests| &requests.findings);
    let findings = report.quality.iter().chain(of_requests);
    let mut touched: Vec<(Figures, Finding)> = Vec::new();
    for finding in findings {
        touched.extend(finding.touches().iter().map(|&figures| (figures, finding.clone())));
    }
    for (figures, finding) in &touched {
        let reason = format!("{} [{}]", finding.message, finding.code);
        visit(report, *figures, &mut |metric| metric.degrade(&reason));
    }
    let row = |(figures, finding): (Figures, Finding)| DegradedRow {
        figures,
        code: finding.code,
        sections: Section::showing(figures),
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
        change(&mut report.memory.peak_hbm_mb);
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
    let points = report.by_point.iter_mut();
    let of_points = points.flat_map(|point| point.typical.iter_mut().chain(&mut point.slowest));
    for request in report.typical.iter_mut().chain(&mut report.slowest).chain(of_points) {
        visit_request(request, figures, change);
    }
    match figures {
        Figures::HostTimes | Figures::Latencies => {
            let points = report.by_point.iter_mut().map(|point| &mut point.latency);
            for latency in points.chain([&mut report.latency]) {
                change(&mut latency.p50_ms);
                change(&mut latency.p95_ms);
                change(&mut latency.p99_ms);
                change(&mut latency.mean_ms);
                change(&mut latency.items_per_sec);
            }
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
        Figures::Costs | Figures::Averages | Figures::Causes | Figures::Latencies => {}
    }
}
