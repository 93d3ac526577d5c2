//! One section of a report in full, as text or Markdown.

use xscope_analysis::AnalyzeReport;
use xscope_analysis::devices::collectives::CollectiveRow;
use xscope_analysis::kernels::row::KernelRow;
use xscope_analysis::kernels::variation::Variation;
use xscope_analysis::layers::LayerNode;
use xscope_analysis::reports::grouping::GroupRow;
use xscope_analysis::section::Section;
use xscope_trace::Metric;
use xscope_trace::metric::Status;

use crate::analyze::devices;
use crate::colour::{Text, Tone};
use crate::findings::finding_lines;
use crate::flame::flame_text;
use crate::grid::{Cell, Column, Grid, Style, columns, row};
use crate::memory::memory_grids;
use crate::overhead::{overhead_grid, overhead_notes};
use crate::requests::request_grids;
use crate::text::{duration, metric, percent, shorten, si};

/// The tables of a section.
pub(crate) fn grids(report: &AnalyzeReport, section: Section) -> Vec<Grid> {
    match section {
        Section::Layers => vec![components(report), layers(report)],
        Section::Kernels => vec![categories(report), kernels(report)],
        Section::Devices => vec![devices(report), timeline(report)],
        Section::Idle => vec![idle(report), host_code(report)],
        Section::Collectives => vec![collectives(report)],
        Section::Compiles => vec![compiles(report)],
        Section::Programs => vec![programs(report)],
        Section::Steps => vec![step_groups(report), steps(report)],
        Section::Requests => report.requests.as_ref().map(request_grids).unwrap_or_default(),
        Section::Memory => memory_grids(report),
        Section::Overhead => {
            let measured = report.recording.measured.iter().map(overhead_grid);
            measured.chain([recording(report)]).collect()
        }
        Section::Quality => Vec::new(),
    }
}

/// A section in full.
pub fn section_text(report: &AnalyzeReport, section: Section, style: Style) -> Text {
    let mut tables = match (section, style) {
        (Section::Layers, Style::Terminal) => flame_text(&report.layers.root),
        _ => Text::default(),
    };
    grids(report, section).iter().for_each(|grid| tables += grid.render(style));
    let notes = notes(report, section);
    let mut out = Text::default();
    if style == Style::Markdown {
        out.line(format!("\n## {}", section.name()));
    }
    out += paragraph(degraded(report, section), style);
    let is_empty = tables.is_empty() && notes.is_empty();
    out += tables;
    if is_empty {
        let why = format!("nothing in this profile for this section: {}", why(report, section));
        out += paragraph(vec![why.into()], style);
    }
    out += paragraph(notes, style);
    out
}

/// Lines of text below or above tables.
fn paragraph(lines: Vec<Text>, style: Style) -> Text {
    let mut out = Text::default();
    if !lines.is_empty() {
        out += "\n";
    }
    for line in lines {
        out += if style == Style::Markdown { "- " } else { "" };
        out.line(line);
    }
    out
}

/// What the tables of a section do not say.
fn notes(report: &AnalyzeReport, section: Section) -> Vec<Text> {
    match section {
        Section::Requests => {
            let requests = report.requests.iter();
            requests.flat_map(|requests| finding_lines(&requests.findings)).collect()
        }
        Section::Layers if !report.kernels.is_empty() => vec![layer_note(report).into()],
        Section::Memory => memory_notes(report).into_iter().map(Text::from).collect(),
        Section::Overhead => recording_notes(report).into_iter().map(Text::from).collect(),
        Section::Quality => finding_lines(&report.quality),
        _ => Vec::new(),
    }
}

