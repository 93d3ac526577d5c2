//! `xscope compare`: what changed between two sides, and whether it is real.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xscope_analysis::compare::measured::Measured;
use xscope_analysis::compare::noise::NoiseTable;
use xscope_analysis::compare::rules::Rules;
use xscope_analysis::compare::{CompareReport, Options, compare};
use xscope_trace::atomic;
use xscope_view::{Style, compare_junit, compare_slack, compare_text};

use crate::cli::{CompareArgs, JudgeArgs, VerdictOutputArgs};
use crate::cmd::measured::{Traces, find};
use crate::cmd::{Exit, baseline};
use crate::output;

pub(crate) fn run(args: &CompareArgs) -> Result<Exit> {
    let (a, b) = sides(args)?;
    let options = Options {
        rules: rules(&args.judge)?,
        paired: args.paired,
        noise: noise(&args.baselines, &b)?,
    };
    let report = compare(&a, &b, &options)?;
    show(&report, &args.output)?;
    Ok(exit(&report, &args.judge))
}

fn sides(args: &CompareArgs) -> Result<(Vec<Measured>, Vec<Measured>)> {
    let traces = if args.no_traces { Traces::Skip } else { Traces::Read };
    let find = |paths: &[PathBuf]| find(paths, traces);
    if let Some(name) = &args.baseline {
        let b = find(&args.paths)?;
        let Some(first) = b.first() else { bail!("nothing to compare with the baseline") };
        return Ok((baseline::latest(&args.baselines, name, first)?.runs, b));
    }
    match &args.paths[..] {
        [] => Ok((find(&args.a)?, find(&args.b)?)),
        [a, b] => Ok((find(std::slice::from_ref(a))?, find(std::slice::from_ref(b))?)),
        paths => bail!(
            "expected two paths, A and B, and got {}; give several runs of a side with --a RUN \
             RUN --b RUN RUN, or compare with a baseline with --baseline NAME",
            paths.len()
        ),
    }
}

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

/// What A/A runs on the machine of B showed.
fn noise(baselines: &Path, b: &[Measured]) -> Result<NoiseTable> {
    match b.first() {
        Some(first) => Ok(baseline::noise(baselines, &first.environment)?.noise),
        None => Ok(NoiseTable::default()),
    }
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
    let style = if args.markdown { Style::Markdown } else { Style::Terminal };
    match args.json {
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
