//! What servers' logs say.

use crate::model::SourceId;
use crate::time::{Nanos, Picos};

/// A line of a server's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRow {
    pub source: SourceId,
    /// When the line was written, to the second; `None` if it does not say.
    pub at: Option<Picos>,
    pub event: LogEvent,
}

/// What a server did.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// A prefill batch was put together.
    Prefill { sequences: u64, tokens: u64 },
    /// A forward pass ended that had to compile `programs` programs, at least one.
    CacheMiss { pass: Pass, batch: Option<i64>, programs: u64 },
    /// What the server compiles before it is ready: each number of tokens (none for decode) with
    /// each number of sequences.
    Precompile { pass: Pass, sequences: Vec<u64>, tokens: Vec<u64> },
    /// JAX compiled a program.
    Compiled { program: String, took: Nanos },
}

/// A kind of forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    Prefill,
    Decode,
}

impl Pass {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}
