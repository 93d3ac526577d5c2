//! `xscope report`: a run, or the difference of two, as one HTML file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xscope_trace::run::replace_file;
use xscope_view::html::{Side, difference_of, report_html};

use crate::cli::ReportArgs;
use crate::exit::Exit;
use crate::output;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit> {
    let (page, default) = match &args.runs[..] {
        [a, b] => (difference_of(a, b, &output::warn)?, PathBuf::from("difference.html")),
        runs => {
            let run = runs.first().map(PathBuf::as_path).unwrap_or(Path::new("."));
            let side = Side::read(run)?;
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
