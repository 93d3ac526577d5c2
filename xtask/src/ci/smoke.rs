//! A profile of the built-in engine, opened in the programs that it is for.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Place, cargo, program, say};

/// Profiles the built-in engine, and opens the trace in XProf and Perfetto: what xscope names as the
/// costliest matrix product, and the scheduler's batches, must be shown there as well.
pub(super) fn profile_and_open(place: &Place) -> Result<()> {
    let smoke = place.target.join("ci-smoke");
    if smoke.exists() {
        fs::remove_dir_all(&smoke).with_context(|| smoke.display().to_string())?;
    }
    let runs = smoke.join("runs");
    let small = ["--requests", "4", "--batch-sizes", "2", "--warmup", "1", "--no-progress"];
    let profile = cargo(&["run", "--release", "--", "profile"]).args(&small);
    let report = profile.args(&["--output-dir".as_ref(), runs.as_os_str()]).output()?;
    let first: Vec<&str> = report.lines().take(30).collect();
    say(&first.join("\n"));
    let run = only(&runs)?;
    let trace = only(&only(&run.join("trace/plugins/profile"))?)?;

    let python = std::env::var_os("XSCOPE_PYTHON").map(PathBuf::from);
    let python = python.filter(|it| program(it).args(&["-c", "import perfetto, xprof"]).works());
    let Some(python) = python else {
        return place.leave_out("XSCOPE_PYTHON names no Python with xprof and perfetto");
    };
    let report = fs::read(run.join("report.json")).context("report.json")?;
    let report: Value = serde_json::from_slice(&report)?;
    let kernels = report["analysis"]["kernels"].as_array().context("no kernels")?;
    let mut names = kernels.iter().filter_map(|kernel| kernel["name"].as_str());
    let kernel = names.find(|name| name.starts_with("matmul")).context("no matrix product")?;

    // XProf numbers the batches, because each is a step.
    let check =
        program(&python).args(&["crates/xscope-trace/tests/xprof_check.py"]).args(&[&trace]);
    let wanted = ["--expect-event", "batch 0", "batch.forward", kernel, "--expect-steps", "1"];
    say(&check.args(&wanted).env("TF_CPP_MIN_LOG_LEVEL", "3").output()?);
    let perfetto = smoke.join("run.pftrace");
    let export = cargo(&["run", "--release", "--", "export"]).args(&[&run]);
    export.args(&["--perfetto".as_ref(), perfetto.as_os_str()]).run()?;
    let check = program(&python).args(&["crates/xscope-trace/tests/perfetto_check.py"]);
    let wanted = ["--expect-slice", "request", "batch.forward", kernel];
    check.args(&[&perfetto]).args(&wanted).run()
}

/// What alone lies in a folder.
fn only(folder: &PathBuf) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let first = entries.next().with_context(|| format!("{} is empty", folder.display()))??;
    match entries.next() {
        None => Ok(first.path()),
        Some(_) => bail!("there is more than one in {}", folder.display()),
    }
}
