//! `xscope compare`: what changed between two sides, and whether it is real.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xscope_analysis::compare::measured::Measured;
use xscope_analysis::compare::noise::NoiseTable;
use xscope_analysis::compare::{CompareReport, Options, compare};
use xscope_analysis::from_disk::baselines::Baselines;
use xscope_analysis::from_disk::measured::{Traces, find};
use xscope_trace::run::replace_file;
use xscope_view::html::{Side, difference_html};

use crate::cli::CompareArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::judged::{exit, rules, show};

pub(crate) fn run(args: &CompareArgs) -> Result<Exit> {
    let compared = compared(args);
    if let Some(page) = &args.html {
        write_page(page, &args.paths, &compared)?;
    }
    let report = compared?;
    show(&report, &args.output)?;
    Ok(exit(&report, &args.judge))
}

fn compared(args: &CompareArgs) -> Result<CompareReport> {
    let (a, b) = sides(args)?;
    let options = Options {
        rules: rules(&args.judge)?,
        paired: args.paired,
        noise: noise(&args.folder.baselines, &b)?,
    };
    Ok(compare(&a, &b, &options)?)
}

fn sides(args: &CompareArgs) -> Result<(Vec<Measured>, Vec<Measured>)> {
    let traces = if args.no_traces { Traces::Skip } else { Traces::Read };
    let find = |paths: &[PathBuf]| find(paths, traces, &output::warn);
    if let Some(name) = &args.baseline {
        let b = find(&args.paths)?;
        let Some(first) = b.first() else { bail!("nothing to compare with the baseline") };
        return Ok((baseline(&args.folder.baselines, name, first)?, b));
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

/// The runs of the baseline of a name that `with` is compared with.
fn baseline(folder: &Path, name: &str, with: &Measured) -> Result<Vec<Measured>> {
    let chosen = Baselines(folder).chosen(name, with)?;
    if chosen.series != with.environment.series() {
        output::warn(&format!(
            "no baseline {name} is of this environment; the one of {} is of another, and what \
             differs is listed",
            chosen.saved
        ));
    }
    Ok(chosen.runs)
}

/// What A/A runs on the machine of B showed.
fn noise(baselines: &Path, b: &[Measured]) -> Result<NoiseTable> {
    match b.first() {
        Some(first) => Ok(Baselines(baselines).noise(&first.environment)?.noise),
        None => Ok(NoiseTable::default()),
    }
}

/// Writes the two sides beside each other; if they cannot be compared, the page says why.
fn write_page(page: &Path, paths: &[PathBuf], compared: &Result<CompareReport>) -> Result<()> {
    let [a, b] = paths else {
        bail!("--html shows two runs or profiles beside each other: give A and B as paths");
    };
    let (a, b) = (Side::read(a)?, Side::read(b)?);
    let html = match compared {
        Ok(report) => difference_html(a, b, Ok(report)),
        Err(why) => difference_html(a, b, Err(&format!("{why:#}"))),
    };
    replace_file(page, html.as_bytes())?;
    output::progress(&format!("the page is {}", page.display()));
    Ok(())
}