/// Why a section has nothing to show, and what would change that.
fn why(report: &AnalyzeReport, section: Section) -> &'static str {
    const NO_WORK: &str = "no operation of any device is in it";
    let has_work = !report.kernels.is_empty();
    match section {
        Section::Programs if has_work => {
            "its operations name no program: PyTorch has none, and XLA names none in kernels that it \
             launched as whole graphs"
        }
        Section::Steps if has_work => {
            "its operations name no program, and no annotation numbers its steps: call the work of a \
             step inside jax.profiler.StepTraceAnnotation, or look at a window with --from and --to"
        }
        Section::Collectives if has_work => "no operation among devices ran",
        Section::Idle if has_work => "no device was idle between its first and its last operation",
        Section::Layers
        | Section::Kernels
        | Section::Devices
        | Section::Idle
        | Section::Collectives
        | Section::Programs
        | Section::Steps => NO_WORK,
        Section::Compiles => {
            "nothing was compiled in it, as far as host events and logs of servers say"
        }
        Section::Requests => {
            "it knows of no requests: give the run directory of `xscope profile`, or start the server \
             under `xscope run`"
        }
        Section::Memory => {
            "no allocator wrote events and no program carries its buffers: give the device memory \
             profile (jax.profiler.save_device_memory_profile) too"
        }
        Section::Overhead => "no profiler's file is in it, and no run that measured it",
        Section::Quality => "nothing wrong was found",
    }
}

/// Kernels by group.
pub fn groups_text(groups: &[GroupRow], style: Style) -> Text {
    let mut columns = columns(&["group"], &["kernels", "devices", "occurrences", "total self"]);
    columns.push(Column::Share("share"));
    columns.extend(["avg.", "FLOP/s"].map(Column::Number));
    columns.push(Column::Drawing);
    let rows = groups.iter().map(|row| {
        row![
            shorten(&row.group, 56),
            row.kernels.to_string(),
            row.devices.to_string(),
            row.count.to_string(),
            duration(row.self_us),
            percent(row.share),
            duration(row.mean_us),
            row.flops_per_sec.map_or_else(|| "-".to_owned(), |rate| si(rate, "")),
            Cell::bar(row.share, 12),
        ]
    });
    Grid::new("Kernels by group", columns, rows).render(style)
}

/// What findings make doubtful in a section.
fn degraded(report: &AnalyzeReport, section: Section) -> Vec<Text> {
    let rows = report.degraded.iter().filter(|row| row.sections.contains(&section));
    rows.map(|row| {
        let mut line = Tone::Doubtful.of("degraded:");
        line += format!(" {} [{}]", row.figures.name(), row.code);
        line
    })
    .collect()
}

fn components(report: &AnalyzeReport) -> Grid {
    let rows = report.layers.components.iter().map(|row| {
        row![row.name.clone(), duration(row.self_us), percent(row.share), Cell::bar(row.share, 12)]
    });
    Grid::new(
        "Components of the model",
        [
            Column::Text("component"),
            Column::Number("self time"),
            Column::Share("share"),
            Column::Drawing,
        ],
        rows,
    )
}

fn layers(report: &AnalyzeReport) -> Grid {
    let mut rows = Vec::new();
    if report.layers.root.total_us > 0.0 {
        layer_rows(&report.layers.root, report.layers.root.total_us, 0, &mut rows);
    }
    Grid::new(
        "Layers (device time by named scope)",
        [
            Column::Text("scope"),
            Column::Number("time"),
            Column::Number("self"),
            Column::Share("share"),
        ],
        rows,
    )
}

fn layer_rows(node: &LayerNode, whole: f64, depth: usize, rows: &mut Vec<Vec<Cell>>) {
    rows.push(row![
        format!("{}{}", "  ".repeat(depth), shorten(&node.name, 48)),
        duration(node.total_us),
        duration(node.self_us),
        percent(node.total_us / whole),
    ]);
    for child in &node.children {
        layer_rows(child, whole, depth + 1, rows);
    }
}

fn layer_note(report: &AnalyzeReport) -> String {
    let layers = &report.layers;
    format!(
        "{} of device time has a scope; {} was split among scopes by cost, of which {} ({} of all) \
         is ambiguous",
        percent(layers.scoped_share),
        duration(layers.split_us),
        duration(layers.ambiguous_us),
        percent(layers.ambiguous_share),
    )
}

fn kernels(report: &AnalyzeReport) -> Grid {
    let names = [
        "occurrences",
        "total self",
        "avg.",
        "min",
        "p99",
        "max",
        "stddev",
        "FLOP/s",
        "B/s",
        "operational intensity",
        "roofline efficiency",
    ];
    let mut columns =
        vec![Column::Text("kernel"), Column::Text("device"), Column::Text("category")];
    columns.extend(names.map(Column::Number));
    columns.extend(["bound by", "varies with", "scope"].map(Column::Text));
    let rows = report.kernels.iter().map(|kernel| kernel_cells(report, kernel));
    Grid::new("Kernels by self time", columns, rows)
}

