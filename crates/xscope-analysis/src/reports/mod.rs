//! Whole reports: what the other rooms find, put together for one kind of input.

pub mod analyze;
pub mod degraded;
pub mod grouping;
pub mod headlines;
pub mod memory_files;
pub mod profile;
pub mod targets;
