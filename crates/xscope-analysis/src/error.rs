//! Why something that was asked for cannot be told.

use std::io;
use std::path::PathBuf;

use xscope_trace::run::RunError;

/// What a user gave makes no sense, or does not go together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("line {line}: expected `pattern = component`: {text}")]
    Rule { line: usize, text: String },
    #[error("no chip that is known; there are {}", known.join(", "))]
    UnknownChip { known: Vec<String> },
    #[error("{what} is {value}: give a share above 0 and below {below}")]
    Share { what: String, value: f64, below: f64 },
    #[error("there is no step {first}: they are numbered {least} to {most}")]
    NoStep { first: i64, least: i64, most: i64 },
    #[error("this profile has no steps: use --from and --to")]
    NoSteps,
    #[error("no target is named {name}; there are {}", known.join(", "))]
    UnknownTarget { name: String, known: Vec<&'static str> },
    #[error("{name}: wanted {wanted}, alert {alert}: the alert must be worse than the target")]
    TargetOrder { name: String, wanted: String, alert: String },
    #[error(
        "the sides were measured with different workloads, so that their figures say nothing of \
         each other; measure both with one: point {point} has {a} in A and {b} in B; {what}"
    )]
    DifferentWorkloads { point: String, a: String, b: String, what: String },
    #[error("the sides have no point in common: A has {a}; B has {b}")]
    NothingInCommon { a: String, b: String },
    #[error("side {side} has no figures: {labels}")]
    NoFigures { side: &'static str, labels: String },
    #[error("{label} must not be a baseline: {why}")]
    InvalidBaseline { label: String, why: String },
    #[error(
        "the runs are not of one environment, so that they are no baseline together: {what} is \
         {a:?} in some and {b:?} in others"
    )]
    MixedBaseline { what: String, a: String, b: String },
    #[error("there are no runs")]
    NoRuns,
    #[error(transparent)]
    Trace(#[from] xscope_trace::Error),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot express it as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("{} is no file of results of a benchmark", path.display())]
    NoResults { path: PathBuf, source: serde_json::Error },
    #[error(
        "nothing to compare in {}: expected a run directory (with run.json), a file of results, a \
         profile, or a folder of these",
        path.display()
    )]
    NothingMeasured { path: PathBuf, source: xscope_trace::Error },
    #[error("nothing to compare in {}: it has neither device work nor requests", path.display())]
    NoWork { path: PathBuf },
    #[error("{name:?} is no name of a baseline: use letters, digits, '.', '_' and '-'")]
    BaselineName { name: String },
    #[error(
        "there is no baseline {name:?} in {}; make one with: xscope baseline save {name} RUN...",
        folder.display()
    )]
    NoBaseline { name: String, folder: PathBuf },
    #[error("{} is no baseline; remove it", path.display())]
    NotABaseline { path: PathBuf },
    #[error("{} is damaged; remove it", path.display())]
    DamagedNoise { path: PathBuf, source: serde_json::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
