//! What recording itself cost.

use xscope_analysis::AnalyzeReport;
use xscope_analysis::overhead::{BudgetVerdict, OverheadReport, OverheadRow};
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;
use xscope_trace::Metric;
use xscope_trace::metric::Status;
use xscope_trace::overhead::Recording;

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, row};
use crate::sections::view::{Empty, SectionView};
use crate::text::{known_duration, metric, percent, si};

/// The page of latency shows what was measured of it, as that is what it changes.
pub(crate) const SECTION: SectionView = SectionView {
    notes: |report| notes(report).into_iter().map(Text::from).collect(),
    tables: &[
        Table::new("overhead", |_, report, rows| {
            let measured = report.recording.measured.as_ref();
            rows.all(measured.map_or(&[][..], |measured| &measured.rows))
        }),
        Table::new("recorders", |_, report, rows| rows.all(&report.recording.recorders)),
    ],
    ..SectionView::new(
        Section::Overhead,
        |report| {
            let measured = report.recording.measured.iter().map(overhead_grid);
            measured.chain([recorders(report)]).collect()
        },
        |_| Empty::NotRecorded("no profiler's file is in it, and no run that measured it"),
        |report, none| SectionReport { recording: Some(&report.recording), ..none },
    )
};

/// Everything that was measured, or could have been, against its budget.
pub(crate) fn overhead_grid(report: &OverheadReport) -> Grid {
    Grid::new(
        "Overhead of recording (change of the median latency)",
        [
            Column::Text("recording"),
            Column::Number("change"),
            Column::Number("95 % interval"),
            Column::Number("detectable"),
            Column::Number("budget"),
            Column::Number("rounds"),
            Column::Text("verdict"),
        ],
        report.rows.iter().filter(|row| row.verdict != BudgetVerdict::NotMeasured).map(row),
    )
}

fn row(row: &OverheadRow) -> Vec<Cell> {
    // As fine as what it is compared to.
    let digits = if row.budget_percent > 1.0 { 1 } else { 2 };
    let change = match row.change.value {
        Some(value) if row.low_percent.is_some() => format!("{value:+.digits$} %"),
        _ => format!("{} %", metric(&row.change, digits)),
    };
    let interval = row.low_percent.zip(row.high_percent);
    let verdict = match row.verdict {
        BudgetVerdict::Within => "within the budget",
        BudgetVerdict::Over => "over the budget",
        BudgetVerdict::CannotTell => "cannot tell",
        BudgetVerdict::NotMeasured => "not measured",
    };
    row![
        row.name.to_owned(),
        change,
        interval.map_or_else(String::new, |(low, high)| {
            format!("{low:+.digits$} … {high:+.digits$} %")
        }),
        row.detectable_percent.map_or_else(String::new, |it| format!("{it:.digits$} %")),
        format!("{} %", row.budget_percent),
        if row.rounds > 0 { row.rounds.to_string() } else { String::new() },
        verdict.to_owned(),
    ]
}

/// What the table does not say.
pub(crate) fn overhead_notes(report: &OverheadReport) -> Vec<String> {
    let counted = [(report.batch_size, "item"), (report.label_count, "label")];
    let counted = counted.iter().filter(|(count, _)| *count > 0);
    let shape: String = counted
        .map(|(count, of)| format!("{count} {of}{}, ", if *count == 1 { "" } else { "s" }))
        .collect();
    let mut notes = vec![format!(
        "{shape}{} at once; p50 {} ms with no more than the probes recording",
        report.concurrency,
        metric(&report.p50_ms, 2),
    )];
    let answers: u64 = report.answers.iter().map(|row| row.answers).sum();
    let differing: Vec<String> = report
        .answers
        .iter()
        .filter(|row| row.differ > 0)
        .map(|row| format!("{} of {} with {}", row.differ, row.answers, name(row.recording)))
        .collect();
    notes.push(match differing.is_empty() {
        true => format!("{answers} answers: the same whatever was recorded"),
        false => format!(
            "answers that differ from the first to the same request: {}",
            differing.join(", ")
        ),
    });
    let counted = report.rows.iter().find(|row| row.name == "counted");
    let counted = counted.filter(|row| row.verdict != BudgetVerdict::NotMeasured);
    notes.extend(counted.and_then(|row| Some(format!("counted: {}", row.change.reason.as_ref()?))));
    let missing = report.rows.iter().filter(|row| row.verdict == BudgetVerdict::NotMeasured);
    notes.extend(missing.filter_map(|row| {
        Some(format!("{} not measured: {}", row.name, row.change.reason.as_ref()?))
    }));
    notes
}

