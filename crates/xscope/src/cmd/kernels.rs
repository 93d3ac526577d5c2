//! `xscope kernels --task REGEX`: how long each iteration of a kernel or an annotation took.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use regex_lite::Regex;

use crate::cli::KernelsArgs;
use crate::cmd::Exit;
use crate::output;

pub(crate) fn run(args: &KernelsArgs) -> Result<Exit> {
    let task = Regex::new(&args.task)
        .with_context(|| format!("--task: no regular expression: {}", args.task))?;
    let paths: Vec<PathBuf> = args.paths.iter().map(|path| whole_profile(path)).collect();
    let trace = xscope_trace::read_paths(&paths)?;
    let rows = xscope_analysis::kernels::tasks::tasks(&trace, |name| task.is_match(name));
    match args.output.json {
        true => output::json(&rows)?,
        false => output::page(&xscope_view::iterations_text(&rows))?,
    }
    Ok(Exit::Fine)
}

/// The XPlane file beside a `trace.json.gz`, which its writer cuts at a million events without a
/// mark; the path itself if there is none.
fn whole_profile(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(host) = name.and_then(|name| name.strip_suffix(".trace.json.gz")) else {
        return path.to_owned();
    };
    let beside = path.with_file_name(format!("{host}.xplane.pb"));
    if !beside.is_file() {
        return path.to_owned();
    }
    output::progress(&format!("reading {} instead, which is not cut", beside.display()));
    beside
}
