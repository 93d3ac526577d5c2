//! What is known of memory, written as sglang-jax's memory profiler writes it.

use std::fs;
use std::path::Path;

use xscope_trace::memory_report::{SUMMARY, Summary};
use xscope_trace::run::replace_file;

use crate::error::{Error, Result};
use crate::reports::analyze_report::AnalyzeReport;
use crate::reports::memory_files::memory_files;

/// Writes the reports and their summary into a folder, which is made; how many reports there are.
///
/// # Errors
///
/// They cannot be written.
pub fn write(report: &AnalyzeReport, folder: &Path) -> Result<usize> {
    let files = memory_files(report);
    fs::create_dir_all(folder)
        .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    let mut texts = Vec::new();
    for file in &files {
        texts.push((file.file_name(), serde_json::to_vec_pretty(file)?));
    }
    texts.push((SUMMARY.to_owned(), serde_json::to_vec_pretty(&Summary::of(&files))?));
    for (name, text) in &texts {
        replace_file(&folder.join(name), text)?;
    }
    Ok(files.len())
}
