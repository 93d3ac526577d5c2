//! The model of a profile, and the formats it is read from and written to.
//!
//! Design constraints: inputs of many gigabytes (bytes are mapped, decoded straight into
//! columns, and no message tree is ever built); damaged inputs (a reader gives what can be
//! saved and says what is wrong); no network, no printing, no async.

pub mod clock;
pub mod time;

pub use time::{Bytes, Nanos, Picos};
