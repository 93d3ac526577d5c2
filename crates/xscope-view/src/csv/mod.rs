//! A profile as tables for spreadsheets and data frames: comma-separated values after RFC 4180.
//!
//! Columns of reports have the names of their JSON fields (`FORMAT.md`), with units in the names. A
//! figure that may be missing is two columns, the value and `<name>_status`. Times are decimal
//! microseconds from the start of the profile, to the picosecond.

mod rows;
pub(crate) mod trace;

pub use rows::Table;
pub(crate) use rows::{Rows, decimal, lines, micros};
