//! What searches found, as text.

use xscope_trace::Metric;
use xscope_trace::results::{CellRow, CellStatus, Found, RateOutcome, Sweep};

use crate::colour::{Text, Tone};
use crate::grid::{Cell, Column, Grid, Style, row, table};
use crate::text::shorten;

fn rate(figure: &Metric) -> String {
    figure.value.map_or("-".to_owned(), |rate| format!("{rate:.2}"))
}

/// The largest rates, and how they were found.
pub fn found_text(found: &[Found]) -> Text {
    let mut out = Text::default();
    for one in found {
        let slo = one.slo.join(", ");
        let said = match one.max_per_sec.value {
            None => format!("{}: no rate is known to keep {slo}: {}", one.point, one.ended),
            Some(_) => {
                let fails = one.fails_per_sec.map_or(String::new(), |fails| {
                    format!("; {fails:.2} does not, the limit lies between")
                });
                let doubt = match &one.max_per_sec.reason {
                    None => " (held again in a longer run)".to_owned(),
                    Some(reason) => format!(" ({reason})"),
                };
                format!(
                    "{}: {} requests/s, {} items/s keep {slo}{doubt}{fails}; {}",
                    one.point,
                    rate(&one.max_per_sec),
                    rate(&one.max_items_per_sec),
                    one.ended
                )
            }
        };
        out.line(Tone::Title.of(&said));
        let columns =
            [Column::Number("requests/s"), Column::Text("outcome"), Column::Text("because")];
        let rows = one.rates.iter().map(|rate| {
            let outcome = match rate.outcome {
                RateOutcome::Holds if rate.confirms => "holds for longer".into(),
                RateOutcome::Holds => "holds".into(),
                RateOutcome::Fails if rate.confirms => "fails for longer".into(),
                RateOutcome::Fails => "fails".into(),
                RateOutcome::Invalid => Cell::of(Tone::Bad, "INVALID"),
            };
            // What it means is in the run.
            let why = rate.why.split(": ").next().unwrap_or_default();
            row![format!("{:.2}", rate.per_sec), outcome, shorten(why, 90)]
        });
        out += table(&columns, &rows.collect::<Vec<_>>(), Style::Terminal);
    }
    out
}

/// Settings by rank, and the winner.
pub fn sweep_text(sweep: &Sweep) -> Text {
    let grid = |title, cells| Grid::new(title, columns(&sweep.rank), rows(cells));
    let mut out = grid("Settings", &sweep.cells).render(Style::Terminal);
    out += grid("The best from a fresh start", &sweep.confirmed).render(Style::Terminal);
    let first = |name: &str| sweep.cells.iter().find(|row| row.name == name)?.value.value;
    let confirmed = sweep.confirmed.iter().find(|row| Some(&row.name) == sweep.winner.as_ref());
    let (tone, what) = match confirmed
        .and_then(|row| Some((row, row.value.value?, first(&row.name)?)))
    {
        Some((row, again, first)) => {
            let what = format!(
                "Best: {} with {} {again:.2}, confirmed; when it was chosen of {} it had {first:.2} \
                 ({:+.1} %)",
                row.name,
                sweep.rank,
                sweep.cells.len(),
                100.0 * (again / first - 1.0),
            );
            (Tone::Good, what)
        }
        None if sweep.complete => {
            (Tone::Bad, "No setting was measured validly and confirmed".to_owned())
        }
        None => (Tone::Doubtful, "The sweep is not complete: nothing is confirmed yet".to_owned()),
    };
    out += "\n";
    out.line(tone.of(&what));
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

fn rows(cells: &[CellRow]) -> Vec<Vec<Cell>> {
    let row = |cell: &CellRow| {
        let status = match cell.status {
            CellStatus::Measured => "measured".into(),
            CellStatus::Invalid => Cell::of(Tone::Bad, "INVALID"),
            CellStatus::MissesSlo => "misses its level".into(),
            CellStatus::OutOfMemory => "out of memory".into(),
            CellStatus::Failed => "failed".into(),
            CellStatus::Skipped => "skipped".into(),
        };
        row![
            &cell.name,
            rate(&cell.value),
            status,
            format!("{:.1}", cell.secs),
            shorten(cell.reason.as_deref().unwrap_or_default(), 90),
        ]
    };
    cells.iter().map(row).collect()
}
