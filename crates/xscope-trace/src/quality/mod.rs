//! What is wrong with an input: found while reading, carried with the data, printed with every
//! answer that it touches.

mod code;
mod figures;

use serde::Serialize;

pub use code::Code;
pub use figures::Figures;

/// How much a finding hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// What it is about; docs/quality.md explains each.
    pub code: Code,
    /// How much it hurts.
    pub severity: Severity,
    /// What was found, where, and what to do about it.
    pub message: String,
    /// How many times.
    pub count: u64,
}

impl Finding {
    /// A finding as severe as its code is.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), message: message.into(), count: 1 }
    }

    /// The same where it does no harm, though others of its code do.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.severity = Severity::Info;
        self
    }

    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// The figures that it distorts.
    pub fn touches(&self) -> &'static [Figures] {
        match self.severity {
            Severity::Info => &[],
            Severity::Warning | Severity::Error => self.code.touches(),
        }
    }
}
