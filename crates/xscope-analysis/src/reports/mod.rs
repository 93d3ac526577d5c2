//! Whole reports: what the other rooms find, put together for one kind of input.

pub mod analyze;
pub mod analyze_report;
pub mod capture_report;
pub mod claim;
pub mod command;
pub(crate) mod degraded;
pub mod grouping;
pub(crate) mod headlines;
pub(crate) mod passes;
pub mod profile;
pub mod profile_report;
pub mod section_report;
pub mod targets;
pub mod totals;
