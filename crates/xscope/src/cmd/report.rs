//! `xscope report`: a run, or the difference of two, as one HTML file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xscope_analysis::RunFacts;
use xscope_analysis::compare::{Options, compare};
use xscope_analysis::reports::analyze::needs_host_slice;
use xscope_trace::Trace;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::read::{ReadOptions, half_of_memory, read_paths_with};
use xscope_trace::run::{RunDir, replace_file};
use xscope_view::html::{Side, difference_html, report_html};

use crate::cli::ReportArgs;
use crate::cmd::Exit;
use crate::cmd::measured::{Traces, find};
use crate::output;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit> {
    let (page, default) = match &args.runs[..] {
        [a, b] => (difference(a, b)?, PathBuf::from("difference.html")),
        runs => {
            let run = runs.first().map(PathBuf::as_path).unwrap_or(Path::new("."));
            let side = side(run)?;
            let folder = if side.manifest.is_some() { run } else { Path::new("") };
            let default = folder.join("report.html");
            (report_html(side), default)
        }
    };
    let path = args.output.clone().unwrap_or(default);
    replace_file(&path, page.as_bytes())?;
    output::text(&format!("{}\n", path.display()))?;
    Ok(Exit::Fine)
}

/// A run in whatever state it is in, or any other profile.
fn side(path: &Path) -> Result<Side> {
    let options = ReadOptions { memory_limit: half_of_memory(), needed: needs_host_slice };
    let loaded = read_paths_with(&[path.to_owned()], options);
    if !path.join("run.json").is_file() {
        let facts =
            RunFacts { run_dir: path.display().to_string(), complete: true, ..RunFacts::default() };
        return Ok(Side::of_profile(xscope_analysis::profile(&loaded?, &facts)));
    }
    let run = RunDir::open(path)?;
    let mut trace = loaded.unwrap_or_else(|error| {
        let message = format!("nothing of the run can be read: {error:#}");
        Trace { findings: vec![Finding::new(Code::RunUnreadable, message)], ..Trace::default() }
    });
    trace.findings.extend(run.verify()?.into_iter().map(Finding::from));
    let facts = RunFacts::of(&run, run.read_json(&run.overhead_path()));
    Ok(Side::of_run(xscope_analysis::profile(&trace, &facts), &run))
}

pub(crate) fn difference(a: &Path, b: &Path) -> Result<String> {
    let measured = |path: &Path| find(&[path.to_owned()], Traces::Read);
    let compared = measured(a)
        .and_then(|a| Ok((a, measured(b)?)))
        .and_then(|(a, b)| Ok(compare(&a, &b, &Options::default())?))
        .map_err(|error| format!("{error:#}"));
    Ok(difference_html(side(a)?, side(b)?, compared.as_ref().map_err(String::as_str)))
}
