//! The load and the probes against real servers, which answer well, badly or not at all.

mod load;
mod probe;
mod server;
mod verdicts;
