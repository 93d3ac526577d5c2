//! What pages show is typed by readers: each command line in them is one that is taken.

use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::Cli;
use super::shell::command_lines;

/// All pages of the repository.
fn pages() -> Vec<PathBuf> {
    let root = xscope_testing::repository();
    let mut pages: Vec<PathBuf> =
        ["README.md", "FORMAT.md", "CONTRIBUTING.md"].map(|page| root.join(page)).into();
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(kind) if kind == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages.sort();
    pages
}

/// The lines of a page that stand in blocks of code, those that go on joined; without comments.
fn code(page: &str) -> Vec<String> {
    let (mut lines, mut is_fenced, mut open) = (Vec::new(), false, None::<String>);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        if !is_fenced && !line.starts_with("    ") {
            open = None;
            continue;
        }
        let line = line.split(" #").next().unwrap_or_default().trim();
        let line = open.take().unwrap_or_default() + line;
        match line.strip_suffix('\\') {
            Some(begun) => open = Some(begun.to_owned()),
            None => lines.push(line),
        }
    }
    lines
}

/// What of a page's command lines is not taken, and how many there are.
fn problems(page: &Path) -> (Vec<String>, usize) {
    let text = std::fs::read_to_string(page).unwrap();
    // `...` and brackets stand for what the reader puts in.
    let whole = code(&text).into_iter().filter(|line| !line.contains("...") && !line.contains('['));
    let lines: Vec<_> = whole.flat_map(|line| command_lines(&line)).collect();
    let wrong = lines.iter().filter_map(|line| {
        let error = Cli::try_parse_from(line).err()?;
        // Help and versions are printed as errors.
        let said = error.to_string();
        error.use_stderr().then(|| format!("{}: {}: {said}", page.display(), line.join(" ")))
    });
    (wrong.collect(), lines.len())
}

#[test]
fn command_lines_of_pages_are_accepted() {
    let found: Vec<_> = pages().iter().map(|page| problems(page)).collect();
    let wrong: Vec<_> = found.iter().flat_map(|(wrong, _)| wrong.clone()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let lines: usize = found.iter().map(|(_, lines)| lines).sum();
    assert!(lines > 50, "only {lines} command lines are found");
}

#[test]
fn code_of_pages_is_found() {
    let page =
        "xscope no code\n\n    xscope a \\\n        --b  # why\n```\nxscope c\n```\nxscope d";
    assert_eq!(code(page), ["xscope a --b", "xscope c"]);
}
