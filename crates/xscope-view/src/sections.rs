//! One section of a report in full, as text or Markdown.

use xscope_analysis::AnalyzeReport;
use xscope_analysis::collectives::CollectiveRow;
use xscope_analysis::grouping::GroupRow;
use xscope_analysis::kernels::KernelRow;
use xscope_analysis::layers::LayerNode;
use xscope_analysis::stats::as_f64;
use xscope_analysis::variation::Variation;
use xscope_trace::Metric;
use xscope_trace::metric::Status;

use crate::analyze::{devices, line, memory_page, quality_text};
use crate::flame::flame_text;
use crate::overhead::{overhead_grid, overhead_notes};
use crate::requests::request_grids;
use crate::text::{Column, bar, duration, metric, percent, shorten, si, table};

/// A part of the report on a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Layers,
    Kernels,
    Devices,
    Idle,
    Collectives,
    Compiles,
    Programs,
    Steps,
    Requests,
    Memory,
    Overhead,
    Quality,
}

impl Section {
    pub const ALL: [(&'static str, Self); 12] = [
        ("layers", Self::Layers),
        ("kernels", Self::Kernels),
        ("devices", Self::Devices),
        ("idle", Self::Idle),
        ("collectives", Self::Collectives),
        ("compiles", Self::Compiles),
        ("programs", Self::Programs),
        ("steps", Self::Steps),
        ("requests", Self::Requests),
        ("memory", Self::Memory),
        ("overhead", Self::Overhead),
        ("quality", Self::Quality),
    ];

    /// The section of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, section)| section)
    }

    /// The name of a section.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, section)| *section == self).map_or("", |&(name, _)| name)
    }
}

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Terminal,
    Markdown,
}

/// A titled table.
pub(crate) struct Grid {
    pub title: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
}

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
        Section::Memory => vec![
            allocators(report),
            planned(report),
            planned_layers(report),
            planned_buffers(report),
            growth(report),
        ],
        Section::Overhead => {
            let measured = report.recording.measured.iter().map(overhead_grid);
            measured.chain([recording(report)]).collect()
        }
        Section::Quality => Vec::new(),
    }
}

