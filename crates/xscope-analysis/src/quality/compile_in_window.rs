//! Compilations inside the window.

use xscope_trace::Picos;
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;
use crate::words::counted;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let compiles = facts.compiles;
    let count = compiles.len() as u64;
    let time = compiles.iter().fold(Picos::ZERO, |sum, row| sum.saturating_add(row.duration));
    (count > 0).then(|| {
        Finding::new(
            Code::CompileInWindow,
            format!(
                "{} ran inside the window and took {:.3} s; requests that waited for that are slow \
                 for that reason: warm up with the same shapes first",
                counted(count, "compilation"),
                time.as_micros() / 1e6
            ),
        )
        .times(count)
    })
}
