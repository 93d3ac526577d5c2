//! The pages of a report, below the first screen.

use maud::{Markup, html};
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};
use xscope_trace::run::{RunManifest, Utc};
use xscope_trace::stats::as_f64;

use crate::grid::{Column, row};
use crate::html::benchmark::benchmark;
use crate::html::bounds::LeftOut;
use crate::html::operations;
use crate::html::parts::{chart, figure, findings, grid, table};
use crate::html::summary::summary;
use crate::html::{Page, Side};
use crate::overhead::{overhead_grid, overhead_notes};
use crate::sections::grids;
use crate::text::{percent, shorten, si};

/// All pages in order; each is there, with a word if it is empty.
pub(crate) fn pages(side: &Side, left_out: &LeftOut) -> Vec<Page> {
    let report = &side.report;
    let analysis = &report.analysis;
    let section = |section: Section, charts: Markup| {
        let tables = grids(analysis, section);
        html! {
            @if tables.iter().all(|table| table.rows.is_empty()) {
                p.empty { (why_empty(section)) }
            } @else {
                (charts)
                (degraded(analysis, section))
                @for table in &tables { (grid(table)) }
                (left_out_note(left_out, section))
            }
        }
    };
    let page = |id, title, content| Page { id, title, content };
    let mut pages = vec![page("summary", "Summary", summary(side))];
    pages.extend(side.results.as_ref().map(|it| page("benchmark", "Benchmark", benchmark(it))));
    pages.extend([
        page("latency", "Latency", latency(report)),
        page(
            "layers",
            "Layers",
            html! {
                (section(Section::Layers, html! { (chart("flame", "Device time by scope; click to zoom")) }))
                (layer_note(analysis))
            },
        ),
        page(
            "kernels",
            "Kernels",
            html! { (degraded(analysis, Section::Kernels)) (operations::page(analysis)) },
        ),
        page("roofline", "Roofline", roofline(analysis)),
        page(
            "devices",
            "Devices",
            section(
                Section::Devices,
                html! { (chart("devices", "What each device's window went into")) },
            ),
        ),
        page(
            "idle",
            "Idle time",
            section(Section::Idle, html! { (chart("idle", "Idle time by cause")) }),
        ),
        page("memory", "Memory", memory(analysis, left_out)),
        page(
            "compiles",
            "Compilations",
            html! {
                (section(Section::Compiles, html! { (chart("compiles", "Compilations, and the latency of requests by when they were due")) }))
                (waiting(analysis))
            },
        ),
        page(
            "collectives",
            "Collectives",
            section(
                Section::Collectives,
                html! { (chart("collectives", "Waiting and moving, over all devices")) },
            ),
        ),
        page("programs", "Programs", section(Section::Programs, html! {})),
        page("steps", "Steps", section(Section::Steps, html! {})),
        page(
            "quality",
            "Quality",
            html! { (findings(&analysis.quality)) (left_out_note(left_out, Section::Quality)) },
        ),
        page("environment", "Environment", environment(report, side.manifest.as_ref())),
    ]);
    pages
}

fn why_empty(section: Section) -> &'static str {
    match section {
        Section::Layers | Section::Kernels => "This profile has no operation of a device.",
        Section::Devices => "This profile has no device.",
        Section::Idle => "No device idled between its first and its last operation.",
        Section::Collectives => "No operation exchanges data between devices.",
        Section::Compiles => "Nothing was compiled while this profile was taken.",
        Section::Programs => "No execution of a program was recorded.",
        Section::Steps => "No pass of training or serving was recorded.",
        Section::Memory => "Nothing in this profile counts memory.",
        Section::Overhead | Section::Requests | Section::Quality => {
            "Nothing in this profile for this section."
        }
    }
}

/// What findings make doubtful in a section.
fn degraded(analysis: &AnalyzeReport, section: Section) -> Markup {
    html! {
        @for row in analysis.degraded.iter().filter(|row| row.sections.contains(&section)) {
            p.notice { "Not to be relied on: " (row.figures.name()) ", see " a href="#quality" { (row.code.as_str()) } }
        }
    }
}

fn left_out_note(left_out: &LeftOut, section: Section) -> Markup {
    html! {
        @if let Some(count) = left_out.get(section.name()) {
            p.notice { (count) " more are left out of this page, those with the least; report.json and `--json` have all." }
        }
    }
}

fn latency(report: &ProfileReport) -> Markup {
    let latency = &report.latency;
    let percentiles =
        latency.percentiles.iter().map(|(share, ms)| row![format!("p{share}"), format!("{ms:.3}")]);
    let stages = report.stages.iter().map(|stage| {
        let ms = |ms: f64| format!("{ms:.3}");
        row![
            stage.name.clone(),
            ms(stage.p50_ms),
            ms(stage.p99_ms),
            ms(stage.mean_ms),
            percent(stage.share),
        ]
    });
    html! {
        @if report.requests.measured == 0 {
            p.empty { "This profile has no measured request." }
        } @else {
            (degraded(&report.analysis, Section::Requests))
            p {
                (report.requests.measured) " requests measured, " (report.requests.warmup) " to warm up, "
                (report.requests.failed) " failed. Mean " (figure(&latency.mean_ms, 3)) "; "
                (figure(&latency.items_per_sec, 1)) ". Latency counts from when a request was due."
            }
            div.pair {
                (chart("histogram", "Requests by latency"))
                (chart("percentiles", "Latency by percentile"))
            }
            div.pair {
                div { h3 { "Percentiles" } (table(&[Column::Text("percentile"), Column::Number("ms")], &percentiles.collect::<Vec<_>>())) }
                div {
                    h3 { "Stages" }
                    (table(
                        &[Column::Text("stage"), Column::Number("p50 ms"), Column::Number("p99 ms"), Column::Number("mean ms"), Column::Share("share")],
                        &stages.collect::<Vec<_>>(),
                    ))
                }
            }
            @if let Some(overhead) = &report.overhead {
                (grid(&overhead_grid(overhead)))
                @for note in overhead_notes(overhead) { p.note { (note) } }
            }
        }
    }
}