/// A section in full.
pub fn section_text(report: &AnalyzeReport, section: Section, style: Style) -> String {
    let mut out = match (section, style) {
        (Section::Layers, Style::Terminal) => flame_text(&report.layers.root),
        _ => String::new(),
    };
    for grid in grids(report, section).iter().filter(|grid| !grid.rows.is_empty()) {
        out += &render(grid, style);
    }
    match section {
        Section::Requests => {
            let findings = report.requests.as_ref().map(|requests| requests.findings.as_slice());
            out += &quality_text(findings.unwrap_or_default());
        }
        Section::Layers => layer_notes(report, &mut out),
        Section::Memory => {
            out += &memory_page(report);
            if report.memory.programs.iter().any(|program| program.live_bytes.is_none()) {
                line(&mut out, "\n- : the compiler did not say when temporary buffers are in use");
            }
            if let Some(reason) = &report.memory.planned_peak.reason
                && !out.is_empty()
            {
                line(&mut out, &format!("\nno plan of programs: {reason}"));
            }
        }
        Section::Overhead => recording_notes(report, &mut out),
        Section::Quality => out += &quality_text(&report.quality),
        _ => {}
    }
    if out.is_empty() {
        line(
            &mut out,
            &format!("nothing in this profile for this section: {}", why(report, section)),
        );
    }
    degraded_text(report, section) + &out
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
pub fn groups_text(groups: &[GroupRow], style: Style) -> String {
    let names = ["kernels", "devices", "occurrences", "total self", "share", "avg.", "FLOP/s"];
    let mut columns = vec![Column::Text("group")];
    columns.extend(names.map(Column::Number));
    columns.push(Column::Text(""));
    let rows = groups.iter().map(|row| {
        vec![
            shorten(&row.group, 56),
            row.kernels.to_string(),
            row.devices.to_string(),
            row.count.to_string(),
            duration(row.self_us),
            percent(row.share),
            duration(row.mean_us),
            row.flops_per_sec.map_or_else(|| "-".to_owned(), |rate| si(rate, "")),
            bar(row.share, 12),
        ]
    });
    render(&Grid { title: "Kernels by group", columns, rows: rows.collect() }, style)
}

/// What findings make doubtful in a section.
fn degraded_text(report: &AnalyzeReport, section: Section) -> String {
    let mut out = String::new();
    for row in report.degraded.iter().filter(|row| row.sections.contains(&section.name())) {
        line(&mut out, &format!("degraded: {} [{}]", row.figures.name(), row.code));
    }
    out
}

pub(crate) fn render(grid: &Grid, style: Style) -> String {
    match style {
        Style::Terminal => {
            format!("\n{}\n{}", grid.title, table(&grid.columns, grid.rows.iter().cloned()))
        }
        Style::Markdown => {
            let names = grid.columns.iter().map(|column| column.name());
            let marks = grid.columns.iter().map(|column| match column {
                Column::Text(_) => "---",
                Column::Number(_) => "---:",
            });
            let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
            let mut out = format!("\n### {}\n\n", grid.title);
            out += &row(names.map(str::to_owned).collect());
            out += &row(marks.map(str::to_owned).collect());
            for cells in &grid.rows {
                out += &row(cells.iter().map(|cell| cell.replace('|', "\\|")).collect());
            }
            out
        }
    }
}

fn components(report: &AnalyzeReport) -> Grid {
    let rows = report.layers.components.iter().map(|row| {
        vec![row.name.clone(), duration(row.self_us), percent(row.share), bar(row.share, 12)]
    });
    Grid {
        title: "Components of the model",
        columns: vec![
            Column::Text("component"),
            Column::Number("self time"),
            Column::Number("share"),
            Column::Text(""),
        ],
        rows: rows.collect(),
    }
}

fn layers(report: &AnalyzeReport) -> Grid {
    let mut rows = Vec::new();
    if report.layers.root.total_us > 0.0 {
        layer_rows(&report.layers.root, report.layers.root.total_us, 0, &mut rows);
    }
    Grid {
        title: "Layers (device time by named scope)",
        columns: vec![
            Column::Text("scope"),
            Column::Number("time"),
            Column::Number("self"),
            Column::Number("share"),
        ],
        rows,
    }
}

fn layer_rows(node: &LayerNode, whole: f64, depth: usize, rows: &mut Vec<Vec<String>>) {
    rows.push(vec![
        format!("{}{}", "  ".repeat(depth), shorten(&node.name, 48)),
        duration(node.total_us),
        duration(node.self_us),
        percent(node.total_us / whole),
    ]);
    for child in &node.children {
        layer_rows(child, whole, depth + 1, rows);
    }
}

fn layer_notes(report: &AnalyzeReport, out: &mut String) {
    let layers = &report.layers;
    line(
        out,
        &format!(
            "\n{} of device time has a scope; {} was split among scopes by cost, of which {} \
             ({} of all) is ambiguous",
            percent(layers.scoped_share),
            duration(layers.split_us),
            duration(layers.ambiguous_us),
            percent(layers.ambiguous_share),
        ),
    );
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
    Grid { title: "Kernels by self time", columns, rows: rows.collect() }
}

fn kernel_cells(report: &AnalyzeReport, kernel: &KernelRow) -> Vec<String> {
    let rate = |metric: &Metric| metric.value.map_or_else(|| "-".to_owned(), |v| si(v, ""));
    let scope = report.layers.scopes.get(&kernel.meta).unwrap_or(&kernel.scope);
    let roofline = &kernel.roofline;
    vec![
        shorten(&kernel.name, 36),
        shorten(&kernel.device, 16),
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
        roofline.efficiency.value.map_or_else(|| "-".to_owned(), percent),
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
        vec![
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
    Grid { title: "What each device's time went into", columns, rows: rows.collect() }
}

fn categories(report: &AnalyzeReport) -> Grid {
    let rows = report.categories.iter().map(|row| {
        vec![
            shorten(&row.name, 40),
            row.count.to_string(),
            duration(row.self_us),
            percent(row.share),
            bar(row.share, 12),
        ]
    });
    Grid {
        title: "Time by category",
        columns: vec![
            Column::Text("category"),
            Column::Number("count"),
            Column::Number("self time"),
            Column::Number("share"),
            Column::Text(""),
        ],
        rows: rows.collect(),
    }
}

fn idle(report: &AnalyzeReport) -> Grid {
    let rows = report.idle.iter().filter(|row| row.idle_us > 0.0).map(|row| {
        let causes = row.causes.iter().map(|cause| {
            format!("{} {} ({})", cause.cause, duration(cause.us), percent(cause.share))
        });
        vec![row.device.clone(), duration(row.idle_us), causes.collect::<Vec<_>>().join(", ")]
    });
    Grid {
        title: "Idle time by cause",
        columns: vec![Column::Text("device"), Column::Number("idle"), Column::Text("causes")],
        rows: rows.collect(),
    }
}

fn host_code(report: &AnalyzeReport) -> Grid {
    let rows = report.idle.iter().flat_map(|row| {
        let code = row.host_code.iter();
        code.map(|code| vec![row.device.clone(), duration(code.us), shorten(&code.name, 64)])
    });
    Grid {
        title: "What the host did while a device waited for it",
        columns: vec![Column::Text("device"), Column::Number("time"), Column::Text("host code")],
        rows: rows.collect(),
    }
}

fn collectives(report: &AnalyzeReport) -> Grid {
    let names = ["count", "devices", "bytes", "total", "waiting", "moving", "bandwidth", "hidden"];
    let mut columns = vec![Column::Text("collective")];
    columns.extend(names.map(Column::Number));
    columns.push(Column::Text("last most often"));
    let cells = |row: &CollectiveRow| {
        let time = |metric: &Metric| metric.value.map_or_else(|| "-".to_owned(), duration);
        let figure = |metric: &Metric, unit| {
            metric.value.map_or_else(|| "-".to_owned(), |value| si(value, unit))
        };
        vec![
            shorten(&row.name, 40),
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
    let rows = report.collectives.iter().map(cells).collect();
    Grid { title: "Collectives", columns, rows }
}

fn compiles(report: &AnalyzeReport) -> Grid {
    let rows = report.compiles.iter().map(|row| {
        vec![
            duration(row.start_us),
            duration(row.duration_us),
            shorten(&row.program, 40),
            shorten(&row.thread, 24),
            row.batch.map_or_else(|| "-".to_owned(), |batch| batch.to_string()),
            row.seen_in.to_owned(),
            row.requests_waiting.to_string(),
            duration(row.devices_idle_us),
            row.reason.to_owned(),
            row.advice.clone(),
        ]
    });
    Grid {
        title: "Compilations in the window",
        columns: vec![
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
        rows: rows.collect(),
    }
}

fn programs(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Text("program"), Column::Text("stage")];
    columns.extend(["devices", "count", "total", "mean", "p50", "p99"].map(Column::Number));
    columns.push(Column::Text("follows"));
    let rows = report.programs.iter().map(|row| {
        let follows = row.follows.iter().map(|(name, count)| format!("{name} ({count}x)"));
        vec![
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
    Grid { title: "Executions of programs", columns, rows: rows.collect() }
}

fn step_groups(report: &AnalyzeReport) -> Grid {
    let names = ["count", "total", "mean", "min", "p50", "p99", "max", "devices busy"];
    let mut columns = vec![Column::Text("step"), Column::Text("stage")];
    columns.extend(names.map(Column::Number));
    let rows = report.steps.groups.iter().map(|row| {
        let mut cells = vec![shorten(&row.name, 48), row.stage.to_owned(), row.count.to_string()];
        let times = [row.total_us, row.mean_us, row.min_us, row.p50_us, row.p99_us, row.max_us];
        cells.extend(times.map(duration));
        cells.push(percent(row.busy_share));
        cells
    });
    let rows = rows.collect();
    Grid { title: "Steps by stage", columns, rows }
}

fn steps(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Number("number"), Column::Text("step"), Column::Text("stage")];
    columns.extend(["at", "took", "devices", "busy", "executions"].map(Column::Number));
    let rows = report.steps.steps.iter().map(|row| {
        vec![
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
    Grid { title: "Steps (--step NUMBER shows one)", columns, rows: rows.collect() }
}

fn allocators(report: &AnalyzeReport) -> Grid {
    let names =
        ["peak", "at", "fragmentation", "lifetime peak", "capacity", "growth", "allocations"];
    let mut columns = vec![Column::Text("allocator")];
    columns.extend(names.map(Column::Number));
    let rows = report.allocators.iter().map(|row| {
        vec![
            row.name.clone(),
            si(as_f64(row.peak_bytes.0), "B"),
            duration(row.peak_at_us),
            percent(row.peak_fragmentation),
            si(as_f64(row.lifetime_peak_bytes.0), "B"),
            si(as_f64(row.capacity_bytes.0), "B"),
            si(signed(row.growth_bytes), "B"),
            row.allocations.to_string(),
        ]
    });
    Grid { title: "Device allocators", columns, rows: rows.collect() }
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
        vec![
            row.recorder.replace('_', " "),
            row.events.to_string(),
            si(row.events_per_sec, ""),
            row.time_us.value.map_or_else(|| "-".to_owned(), duration),
            row.share.value.map_or_else(|| "-".to_owned(), percent),
        ]
    });
    Grid { title: "What recording took, as far as the trace says", columns, rows: rows.collect() }
}

/// What is known beside the table of recorders.
fn recording_notes(report: &AnalyzeReport, out: &mut String) {
    if out.is_empty() {
        return;
    }
    for note in report.recording.measured.iter().flat_map(overhead_notes) {
        line(out, &note);
    }
    if let Some(rate) = report.recording.bytes_per_sec.value {
        line(out, &format!("\n{} of profile", si(rate, "B/s")));
    }
    let times = || report.recording.recorders.iter().map(|row| (row.recorder, &row.time_us));
    let unknown = times().find(|(_, time)| time.value.is_none());
    let counted = times().find(|(_, time)| time.status == Status::Degraded);
    let reason = |time: &Metric| time.reason.clone().unwrap_or_default();
    if let Some((_, time)) = unknown {
        line(out, &format!("- : {}", reason(time)));
    }
    if let Some((recorder, time)) = counted {
        line(out, &format!("{recorder}: {}", reason(time)));
    }
}

/// How many programs are shown layer by layer, and how many rows of each.
const PLANS: usize = 3;
const PLAN_ROWS: usize = 24;

fn planned(report: &AnalyzeReport) -> Grid {
    let names = [
        "total",
        "arguments",
        "outputs",
        "constants",
        "temporary",
        "in use at once",
        "fragmentation",
    ];
    let mut columns = vec![Column::Text("program")];
    columns.extend(names.map(Column::Number));
    let rows = report.memory.programs.iter().map(|row| {
        let bytes = [
            row.total_bytes,
            row.argument_bytes,
            row.output_bytes,
            row.constant_bytes,
            row.temporary_bytes,
        ];
        let mut cells = vec![shorten(&row.program, 40)];
        cells.extend(bytes.map(|bytes| si(as_f64(bytes.0), "B")));
        let live = row.live_bytes.map_or_else(|| "-".to_owned(), |live| si(as_f64(live.0), "B"));
        cells.push(live);
        cells.push(row.fragmentation.map_or_else(|| "-".to_owned(), percent));
        cells
    });
    Grid { title: "Memory of each device as compilers planned it", columns, rows: rows.collect() }
}

fn planned_layers(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Text("program"), Column::Text("layer"), Column::Text("part")];
    columns.extend(["arguments", "buffers at the peak"].map(Column::Number));
    let programs = report.memory.programs.iter().take(PLANS);
    let rows = programs.flat_map(|program| {
        program.layers.iter().take(PLAN_ROWS).map(|layer| {
            vec![
                shorten(&program.program, 32),
                shorten(&layer.scope, 48),
                layer.component.clone(),
                si(as_f64(layer.argument_bytes.0), "B"),
                layer.live_bytes.map_or_else(|| "-".to_owned(), |live| si(as_f64(live.0), "B")),
            ]
        })
    });
    Grid { title: "Planned memory by layer, the largest programs", columns, rows: rows.collect() }
}

fn planned_buffers(report: &AnalyzeReport) -> Grid {
    let columns = vec![
        Column::Text("program"),
        Column::Text("made by"),
        Column::Text("shape"),
        Column::Number("bytes"),
        Column::Text("layer"),
    ];
    let programs = report.memory.programs.iter().take(1);
    let rows = programs.flat_map(|program| {
        program.buffers.iter().map(|buffer| {
            vec![
                shorten(&program.program, 32),
                shorten(&buffer.name, 36),
                shorten(&buffer.shape, 32),
                si(as_f64(buffer.bytes.0), "B"),
                shorten(&buffer.scope, 48),
            ]
        })
    });
    let title = "Largest buffers when the largest program needs most";
    Grid { title, columns, rows: rows.collect() }
}

fn growth(report: &AnalyzeReport) -> Grid {
    let columns = vec![
        Column::Text("what"),
        Column::Number("first"),
        Column::Number("last"),
        Column::Number("growth"),
        Column::Number("snapshots"),
        Column::Text(""),
    ];
    let rows = report.memory.growth.iter().map(|row| {
        let bytes = |bytes: Option<&i64>| si(signed(bytes.copied().unwrap_or(0)), "B");
        vec![
            shorten(&row.name, 56),
            bytes(row.bytes.first()),
            bytes(row.bytes.last()),
            si(signed(row.growth_bytes), "B"),
            row.snapshots.len().to_string(),
            if row.always_grew { "grew each time" } else { "" }.to_owned(),
        ]
    });
    Grid { title: "What grew between snapshots", columns, rows: rows.collect() }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown to three digits")]
fn signed(value: i64) -> f64 {
    value as f64
}
