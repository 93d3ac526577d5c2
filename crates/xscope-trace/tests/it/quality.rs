//! The table of codes, and the page about them.

use std::fs;
use std::path::{Path, PathBuf};

use xscope_trace::quality::{Code, Figures, Severity};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The rows of the page: of codes, the gravest first, then of figures.
fn rows() -> Vec<String> {
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| (std::cmp::Reverse(code.severity()), *code));
    let severity = |code: Code| match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let code = |code: Code| {
        format!("| `{code}` | {} | {} | {} |", severity(code), code.meaning(), code.remedy())
    };
    let figures = |figures: &Figures| {
        let codes = Code::ALL.iter().filter(|code| code.touches().contains(figures));
        let codes: Vec<String> = codes.map(|code| format!("`{code}`")).collect();
        format!("| {} | {} |", figures.name(), codes.join(", "))
    };
    codes.into_iter().map(code).chain(Figures::ALL.iter().map(figures)).collect()
}

/// Of two lists that should be equal, the lines that only the first has.
fn only_in(a: &[String], b: &[String]) -> String {
    a.iter().filter(|row| !b.contains(row)).map(|row| format!("{row}\n")).collect()
}

#[test]
fn the_page_has_the_table_of_codes() {
    let page = fs::read_to_string(workspace().join("docs/quality.md")).unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| code | severity |");
    let lines = page.lines().filter(is_row).filter(|line| !line.starts_with("| figures |"));
    let (found, expected): (Vec<String>, _) = (lines.map(str::to_owned).collect(), rows());
    let (needless, missing) = (only_in(&found, &expected), only_in(&expected, &found));
    assert!(found == expected, "docs/quality.md lacks\n{missing}\nand has needlessly\n{needless}");
}

#[test]
fn codes_stand_in_order_and_what_is_only_worth_knowing_touches_nothing() {
    assert!(Code::ALL.is_sorted_by(|a, b| a.as_str() < b.as_str()));
    for code in Code::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        assert!(code.severity() > Severity::Info || code.touches().is_empty(), "{code}");
    }
}

#[test]
fn every_code_is_told_by_something() {
    let mut sources = Vec::new();
    for entry in fs::read_dir(workspace().join("crates")).unwrap() {
        read_sources(&entry.unwrap().path().join("src"), &mut sources);
    }
    for code in Code::ALL {
        let name = format!("Code::{code:?}");
        let follows = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
        let is_told = |text: &String| text.split(&name).skip(1).any(follows);
        assert!(sources.iter().any(is_told), "nothing tells {code}");
    }
}

fn read_sources(folder: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(fs::read_to_string(path).unwrap());
        }
    }
}
