//! What pages are made of.

mod document;
mod parts;

pub(crate) use document::{Page, SCRIPTS, STYLE, document};
pub(crate) use parts::{ROWS, chart, figure, findings, grid, sentence, stacked, table, waterfall};
