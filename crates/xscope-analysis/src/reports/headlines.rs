//! The findings that matter most: where the largest part of the devices' time could be won, in
//! words, with figures and a next step.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Severity};

use crate::layers::components::UNKNOWN;
use crate::reports::analyze_report::{AnalyzeReport, Headline};
use crate::section::Section;
use crate::words::counted;

/// How many findings a first page has.
const HEADLINES: usize = 3;

/// How many letters of a kernel's name are shown.
const LONGEST_NAME: usize = 80;

/// The findings of a report, the largest first.
pub(crate) fn headlines(report: &AnalyzeReport) -> Vec<Headline> {
    let mut all: Vec<Headline> = [
        quality(report),
        idle(report),
        communication(report),
        compiles(report),
        kernels(report),
        layers(report),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort_by(|a, b| b.share.total_cmp(&a.share));
    all.truncate(HEADLINES);
    all
}

fn windows_us(report: &AnalyzeReport) -> f64 {
    report.devices.iter().map(|device| device.window_us).sum()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// An error makes everything else doubtful.
fn quality(report: &AnalyzeReport) -> Option<Headline> {
    let worst = report.quality.iter().find(|finding| finding.severity == Severity::Error)?;
    Some(Headline {
        section: Section::Quality,
        share: 1.0,
        text: worst.message.clone(),
        next: "mend the capture before the figures are used".to_owned(),
    })
}

fn idle(report: &AnalyzeReport) -> Option<Headline> {
    let whole = windows_us(report);
    let idle: f64 = report.idle.iter().map(|row| row.idle_us).sum();
    let mut causes: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    for cause in report.idle.iter().flat_map(|row| &row.causes) {
        *causes.entry(cause.cause).or_default() += cause.us;
    }
    let (&cause, &us) = causes.iter().max_by(|a, b| a.1.total_cmp(b.1))?;
    let code = report.idle.iter().find_map(|row| row.host_code.first());
    let code = code.map_or("unknown code", |row| row.name.as_str());
    let (what, next) = match cause {
        "compile" => ("a host thread compiled", "warm up with the same shapes and constants first"),
        "transfer" => {
            ("data moved between host and device", "keep inputs on the device or prefetch")
        }
        "no_request" => {
            ("there was nothing to do", "capture under load, or look at busy time only")
        }
        "blocked" => (
            "the host was in a call that copies while no copy ran",
            "look for what that call waited for, and copy without blocking",
        ),
        "peer" => {
            ("other devices of the same program were busy", "look for imbalance among devices")
        }
        "host" => {
            ("the host was not ready", "shorten the host's work or overlap it with the device")
        }
        _ if report.quality.iter().any(|finding| finding.code == Code::LoadDropped) => (
            "the host's slices, which would say why, were left out",
            "give more memory with --memory-limit",
        ),
        _ => ("nothing in the trace says why", "capture with host_tracer_level 2"),
    };
    let detail = if cause == "host" { format!(" (most of it in `{code}`)") } else { String::new() };
    (idle > 0.0 && whole > 0.0).then(|| Headline {
        section: Section::Idle,
        share: idle / whole,
        text: format!(
            "devices idled {} of their time; in {} of that {what}{detail}",
            percent(idle / whole),
            percent(us / idle)
        ),
        next: next.to_owned(),
    })
}

fn communication(report: &AnalyzeReport) -> Option<Headline> {
    let whole = windows_us(report);
    let exposed: f64 = report.timeline.iter().map(|row| row.exposed_communication_us).sum();
    let total: f64 = report.collectives.iter().map(|row| row.total_us).sum();
    let wait = report.collectives.iter().filter_map(|row| row.wait_us.value).reduce(|a, b| a + b);
    let first = report.collectives.first()?;
    let late = match first.last.is_empty() {
        true => String::new(),
        false => format!("; {} came last most often in the largest one", first.last),
    };
    (exposed > 0.0).then(|| Headline {
        section: Section::Collectives,
        share: exposed / whole,
        text: format!(
            "{} of device time is communication that nothing hides; {} waiting for peers{late}",
            percent(exposed / whole),
            wait.map_or("the trace does not say how much of it is".to_owned(), |wait| {
                format!("{} of all communication is", percent(wait / total))
            })
        ),
        next: match wait.is_some_and(|wait| wait > 0.5 * total) {
            true => "balance the devices' work: waiting, not the network, costs most",
            false => "overlap collectives with compute, or shard so that less is exchanged",
        }
        .to_owned(),
    })
}

fn compiles(report: &AnalyzeReport) -> Option<Headline> {
    let longest = report.compiles.iter().max_by_key(|row| row.duration)?;
    let total =
        report.compiles.iter().fold(Picos::ZERO, |sum, row| sum.saturating_add(row.duration));
    Some(Headline {
        section: Section::Compiles,
        share: (total.as_micros() / report.window_us.max(1.0)).min(1.0),
        text: format!(
            "{} took {:.3} s of the window, the longest {:.3} s for {}",
            counted(report.compiles.len() as u64, "compilation"),
            total.as_micros() / 1e6,
            longest.duration_us / 1e6,
            if longest.program.is_empty() { "an unknown program" } else { &longest.program }
        ),
        next: longest.advice.clone(),
    })
}

fn kernels(report: &AnalyzeReport) -> Option<Headline> {
    let first = report.kernels.first()?;
    let whole = windows_us(report);
    let same =
        report.kernels.iter().filter(|row| row.name == first.name && row.scope == first.scope);
    let time: f64 = same.map(|row| row.self_us).sum();
    let scope = report.layers.scopes.get(&first.meta).filter(|scope| !scope.is_empty());
    let place = scope.map_or_else(String::new, |scope| format!(" in {scope}"));
    let reached = first.roofline.efficiency.value.filter(|_| first.roofline.bound_by != "unknown");
    let reached = reached.map_or_else(String::new, |share| {
        format!("; it reaches {} of the peak of {}", percent(share), first.roofline.bound_by)
    });
    (whole > 0.0).then(|| Headline {
        section: Section::Kernels,
        share: time / whole,
        text: format!(
            "the largest kernel is {} ({}){place} with {} of device time{reached}",
            cut(&first.name),
            first.category,
            percent(time / whole)
        ),
        next: "see its line in `kernels` for what bounds it and how it varies".to_owned(),
    })
}

/// As much of a name as a sentence can take; those of C++ templates have hundreds of letters.
fn cut(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn layers(report: &AnalyzeReport) -> Option<Headline> {
    let components = || report.layers.components.iter();
    let known = components()
        .filter(|row| row.name != UNKNOWN && row.name != crate::layers::components::COLLECTIVES);
    let first = known.max_by(|a, b| a.self_us.total_cmp(&b.self_us))?;
    let unknown = components().find(|row| row.name == UNKNOWN).map_or(0.0, |row| row.share);
    let whole = windows_us(report);
    (whole > 0.0).then(|| Headline {
        section: Section::Layers,
        share: first.self_us / whole,
        text: match unknown > first.share {
            true => format!(
                "{} of the operations' time belongs to no known part of the model; of the rest, {} \
                 takes most, {}",
                percent(unknown),
                first.name,
                percent(first.share)
            ),
            false => format!(
                "{} takes {} of the operations' time, more than any other part of the model",
                first.name,
                percent(first.share)
            ),
        },
        next: match unknown > first.share {
            true if report.layers.scoped_share < 0.5 => "see `quality` for why they have no scope",
            true => "see `quality` for why, and name the model's parts with --rules FILE",
            false if report.kernels.iter().all(|kernel| kernel.scope.is_empty()) => {
                "see `layers` for which modules"
            }
            false => "see `layers` for which layers, and `kernels --scope` for which operations",
        }
        .to_owned(),
    })
}
