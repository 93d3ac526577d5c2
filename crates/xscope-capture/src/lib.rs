//! Getting a run: loads a server while its profiler runs, and writes the run directory.
//!
//! One road for every server: what the built-in engine and a foreign one answer differently is
//! found out by asking, and what a server cannot do is said in the run, never made up. Whatever
//! happens on the way, the profiler is stopped and the directory says how the run ended.

mod error;
mod profile;
mod profiler;

pub use error::CaptureError;
pub use profile::{ProfileEvent, ProfileOptions, Profiled, profile};
