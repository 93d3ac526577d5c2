//! Why there is no run.

use xscope_load::LoadError;
use xscope_trace::run::RunError;

/// A failure to get a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The target did not get ready, cannot be loaded, or went away.
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Run(#[from] RunError),
}
