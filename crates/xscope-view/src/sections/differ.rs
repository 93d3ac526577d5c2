//! Two profiles side by side: tables of what either has.

use std::collections::BTreeMap;

use maud::{Markup, html};
use xscope_analysis::ProfileReport;
use xscope_trace::stats::as_f64;

use crate::grid::{Cell, Column, row};
use crate::markup::table;

/// Rows of a table of differences.
const ROWS: usize = 500;

/// The two sides of a difference.
pub(crate) struct Sides<'a> {
    pub a: &'a ProfileReport,
    pub b: &'a ProfileReport,
}

impl<'a> Sides<'a> {
    /// What both sides have of something, each with its name.
    pub(crate) fn named(&self) -> [(&'static str, &'a ProfileReport); 2] {
        [("A", self.a), ("B", self.b)]
    }

    /// Rows of what either side has by name, the largest difference first.
    pub(crate) fn joined(
        &self,
        of: impl Fn(&ProfileReport) -> BTreeMap<String, f64>,
        show: impl Fn(f64) -> String + Copy,
    ) -> Vec<Vec<Cell>> {
        joined(&of(self.a), &of(self.b), show)
    }

    /// The same of device times, by request where both sides have requests: runs differ in how many. Also
    /// says which it is.
    pub(crate) fn by_request(
        &self,
        of: impl Fn(&ProfileReport) -> BTreeMap<String, f64>,
        show: impl Fn(f64) -> String + Copy,
    ) -> (Vec<Vec<Cell>>, &'static str) {
        let counts = [self.a, self.b].map(|it| it.requests.measured + it.requests.warmup);
        if counts.contains(&0) {
            return (self.joined(of, show), "in all");
        }
        let [a, b] = [(self.a, counts[0]), (self.b, counts[1])].map(|(report, count)| {
            let mut of = of(report);
            of.values_mut().for_each(|value| *value /= as_f64(count));
            of
        });
        (joined(&a, &b, show), "for each request, warm-up included")
    }
}

pub(crate) fn joined(
    a: &BTreeMap<String, f64>,
    b: &BTreeMap<String, f64>,
    show: impl Fn(f64) -> String + Copy,
) -> Vec<Vec<Cell>> {
    let mut names: Vec<&String> =
        a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))).collect();
    let apart = |name: &String| (b.get(name).unwrap_or(&0.0) - a.get(name).unwrap_or(&0.0)).abs();
    names.sort_by(|x, y| apart(y).total_cmp(&apart(x)).then_with(|| x.cmp(y)));
    let row = |name: &String| cells(name, a.get(name).copied(), b.get(name).copied(), show);
    names.into_iter().map(row).collect()
}

/// Sums by name.
pub(crate) fn sums<'a>(rows: impl Iterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (name, value) in rows {
        *sums.entry(name.to_owned()).or_default() += value;
    }
    sums
}

/// A column of names, both values and their difference.
pub(crate) fn columns(name: &'static str) -> [Column; 5] {
    let numbers = ["A", "B", "B - A", "change"].map(Column::Number);
    let [a, b, difference, change] = numbers;
    [Column::Text(name), a, b, difference, change]
}

/// Cells of two values that may be missing.
pub(crate) fn cells(
    name: &str,
    a: Option<f64>,
    b: Option<f64>,
    show: impl Fn(f64) -> String,
) -> Vec<Cell> {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), &show);
    let difference = a.zip(b).map(|(a, b)| b - a);
    let change = a.zip(difference).filter(|(a, _)| *a > 0.0).map(|(a, more)| 100.0 * more / a);
    row![
        name,
        shown(a),
        shown(b),
        shown(difference),
        change.map_or_else(|| "-".to_owned(), |percent| format!("{percent:+.1} %")),
    ]
}

/// A table of differences below its title, as far as a page can hold it; `None` if it has no rows.
pub(crate) fn differences(
    title: &str,
    name: &'static str,
    mut rows: Vec<Vec<Cell>>,
) -> Option<Markup> {
    if rows.is_empty() {
        return None;
    }
    let left_out = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    Some(html! {
        h3 { (title) }
        (table(&columns(name), &rows))
        @if left_out > 0 { p.notice { (left_out) " more, with smaller differences, are left out." } }
    })
}
