//! What fills the memory of devices, as tables.

use xscope_analysis::AnalyzeReport;
use xscope_trace::stats::as_f64;

use crate::grid::{Cell, Column, Grid, row};
use crate::text::{duration, metric, percent, shorten, si};

/// How many layers are shown, and how many places of each profile of allocations.
const ROWS: usize = 12;

/// All tables of memory.
pub(crate) fn memory_grids(report: &AnalyzeReport) -> Vec<Grid> {
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
        "Memory by layer, while its operations ran",
        [Column::Text("layer"), Column::Number("peak MB"), Column::Number("activations MB")],
        rows,
    )
}

fn allocators(report: &AnalyzeReport) -> Grid {
    let names =
        ["peak", "at", "fragmentation", "lifetime peak", "capacity", "growth", "allocations"];
    let mut columns = vec![Column::Text("allocator")];
    columns.extend(names.map(Column::Number));
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
    Grid::new("Device allocators", columns, rows)
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
        let mut cells = row![shorten(&row.program, 40)];
        cells.extend(bytes.map(|bytes| si(as_f64(bytes.0), "B").into()));
        cells.extend(row![
            row.live_bytes.map_or_else(|| "-".to_owned(), |live| si(as_f64(live.0), "B")),
            row.fragmentation.map_or_else(|| "-".to_owned(), percent),
        ]);
        cells
    });
    Grid::new("Memory of each device as compilers planned it", columns, rows)
}

fn planned_layers(report: &AnalyzeReport) -> Grid {
    let mut columns = vec![Column::Text("program"), Column::Text("layer"), Column::Text("part")];
    columns.extend(["arguments", "buffers at the peak"].map(Column::Number));
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
    Grid::new("Planned memory by layer, the largest programs", columns, rows)
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
        row![
            shorten(&row.name, 56),
            bytes(row.bytes.first()),
            bytes(row.bytes.last()),
            si(signed(row.growth_bytes), "B"),
            row.snapshots.len().to_string(),
            if row.always_grew { "grew each time" } else { "" }.to_owned(),
        ]
    });
    Grid::new("What grew between snapshots", columns, rows)
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
