//! Writing profiles for other programs.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use xscope_trace::Picos;
use xscope_trace::trim::Noise;
use xscope_trace::write::Target;

use super::time::{steps, time};

#[derive(Debug, Default, Args)]
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
    #[command(flatten)]
    pub cut: CutArgs,
}

/// The part of the profile that is written.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Part of the profile")]
pub(crate) struct CutArgs {
    /// Start of the window on the profile's own time axis: 1.2s, 350ms, 17us
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<Picos>,
    /// End of the window
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Picos>,
    /// The window that the slices of this name (or with it in their names) span
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "step"])]
    pub around: Option<String>,
    /// The window of this step, or of the steps from one to another (3..5), as numbered by
    /// `xscope analyze PATH steps`
    #[arg(long, visible_alias = "steps", value_name = "NUMBER", value_parser = steps, conflicts_with_all = ["from", "to"])]
    pub step: Option<(i64, i64)>,
    /// Leave out what the Python tracer recorded (python), the marks of idle thread pools
    /// (idle-polls), or all host slices that are no operations (host)
    #[arg(long, value_name = "NOISE,...", value_delimiter = ',', value_parser = noise)]
    pub drop: Vec<NoiseArg>,
}

/// `xscope trim`: an export of one file's part to one file.
#[derive(Debug, Args)]
pub(crate) struct TrimArgs {
    /// The profile to cut
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The file to write; its name says the format: .xplane.pb, .trace.json.gz, .pftrace
    #[arg(short, long, value_name = "FILE", value_parser = Output::of)]
    pub output: Output,
    #[command(flatten)]
    pub cut: CutArgs,
}

/// A file whose name says its format.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    path: PathBuf,
    target: Target,
}

impl Output {
    fn of(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let target = Target::of_path(&path).ok_or(
            "its name does not say the format; end it in .xplane.pb, .trace.json.gz or .pftrace",
        )?;
        Ok(Self { path, target })
    }
}

impl From<TrimArgs> for ExportArgs {
    fn from(args: TrimArgs) -> Self {
        let mut export = Self { paths: vec![args.path], cut: args.cut, ..Self::default() };
        let file = match args.output.target {
            Target::Perfetto => &mut export.perfetto,
            Target::Chrome => &mut export.chrome,
            Target::XPlane => &mut export.xplane,
            Target::Folded => &mut export.folded,
            Target::Speedscope => &mut export.speedscope,
            Target::Pprof => &mut export.pprof,
        };
        *file = Some(args.output.path);
        export
    }
}

/// What to leave out of a trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoiseArg(pub Noise);

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
    use crate::cli::tests::accepts;

    #[test]
    fn a_format_is_named_and_a_window_said_once() {
        assert!(!accepts(&["export", "p"]));
        assert!(accepts(&["export", "p", "--folded", "-", "--chrome", "c.json"]));
        assert!(accepts(&["export", "p", "--otlp", "http://127.0.0.1:4318", "--csv", "tables"]));
        assert!(accepts(&["trim", "p", "-o", "o.pftrace", "--drop", "python,host"]));
        assert!(!accepts(&["trim", "p", "-o", "o", "--from", "1s", "--around", "x"]));
        assert!(accepts(&["trim", "p", "-o", "o.xplane.pb", "--steps", "3..5"]));
        assert!(accepts(&["export", "p", "--xplane", "o.xplane.pb", "--step", "3..5"]));
        assert!(!accepts(&["export", "p", "--csv", "o", "--step", "5..3"]));
    }
}
