//! What a profile says: pure functions from a [`Trace`](xscope_trace::Trace) to typed reports.
//!
//! Nothing here reads files, prints, or looks at a clock. Every report is serialisable (the JSON
//! contract in `FORMAT.md`), sorted, and says with each figure whether it can be trusted.
//!
//! Time is counted in picoseconds and summed as integers, so shares add up exactly; it becomes a
//! float only where a report shows it.

pub mod allocations;
pub mod allocators;
pub mod analyze;
pub mod annotated;
mod attribution;
pub mod batches;
pub mod category;
pub mod collectives;
pub mod compare;
mod compile_log;
pub mod compiles;
pub mod components;
pub mod degraded;
pub mod devices;
pub mod follow;
pub mod grouping;
pub mod hbm_usage;
pub mod headlines;
pub mod idle;
mod intervals;
mod join;
pub mod kernels;
mod launches;
pub mod layers;
pub mod memory;
pub mod memory_files;
pub mod nesting;
pub mod overhead;
pub mod peaks;
pub mod planned;
pub mod profile;
pub mod programs;
pub mod quality;
pub mod recompiles;
pub mod recording;
pub mod request_report;
pub mod requests;
pub mod roofline;
mod scope;
pub mod snapshots;
pub mod stats;
pub mod steps;
pub mod targets;
pub mod tasks;
pub mod timeline;
mod unroll;
pub mod variation;
mod waste;
mod work;

pub use analyze::{AnalyzeReport, analyze};
pub use profile::{ProfileReport, RunFacts, profile};
