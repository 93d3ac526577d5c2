//! What is wrong with an input: found while reading, carried with the data, printed with every
//! answer that it touches.

use serde::{Deserialize, Serialize};

/// How much a finding hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; figures stand.
    Info,
    /// Some figures are degraded.
    Warning,
    /// Data is missing or damaged.
    Error,
}

/// One thing that is wrong, or worth knowing, about an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable, dotted name, for example `xplane.truncated`.
    pub code: String,
    pub severity: Severity,
    /// What was found, where, and what to do about it.
    pub message: String,
    /// How many times.
    pub count: u64,
}

impl Finding {
    pub fn new(code: &str, severity: Severity, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), severity, message: message.into(), count: 1 }
    }

    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }
}
