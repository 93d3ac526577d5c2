//! The report as one HTML file, and the difference of two.

mod benchmark;
mod difference;
mod environment;
mod pages;
mod side;
mod summary;

use crate::markup::document;
use crate::sections;

pub use difference::difference_html;
pub use side::Side;

/// The report on a run or a profile as one HTML file.
pub fn report_html(mut side: Side) -> String {
    let left_out = side.cut();
    document(&side.title(), &pages::pages(&side, &left_out), &sections::data(&side.report))
}
