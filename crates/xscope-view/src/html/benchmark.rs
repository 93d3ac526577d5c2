//! What a benchmark measured: its points with their verdicts, and its targets.

use maud::{Markup, html};
use xscope_trace::results::{
    CauseKind, CheckOutcome, Judgement, PointResult, Results, TargetCheck,
};

use crate::bench::points;
use crate::markup::{ROWS, table};
use crate::sections::cut::more;
use crate::text::{metric, shorten};

/// Points whose causes are told one by one.
const CAUSES: usize = 200;

/// The page of the points.
pub(crate) fn benchmark(results: &Results) -> Markup {
    let (columns, rows) = points(results);
    let shown = &rows[..rows.len().min(ROWS)];
    let spoiled = || results.results.iter().filter(|point| !point.validity.causes.is_empty());
    html! {
        @if rows.is_empty() {
            p.empty { "No point was measured." }
        } @else {
            p.note { "Latency counts from when a request was due. A question mark: read why below, or in results.json." }
            (table(&columns, shown))
        }
        (more("points", shown.len(), rows.len(), "results.json"))
        ul {
            @for point in spoiled().take(CAUSES) {
                li {
                    strong { (shorten(&point.point, 80)) } ": "
                    @for cause in &point.validity.causes {
                        (cause_name(cause.cause)) ": " (shorten(&cause.detail, 400))
                        @if !cause.spoils.is_empty() { " (spoils " (shorten(&cause.spoils.join(", "), 200)) ")" }
                        ". "
                    }
                }
            }
        }
        (more("points with something to say of them", CAUSES, spoiled().count(), "results.json"))
    }
}

/// A sentence for the first screen, if points must not be used.
pub(crate) fn invalid(results: &Results) -> Option<String> {
    let is_invalid = |point: &&PointResult| point.validity.status == Judgement::Invalid;
    let points: Vec<&PointResult> = results.results.iter().filter(is_invalid).collect();
    let first = points.first()?;
    let cause = first.validity.causes.first();
    let why = cause.map_or_else(String::new, |cause| format!(": {}", shorten(&cause.detail, 200)));
    Some(format!(
        "{} of {} points are invalid and must not be used, the first of them {}{why}.",
        points.len(),
        results.results.len(),
        shorten(&first.point, 80),
    ))
}

/// Targets and what became of them.
pub(crate) fn checks(checks: &[TargetCheck]) -> Markup {
    let has_points = checks.iter().any(|check| !check.point.is_empty());
    html! {
        div.scroll { table.targets {
            thead { tr {
                th scope="col" { "target" }
                @if has_points { th scope="col" { "point" } }
                th.num scope="col" { "wanted" } th.num scope="col" { "is" } th scope="col" { "" }
                th scope="col" { "why not" }
            } }
            tbody {
                @for check in checks.iter().take(ROWS) { tr {
                    td { (shorten(&check.name.replace('_', " "), 80)) }
                    @if has_points { td { (shorten(&check.point, 80)) } }
                    td.num { (shorten(&check.wanted(), 40)) }
                    td.num { (metric(&check.measured, 1)) }
                    (outcome(check))
                } }
            }
        } }
        (more("targets", ROWS, checks.len(), "results.json"))
    }
}

/// The last two cells of a target: what became of it, and why it is not known better.
fn outcome(check: &TargetCheck) -> Markup {
    let (class, word) = match check.outcome {
        CheckOutcome::Met => ("good", "✓ met"),
        CheckOutcome::Missed => ("warning", "✗ missed"),
        CheckOutcome::Alert => ("error", "‼ far off"),
        CheckOutcome::Unknown => ("note", "not measured"),
    };
    let why = check.measured.reason.as_deref();
    html! {
        td class=(class) { (word) }
        td.note { (shorten(why.unwrap_or_default(), 200)) }
    }
}

fn cause_name(cause: CauseKind) -> &'static str {
    match cause {
        CauseKind::ServerDied => "the server died",
        CauseKind::Interrupted => "interrupted",
        CauseKind::WrongAnswers => "wrong answers",
        CauseKind::FailedRequests => "failed requests",
        CauseKind::ClientLimited => "limited by the client",
        CauseKind::CompileInWindow => "a compilation in the window",
        CauseKind::NotWarm => "not warm",
        CauseKind::OfferedLimited => "limited by what was offered",
        CauseKind::Overloaded => "overloaded",
        CauseKind::TooFewSamples => "too few samples",
        _ => "something else",
    }
}
