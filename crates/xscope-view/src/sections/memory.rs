//! What fills the memory of devices, as tables.

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::framework::Framework;
use xscope_analysis::memory::allocators::InUse;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};
use xscope_trace::stats::as_f64;

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, columns, row};
use crate::markup::{self, chart, figure};
use crate::sections::cut::{DEVICES, titled, truncate};
use crate::sections::differ::{Sides, differences, sums};
use crate::sections::view::{Content, Data, Empty, PageView, SectionView, compact};
use crate::text::{duration, metric, percent, shorten, si};

/// How many layers are shown, and how many places of each profile of allocations.
const ROWS: usize = 12;

pub(crate) const SECTION: SectionView = SectionView {
    notes,
    pages: &[PageView { id: "memory", title: "Memory", content: Content::Own(page) }],
    data: &[
        Data { name: "memory", json: |report| compact(&owners_over_time(&report.analysis)) },
        Data {
            name: "allocators",
            json: |report| compact(&allocators_over_time(&report.analysis)),
        },
    ],
    cut: |report| {
        truncate(&mut report.allocators, DEVICES)
            + truncate(&mut report.allocations, markup::ROWS)
            + truncate(&mut report.reported_memory, markup::ROWS)
            + truncate(&mut report.memory.owners, DEVICES)
            + truncate(&mut report.memory.scopes, markup::ROWS)
            + truncate(&mut report.memory.growth, markup::ROWS)
    },
    tables: &[
        Table::new("memory_owners", |_, report, rows| rows.all(&report.memory.owners)),
        Table::new("memory_scopes", |_, report, rows| rows.all(&report.memory.scopes)),
        Table::new("allocators", |_, report, rows| rows.all(&report.allocators)),
        Table::new("planned_memory", |_, report, rows| rows.all(&report.memory.programs)),
        Table::new("planned_layers", |_, report, rows| rows.all(&all_planned_layers(report))),
        Table::new("planned_buffers", |_, report, rows| rows.all(&all_planned_buffers(report))),
        Table::new("memory_growth", |_, report, rows| rows.all(&report.memory.growth)),
        Table::new("allocations", |_, report, rows| rows.all(&report.allocations)),
        Table::new("reported_memory", |_, report, rows| rows.all(&report.reported_memory)),
    ],
    difference: Some(difference),
    ..SectionView::new(
        Section::Memory,
        grids,
        |report| {
            Empty::NotRecorded(match report.framework {
                Some(Framework::Jax) => {
                    "no allocator wrote events and no program carries its buffers: give the device memory \
                     profile (jax.profiler.save_device_memory_profile) too"
                }
                Some(Framework::PyTorch) => {
                    "no allocator wrote events: profile with `profile_memory=True`"
                }
                _ => "no allocator wrote events and no program carries its buffers",
            })
        },
        |report, none| SectionReport {
            memory: Some(&report.memory),
            allocators: Some(&report.allocators),
            allocations: Some(&report.allocations),
            reported_memory: Some(&report.reported_memory),
            ..none
        },
    )
};

fn grids(report: &AnalyzeReport) -> Vec<Grid> {
    vec![
        owners(report),
        scopes(report),
        allocators(report),
        planned(report),
        planned_layers(report),
        planned_buffers(report),
        growth(report),
        allocations(report),
        reported(report),
    ]
}

/// What is known without any device: snapshots and sglang-jax's reports.
pub(crate) fn snapshot_grids(report: &AnalyzeReport) -> Vec<Grid> {
    vec![allocations(report), reported(report)]
}

fn notes(report: &AnalyzeReport) -> Vec<Text> {
    let memory = &report.memory;
    let mut notes = Vec::new();
    if memory.programs.iter().any(|program| program.live_bytes.is_none()) {
        notes.push("without a figure: the compiler did not say when buffers are in use".into());
    }
    let has_others = !memory.owners.is_empty()
        || !report.allocators.is_empty()
        || !report.allocations.is_empty()
        || !report.reported_memory.is_empty();
    if let Some(reason) = memory.planned_peak.reason.as_ref().filter(|_| has_others) {
        notes.push(format!("no plan of programs: {reason}").into());
    }
    notes
}

fn page(report: &ProfileReport) -> Option<Markup> {
    let analysis = &report.analysis;
    let counted = !analysis.memory.owners.is_empty() || !analysis.allocators.is_empty();
    let grids = grids(analysis);
    grids.iter().any(|grid| !grid.rows.is_empty()).then(|| {
        html! {
            p { "Peak over all owners: " (figure(&analysis.memory.peak, 2)) }
            @if counted { (chart("memory", "What was live over time, by owner or allocator")) }
            @for grid in &grids { (markup::grid(grid)) }
        }
    })
}

