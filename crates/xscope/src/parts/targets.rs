//! Targets: other limits from a file, and what follows when they are missed.

use std::path::Path;

use anyhow::{Context as _, Result};
use xscope_analysis::reports::targets::{Overrides, Targets};
use xscope_trace::results::{CheckOutcome, TargetCheck};

use crate::cli::TargetArgs;
use crate::exit::Exit;

/// Other limits than the usual ones, if a file says so.
pub(crate) fn overrides(path: Option<&Path>) -> Result<Overrides> {
    let Some(path) = path else { return Ok(Overrides::new()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the targets in {}", path.display()))?;
    let overrides: Overrides = toml::from_str(&text)
        .with_context(|| format!("{} holds no targets: see docs/targets.md", path.display()))?;
    Targets::with(&overrides).with_context(|| path.display().to_string())?;
    Ok(overrides)
}

/// The targets, with those limits.
pub(crate) fn read(path: Option<&Path>) -> Result<Targets> {
    Ok(Targets::with(&overrides(path)?)?)
}

/// Whether a check came out as bad as `when` (`alert` or `missed`).
pub(crate) fn fails(checks: &[TargetCheck], when: &str) -> bool {
    checks.iter().any(|check| match when {
        "alert" => check.outcome == CheckOutcome::Alert,
        "missed" => matches!(check.outcome, CheckOutcome::Alert | CheckOutcome::Missed),
        _ => false,
    })
}

/// What a run that ends with `exit` by itself ends with.
pub(crate) fn exit(exit: Exit, checks: &[TargetCheck], args: &TargetArgs) -> Exit {
    match exit {
        Exit::Fine if fails(checks, &args.fail_on) => Exit::Finding,
        other => other,
    }
}
