//! What a profile says: pure functions from a [`Trace`](xscope_trace::Trace) to typed reports.
//!
//! Nothing here reads files, prints, or looks at a clock. Every report is serialisable (the JSON
//! contract in `FORMAT.md`), sorted, and says with each figure whether it can be trusted.
//!
//! Time is counted in picoseconds and summed as integers, so shares add up exactly; it becomes a
//! float only where a report shows it.

pub mod compare;
pub mod compiles;
pub mod devices;
mod intervals;
pub mod kernels;
pub mod layers;
pub mod memory;
pub mod overhead;
pub mod quality;
pub mod reports;
pub mod requests;
pub mod stats;

// Every analysis is named from here, whichever room it lives in.
pub use analyze::{AnalyzeReport, analyze};
pub use devices::{collectives, idle, programs, steps, timeline};
pub use kernels::{annotated, category, nesting, peaks, roofline, tasks, variation};
pub use layers::components;
pub use memory::{allocations, allocators, hbm_usage, planned, snapshots};
pub use overhead::recording;
pub use profile::{ProfileReport, RunFacts, profile};
pub use reports::{analyze, degraded, grouping, headlines, memory_files, profile, targets};
pub use requests::{batches, follow, recompiles, request_report};

use compiles::compile_log;
use kernels::work;
use layers::{attribution, scope, unroll};
use requests::{join, launches, waste};