/// Names and samples, microseconds and MB.
type Series = Vec<(String, Vec<(f64, f64)>)>;

fn owners_over_time(report: &AnalyzeReport) -> Series {
    let owners = report.memory.owners.iter();
    owners
        .map(|row| {
            (shorten(&row.owner, 80), row.series.iter().map(|it| (it.at_us, it.mb)).collect())
        })
        .collect()
}

fn allocators_over_time(report: &AnalyzeReport) -> Series {
    let mb = |it: &InUse| (it.at_us, as_f64(it.bytes.0) / 1e6);
    let rows = report.allocators.iter().map(|row| {
        let name = if row.name.is_empty() { "allocator" } else { &row.name };
        (shorten(name, 80), row.samples.iter().map(mb).collect())
    });
    rows.collect()
}

fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let peaks = |report: &ProfileReport| {
        let memory = &report.analysis.memory;
        let mut peaks = sums(memory.owners.iter().map(|row| (row.owner.as_str(), row.peak_mb)));
        peaks.extend(memory.peak.value.map(|peak| ("all owners".to_owned(), peak)));
        peaks
    };
    let rows = sides.joined(peaks, |mb| format!("{mb:.2}"));
    differences("Peak by owner, MB", "owner", rows)
}

/// A row of a program's plan, with the program.
#[derive(Serialize)]
struct Planned<'a, T> {
    program: &'a str,
    #[serde(flatten)]
    row: &'a T,
}

fn all_planned_layers(report: &AnalyzeReport) -> Vec<Planned<'_, impl Serialize>> {
    let rows = report
        .memory
        .programs
        .iter()
        .flat_map(|it| it.layers.iter().map(|row| Planned { program: &it.program, row }));
    rows.collect()
}

fn all_planned_buffers(report: &AnalyzeReport) -> Vec<Planned<'_, impl Serialize>> {
    let rows = report
        .memory
        .programs
        .iter()
        .flat_map(|it| it.buffers.iter().map(|row| Planned { program: &it.program, row }));
    rows.collect()
}

pub(crate) fn owners(report: &AnalyzeReport) -> Grid {
    let mut rows: Vec<Vec<Cell>> = report
        .memory
        .owners
        .iter()
        .map(|owner| {
            let (peak, last) = (format!("{:.2}", owner.peak_mb), format!("{:.2}", owner.last_mb));
            row![owner.owner.clone(), peak, last]
        })
        .collect();
    if !rows.is_empty() {
        rows.push(row!["all together".to_owned(), metric(&report.memory.peak, 2), String::new()]);
    }
    Grid::new(
        "Memory by owner",
        [Column::Text("owner"), Column::Number("peak MB"), Column::Number("last MB")],
        rows,
    )
}

pub(crate) fn scopes(report: &AnalyzeReport) -> Grid {
    let rows = report.memory.scopes.iter().take(ROWS).map(|scope| {
        row![
            shorten(&scope.scope, 48),
            format!("{:.2}", scope.peak_mb),
            format!("{:.2}", scope.activations_mb),
        ]
    });
    Grid::new(
        titled("Memory by layer, while its operations ran", ROWS, report.memory.scopes.len()),
        [Column::Text("layer"), Column::Number("peak MB"), Column::Number("activations MB")],
        rows,
    )
}

