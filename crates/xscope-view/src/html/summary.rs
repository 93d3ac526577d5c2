//! The first screen: what it means, before how it was found.

use maud::{Markup, html};
use xscope_analysis::ProfileReport;
use xscope_analysis::requests::profiled::Profiled;
use xscope_trace::Metric;
use xscope_trace::metric::Status;
use xscope_trace::quality::{Finding, Severity};

use crate::html::benchmark::{checks, invalid};
use crate::html::side::Side;
use crate::markup::{figure, findings, stacked, waterfall};
use crate::palette::stage_class;
use crate::text::{percent, shorten};

/// Findings on the first screen.
const FINDINGS: usize = 6;

pub(crate) fn summary(side: &Side) -> Markup {
    let report = &side.report;
    let quality = &report.analysis.quality;
    let shown: Vec<_> = quality
        .iter()
        .filter(|finding| finding.severity != Severity::Info)
        .take(FINDINGS)
        .cloned()
        .collect();
    let width = width_ms([report]);
    html! {
        @if !report.complete {
            p.notice { "This run did not come to its end. The figures are of what was recorded until then." }
        }
        @if let Some(invalid) = side.results.as_ref().and_then(invalid) { p.notice { (invalid) } }
        div.verdict { @for sentence in verdict(report) { p { (sentence) } } }
        @if report.requests.measured > 0 {
            (tiles(report))
            div.pair {
                (waterfall("Typical request", &report.typical, width))
                @if let Some(slowest) = &report.slowest { (waterfall("Slowest request", slowest, width)) }
            }
            h3 { "Where the requests' time goes" }
            (stacked(report.stages.iter().map(|stage| (stage.name.as_str(), stage_class(&stage.name), stage.share))))
        }
        div.pair {
            (headlines(report))
            div {
                h3 { "What to know of the data" }
                (known_of_data(report, &shown))
                @if quality.len() > shown.len() {
                    p { a href="#quality" { "And " (quality.len() - shown.len()) " more findings" } }
                }
            }
        }
        (targets_of(side))
    }
}

/// What is wrong with the data; that nothing is, only where something was recorded and answered.
fn known_of_data(report: &ProfileReport, shown: &[Finding]) -> Markup {
    let counts = &report.requests;
    html! {
        @if !shown.is_empty() { (findings(shown)) }
        @else if counts.measured == 0 && counts.failed > 0 {
            p.notice { "No request was answered right: there are no figures to be right or wrong." }
        } @else if report.analysis.events == 0 {
            p.empty { "No trace was recorded, so only requests were looked at." }
        } @else { (findings(shown)) }
    }
}

/// What waterfalls of several reports must hold, so that their bars can be compared.
pub(crate) fn width_ms<'a>(reports: impl IntoIterator<Item = &'a ProfileReport>) -> f64 {
    let requests =
        reports.into_iter().flat_map(|report| report.slowest.iter().chain([&report.typical]));
    requests.map(|request| request.total_latency_ms).fold(0.0, f64::max)
}

/// What the figures say, in words.
fn verdict(report: &ProfileReport) -> Vec<String> {
    if report.requests.measured == 0 {
        return vec![match report.requests.failed {
            0 => "This profile knows of no measured request: it shows what the devices did."
                .to_owned(),
            failed => format!("No request was answered right; {failed} failed."),
        }];
    }
    let latency = &report.latency;
    let quantiles = [(&latency.p50_ms, "the median"), (&latency.p99_ms, "the 99th percentile")];
    let known =
        quantiles.iter().filter_map(|(figure, at)| Some(format!("{} ms at {at}", said(figure)?)));
    let known: Vec<String> = known.collect();
    let mut sentences = vec![format!(
        "A request takes {} ({} measured, {} failed).",
        if known.is_empty() { "an unknown time".to_owned() } else { known.join(" and ") },
        report.requests.measured,
        report.requests.failed,
    )];
    let mut stages: Vec<_> = report.stages.iter().collect();
    stages.sort_by(|a, b| b.share.total_cmp(&a.share));
    let largest: Vec<String> = stages
        .iter()
        .take(2)
        .map(|stage| format!("{} {}", shorten(stage.name.as_str(), 40), percent(stage.share)))
        .collect();
    sentences.push(format!("Its time goes to {}.", largest.join(" and ")));
    sentences.extend(report.slowest.as_ref().and_then(|slowest| slower(&report.typical, slowest)));
    sentences
}

/// A figure in a sentence; nothing if it is not known.
fn said(figure: &Metric) -> Option<String> {
    let value = figure.value?;
    Some(match figure.status {
        Status::Valid => format!("{value:.1}"),
        _ => format!("about {value:.1}"),
    })
}

/// What the slowest request has more of.
fn slower(typical: &Profiled, slowest: &Profiled) -> Option<String> {
    let more = slowest.total_latency_ms - typical.total_latency_ms;
    let added = slowest
        .waterfall
        .iter()
        .map(|(name, ms)| (name, ms - typical.waterfall.get(name).copied().unwrap_or(0.0)));
    let (name, ms) = added.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (more > 0.0 && ms > 0.0).then(|| {
        format!(
            "The slowest request took {more:.1} ms longer than the typical one: {ms:.1} ms more in {}.",
            shorten(name.as_str(), 40)
        )
    })
}

fn headlines(report: &ProfileReport) -> Markup {
    html! {
        @if !report.analysis.headlines.is_empty() {
            div {
                h3 { "What matters most on the devices" }
                ol.headlines {
                    @for headline in &report.analysis.headlines {
                        li {
                            (shorten(&headline.text, 400))
                            div.note {
                                "Next: " (shorten(&headline.next, 300)) " "
                                a href={ "#" (headline.section.name()) } { (headline.section.name()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tiles(report: &ProfileReport) -> Markup {
    let latency = &report.latency;
    html! {
        dl.tiles {
            div { dt { "p50" } dd { (figure(&latency.p50_ms, 2)) } }
            div { dt { "p95" } dd { (figure(&latency.p95_ms, 2)) } }
            div { dt { "p99" } dd { (figure(&latency.p99_ms, 2)) } }
            div { dt { "Throughput" } dd { (figure(&latency.items_per_sec, 1)) } }
            @if let Some(device) = report.analysis.devices.first() {
                div { dt { "Device busy" } dd { (percent(device.busy_share)) } }
            }
            @if let Some(padding) = report.batches.as_ref().and_then(|batches| batches.padding_share.value) {
                div { dt { "Padding" } dd { (percent(padding)) } }
            }
        }
    }
}

/// The targets that a benchmark checked, else those of the RFC.
fn targets_of(side: &Side) -> Markup {
    let checked = side.results.as_ref().map(|results| results.checks.as_slice());
    html! {
        @if let Some(checked) = checked.filter(|checked| !checked.is_empty()) {
            h3 { "Targets" }
            (checks(checked))
        } @else if side.report.requests.measured > 0 {
            h3 { "Targets" }
            (checks(&side.report.checks))
        }
    }
}
