//! `xscope compare`: what changed between two sides, and whether it is real.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xscope_analysis::compare::measured::Measured;
use xscope_analysis::compare::noise::NoiseTable;
use xscope_analysis::compare::{Options, compare};

use crate::cli::CompareArgs;
use crate::cmd::judged::{exit, rules, show};
use crate::cmd::measured::{Traces, find};
use crate::cmd::{Exit, baseline};

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

/// What A/A runs on the machine of B showed.
fn noise(baselines: &Path, b: &[Measured]) -> Result<NoiseTable> {
    match b.first() {
        Some(first) => Ok(baseline::noise(baselines, &first.environment)?.noise),
        None => Ok(NoiseTable::default()),
    }
}