fn layer_note(analysis: &AnalyzeReport) -> Markup {
    let layers = &analysis.layers;
    html! {
        @if layers.root.total_us > 0.0 {
            p.note {
                (percent(layers.scoped_share)) " of the device time has a scope; "
                (percent(layers.ambiguous_share)) " is split among scopes by cost, right on average and unknown for the single operation."
            }
        }
    }
}

fn roofline(analysis: &AnalyzeReport) -> Markup {
    let costed = analysis.kernels.iter().any(|kernel| kernel.roofline.intensity.value.is_some());
    html! {
        @if costed {
            (chart("roofline", "Arithmetic rate over intensity; the area of a mark is its share of the time"))
            p.note { "The kernels' table has the same figures: FLOP/s, FLOP/B, share of the peak, and what bounds each." }
        } @else {
            p.empty { "The profile does not say what its operations cost, so there is no roofline." }
        }
    }
}

fn memory(analysis: &AnalyzeReport, left_out: &LeftOut) -> Markup {
    let memory = &analysis.memory;
    let counted = !memory.owners.is_empty() || !analysis.allocators.is_empty();
    html! {
        (degraded(analysis, Section::Memory))
        p { "Peak over all owners: " (figure(&memory.peak, 2)) }
        @if counted { (chart("memory", "What was live over time, by owner or allocator")) }
        @for table in &grids(analysis, Section::Memory) { (grid(table)) }
        (left_out_note(left_out, Section::Memory))
    }
}

/// The requests that waited for each compilation.
fn waiting(analysis: &AnalyzeReport) -> Markup {
    html! {
        @if analysis.compiles.iter().any(|row| !row.waiting.is_empty()) {
            h3 { "Requests that waited" }
            ul {
                @for row in analysis.compiles.iter().filter(|row| !row.waiting.is_empty()).take(50) {
                    li {
                        (shorten(&row.program, 80)) ": "
                        @for id in &row.waiting { code { (shorten(id, 60)) } " " }
                        @let more = row.requests_waiting.value.unwrap_or(0.0) - as_f64(row.waiting.len() as u64);
                        @if more > 0.0 { "and " (more) " more" }
                    }
                }
            }
        }
    }
}

pub(crate) fn environment(report: &ProfileReport, manifest: Option<&RunManifest>) -> Markup {
    let sources = report.analysis.sources.iter().map(|source| {
        row![
            source.path.clone(),
            source.format.to_owned(),
            si(as_f64(source.bytes), "B"),
            source.host.clone(),
        ]
    });
    let columns = [
        Column::Text("file"),
        Column::Text("format"),
        Column::Number("size"),
        Column::Text("host"),
    ];
    html! {
        @if let Some(manifest) = manifest { (of_manifest(report, manifest)) }
        @else { p { "No run directory: where and how this profile was taken is not known." } }
        h3 { "Files that were read" }
        (table(&columns, &sources.collect::<Vec<_>>()))
    }
}

fn of_manifest(report: &ProfileReport, manifest: &RunManifest) -> Markup {
    let host = &manifest.host;
    let memory = host.memory.map(|bytes| si(as_f64(bytes.0), "B"));
    let ended = manifest.ended_wall.map(|at| Utc::from_wall(at).to_string());
    let mut facts: Vec<(&str, Option<String>)> = vec![
        ("status", Some(format!("{:?}", manifest.status).to_lowercase())),
        ("started", Some(Utc::from_wall(manifest.started_wall).to_string())),
        ("ended", ended),
        ("target", Some(manifest.target.clone())),
        ("model", report.typical.model_name.clone()),
        ("hardware", report.typical.hardware.clone()),
        ("machine", host.hostname.clone()),
        ("system", host.os.clone()),
        ("processor", host.cpu_model.clone()),
        ("cores", host.cores.map(|cores| cores.to_string())),
        ("memory", memory),
        ("commit", manifest.git_commit.clone()),
    ];
    facts.retain(|(_, value)| value.as_ref().is_some_and(|value| !value.is_empty()));
    html! {
        h3 { "To repeat it" }
        pre.command { (repeat(manifest)) }
        dl.facts {
            @for (name, value) in &facts { div { dt { (name) } dd { (shorten(value.as_deref().unwrap_or_default(), 400)) } } }
            @for (name, version) in manifest.versions.iter().take(50) {
                div { dt { (shorten(name, 40)) } dd { (shorten(version, 80)) } }
            }
        }
        h3 { "Workload" }
        pre { (shorten_lines(&serde_json::to_string_pretty(&manifest.workload).unwrap_or_default())) }
    }
}

/// The commands that make such a run again, and that look at this one.
fn repeat(manifest: &RunManifest) -> String {
    let mut lines = Vec::new();
    if let Some(commit) = &manifest.git_commit {
        lines.push(format!("git checkout {}", quoted(commit)));
    }
    let words: Vec<String> = manifest.command_line.iter().map(|word| quoted(word)).collect();
    lines.push(words.join(" "));
    lines.push(format!("xscope analyze {}", quoted(&manifest.id)));
    shorten_lines(&lines.join("\n"))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Text of several lines, each cut.
fn shorten_lines(text: &str) -> String {
    text.lines().take(200).map(|line| shorten(line, 1000)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("--x=1,2", "--x=1,2"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
