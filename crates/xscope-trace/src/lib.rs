//! The model of a profile, and the formats it is read from and written to.
//!
//! Design constraints: inputs of many gigabytes (bytes are mapped, decoded straight into
//! columns, and no message tree is ever built); damaged inputs (a reader gives what can be
//! saved and says what is wrong); no network, no printing, no async.

pub mod atomic;
mod bytes;
pub mod clock;
pub mod error;
pub mod ids;
pub mod memory_report;
pub mod metric;
pub mod model;
mod naming;
pub mod overhead;
pub mod phase;
pub mod quality;
pub mod read;
pub mod results;
pub mod run;
pub mod server_log;
pub mod span;
pub mod stage;
pub mod stats;
pub mod strings;
pub mod time;
pub mod trim;
mod wire;
mod wire_write;
pub mod write;

pub use error::Error;
pub use metric::Metric;
pub use model::Trace;
pub use phase::Phase;
pub use read::read_paths;
pub use time::{Bytes, Nanos, Picos};
