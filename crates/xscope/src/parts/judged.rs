//! What all comparisons have in common: their rules, and how they answer.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use xscope_analysis::compare::CompareReport;
use xscope_analysis::compare::rules::Rules;
use xscope_trace::atomic;
use xscope_view::{Style, compare_junit, compare_slack, compare_text};

use crate::cli::{JudgeArgs, VerdictOutputArgs};
use crate::exit::Exit;
use crate::output;

/// The built-in rules, with those of the user in their places.
pub(crate) fn rules(args: &JudgeArgs) -> Result<Rules> {
    let Some(path) = &args.rules else { return Ok(Rules::default()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the rules in {}", path.display()))?;
    let own = toml::from_str::<Rules>(&text)
        .with_context(|| format!("{} holds no rules: see docs/compare.md", path.display()))?;
    let rules = Rules::default().overridden_by(own);
    rules.check().with_context(|| path.display().to_string())?;
    Ok(rules)
}

/// Prints and writes the report in all forms that were asked for.
pub(crate) fn show(report: &CompareReport, args: &VerdictOutputArgs) -> Result<()> {
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> Result<String>| match path {
        None => Ok(()),
        Some(path) => {
            let text = text()?;
            atomic::replace(path, |file| file.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))
        }
    };
    write(&args.junit, &|| Ok(compare_junit(report)))?;
    write(&args.slack, &|| Ok(serde_json::to_string_pretty(&compare_slack(report))?))?;
    let style = if args.tables.markdown { Style::Markdown } else { Style::Terminal };
    match args.tables.output.json {
        true => output::json(report),
        false => output::page(&compare_text(report, style)),
    }
}

/// 1 if the report is as bad as the caller asked to fail on.
pub(crate) fn exit(report: &CompareReport, args: &JudgeArgs) -> Exit {
    match args.fail_on.0 {
        Some(mildest) if report.gate >= mildest => Exit::Finding,
        _ => Exit::Fine,
    }
}