fn name(recording: Recording) -> &'static str {
    match recording {
        Recording::Nothing => "nothing recorded",
        Recording::Probes => "the probes alone",
        Recording::Basic => "the profiler",
        Recording::Full => "the Python tracer",
    }
}

fn recorders(report: &AnalyzeReport) -> Grid {
    let columns = [
        Column::Text("recorder"),
        Column::Number("events"),
        Column::Number("events/s"),
        Column::Number("held threads up"),
        Column::Number("share of the window"),
    ];
    let rows = report.recording.recorders.iter().map(|row| {
        row![
            row.recorder.replace('_', " "),
            row.events.to_string(),
            si(row.events_per_sec, ""),
            known_duration(&row.time_us),
            row.share.value.map_or_else(|| "-".to_owned(), percent),
        ]
    });
    Grid::new("What recording took, as far as the trace says", columns, rows)
}

/// What is known beside the table of recorders.
fn notes(report: &AnalyzeReport) -> Vec<String> {
    let recording = &report.recording;
    let mut notes: Vec<String> = recording.measured.iter().flat_map(overhead_notes).collect();
    if recording.recorders.is_empty() {
        return notes;
    }
    let rate = recording.bytes_per_sec.value;
    notes.extend(rate.map(|rate| format!("{} of profile", si(rate, "B/s"))));
    let times = || recording.recorders.iter().map(|row| (row.recorder, &row.time_us));
    let unknown = times().find(|(_, time)| time.value.is_none());
    let counted = times().find(|(_, time)| time.status == Status::Degraded);
    let reason = |time: &Metric| time.reason.clone().unwrap_or_default();
    notes.extend(unknown.map(|(_, time)| format!("without a time: {}", reason(time))));
    notes.extend(counted.map(|(recorder, time)| format!("{recorder}: {}", reason(time))));
    notes
}

#[cfg(test)]
mod tests {
    use xscope_analysis::overhead::overhead;
    use xscope_trace::Trace;
    use xscope_trace::overhead::{NotRecorded, OverheadRecord, OverheadWindow, Recording};

    use super::{overhead_grid, overhead_notes};
    use crate::grid::Cell;

    #[test]
    fn a_change_is_shown_with_its_interval_and_what_is_missing_with_its_reason() {
        let window = |round, recording, ms| OverheadWindow {
            round,
            recording,
            latencies_ms: vec![ms; 4],
            differ: 0,
            failed: 0,
        };
        let windows = (0..8).flat_map(|round| {
            [window(round, Recording::Probes, 10.0), window(round, Recording::Basic, 10.3)]
        });
        let record = OverheadRecord {
            windows: windows.collect(),
            left_out: vec![NotRecorded {
                recording: Recording::Nothing,
                why: "no probes here".to_owned(),
            }],
            ..OverheadRecord::default()
        };
        let report = overhead(&record, &Trace::default());
        let rows = overhead_grid(&report).rows;
        let expected =
            ["basic", "+3.0 %", "+3.0 … +3.0 %", "0.0 %", "10 %", "8", "within the budget"];
        assert_eq!(rows, [expected.map(Cell::from)]);
        let notes = overhead_notes(&report).join("\n");
        for part in ["64 answers: the same", "probes not measured: no probes here", "p50 10.00 ms"]
        {
            assert!(notes.contains(part), "{notes}");
        }
    }
}
