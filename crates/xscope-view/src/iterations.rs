//! How long each iteration of a kernel, a program or an annotation took, as text.

use xscope_analysis::kernels::tasks::TaskRow;

use crate::colour::Text;
use crate::grid::{Column, Style, row, table};
use crate::text::{duration, known_duration, shorten};

/// How many iterations are printed of each row.
const SHOWN: usize = 8;

/// The rows as a table; says so if there are none.
pub fn iterations_text(rows: &[TaskRow]) -> Text {
    if rows.is_empty() {
        return "no event has a name that matches\n".into();
    }
    let names = ["count", "mean", "min", "p50", "p99", "max", "stddev"];
    let mut columns = vec![Column::Text("name"), Column::Text("side"), Column::Text("where")];
    columns.extend(names.map(Column::Number));
    columns.push(Column::Text("iterations"));
    let cells = |row: &TaskRow| {
        let first = row.iterations_us.iter().take(SHOWN).map(|&us| duration(us));
        let mut iterations = first.collect::<Vec<_>>().join(", ");
        if row.iterations_us.len() > SHOWN {
            iterations += ", ...";
        }
        row![
            shorten(&row.name, 48),
            row.side.to_owned(),
            shorten(&row.place, 40),
            row.count.to_string(),
            duration(row.mean_us),
            duration(row.min_us),
            duration(row.p50_us),
            known_duration(&row.p99_us),
            duration(row.max_us),
            duration(row.stddev_us),
            iterations,
        ]
    };
    table(&columns, &rows.iter().map(cells).collect::<Vec<_>>(), Style::Terminal)
}
