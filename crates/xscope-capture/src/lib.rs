//! Getting a run: loads a server while its profiler runs, and writes the run directory.
//!
//! One road for every server: what the built-in engine and a foreign one answer differently is
//! found out by asking, and what a server cannot do is said in the run, never made up. Whatever
//! happens on the way, the profiler is stopped and the directory says how the run ended.
//!
//! A Python server that is started from here has probes inside ([`ProbeTable`]) and writes spans of
//! all its processes; one that already runs is left as it is.

mod ab;
mod bench;
mod capture;
mod error;
mod find_max;
mod log_watch;
mod overhead;
mod probes;
mod profile;
mod profiler;
mod ring;
mod run;
mod search;
mod server;
mod session;
mod slo;
mod slow;
mod sweep;
mod watchdog;
mod work;

pub use ab::{AbEnd, AbEvent, AbOptions, AbRun, AbSides, AbStarts, AbTarget, ab};
pub use bench::{BenchEvent, BenchOptions, BenchTarget, Benched, ProfiledServers, bench};
pub use capture::{
    CaptureEvent, CaptureOptions, CaptureServer, ServerDir, StartWhen, capture, collect,
    copy_commands,
};
pub use error::CaptureError;
pub use find_max::{FindMaxEvent, FindMaxOptions, FoundMax, find_max};
pub use overhead::OverheadOptions;
pub use probes::{ProbeSummary, ProbeTable, RecordedSummary};
pub use profile::{ProfileEvent, ProfileOptions, Profiled, profile};
pub use profiler::{ProfilerOptions, TracerLevels};
pub use run::{Ran, RunEvent, RunOptions, run};
pub use search::Probe;
pub use server::{ServerCommand, Spans};
pub use session::stop_profiler;
pub use slo::Slo;
pub use slow::{SlowEvent, SlowOptions, SlowSummary};
pub use sweep::{Cell, SweepEvent, SweepOptions, Swept, sweep};
pub use watchdog::watch_over;
