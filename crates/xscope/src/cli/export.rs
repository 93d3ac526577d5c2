//! Writing profiles for other programs.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use xscope_trace::Picos;
use xscope_trace::trim::Noise;

use super::time::time;

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("formats")
        .args(["perfetto", "chrome", "xplane", "folded", "speedscope", "pprof", "otlp", "csv"])
        .multiple(true)
        .required(true)
))]
pub(crate) struct ExportArgs {
    /// What `xscope analyze` reads: files, log directories, run directories
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// For ui.perfetto.dev and its trace processor (*.pftrace); requests stand on top
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// Chrome trace JSON (*.trace.json.gz)
    #[arg(long, value_name = "FILE")]
    pub chrome: Option<PathBuf>,
    /// For XProf and TensorBoard (*.xplane.pb); one host
    #[arg(long, value_name = "FILE")]
    pub xplane: Option<PathBuf>,
    /// Folded stacks for flame graphs, in nanoseconds of self time
    #[arg(long, value_name = "FILE")]
    pub folded: Option<PathBuf>,
    /// For speedscope.app
    #[arg(long, value_name = "FILE")]
    pub speedscope: Option<PathBuf>,
    /// For `go tool pprof` (*.pprof, *.pprof.gz): device time by scope, memory by owner
    #[arg(long, value_name = "FILE")]
    pub pprof: Option<PathBuf>,
    /// Requests as OpenTelemetry traces: to a collector (http://HOST:4318; no https), or as
    /// OTLP/JSON lines to a file (*.jsonl)
    #[arg(long, value_name = "URL|FILE")]
    pub otlp: Option<String>,
    /// Tables for spreadsheets and data frames, a file for each: slices, requests, kernels, layers ...
    #[arg(long, value_name = "DIR")]
    pub csv: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TrimArgs {
    /// The profile to cut
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The file to write; its name says the format: .xplane.pb, .trace.json.gz, .pftrace
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Start of the window on the profile's own time axis: 1.2s, 350ms, 17us
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<Picos>,
    /// End of the window
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Picos>,
    /// The window that the slices of this name (or with it in their names) span
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "steps"])]
    pub around: Option<String>,
    /// The window of these steps, by their numbers: 3 or 3..5, both included
    #[arg(long, value_name = "N..M", value_parser = step_range, conflicts_with_all = ["from", "to"])]
    pub steps: Option<StepRange>,
    /// Leave out what the Python tracer recorded (python), the marks of idle thread pools
    /// (idle-polls), or all host slices that are no operations (host)
    #[arg(long, value_name = "NOISE,...", value_delimiter = ',', value_parser = noise)]
    pub drop: Vec<NoiseArg>,
}

/// Steps by their numbers, both included.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StepRange {
    pub first: u64,
    pub last: u64,
}

/// What to leave out of a trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoiseArg(pub Noise);

fn step_range(text: &str) -> Result<StepRange, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| {
        text.parse::<u64>().map_err(|error| format!("{text:?} is no step number: {error}"))
    };
    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
    match first <= last {
        true => Ok(StepRange { first, last }),
        false => Err("the last step comes before the first".to_owned()),
    }
}

fn noise(text: &str) -> Result<NoiseArg, String> {
    match text {
        "python" => Ok(NoiseArg(Noise::Python)),
        "idle-polls" => Ok(NoiseArg(Noise::IdlePolls)),
        "host" => Ok(NoiseArg(Noise::Host)),
        _ => Err("expected python, idle-polls or host".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::step_range;
    use crate::cli::tests::accepts;

    #[test]
    fn steps_are_numbers_or_ranges() {
        assert!(step_range("3..5").is_ok_and(|range| (range.first, range.last) == (3, 5)));
        assert!(step_range("7").is_ok_and(|range| (range.first, range.last) == (7, 7)));
        assert!(step_range("5..3").is_err() && step_range("a..b").is_err());
    }

    #[test]
    fn a_format_is_named_and_a_window_said_once() {
        assert!(!accepts(&["export", "p"]));
        assert!(accepts(&["export", "p", "--folded", "-", "--chrome", "c.json"]));
        assert!(accepts(&["export", "p", "--otlp", "http://127.0.0.1:4318", "--csv", "tables"]));
        assert!(accepts(&["trim", "p", "-o", "o.pftrace", "--drop", "python,host"]));
        assert!(!accepts(&["trim", "p", "-o", "o", "--from", "1s", "--around", "x"]));
    }
}
