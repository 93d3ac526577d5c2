//! The part of a profile that is written: a window of time, and what of it is left out.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xscope_analysis::devices::steps::extent;
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
    let window = match args.around.is_none() && args.step.is_none() {
        true => window_of_times((args.from, args.to))?,
        false => asked(args, &xscope_trace::read_paths(&[input.to_owned()])?)?,
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
    let window = asked(args, trace)?;
    Ok(Some(trim(trace, &Cut { window, drop: drop(args) })))
}

fn drop(args: &CutArgs) -> Vec<xscope_trace::trim::Noise> {
    args.drop.iter().map(|noise| noise.0).collect()
}

/// The window from one time to another, if either is given, or that of the steps from one number to
/// another.
pub(crate) fn window(
    trace: &Trace,
    times: (Option<Picos>, Option<Picos>),
    steps: Option<(i64, i64)>,
) -> Result<Option<(Picos, Picos)>> {
    let Some((first, last)) = steps else { return window_of_times(times) };
    extent(trace, first, last).map(Some).context("--step")
}

fn window_of_times((from, to): (Option<Picos>, Option<Picos>)) -> Result<Option<(Picos, Picos)>> {
    let window = (from.unwrap_or(Picos(i64::MIN)), to.unwrap_or(Picos(i64::MAX)));
    if window.0 >= window.1 {
        bail!("the window ends before it begins");
    }
    Ok((from.is_some() || to.is_some()).then_some(window))
}

/// The window that is asked for, of a trace in which names and numbers can be looked up.
fn asked(args: &CutArgs, trace: &Trace) -> Result<Option<(Picos, Picos)>> {
    let Some(name) = &args.around else {
        return window(trace, (args.from, args.to), args.step);
    };
    let found = around(trace, name);
    found.map(Some).with_context(|| format!("no slice is called {name:?}"))
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
