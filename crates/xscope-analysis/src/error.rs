//! Why something that was asked for cannot be told.

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
}

pub type Result<T> = std::result::Result<T, Error>;
