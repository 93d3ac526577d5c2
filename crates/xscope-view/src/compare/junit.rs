//! A comparison as JUnit XML.

use xscope_analysis::compare::CompareReport;
use xscope_analysis::compare::verdict::Gate;

use super::{figure, signed, verdict_text};

/// JUnit XML: a test case for each figure and for each point that was not compared. A figure that
/// is worse than its rule allows is a failure, invalid figures are errors, what cannot be told is
/// skipped.
pub fn compare_junit(report: &CompareReport) -> String {
    let mut cases = String::new();
    let (mut failures, mut errors, mut skipped) = (0, 0, 0);
    let mut case = |class: &str, name: &str, body: Option<(&str, String)>| {
        let (class, name) = (xml(class), xml(name));
        cases += &format!("    <testcase classname=\"xscope.{class}\" name=\"{name}\"");
        match body {
            None => cases += "/>\n",
            Some((kind, message)) => {
                let message = xml(&message);
                cases += &format!(">\n      <{kind} message=\"{message}\"/>\n    </testcase>\n");
            }
        }
    };
    for row in &report.rows {
        let message = || {
            format!(
                "{}: {} to {} ({})",
                verdict_text(row),
                figure(row.a.value, &row.a.unit),
                figure(row.b.value, &row.b.unit),
                signed(row.change_percent.value.unwrap_or_default()),
            )
        };
        let body = match row.gate {
            Gate::Fail => {
                failures += 1;
                Some(("failure", message()))
            }
            Gate::Undecided => {
                skipped += 1;
                Some(("skipped", message()))
            }
            _ => None,
        };
        case(&row.point, &row.metric, body);
    }
    for left in report.left_out.iter().filter(|left| left.invalid) {
        errors += 1;
        let name = format!("{} of {} is valid", left.side.to_uppercase(), left.run);
        case(&left.point, &name, Some(("error", left.why.clone())));
    }
    let tests = report.rows.len() + errors;
    let counts = format!(
        "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\""
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite \
         name=\"xscope compare\" {counts}>\n{cases}  </testsuite>\n</testsuites>\n"
    )
}

/// Text inside XML; what XML cannot hold becomes a replacement character.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
