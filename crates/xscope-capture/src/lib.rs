//! Getting a run: loads a server while its profiler runs, and writes the run directory.
//!
//! One road for every server: what the built-in engine and a foreign one answer differently is
//! found out by asking, and what a server cannot do is said in the run, never made up. Whatever
//! happens on the way, the profiler is stopped and the directory says how the run ended.
//!
//! A Python server that is started from here has probes inside ([`ProbeTable`]) and writes spans of
//! all its processes; one that already runs is left as it is.

mod begin;
mod command;
mod control;
mod error;
mod files;
mod log_watch;
mod measure;
mod overhead;
mod pool;
mod probes;
mod profiler;
mod request;
mod results;
mod ring;
mod roads;
mod search;
mod server;
mod session;
mod slo;
mod slow;
mod under_test;
mod watchdog;
mod work;

pub use command::ServerCommand;
pub use control::{Control, Event};
pub use error::CaptureError;
pub use overhead::OverheadOptions;
pub use pool::CaptureServer;
pub use probes::{
    MissingProbe, ProbeLabel, ProbeNote, ProbeSummary, ProbeTable, RecordedSummary, Spans,
};
pub use profiler::{ProfilerOptions, TracerLevels};
pub use request::{LoadRequest, RunRequest, Target};
pub use results::MeasuredRun;
pub use roads::{
    AbEnd, AbRequest, AbRun, AbSides, AbStarts, BenchRequest, CaptureRequest, CommandRequest,
    FindMaxRequest, FoundMax, InProcess, OwnLoad, ProfileRequest, ProfiledServers, Ran, ServerDir,
    StartWhen, SweepRequest, Swept, ab, bench, capture, collect, copy_commands, find_max, profile,
    run, sweep,
};
pub use session::stop_profiler;
pub use slo::{NoSlo, Slo};
pub use slow::{SlowOptions, SlowSummary};
pub use watchdog::watch_over;