fn allocators(report: &AnalyzeReport) -> Grid {
    let names =
        ["peak", "at", "fragmentation", "lifetime peak", "capacity", "growth", "allocations"];
    let rows = report.allocators.iter().map(|row| {
        row![
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
    Grid::new("Device allocators", columns(&["allocator"], &names), rows)
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
    let rows = report.memory.programs.iter().map(|row| {
        let bytes = [
            row.total_bytes,
            row.argument_bytes,
            row.output_bytes,
            row.constant_bytes,
            row.temporary_bytes,
        ];
        let mut cells = row![shorten(&row.program, 40)];
        cells.extend(bytes.map(|bytes| si(as_f64(bytes.0), "B").into()));
        cells.extend(row![
            row.live_bytes.map_or_else(|| "-".to_owned(), |live| si(as_f64(live.0), "B")),
            row.fragmentation.map_or_else(|| "-".to_owned(), percent),
        ]);
        cells
    });
    let title = "Memory of each device as compilers planned it";
    Grid::new(title, columns(&["program"], &names), rows)
}

fn planned_layers(report: &AnalyzeReport) -> Grid {
    let columns = columns(&["program", "layer", "part"], &["arguments", "buffers at the peak"]);
    let programs = report.memory.programs.iter().take(PLANS);
    let rows = programs.flat_map(|program| {
        program.layers.iter().take(PLAN_ROWS).map(|layer| {
            row![
                shorten(&program.program, 32),
                shorten(&layer.scope, 48),
                layer.component.clone(),
                si(as_f64(layer.argument_bytes.0), "B"),
                layer.live_bytes.map_or_else(|| "-".to_owned(), |live| si(as_f64(live.0), "B")),
            ]
        })
    });
    let shown = report.memory.programs.iter().take(PLANS).map(|it| it.layers.len().min(PLAN_ROWS));
    let all = report.memory.programs.iter().map(|it| it.layers.len()).sum();
    let title = "Planned memory by layer, the largest programs";
    Grid::new(titled(title, shown.sum(), all), columns, rows)
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
            row![
                shorten(&program.program, 32),
                shorten(&buffer.name, 36),
                shorten(&buffer.shape, 32),
                si(as_f64(buffer.bytes.0), "B"),
                shorten(&buffer.scope, 48),
            ]
        })
    });
    let title = "Largest buffers when the largest program needs most";
    Grid::new(title, columns, rows)
}

/// How much of what grew is shown.
const GROWN: usize = 50;

fn growth(report: &AnalyzeReport) -> Grid {
    let columns = vec![
        Column::Text("what"),
        Column::Number("first"),
        Column::Number("last"),
        Column::Number("growth"),
        Column::Number("snapshots"),
        Column::Text(""),
    ];
    let all = &report.memory.growth;
    let rows = all.iter().take(GROWN).map(|row| {
        let bytes = |bytes: Option<&i64>| si(signed(bytes.copied().unwrap_or(0)), "B");
        row![
            shorten(&row.name, 56),
            bytes(row.bytes.first()),
            bytes(row.bytes.last()),
            si(signed(row.growth_bytes), "B"),
            row.snapshots.len().to_string(),
            if row.always_grew { "grew each time" } else { "" }.to_owned(),
        ]
    });
    Grid::new(titled("What grew between snapshots", GROWN, all.len()), columns, rows)
}

/// The places that hold memory, of each profile the largest.
fn allocations(report: &AnalyzeReport) -> Grid {
    let mut rows = Vec::new();
    for profile in report.allocations.chunk_by(|a, b| a.profile == b.profile) {
        let file = shorten(profile[0].profile.rsplit('/').next().unwrap_or_default(), 40);
        let total = profile.iter().fold(0, |sum: i64, row| sum.saturating_add(row.bytes));
        rows.push(row![
            "all".to_owned(),
            String::new(),
            String::new(),
            si(signed(total), "B"),
            String::new(),
            String::new(),
            file.clone(),
        ]);
        rows.extend(profile.iter().take(ROWS).map(|row| {
            row![
                shorten(&row.site, 56),
                row.kind.clone(),
                row.count.to_string(),
                si(signed(row.bytes), "B"),
                percent(row.share),
                Cell::bar(row.share, 12),
                file.clone(),
            ]
        }));
        if profile.len() > ROWS {
            let more = format!("({} more: --json has all)", profile.len() - ROWS);
            rows.push(row![more, "", "", "", "", "", file]);
        }
    }
    Grid::new(
        "Allocations by place in the code",
        [
            Column::Text("allocated at"),
            Column::Text("kind"),
            Column::Number("count"),
            Column::Number("bytes"),
            Column::Share("share"),
            Column::Drawing,
            Column::Text("profile"),
        ],
        rows,
    )
}

fn reported(report: &AnalyzeReport) -> Grid {
    let rows = report.reported_memory.iter().map(|row| {
        let largest = row.tensors.first();
        row![
            row.report_type.clone(),
            row.stage.clone(),
            row.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string()),
            format!("{:.3}", row.total_mb),
            largest.map_or_else(String::new, |tensor| shorten(&tensor.name, 40)),
            largest.map_or_else(String::new, |tensor| format!("{:.3}", tensor.mb)),
        ]
    });
    Grid::new(
        "Memory as sglang-jax reports it (MB of 2^20 bytes)",
        [
            Column::Text("report"),
            Column::Text("stage"),
            Column::Number("layer"),
            Column::Number("total MB"),
            Column::Text("largest"),
            Column::Number("MB"),
        ],
        rows,
    )
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown to three digits")]
fn signed(value: i64) -> f64 {
    value as f64
}