fn kernel_cells(report: &AnalyzeReport, kernel: &KernelRow) -> Vec<Cell> {
    let rate = |metric: &Metric| metric.value.map_or_else(|| "-".to_owned(), |v| si(v, ""));
    let scope = report.layers.scopes.get(&kernel.meta).unwrap_or(&kernel.scope);
    let roofline = &kernel.roofline;
    row![
        // Names of templates differ in their middle only.
        shorten(&kernel.name, 60),
        shorten(&kernel.device, 24),
        shorten(&kernel.category, 20),
        kernel.count.to_string(),
        duration(kernel.self_us),
        duration(kernel.mean_us),
        duration(kernel.min_us),
        duration(kernel.p99_us),
        duration(kernel.max_us),
        duration(kernel.stddev_us),
        rate(&roofline.flops_per_sec),
        rate(&roofline.bytes_per_sec),
        metric(&roofline.intensity, 2),
        match (roofline.efficiency.value, roofline.efficiency.status) {
            (Some(share), Status::Degraded) => format!("{}?", percent(share)),
            (Some(share), _) => percent(share),
            (None, _) => "-".to_owned(),
        },
        roofline.bound_by.to_owned(),
        kernel.varies.as_ref().map_or_else(|| "-".to_owned(), variation),
        shorten(scope, 48),
    ]
}

fn variation(varies: &Variation) -> String {
    match varies.explains > 0.0 {
        false => varies.with.to_owned(),
        true => format!(
            "{} ({} to {})",
            varies.with,
            duration(varies.fastest_us),
            duration(varies.slowest_us)
        ),
    }
}

fn timeline(report: &AnalyzeReport) -> Grid {
    let names =
        ["window", "compute", "exposed comm.", "exposed copy", "idle", "all comm.", "all copy"];
    let mut columns = vec![Column::Text("device")];
    columns.extend(names.map(Column::Number));
    let rows = report.timeline.iter().map(|row| {
        let share = |us: f64| {
            format!("{} ({})", duration(us), percent(us / row.window_us.max(f64::MIN_POSITIVE)))
        };
        row![
            row.device.clone(),
            duration(row.window_us),
            share(row.computation_us),
            share(row.exposed_communication_us),
            share(row.exposed_copy_us),
            share(row.idle_us),
            duration(row.communication_us),
            duration(row.copy_us),
        ]
    });
    Grid::new("What each device's time went into", columns, rows)
}

fn categories(report: &AnalyzeReport) -> Grid {
    let rows = report.categories.iter().map(|row| {
        row![
            shorten(&row.name, 40),
            row.count.to_string(),
            duration(row.self_us),
            percent(row.share),
            Cell::bar(row.share, 12),
        ]
    });
    Grid::new(
        "Time by category",
        [
            Column::Text("category"),
            Column::Number("count"),
            Column::Number("self time"),
            Column::Share("share"),
            Column::Drawing,
        ],
        rows,
    )
}

fn idle(report: &AnalyzeReport) -> Grid {
    let rows = report.idle.iter().filter(|row| row.idle_us > 0.0).map(|row| {
        let causes = row.causes.iter().map(|cause| {
            format!("{} {} ({})", cause.cause, duration(cause.us), percent(cause.share))
        });
        row![row.device.clone(), duration(row.idle_us), causes.collect::<Vec<_>>().join(", ")]
    });
    Grid::new(
        "Idle time by cause",
        [Column::Text("device"), Column::Number("idle"), Column::Text("causes")],
        rows,
    )
}

fn host_code(report: &AnalyzeReport) -> Grid {
    let rows = report.idle.iter().flat_map(|row| {
        let code = row.host_code.iter();
        code.map(|code| row![row.device.clone(), duration(code.us), shorten(&code.name, 64)])
    });
    Grid::new(
        "What the host did while a device waited for it",
        [Column::Text("device"), Column::Number("time"), Column::Text("host code")],
        rows,
    )
}

