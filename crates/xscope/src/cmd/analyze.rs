//! `xscope analyze`: the report on any profile.

use anyhow::Result;

use crate::cli::AnalyzeArgs;
use crate::cmd::Exit;
use crate::output;

pub(crate) fn run(args: &AnalyzeArgs) -> Result<Exit> {
    let trace = xscope_trace::load(&args.paths)?;
    let report = xscope_analysis::analyze(&trace);
    match args.output.json {
        true => output::json(&report)?,
        false => output::text(&xscope_view::analyze_text(&report))?,
    }
    Ok(Exit::Fine)
}
