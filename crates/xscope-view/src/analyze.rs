//! The report on any profile, as text.

use std::path::Path;

use xscope_analysis::AnalyzeReport;
use xscope_analysis::framework::Framework;
use xscope_analysis::reports::analyze_report::SourceRow;
use xscope_analysis::reports::command::analyze_command;
use xscope_analysis::section::Section;
use xscope_analysis::words::counted;
use xscope_trace::quality::{Finding, Severity};
use xscope_trace::stats::as_f64;

use crate::colour::{Text, Tone};
use crate::findings::marked;
use crate::grid::Style;
use crate::sections::memory::snapshot_grids;
use crate::text::{duration, percent, shorten, si};

/// The first page: what was read, what matters most, what is wrong with it, and where to look on; of
/// files that know of no device, what they say of memory.
pub fn analyze_text(report: &AnalyzeReport) -> Text {
    let mut out = Text::default();
    sources(report, &mut out);
    devices_line(report, &mut out);
    headlines_text(report, &mut out);
    quality_line(&report.quality, &mut out);
    if report.devices.is_empty() {
        let grids = snapshot_grids(report);
        grids.iter().for_each(|grid| out += grid.render(Style::Terminal));
    }
    let mut names = Section::ALL.iter().map(|section| section.name());
    let first = names.next().unwrap_or_default();
    let others: Vec<&str> = names.collect();
    out.line(format!("more: {}, or {}", analyze_command(report, &[first]), others.join(", ")));
    out
}

/// What matters most, and what to do next.
fn headlines_text(report: &AnalyzeReport, out: &mut Text) {
    for (number, headline) in (1..).zip(&report.headlines) {
        out.line(format!("{number}. {}", shorten(&headline.text, 500)));
        *out += "   ";
        *out += Tone::Aside.of("next:");
        out.line(format!(" {} [{}]", shorten(&headline.next, 500), headline.section.name()));
    }
}

/// What was read: the file, or the folder of several.
fn sources(report: &AnalyzeReport, out: &mut Text) {
    let Some(first) = report.sources.first() else { return };
    let paths: Vec<&Path> = report.sources.iter().map(|source| Path::new(&source.path)).collect();
    let folder = first.path.as_ref();
    let folder = Path::ancestors(folder).find(|it| paths.iter().all(|path| path.starts_with(it)));
    let what = match (folder, paths.len() - 1) {
        (_, 0) => first.path.clone(),
        (Some(folder), others) if folder.components().count() > 1 => {
            format!("{}, {} files", folder.display(), others + 1)
        }
        (_, others) => format!("{} and {others} more", first.path),
    };
    let mut formats: Vec<&str> = report.sources.iter().map(|source| source.format).collect();
    formats.sort_unstable();
    formats.dedup();
    let host = host_of(report).map_or_else(String::new, |host| format!(" on {host}"));
    let bytes = report.sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.bytes));
    let events = match report.events {
        0 => String::new(),
        events => format!(": {} in {}", counted(events, "event"), duration(report.window_us)),
    };
    let is_packed = |path: &&Path| {
        path.extension()
            .is_some_and(|end| ["gz", "xz", "riegeli"].iter().any(|packed| end == *packed))
    };
    let unpacked = if paths.iter().any(is_packed) { " unpacked" } else { "" };
    let size = si(as_f64(bytes), "B") + unpacked;
    let read = format!("{what} ({}, {size}{host}){events}", formats.join(", "));
    out.line(Tone::Title.of(&read));
}

/// The machine that the files are of, or the first of several. PyTorch names its files as their user
/// likes.
fn host_of(report: &AnalyzeReport) -> Option<&str> {
    let is_named = |source: &&SourceRow| match source.format {
        "chrome_json" => report.framework == Some(Framework::Jax),
        _ => true,
    };
    let mut named = report.sources.iter().filter(|source| !source.host.is_empty());
    named.find(is_named).map(|source| source.host.as_str())
}

/// How busy the devices were, in one line.
fn devices_line(report: &AnalyzeReport, out: &mut Text) {
    let shares = || report.devices.iter().map(|device| device.busy_share);
    let (least, most) = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
    let busy = match report.devices.len() {
        0 if report.events == 0 => return,
        0 => "no devices".to_owned(),
        1 => format!("1 device, busy for {} of the window", percent(most)),
        count if percent(least) == percent(most) => {
            format!("{count} devices, each busy for {} of the window", percent(most))
        }
        count => {
            format!(
                "{count} devices, busy for {} to {} of the window",
                percent(least),
                percent(most)
            )
        }
    };
    out.line(busy);
}

/// What is wrong, in one line: how many findings and the gravest.
fn quality_line(findings: &[Finding], out: &mut Text) {
    let Some(worst) = findings.first().filter(|worst| worst.severity > Severity::Info) else {
        return;
    };
    let grave = findings.iter().filter(|finding| finding.severity > Severity::Info).count();
    let others = match grave - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    *out += marked(worst);
    out.line(format!(" [{}]{others}", worst.code));
}