fn collectives(report: &AnalyzeReport) -> Grid {
    let names = ["count", "devices", "bytes", "total", "waiting", "moving", "bandwidth", "hidden"];
    let mut columns = vec![Column::Text("collective"), Column::Text("on")];
    columns.extend(names.map(Column::Number));
    columns.push(Column::Text("last most often"));
    let cells = |row: &CollectiveRow| {
        let figure = |metric: &Metric, unit| {
            metric.value.map_or_else(|| "-".to_owned(), |value| si(value, unit))
        };
        row![
            shorten(&row.name, 40),
            match row.on.as_slice() {
                [] => String::new(),
                [only] => only.clone(),
                [first, .., last] => format!("{first} … {last}"),
            },
            row.count.to_string(),
            row.devices.to_string(),
            figure(&row.bytes, "B"),
            duration(row.total_us),
            time(&row.wait_us),
            time(&row.transfer_us),
            figure(&row.bytes_per_sec, "B/s"),
            duration(row.hidden_us),
            match row.last_count {
                0 => "-".to_owned(),
                count => format!("{} ({count}x)", row.last),
            },
        ]
    };
    Grid::new("Collectives", columns, report.collectives.iter().map(cells))
}

/// A duration in microseconds, `-` if it is not known.
fn time(us: &Metric) -> String {
    us.value.map_or_else(|| "-".to_owned(), duration)
}

fn compiles(report: &AnalyzeReport) -> Grid {
    let rows = report.compiles.iter().map(|row| {
        // A log says it to the second.
        let moment = |us: f64| match row.seen_in {
            "log" => format!("{:.0} s", us / 1e6),
            _ => duration(us),
        };
        row![
            moment(row.start_us),
            moment(row.duration_us),
            shorten(&row.program, 40),
            shorten(&row.thread, 24),
            row.batch.map_or_else(|| "-".to_owned(), |batch| batch.to_string()),
            row.seen_in.to_owned(),
            metric(&row.requests_waiting, 0),
            time(&row.devices_idle_us),
            row.reason.to_owned(),
            row.advice.clone(),
        ]
    });
    Grid::new(
        "Compilations in the window",
        [
            Column::Number("at"),
            Column::Number("took"),
            Column::Text("program"),
            Column::Text("thread"),
            Column::Number("batch"),
            Column::Text("seen in"),
            Column::Number("requests waiting"),
            Column::Number("devices idle"),
            Column::Text("why"),
            Column::Text("advice"),
        ],
        rows,
    )
}

fn programs(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Text("program"), Column::Text("stage")];
    columns.extend(["devices", "count", "total", "mean", "p50", "p99"].map(Column::Number));
    columns.push(Column::Text("follows"));
    let rows = report.programs.iter().map(|row| {
        let follows = row.follows.iter().map(|(name, count)| format!("{name} ({count}x)"));
        row![
            shorten(&row.name, 48),
            row.part_of.map_or_else(|| row.stage.to_owned(), |of| format!("{} of {of}", row.stage)),
            row.devices.to_string(),
            row.count.to_string(),
            duration(row.total_us),
            duration(row.mean_us),
            duration(row.p50_us),
            duration(row.p99_us),
            follows.collect::<Vec<_>>().join(", "),
        ]
    });
    Grid::new("Executions of programs", columns, rows)
}

fn step_groups(report: &AnalyzeReport) -> Grid {
    let names = ["count", "total", "mean", "min", "p50", "p99", "max", "devices busy"];
    let mut columns = vec![Column::Text("step"), Column::Text("stage")];
    columns.extend(names.map(Column::Number));
    let rows = report.steps.groups.iter().map(|row| {
        let mut cells = row![shorten(&row.name, 48), row.stage.to_owned(), row.count.to_string()];
        let times = [row.total_us, row.mean_us, row.min_us, row.p50_us, row.p99_us, row.max_us];
        cells.extend(times.map(|us| duration(us).into()));
        cells.push(percent(row.busy_share).into());
        cells
    });
    Grid::new("Steps by stage", columns, rows)
}

