//! `xscope trim`: the part of a profile that matters, in a file that opens.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xscope_analysis::requests::follow::joins;
use xscope_trace::model::Trace;
use xscope_trace::time::Picos;
use xscope_trace::trim::xplane::trim_file;
use xscope_trace::trim::{Cut, Trimmed, around, step_numbers, steps, trim};
use xscope_trace::write::{Target, to_file};

use crate::cli::TrimArgs;
use crate::cmd::{Exit, export};
use crate::output;

pub(crate) fn run(args: &TrimArgs) -> Result<Exit> {
    let Some(target) = Target::of_path(&args.output) else {
        bail!(
            "the name {} does not say the format; end it in .xplane.pb, .trace.json.gz or .pftrace",
            args.output.display()
        );
    };
    let drop = args.drop.iter().map(|noise| noise.0).collect();
    if target == Target::XPlane && is_xplane(&args.path) {
        let cut = Cut { window: window(args, None)?, drop };
        let trimmed = trim_file(&args.path, &args.output, &cut)?;
        say(&args.output, &trimmed);
        return Ok(Exit::Fine);
    }
    let mut trace = xscope_trace::read_paths(std::slice::from_ref(&args.path))?;
    let cut = Cut { window: window(args, Some(&trace))?, drop };
    let trimmed = trim(&mut trace, &cut);
    let written = to_file(&trace, &joins(&trace), target, &args.output)?;
    export::say(&args.output, &written);
    say(&args.output, &trimmed);
    Ok(Exit::Fine)
}

/// Whether the file can be cut as it lies: one XPlane file, whose times are the report's.
fn is_xplane(path: &Path) -> bool {
    path.is_file() && Target::of_path(path) == Some(Target::XPlane)
}

/// The window that was asked for; the trace is read only if that needs it.
fn window(args: &TrimArgs, trace: Option<&Trace>) -> Result<Option<(Picos, Picos)>> {
    let given = (args.from.is_some() || args.to.is_some())
        .then(|| (args.from.unwrap_or(Picos(i64::MIN)), args.to.unwrap_or(Picos(i64::MAX))));
    if args.around.is_none() && args.steps.is_none() {
        return match given {
            Some((from, to)) if from >= to => bail!("the window ends before it begins"),
            given => Ok(given),
        };
    }
    let read;
    let trace = match trace {
        Some(trace) => trace,
        None => {
            read = xscope_trace::read_paths(std::slice::from_ref(&args.path))?;
            &read
        }
    };
    if let Some(name) = &args.around {
        let found = around(trace, name);
        return found.map(Some).with_context(|| format!("no slice is called {name:?}"));
    }
    let range = args.steps.unwrap_or_default();
    let found = steps(trace, range.first, range.last);
    found.map(Some).with_context(|| match step_numbers(trace) {
        Some((first, last)) => format!(
            "no step from {} to {}; the profile has steps {first} to {last}",
            range.first, range.last
        ),
        None => "the profile has no steps; use --from and --to, or --around".to_owned(),
    })
}

fn say(path: &Path, trimmed: &Trimmed) {
    let all = trimmed.kept + trimmed.dropped;
    output::progress(&format!("{}: kept {} of {all} slices", path.display(), trimmed.kept));
    if trimmed.kept == 0 {
        output::progress("warning: nothing lies in the window; xscope analyze says how long it is");
    }
    if let Some(offset) = trimmed.damaged_at {
        output::progress(&format!(
            "warning: the file is damaged at byte {offset}; what could not be read was left out"
        ));
    }
}
