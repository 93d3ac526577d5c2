//! Operations among devices: waiting and moving.

use maud::Markup;
use serde::Serialize;
use xscope_analysis::devices::collectives::CollectiveRow;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::reports::totals;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};
use xscope_trace::Metric;

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, columns, row};
use crate::markup::ROWS;
use crate::sections::cut::truncate;
use crate::sections::differ::{Sides, differences, sums};
use crate::sections::view::{Content, Data, Empty, PageView, SectionView, compact, no_work_or};
use crate::text::{duration, known_duration, marked, percent, shorten, si};

/// How many are charted.
const CHARTED: usize = 20;

pub(crate) const SECTION: SectionView = SectionView {
    notes,
    pages: &[PageView {
        id: "collectives",
        title: "Collectives",
        content: Content::Tables {
            charts: &[("collectives", "Waiting and moving, over all devices")],
        },
    }],
    data: &[Data { name: "collectives", json: |report| compact(&charted(&report.analysis)) }],
    cut: |report| truncate(&mut report.collectives, ROWS),
    tables: &[Table::new("collectives", |_, report, rows| rows.all(&report.collectives))],
    difference: Some(difference),
    ..SectionView::new(
        Section::Collectives,
        |report| vec![collectives(report)],
        |report| no_work_or(report, Empty::Nothing("no operation among devices ran")),
        |report, none| SectionReport { collectives: Some(&report.collectives), ..none },
    )
};

fn collectives(report: &AnalyzeReport) -> Grid {
    let names = ["count", "devices", "bytes", "total", "waiting", "moving", "bandwidth"];
    let mut columns = columns(&["collective", "on"], &names);
    columns.extend(["of the bus", "hidden"].map(Column::Number));
    columns.push(Column::Text("others waited for"));
    Grid::new("Collectives", columns, report.collectives.iter().map(cells))
}

/// What all devices come to.
fn notes(report: &AnalyzeReport) -> Vec<Text> {
    if report.collectives.is_empty() {
        return Vec::new();
    }
    let exposed = percent(totals::exposed_communication(report).value());
    let waiting = match totals::waiting(report) {
        Some(share) => {
            format!("{} of all communication is known to be waiting", percent(share.value()))
        }
        None => "how much of it is waiting is not recorded".to_owned(),
    };
    vec![format!("communication that nothing hides is {exposed} of the window; {waiting}").into()]
}

fn cells(row: &CollectiveRow) -> Vec<Cell> {
    let figure = |metric: &Metric, unit| marked(metric, |value| si(value, unit));
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
        known_duration(&row.wait_us),
        known_duration(&row.transfer_us),
        figure(&row.bytes_per_sec, "B/s"),
        figure(&row.bus_bytes_per_sec, "B/s"),
        duration(row.hidden_us),
        late(row),
    ]
}

/// The device that others waited for the longest, how often and how long.
fn late(row: &CollectiveRow) -> String {
    match (row.late.first(), row.undecided, row.incomplete) {
        (Some(first), ..) => {
            format!("{} ({}x, {})", first.device, first.count, duration(first.caused_us))
        }
        (None, 1.., _) => "within the clocks' error".to_owned(),
        (None, _, 1..) => "devices are missing".to_owned(),
        _ => "-".to_owned(),
    }
}

#[derive(Serialize)]
struct Collective {
    name: String,
    wait_us: Option<f64>,
    transfer_us: Option<f64>,
    total_us: f64,
}

fn charted(report: &AnalyzeReport) -> Vec<Collective> {
    let rows = report.collectives.iter().take(CHARTED).map(|row| Collective {
        name: shorten(&row.name, 80),
        wait_us: row.wait_us.value,
        transfer_us: row.transfer_us.value,
        total_us: row.total_us,
    });
    rows.collect()
}

fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let times = |report: &ProfileReport| {
        let rows = report.analysis.collectives.iter();
        sums(rows.map(|row| (row.name.as_str(), row.total_us)))
    };
    let (rows, per) = sides.by_request(times, duration);
    differences(&format!("Time in collectives, {per}"), "collective", rows)
}
