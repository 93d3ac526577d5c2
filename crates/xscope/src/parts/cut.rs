//! The part of a profile that is written: a window of time, and what of it is left out.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xscope_analysis::devices::steps::{extent_of, steps};
use xscope_trace::Trace;
use xscope_trace::time::Picos;
use xscope_trace::trim::xplane::trim_file;
use xscope_trace::trim::{Cut, Trimmed, around, trim};

use crate::cli::CutArgs;
use crate::output;

/// Whether less than the whole profile is wanted.
pub(crate) fn is_asked(args: &CutArgs) -> bool {
    args.from.is_some()
        || args.to.is_some()
        || args.around.is_some()
        || args.step.is_some()
        || !args.drop.is_empty()
}

/// Cuts an XPlane file as it lies.
pub(crate) fn of_file(args: &CutArgs, input: &Path, output: &Path) -> Result<()> {
    let window = match window_of_times(args.from, args.to)? {
        Some(given) => Some(given),
        None if args.around.is_none() && args.step.is_none() => None,
        None => named(args, &xscope_trace::read_paths(&[input.to_owned()])?)?,
    };
    let trimmed = trim_file(input, output, &Cut { window, drop: drop(args) })?;
    output::progress(&format!("{}: written", output.display()));
    say(&trimmed);
    Ok(())
}

/// Cuts a trace, if that is wanted.
pub(crate) fn of_trace(args: &CutArgs, trace: &mut Trace) -> Result<Option<Trimmed>> {
    if !is_asked(args) {
        return Ok(None);
    }
    let window = match window_of_times(args.from, args.to)? {
        Some(given) => Some(given),
        None => named(args, trace)?,
    };
    Ok(Some(trim(trace, &Cut { window, drop: drop(args) })))
}

fn drop(args: &CutArgs) -> Vec<xscope_trace::trim::Noise> {
    args.drop.iter().map(|noise| noise.0).collect()
}

/// The window from one time to another, if either is given.
pub(crate) fn window_of_times(
    from: Option<Picos>,
    to: Option<Picos>,
) -> Result<Option<(Picos, Picos)>> {
    let window = (from.unwrap_or(Picos(i64::MIN)), to.unwrap_or(Picos(i64::MAX)));
    if window.0 >= window.1 {
        bail!("the window ends before it begins");
    }
    Ok((from.is_some() || to.is_some()).then_some(window))
}

/// The window of what has a name or a number.
fn named(args: &CutArgs, trace: &Trace) -> Result<Option<(Picos, Picos)>> {
    if let Some(name) = &args.around {
        let found = around(trace, name);
        return found.map(Some).with_context(|| format!("no slice is called {name:?}"));
    }
    args.step.map(|steps| window_of_steps(trace, steps)).transpose()
}

/// The window of the steps from one number to another.
pub(crate) fn window_of_steps(trace: &Trace, (first, last): (i64, i64)) -> Result<(Picos, Picos)> {
    let report = steps(trace);
    let numbers = || report.steps.iter().map(|step| step.number);
    extent_of(&report, first, last).with_context(|| match numbers().min().zip(numbers().max()) {
        Some((least, most)) => {
            format!("--step: there is no step {first}: they are numbered {least} to {most}")
        }
        None => "--step: this profile has no steps: use --from and --to".to_owned(),
    })
}

/// Tells what is left.
pub(crate) fn say(trimmed: &Trimmed) {
    let all = trimmed.kept + trimmed.dropped;
    output::progress(&format!("kept {} of {all} slices", trimmed.kept));
    if trimmed.kept == 0 {
        output::warn("nothing lies in the window; xscope analyze says how long it is");
    }
    if let Some(offset) = trimmed.damaged_at {
        output::warn(&format!(
            "the file is damaged at byte {offset}; what could not be read was left out"
        ));
    }
}
