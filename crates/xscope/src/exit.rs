//! What a command's exit code says.

use std::process::ExitCode;

use xscope_capture::CaptureError;
use xscope_load::LoadError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine,
    /// What the caller asked to fail on.
    Finding,
    /// Wrong usage or input.
    Usage,
    /// The target failed.
    Target,
    /// Stopped by Ctrl-C: 128 + SIGINT, as shells expect.
    Interrupted,
}

impl Exit {
    /// The exit code of a failure, whatever has been said around its cause.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(of_cause).unwrap_or(Self::Usage)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Finding => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Target => Self::from(3),
            Exit::Interrupted => Self::from(130),
        }
    }
}

/// What a cause says by itself, if anything.
fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = cause.downcast_ref::<LoadError>() {
        return Some(of_load(error));
    }
    match cause.downcast_ref::<CaptureError>()? {
        CaptureError::Load(error) => Some(of_load(error)),
        CaptureError::Died { .. }
        | CaptureError::Occupied { .. }
        | CaptureError::Profiler { .. }
        | CaptureError::NoLoad { .. } => Some(Exit::Target),
        CaptureError::Cancelled => Some(Exit::Interrupted),
        _ => None,
    }
}

fn of_load(error: &LoadError) -> Exit {
    match error {
        LoadError::Url { .. }
        | LoadError::Https { .. }
        | LoadError::Workload { .. }
        | LoadError::File { .. }
        | LoadError::Toml { .. } => Exit::Usage,
        _ => Exit::Target,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context as _;
    use xscope_capture::CaptureError;
    use xscope_load::LoadError;

    use super::Exit;

    #[test]
    fn a_cause_counts_wherever_it_stands() {
        let gone = || LoadError::ServerGone { url: "u".into(), reason: "r".into(), answered: 0 };
        let no_load = || CaptureError::NoLoad { waited: Duration::ZERO, seen: String::new() };
        let wrong = || LoadError::Workload { field: "requests", reason: "is 0".into() };
        let check = |error: anyhow::Error, expected: Exit| {
            assert_eq!(Exit::of(&error), expected, "{error:#}");
            let error = Err::<(), _>(error).context("outer").context("outermost").unwrap_err();
            assert_eq!(Exit::of(&error), expected, "{error:#}");
        };
        check(gone().into(), Exit::Target);
        check(CaptureError::Load(gone()).into(), Exit::Target);
        check(no_load().into(), Exit::Target);
        check(CaptureError::Cancelled.into(), Exit::Interrupted);
        check(CaptureError::Load(wrong()).into(), Exit::Usage);
        check(wrong().into(), Exit::Usage);
        check(anyhow::anyhow!("no such file"), Exit::Usage);
    }
}
