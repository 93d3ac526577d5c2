//! A comparison as a message for Slack.

use serde_json::{Value, json};
use xscope_analysis::compare::CompareReport;
use xscope_analysis::compare::verdict::{ComparedRow, Verdict};

use super::{figure, headline, signed, verdict_text};
use crate::grid::Style;

/// The longest text that a section of a Slack message may have, with room to spare.
const SLACK_CHARS: usize = 2800;

/// How many of the other differences are told.
const WHY: usize = 5;

/// The payload of a Slack incoming webhook.
pub fn compare_slack(report: &CompareReport) -> Value {
    let mut lines = String::new();
    let worth = |row: &&ComparedRow| matches!(row.verdict, Verdict::Slower | Verdict::Faster);
    for row in report.rows.iter().filter(worth) {
        lines += &format!(
            "• `{} {}` {} ({} to {}): {}\n",
            row.point,
            row.metric,
            signed(row.change_percent.value.unwrap_or_default()),
            figure(row.a.value, &row.a.unit),
            figure(row.b.value, &row.b.unit),
            verdict_text(row),
        );
    }
    for left in report.left_out.iter().filter(|left| left.invalid) {
        lines += &format!("• `{}` INVALID: {}\n", left.point, left.why);
    }
    for difference in report.why.iter().take(WHY) {
        let (kind, what) = (difference.group.name(), &difference.what);
        lines += &format!("• {kind} {what}: `{}` to `{}`\n", difference.a, difference.b);
    }
    if report.why.len() > WHY {
        lines += &format!("and {} more that differ\n", report.why.len() - WHY);
    }
    if lines.is_empty() {
        "No figure differs.".clone_into(&mut lines);
    }
    let headline = headline(report, Style::Terminal);
    let headline = headline.plain();
    let lines = slack(&lines);
    let mut cut: String = lines.chars().take(SLACK_CHARS).collect();
    if cut.len() < lines.len() {
        cut += "... (cut off)";
    }
    json!({
        "text": format!("xscope compare: {headline}"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": format!("*{}*", slack(headline))}},
            {"type": "section", "text": {"type": "mrkdwn", "text": cut}},
        ],
    })
}

/// Text in Slack's own markup.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
