//! Targets and what became of them, as text.

use xscope_trace::results::{CheckOutcome, TargetCheck};

use crate::colour::{Text, Tone};
use crate::grid::{Cell, Column, Grid, Style, row};
use crate::text::metric;

/// The targets that something was measured for as a table, and the names of the others. Points that
/// meet a target share a row.
pub fn targets_text(checks: &[TargetCheck], style: Style) -> Text {
    let (unknown, known): (Vec<_>, Vec<_>) =
        checks.iter().partition(|check| check.outcome == CheckOutcome::Unknown);
    if known.is_empty() {
        return Text::default();
    }
    let mut rows = Vec::new();
    for of_target in known.chunk_by(|a, b| a.name == b.name) {
        let (met, not): (Vec<_>, Vec<_>) =
            of_target.iter().copied().partition(|check| check.outcome == CheckOutcome::Met);
        rows.extend(not.into_iter().map(|check| row_of(&[check])));
        if !met.is_empty() {
            rows.push(row_of(&met));
        }
    }
    let columns = [
        Column::Text("target"),
        Column::Text("point"),
        Column::Number("is"),
        Column::Number("wanted"),
        Column::Number("alert"),
        Column::Text("outcome"),
    ];
    let mut out = Grid::new("Targets", columns, rows).render(style);
    let mut names: Vec<&str> = unknown.iter().map(|check| &*check.name).collect();
    names.dedup();
    let is_known = |name: &&str| known.iter().any(|check| check.name == *name);
    let (at_some, nowhere): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_known);
    for (whose, names) in [("this run does", nowhere), ("some of its points do", at_some)] {
        if !names.is_empty() {
            out.line(format!("Targets that {whose} not measure: {}", names.join(", ")));
        }
    }
    out
}

/// Points of one target with one outcome.
fn row_of(checks: &[&TargetCheck]) -> Vec<Cell> {
    let [first, ..] = checks else { return Vec::new() };
    let ordered = |a: &&&TargetCheck, b: &&&TargetCheck| {
        a.measured.value.unwrap_or(0.0).total_cmp(&b.measured.value.unwrap_or(0.0))
    };
    let least = checks.iter().min_by(ordered).map(|check| metric(&check.measured, 1));
    let most = checks.iter().max_by(ordered).map(|check| metric(&check.measured, 1));
    let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
    row![
        first.name.clone(),
        match checks.len() {
            1 => first.point.clone(),
            points => format!("{points} points"),
        },
        if least == most { least } else { format!("{least} to {most}") },
        first.wanted(),
        first.alarming(),
        match first.outcome {
            CheckOutcome::Met => Cell::of(Tone::Good, "met"),
            CheckOutcome::Alert => Cell::of(Tone::Bad, "ALERT"),
            CheckOutcome::Missed | CheckOutcome::Unknown => Cell::of(Tone::Doubtful, "missed"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use xscope_trace::Metric;
    use xscope_trace::results::Better;

    use super::*;

    #[test]
    fn points_that_meet_a_target_share_a_row() {
        let check = |point: &str, value, outcome| TargetCheck {
            name: "softmax_share".to_owned(),
            point: point.to_owned(),
            metric: String::new(),
            measured: Metric::valid(value, "%"),
            better: Better::Lower,
            target_limit: 1.0,
            alert_limit: 5.0,
            outcome,
        };
        let checks = [
            check("a", 0.5, CheckOutcome::Met),
            check("b", 7.0, CheckOutcome::Alert),
            check("c", 0.1, CheckOutcome::Met),
            check("d", 0.0, CheckOutcome::Unknown),
            TargetCheck { name: "peak_hbm".to_owned(), ..check("d", 0.0, CheckOutcome::Unknown) },
        ];
        let markdown = targets_text(&checks, Style::Markdown);
        let markdown = markdown.plain();
        for line in [
            "| softmax_share | b | 7.0 | \\< 1 % | > 5 % | ALERT |",
            "| softmax_share | 2 points | 0.1 to 0.5 | \\< 1 % | > 5 % | met |",
            "Targets that this run does not measure: peak_hbm",
            "Targets that some of its points do not measure: softmax_share",
        ] {
            assert!(markdown.contains(line), "{line}:\n{markdown}");
        }
        assert!(targets_text(&[], Style::Terminal).is_empty());
    }
}
