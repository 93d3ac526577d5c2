//! Where and how a profile was taken.

use maud::{Markup, html};
use xscope_analysis::ProfileReport;
use xscope_trace::run::{RunManifest, Utc};
use xscope_trace::stats::as_f64;

use crate::grid::{Column, row};
use crate::markup::table;
use crate::sections::cut::more;
use crate::text::{shorten, si};

/// How many versions of packages are shown, and how many lines of a text.
const VERSIONS: usize = 50;
const LINES: usize = 200;

pub(crate) fn environment(report: &ProfileReport, manifest: Option<&RunManifest>) -> Markup {
    let sources = report.analysis.sources.iter().map(|source| {
        row![
            source.path.clone(),
            source.format.to_owned(),
            si(as_f64(source.bytes), "B"),
            source.host.clone(),
        ]
    });
    let columns = [
        Column::Text("file"),
        Column::Text("format"),
        Column::Number("size"),
        Column::Text("host"),
    ];
    html! {
        @if let Some(manifest) = manifest { (of_manifest(report, manifest)) }
        @else { p { "No run directory: where and how this profile was taken is not known." } }
        h3 { "Files that were read" }
        (table(&columns, &sources.collect::<Vec<_>>()))
    }
}

fn of_manifest(report: &ProfileReport, manifest: &RunManifest) -> Markup {
    let host = &manifest.host;
    let memory = host.memory.map(|bytes| si(as_f64(bytes.0), "B"));
    let ended = manifest.ended_wall.map(|at| Utc::from_wall(at).to_string());
    let mut facts: Vec<(&str, Option<String>)> = vec![
        ("status", Some(format!("{:?}", manifest.status).to_lowercase())),
        ("started", Some(Utc::from_wall(manifest.started_wall).to_string())),
        ("ended", ended),
        ("target", Some(manifest.target.clone())),
        ("model", report.typical.model_name.clone()),
        ("hardware", report.typical.hardware.clone()),
        ("machine", host.hostname.clone()),
        ("system", host.os.clone()),
        ("processor", host.cpu_model.clone()),
        ("cores", host.cores.map(|cores| cores.to_string())),
        ("memory", memory),
        ("commit", manifest.git_commit.clone()),
    ];
    facts.retain(|(_, value)| value.as_ref().is_some_and(|value| !value.is_empty()));
    html! {
        h3 { "To repeat it" }
        pre.command { (repeat(manifest)) }
        dl.facts {
            @for (name, value) in &facts { div { dt { (name) } dd { (shorten(value.as_deref().unwrap_or_default(), 400)) } } }
            @for (name, version) in manifest.versions.iter().take(VERSIONS) {
                div { dt { (shorten(name, 40)) } dd { (shorten(version, 80)) } }
            }
        }
        (more("versions", VERSIONS, manifest.versions.len(), "run.json"))
        h3 { "Workload" }
        pre { (shorten_lines(&serde_json::to_string_pretty(&manifest.workload).unwrap_or_default())) }
    }
}

/// The commands that make such a run again, and that look at this one.
fn repeat(manifest: &RunManifest) -> String {
    let mut lines = Vec::new();
    if let Some(commit) = &manifest.git_commit {
        lines.push(format!("git checkout {}", quoted(commit)));
    }
    let words: Vec<String> = manifest.command_line.iter().map(|word| quoted(word)).collect();
    lines.push(words.join(" "));
    lines.push(format!("xscope analyze {}", quoted(&manifest.id)));
    shorten_lines(&lines.join("\n"))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Text of several lines, each cut.
fn shorten_lines(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().take(LINES).map(|line| shorten(line, 1000)).collect();
    let others = text.lines().count() - lines.len();
    if others > 0 {
        lines.push(format!("... and {others} more lines; run.json has all"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("--x=1,2", "--x=1,2"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
