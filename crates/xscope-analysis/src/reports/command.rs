//! Commands that show more of a report.

use std::path::Path;

use crate::reports::analyze_report::AnalyzeReport;

/// What shows more of a report, as it can be typed where the report was made.
pub fn analyze_command<S: AsRef<str>>(report: &AnalyzeReport, arguments: &[S]) -> String {
    let mut words = vec!["xscope".to_owned(), "analyze".to_owned()];
    words.extend(paths(report).iter().map(|path| quoted(path)));
    words.extend(arguments.iter().map(|word| quoted(word.as_ref())));
    words.join(" ")
}

/// What was read: the file, or the folder of several.
fn paths(report: &AnalyzeReport) -> Vec<&str> {
    let all: Vec<&str> = report.sources.iter().map(|source| source.path.as_str()).collect();
    let Some((&first, rest)) = all.split_first() else { return vec!["PATH"] };
    let holds_all = |folder: &&Path| rest.iter().all(|path| Path::new(path).starts_with(folder));
    let folder = Path::new(first).ancestors().skip(1).find(holds_all).and_then(Path::to_str);
    match folder.filter(|folder| !folder.is_empty() && *folder != "/") {
        Some(folder) if !rest.is_empty() => vec![folder],
        _ => all,
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
