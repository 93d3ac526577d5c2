//! What people look at: reports as text for a terminal, and as HTML files.
//!
//! Formats reports and computes nothing: every figure here comes from `xscope-analysis`. Text is
//! readable without colour and uses none.

mod analyze;
mod baseline;
mod compare;
pub mod html;
mod profile;
mod requests;
mod sections;
mod tasks;
mod text;

pub use analyze::analyze_text;
pub use baseline::{baseline_text, baselines_text};
pub use compare::{compare_junit, compare_slack, compare_text};
pub use profile::profile_text;
pub use sections::{Section, Style, section_text};
pub use tasks::tasks_text;
