//! The roads to a run. Each says only what is done in which order.

mod ab;
mod bench;
mod capture;
mod find_max;
mod in_process;
mod profile;
mod run;
mod sweep;

pub use ab::{AbEnd, AbRequest, AbRun, AbSides, AbStarts, ab};
pub use bench::{BenchRequest, ProfiledServers, bench};
pub use capture::{CaptureRequest, OwnLoad, ServerDir, StartWhen, capture, collect, copy_commands};
pub use find_max::{FindMaxRequest, FoundMax, find_max};
pub use in_process::InProcess;
pub use profile::{ProfileRequest, profile};
pub use run::{CommandRequest, Ran, run};
pub use sweep::{SweepRequest, Swept, sweep};
