//! The report as one HTML file, and the difference of two.

mod benchmark;
mod difference;
mod environment;
mod pages;
mod side;
mod summary;

use std::path::Path;

use xscope_analysis::compare::{Options, compare};
use xscope_analysis::from_disk::measured::{Traces, find};
use xscope_analysis::{Result, chain};

use crate::markup::document;
use crate::sections;

pub use difference::difference_html;
pub use side::Side;

/// The report on a run or a profile as one HTML file.
pub fn report_html(mut side: Side) -> String {
    let left_out = side.cut();
    document(&side.title(), &pages::pages(&side, &left_out), &sections::data(&side.report))
}

/// What differs between two runs or profiles, as one HTML file; `warn` is told what of them could not
/// be read and is left out.
///
/// # Errors
///
/// One of them is no run and no profile. That they cannot be compared stands on the page.
pub fn difference_of(a: &Path, b: &Path, warn: &dyn Fn(&str)) -> Result<String> {
    let measured = |path: &Path| find(&[path.to_owned()], Traces::Read, warn);
    let compared = measured(a)
        .and_then(|a| compare(&a, &measured(b)?, &Options::default()))
        .map_err(|error| chain(&error));
    let compared = compared.as_ref().map_err(String::as_str);
    Ok(difference_html(Side::read(a)?, Side::read(b)?, compared))
}
