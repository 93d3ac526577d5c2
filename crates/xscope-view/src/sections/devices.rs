//! What each device did over time.

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::reports::claim::Share;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::reports::totals;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, columns, row};
use crate::sections::cut::{DEVICES, truncate};
use crate::sections::differ::{Sides, differences, sums};
use crate::sections::idle;
use crate::sections::view::{Content, Data, PageView, SectionView, compact, no_work};
use crate::text::{duration, percent, shorten};

pub(crate) const SECTION: SectionView = SectionView {
    notes,
    pages: &[PageView {
        id: "devices",
        title: "Devices",
        content: Content::Tables { charts: &[("devices", "What each device's window went into")] },
    }],
    data: &[Data { name: "devices", json: |report| compact(&charted(&report.analysis)) }],
    cut: |report| {
        truncate(&mut report.devices, DEVICES);
        truncate(&mut report.timeline, DEVICES)
    },
    tables: &[
        Table::new("devices", |_, report, rows| rows.all(&report.devices)),
        Table::new("timeline", |_, report, rows| rows.all(&report.timeline)),
    ],
    difference: Some(difference),
    ..SectionView::new(
        Section::Devices,
        |report| vec![devices(report), timeline(report)],
        no_work,
        |report, none| SectionReport {
            devices: Some(&report.devices),
            timeline: Some(&report.timeline),
            ..none
        },
    )
};

pub(crate) fn devices(report: &AnalyzeReport) -> Grid {
    let mut columns = columns(&["device", "model"], &["window", "busy", "idle", "busy share"]);
    columns.push(Column::Drawing);
    let rows = report.devices.iter().map(|device| {
        row![
            shorten(&device.name, 40),
            shorten(&device.model, 24),
            duration(device.window_us),
            duration(device.busy_us),
            duration(device.idle_us),
            percent(device.busy_share),
            Cell::bar(device.busy_share, 12),
        ]
    });
    Grid::new("Devices", columns, rows)
}

fn timeline(report: &AnalyzeReport) -> Grid {
    let names =
        ["window", "compute", "exposed comm.", "exposed copy", "idle", "all comm.", "all copy"];
    let rows = report.timeline.iter().map(|row| {
        let share = |us: f64| {
            format!("{} ({})", duration(us), percent(us / row.window_us.max(f64::MIN_POSITIVE)))
        };
        row![
            &row.device,
            duration(row.window_us),
            share(row.computation_us),
            share(row.exposed_communication_us),
            share(row.exposed_copy_us),
            share(row.idle_us),
            duration(row.communication_us),
            duration(row.copy_us),
        ]
    });
    Grid::new("What each device's time went into", columns(&["device"], &names), rows)
}

/// What all devices come to.
fn notes(report: &AnalyzeReport) -> Vec<Text> {
    let said = |what: &str, share: Share| format!("{what} {}", percent(share.value()));
    let parts = [
        said("communication that nothing hides", totals::exposed_communication(report)),
        said("copies that nothing hides", totals::exposed_copies(report)),
        said("idle", totals::idle(report)),
    ];
    match report.devices.is_empty() {
        true => Vec::new(),
        false => vec![format!("of the windows of all devices: {}", parts.join(", ")).into()],
    }
}

#[derive(Serialize)]
struct Device {
    name: String,
    computation_us: f64,
    communication_us: f64,
    copy_us: f64,
    idle_us: f64,
}

fn charted(report: &AnalyzeReport) -> Vec<Device> {
    let devices = report.timeline.iter().map(|row| Device {
        name: shorten(&row.device, 80),
        computation_us: row.computation_us,
        communication_us: row.exposed_communication_us,
        copy_us: row.exposed_copy_us,
        idle_us: row.idle_us,
    });
    devices.collect()
}

/// What the devices' windows went into, and why they idled, over all devices.
fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let parts = |report: &ProfileReport| {
        sums(report.analysis.timeline.iter().flat_map(|row| {
            [
                ("computation", row.computation_us),
                ("exposed communication", row.exposed_communication_us),
                ("exposed copies", row.exposed_copy_us),
                ("idle", row.idle_us),
            ]
        }))
    };
    let title = "What the devices' windows went into, over all devices";
    let parts = differences(title, "part", sides.joined(parts, duration))?;
    Some(html! { (parts) @if let Some(causes) = idle::causes(sides) { (causes) } })
}
