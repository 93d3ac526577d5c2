//! Findings as lines of text.

use xscope_trace::quality::{Finding, Severity};

use crate::colour::{Text, Tone};
use crate::text::shorten;

/// Characters of a finding's message.
const MESSAGE: usize = 500;

/// How much a finding hurts, and what it says.
pub(crate) fn finding_line(finding: &Finding) -> Text {
    let times = if finding.count > 1 { format!(" ({}x)", finding.count) } else { String::new() };
    let mut line = marked(finding);
    line += format!("{times} [{}]", finding.code);
    line
}

/// A finding for many: without how often it was met.
pub(crate) fn marked(finding: &Finding) -> Text {
    let mut line = match finding.severity {
        Severity::Error => Tone::Bad.of("error:"),
        Severity::Warning => Tone::Doubtful.of("warning:"),
        Severity::Info => Tone::Aside.of("note:"),
    };
    line += format!(" {}", shorten(&finding.message, MESSAGE));
    line
}

/// A line for each finding.
pub(crate) fn finding_lines(findings: &[Finding]) -> Vec<Text> {
    findings.iter().map(finding_line).collect()
}

/// The findings below their title; nothing if there are none.
pub(crate) fn quality_text(findings: &[Finding]) -> Text {
    let mut out = Text::default();
    if !findings.is_empty() {
        out += "\n";
        out.line(Tone::Title.of("Quality"));
    }
    findings.iter().for_each(|finding| out.line(finding_line(finding)));
    out
}
