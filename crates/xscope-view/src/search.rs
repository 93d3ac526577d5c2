//! What searches found, as text.

use xscope_trace::results::{CellRow, CellStatus, Figure, Found, ProbeOutcome, Sweep};

use crate::analyze::section;
use crate::text::{Column, shorten, table};

fn rate(figure: &Figure) -> String {
    figure.value().map_or("-".to_owned(), |rate| format!("{rate:.2}"))
}

/// The largest rates, and how they were found.
pub fn found_text(found: &[Found]) -> String {
    let mut out = String::new();
    for one in found {
        let slo = one.slo.join(", ");
        out += &match one.max_per_sec.value() {
            None => format!("{}: no rate is known to keep {slo}: {}\n", one.point, one.ended),
            Some(_) => {
                let fails = one.fails_per_sec.map_or(String::new(), |fails| {
                    format!("; {fails:.2} does not, the limit lies between")
                });
                let doubt = match &one.max_per_sec {
                    Figure::Value(_) => " (held again in a longer run)".to_owned(),
                    Figure::Qualified(metric) => {
                        format!(" ({})", metric.reason.as_deref().unwrap_or_default())
                    }
                };
                format!(
                    "{}: {} requests/s, {} items/s keep {slo}{doubt}{fails}; {}\n",
                    one.point,
                    rate(&one.max_per_sec),
                    rate(&one.max_items_per_sec),
                    one.ended
                )
            }
        };
        let columns =
            [Column::Number("requests/s"), Column::Text("outcome"), Column::Text("because")];
        let rows = one.probes.iter().map(|probe| {
            let outcome = match probe.outcome {
                ProbeOutcome::Holds if probe.confirms => "holds for longer",
                ProbeOutcome::Holds => "holds",
                ProbeOutcome::Fails if probe.confirms => "fails for longer",
                ProbeOutcome::Fails => "fails",
                ProbeOutcome::Invalid => "INVALID",
            };
            // What it means is in the run.
            let why = probe.why.split(": ").next().unwrap_or_default();
            vec![format!("{:.2}", probe.per_sec), outcome.to_owned(), shorten(why, 90)]
        });
        out += &table(&columns, rows);
    }
    out
}

/// Settings by rank, and the winner.
pub fn sweep_text(sweep: &Sweep) -> String {
    let mut out = section("Settings", &columns(&sweep.rank), rows(&sweep.cells));
    out += &section("The best from a fresh start", &columns(&sweep.rank), rows(&sweep.confirmed));
    let first = |name: &str| sweep.cells.iter().find(|row| row.name == name)?.value;
    let confirmed = sweep.confirmed.iter().find(|row| Some(&row.name) == sweep.winner.as_ref());
    out += &match confirmed.and_then(|row| Some((row, row.value?, first(&row.name)?))) {
        Some((row, again, first)) => format!(
            "\nBest: {} with {} {again:.2}, confirmed; when it was chosen of {} it had {first:.2} ({:+.1} %)\n",
            row.name,
            sweep.rank,
            sweep.cells.len(),
            100.0 * (again / first - 1.0),
        ),
        None if sweep.complete => "\nNo setting was measured validly and confirmed\n".to_owned(),
        None => "\nThe sweep is not complete: nothing is confirmed yet\n".to_owned(),
    };
    out
}

fn columns(rank: &str) -> [Column; 5] {
    let rank = match rank {
        "throughput_items_per_sec" => "items/s",
        "requests_per_sec" => "requests/s",
        _ => "ms",
    };
    [
        Column::Text("setting"),
        Column::Number(rank),
        Column::Text("status"),
        Column::Number("took s"),
        Column::Text("because"),
    ]
}

fn rows(cells: &[CellRow]) -> Vec<Vec<String>> {
    let row = |cell: &CellRow| {
        let status = match cell.status {
            CellStatus::Measured => "measured",
            CellStatus::Invalid => "INVALID",
            CellStatus::MissesSlo => "misses its level",
            CellStatus::OutOfMemory => "out of memory",
            CellStatus::Failed => "failed",
            CellStatus::Skipped => "skipped",
        };
        vec![
            cell.name.clone(),
            cell.value.map_or("-".to_owned(), |value| format!("{value:.2}")),
            status.to_owned(),
            format!("{:.1}", cell.secs),
            shorten(cell.reason.as_deref().unwrap_or_default(), 90),
        ]
    };
    cells.iter().map(row).collect()
}
