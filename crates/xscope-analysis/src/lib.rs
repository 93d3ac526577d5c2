//! What a profile says: pure functions from a [`Trace`](xscope_trace::Trace) to typed reports.
//!
//! Nothing here prints or looks at a clock, and only [`from_disk`] reads files. Every report is serialisable (the JSON
//! contract in `FORMAT.md`), sorted, and says with each figure whether it can be trusted.
//!
//! Time is counted in picoseconds and summed as integers, so shares add up exactly; it becomes a
//! float only where a report shows it.

pub mod clocks;
pub mod compare;
pub mod compiles;
pub mod devices;
mod error;
pub mod framework;
pub mod from_disk;
mod intervals;
pub mod kernels;
pub mod layers;
pub mod memory;
pub mod overhead;
pub mod quality;
pub mod reports;
pub mod requests;
pub mod section;
pub mod words;

pub use error::{Error, Result, chain};
pub use reports::analyze::analyze;
pub use reports::analyze_report::AnalyzeReport;
pub use reports::profile::{RunFacts, profile};
pub use reports::profile_report::ProfileReport;