fn steps(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Number("number"), Column::Text("step"), Column::Text("stage")];
    columns.extend(["at", "took", "devices", "busy", "executions"].map(Column::Number));
    let rows = report.steps.steps.iter().map(|row| {
        row![
            row.number.to_string(),
            shorten(&row.name, 48),
            row.stage.to_owned(),
            duration(row.start_us),
            duration(row.duration_us),
            row.devices.to_string(),
            duration(row.busy_us),
            row.executions.to_string(),
        ]
    });
    Grid::new("Steps (--step NUMBER shows one)", columns, rows)
}

fn recording(report: &AnalyzeReport) -> Grid {
    let columns = vec![
        Column::Text("recorder"),
        Column::Number("events"),
        Column::Number("events/s"),
        Column::Number("held threads up"),
        Column::Number("share of the window"),
    ];
    let rows = report.recording.recorders.iter().map(|row| {
        row![
            row.recorder.replace('_', " "),
            row.events.to_string(),
            si(row.events_per_sec, ""),
            time(&row.time_us),
            row.share.value.map_or_else(|| "-".to_owned(), percent),
        ]
    });
    Grid::new("What recording took, as far as the trace says", columns, rows)
}

/// What is known beside the table of recorders.
fn recording_notes(report: &AnalyzeReport) -> Vec<String> {
    let recording = &report.recording;
    let mut notes: Vec<String> = recording.measured.iter().flat_map(overhead_notes).collect();
    if recording.recorders.is_empty() {
        return notes;
    }
    let rate = recording.bytes_per_sec.value;
    notes.extend(rate.map(|rate| format!("{} of profile", si(rate, "B/s"))));
    let times = || recording.recorders.iter().map(|row| (row.recorder, &row.time_us));
    let unknown = times().find(|(_, time)| time.value.is_none());
    let counted = times().find(|(_, time)| time.status == Status::Degraded);
    let reason = |time: &Metric| time.reason.clone().unwrap_or_default();
    notes.extend(unknown.map(|(_, time)| format!("without a time: {}", reason(time))));
    notes.extend(counted.map(|(recorder, time)| format!("{recorder}: {}", reason(time))));
    notes
}

fn memory_notes(report: &AnalyzeReport) -> Vec<String> {
    let memory = &report.memory;
    let mut notes = Vec::new();
    if memory.programs.iter().any(|program| program.live_bytes.is_none()) {
        notes.push("without a figure: the compiler did not say when buffers are in use".to_owned());
    }
    let has_others = !memory.owners.is_empty()
        || !report.allocators.is_empty()
        || !report.allocations.is_empty()
        || !report.reported_memory.is_empty();
    if let Some(reason) = memory.planned_peak.reason.as_ref().filter(|_| has_others) {
        notes.push(format!("no plan of programs: {reason}"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xscope_analysis::analyze;

    use super::{Section, section_text};
    use crate::grid::Style;

    /// Every section of every fixture has a heading, and its tables have as many cells in each row.
    #[test]
    fn markdown_is_whole() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xscope-trace/tests/fixtures");
        for name in
            ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto", "run", "pprof", "sglang_jax/server.log"]
        {
            let report = analyze(&xscope_trace::load(&[fixtures.join(name)]).unwrap());
            for &section in Section::ALL {
                let title = section.name();
                let text = section_text(&report, section, Style::Markdown);
                let text = text.plain();
                let at = |line: &str| format!("{name} {title}: {line}");
                assert!(text.starts_with(&format!("\n## {title}\n\n")), "{}", at(text));
                // Blocks lie apart, and each is a heading, a list or a table.
                for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
                    let lines: Vec<&str> = block.lines().collect();
                    let cells = |line: &&str| line.replace("\\|", "").matches('|').count();
                    let is_whole = match lines[0] {
                        line if line.starts_with('#') => lines.len() == 1,
                        line if line.starts_with("- ") => {
                            lines.iter().all(|line| line.starts_with("- "))
                        }
                        line => {
                            cells(&line) > 1 && lines.iter().map(cells).all(|it| it == cells(&line))
                        }
                    };
                    assert!(is_whole, "{}", at(block));
                }
            }
        }
    }
}
