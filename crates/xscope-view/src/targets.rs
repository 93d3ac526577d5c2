//! Targets and what became of them, as text.

use xscope_trace::results::{CheckOutcome, TargetCheck};

use crate::analyze::section;
use crate::text::{Column, figure_text};

/// The targets that something was measured for as a table, and the names of the others.
pub fn targets_text(checks: &[TargetCheck]) -> String {
    let (unknown, known): (Vec<_>, Vec<_>) =
        checks.iter().partition(|check| check.outcome == CheckOutcome::Unknown);
    let columns = [
        Column::Text("target"),
        Column::Text("point"),
        Column::Number("is"),
        Column::Number("wanted"),
        Column::Number("alert"),
        Column::Text(""),
    ];
    let rows = known.iter().map(|check| {
        vec![
            check.name.clone(),
            check.point.clone(),
            figure_text(&check.value, 1),
            check.target.clone(),
            check.alert.clone(),
            match check.outcome {
                CheckOutcome::Met => "met",
                CheckOutcome::Alert => "ALERT",
                CheckOutcome::Missed | CheckOutcome::Unknown => "missed",
            }
            .to_owned(),
        ]
    });
    let mut out = String::new();
    if !known.is_empty() {
        out += &section("Targets", &columns, rows.collect());
    }
    if !unknown.is_empty() {
        let mut names: Vec<&str> = unknown.iter().map(|check| &*check.name).collect();
        names.dedup();
        out += &format!("Targets that this run does not measure: {}\n", names.join(", "));
    }
    out
}
