//! What is known of a point besides its samples.

use xscope_trace::Nanos;
use xscope_trace::results::WarmupReport;

use crate::record::TrialSamples;

/// A compilation that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct CompileSign {
    /// It ended somewhere between these two.
    pub from: Nanos,
    pub to: Nanos,
    /// What said so, word for word.
    pub text: String,
}

/// What is known of a point besides its samples.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub warmup: WarmupReport,
    /// Where compilations would have been seen: `log`, `header`; empty: nowhere.
    pub detected_by: String,
    /// Compilations that were seen, while it was measured or not.
    pub compiles: Vec<CompileSign>,
    /// Why the server is gone, with its last words, if it is.
    pub died: Option<String>,
    /// Whether the user ended it.
    pub interrupted: bool,
    /// Requests that were sent again and again, to see whether their answers stay the same.
    pub checks: Vec<TrialSamples>,
    /// Figures that were asked for, by the names of their fields; those that matter where nobody
    /// says, if empty.
    pub asked: Vec<String>,
}
