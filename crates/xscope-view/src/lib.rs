//! What people look at: reports as text for a terminal and as HTML files, the viewer; and what other
//! programs take of requests and reports: OpenTelemetry traces, CSV.
//!
//! Formats reports and computes nothing: every figure here comes from `xscope-analysis`. Text is
//! readable without colour; [`colour`] paints it for terminals.

mod analyze;
mod baseline;
mod bench;
pub mod colour;
mod compare;
pub mod csv;
mod findings;
mod grid;
pub mod html;
mod iterations;
mod live;
mod markup;
pub mod otlp;
mod palette;
mod profile;
mod sections;
pub mod server;
mod targets;
mod text;
pub mod timeline;

pub use analyze::analyze_text;
pub use baseline::{baseline_text, baselines_text};
pub use bench::in_process::{batches_text, kernels_csv, kernels_text, server_batches_text};
pub use bench::search::{found_text, sweep_text};
pub use bench::serving::{serving_jsonl, serving_text};
pub use bench::{bench_csv, bench_text};
pub use compare::compare_text;
pub use compare::junit::compare_junit;
pub use compare::slack::compare_slack;
pub use grid::Style;
pub use iterations::iterations_text;
pub use live::Live;
pub use profile::profile_text;
pub use sections::{csv_tables, groups_text, section_report, section_text};
pub use targets::targets_text;
