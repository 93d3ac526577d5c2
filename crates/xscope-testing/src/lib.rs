//! What the tests of several crates need: where things are on this machine, other programs, and a
//! way to say that a test cannot run here. Only tests use it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic is the report")]

mod places;
mod process;
mod programs;
mod skip;

pub use places::{MODELS, cases, files, fixture, fixture_of, repository, trace, traces};
pub use process::{again, binary, is_again};
pub use programs::{chromium, python, server_packages};
pub use skip::skip;
