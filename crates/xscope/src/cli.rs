//! The command line: argument types and nothing else. Nothing below `cmd` sees clap.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use xscope_engine::{Device, LoadFormat};
use xscope_trace::Picos;
use xscope_trace::write::trim::Noise;

/// Where does the time of a scoring request go, from the socket to the last kernel?
#[derive(Debug, Parser)]
#[command(name = "xscope", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Profile scoring requests at five levels, on the built-in engine or a running server
    Profile(ProfileArgs),
    /// Serve the built-in engine: POST /v1/score, /start_profile, /metrics ...
    Serve(ServeArgs),
    /// Run a Python server with probes inside, and record spans of all its processes
    Run(RunArgs),
    /// Say what is in a profile, what is wrong with it, and where the time goes
    Analyze(AnalyzeArgs),
    /// Say how long each iteration of a kernel or an annotation took
    Kernels(KernelsArgs),
    /// Write a profile for other programs: Perfetto, Chrome, XProf, flame graphs, speedscope
    Export(ExportArgs),
    /// Cut a profile down to the part that matters, so that other programs can open it
    Trim(TrimArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// A regular expression that part of the name of the kernel, program or annotation matches
    #[arg(long, value_name = "REGEX")]
    pub task: String,
    /// Profiles, as for analyze; of a trace.json.gz the XPlane file beside it is read
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    /// XPlane, Chrome JSON or span files, TensorBoard log directories, run directories; then, to
    /// see one section in full: layers, kernels, devices, idle, collectives, compiles, programs,
    /// requests, memory or quality
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print a section's tables as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Start of the window on the profile's own time axis, for all sections: 1.2s, 350ms, 17us.
    /// What reaches into the window is cut at its edges; requests count if they lie wholly in it
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<Picos>,
    /// End of the window
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Picos>,
    /// Only operations of devices whose name contains this. This filter and the three below apply
    /// to kernels, categories, layers, collectives and the devices' time lines, not to busy and
    /// idle time, programs, compiles, memory and requests
    #[arg(long, value_name = "PART")]
    pub device: Option<String>,
    /// Only operations of programs whose name contains this
    #[arg(long, value_name = "PART")]
    pub module: Option<String>,
    /// Only operations whose scope contains this
    #[arg(long, value_name = "PART")]
    pub scope: Option<String>,
    /// Only operations whose name contains this
    #[arg(long, value_name = "PART")]
    pub name: Option<String>,
    /// A file of rules for components of the model, one `part of a scope = component` a line
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// What slices may take in memory, in MB, before those of host threads that no figure of a
    /// device needs are only counted; 0 to do so at once [default: half of the memory]
    #[arg(long, value_name = "MB")]
    pub memory_limit: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("formats")
        .args(["perfetto", "chrome", "xplane", "folded", "speedscope"])
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

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Profile the server at this address instead of the built-in engine
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "load_format", "overrides"])]
    pub url: Option<String>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Where the run's directory is made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub output_dir: PathBuf,
    /// How long the server may take to get ready, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    pub ready_timeout_secs: u64,
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// Start this server, with probes inside, and end it afterwards; --url says where it listens
    #[arg(last = true, value_name = "CMD", requires = "url")]
    pub server: Vec<OsString>,
    /// Do not show progress on stderr
    #[arg(long)]
    pub no_progress: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Where the run's directory is made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub output_dir: PathBuf,
    /// Leave the command's output to the log in the run's directory
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What to record in a Python server.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A table of probes besides those that xscope has for sglang-jax, SGLang and vLLM
    #[arg(long, value_name = "FILE")]
    pub probes: Vec<PathBuf>,
    /// What the server finds on PYTHONPATH besides the probes
    #[arg(long, value_name = "PATH", env = "PYTHONPATH", hide = true)]
    pub python_path: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 30_000)]
    pub port: u16,
    /// Profiles are only written below this directory, whatever a request asks for
    #[arg(long, value_name = "DIR", env = "SGLANG_JAX_PROFILER_DIR", default_value = ".")]
    pub profile_root: PathBuf,
}

/// The built-in engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Built-in engine")]
pub(crate) struct EngineArgs {
    /// A Hugging Face folder (config.json, *.safetensors, tokenizer.json) of a Llama or Qwen3
    /// model; without it a tiny built-in model is used
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where the weights come from: auto (the folder's files) or dummy (made up)
    #[arg(long, value_parser = load_format, default_value = "auto")]
    pub load_format: LoadFormat,
    /// A JSON object whose fields replace those of config.json
    #[arg(long = "json-model-override-args", value_name = "JSON")]
    pub overrides: Option<String>,
    /// What computes: cpu, cuda, cuda:1, metal
    #[arg(long, value_parser = device, default_value = "cpu")]
    pub device: Device,
    /// Most tokens of a batch, padding included
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub max_batch_tokens: usize,
    /// Most sequences of a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_batch_rows: usize,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct WorkloadArgs {
    /// Items of a request; several sizes, separated by commas, are measured one after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "4")]
    pub batch_sizes: Vec<u32>,
    /// Labels scored for each item; several counts are combined with every batch size
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "2")]
    pub label_counts: Vec<u32>,
    /// The label token ids themselves, instead of drawn ones
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub label_token_ids: Option<Vec<u32>>,
    /// Measured requests of each combination
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub requests: u32,
    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub concurrency: u32,
    /// Rounds of warm-up with the same shapes
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub warmup: u32,
    /// Tokens of a query
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub query_tokens: u32,
    /// Tokens of an item
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub item_tokens: u32,
    /// Send token ids instead of text, so that the server does not tokenize
    #[arg(long)]
    pub token_ids: bool,
    /// Put the item before the query
    #[arg(long)]
    pub item_first: bool,
    /// Ask for probabilities under the full vocabulary instead of a softmax over the labels
    #[arg(long)]
    pub no_softmax: bool,
    /// Size of the model's vocabulary, if the server does not say it
    #[arg(long, value_name = "N")]
    pub vocab_size: Option<u32>,
    /// The model's name in the requests, if the server does not say it
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// How a command reports.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print the report as JSON, with the fields that FORMAT.md lists
    #[arg(long)]
    pub json: bool,
}

fn time(text: &str) -> Result<Picos, String> {
    let units = [("ms", 1e9), ("us", 1e6), ("ns", 1e3), ("ps", 1.0), ("s", 1e12)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, picos)| Some((text.strip_suffix(unit)?, picos)))
        .ok_or("expected a number and its unit: s, ms, us, ns, ps")?;
    let value: f64 =
        number.trim().parse().map_err(|error| format!("{number:?} is no number: {error}"))?;
    let picos = (value * unit).round();
    if !picos.is_finite() || picos.abs() > 9e18 {
        return Err("longer than any trace".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    let picos = picos as i64;
    Ok(Picos(picos))
}

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

fn load_format(text: &str) -> Result<LoadFormat, String> {
    match text {
        "auto" => Ok(LoadFormat::Auto),
        "dummy" => Ok(LoadFormat::Dummy),
        _ => Err("expected auto or dummy".to_owned()),
    }
}

fn device(text: &str) -> Result<Device, String> {
    let (name, number) = text.split_once(':').unwrap_or((text, "0"));
    let number =
        number.parse().map_err(|error| format!("{number:?} is no device number: {error}"))?;
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda(number)),
        "metal" => Ok(Device::Metal(number)),
        _ => Err("expected cpu, cuda, cuda:N, metal or metal:N".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Picos, step_range, time};

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn windows_have_units_and_steps_are_numbers() {
        assert_eq!(time("1.2s"), Ok(Picos(1_200_000_000_000)));
        assert_eq!(time("350ms"), Ok(Picos(350_000_000_000)));
        assert_eq!(time("-1ps"), Ok(Picos(-1)));
        for text in ["", "12", "s", "1e300s", "nans", "1 h"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(step_range("3..5").is_ok_and(|range| (range.first, range.last) == (3, 5)));
        assert!(step_range("7").is_ok_and(|range| (range.first, range.last) == (7, 7)));
        assert!(step_range("5..3").is_err() && step_range("a..b").is_err());
        let parse = |args: &[&str]| Cli::try_parse_from([&["xscope"], args].concat());
        assert!(parse(&["export", "p"]).is_err());
        assert!(parse(&["export", "p", "--folded", "-", "--chrome", "c.json"]).is_ok());
        assert!(parse(&["trim", "p", "-o", "o.pftrace", "--drop", "python,host"]).is_ok());
        assert!(parse(&["trim", "p", "-o", "o", "--from", "1s", "--around", "x"]).is_err());
    }

    #[test]
    fn profile_takes_lists_and_either_a_server_or_a_model() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["xscope"], args].concat());
        assert!(parse(&["profile"]).is_ok());
        assert!(parse(&["profile", "--batch-sizes", "1,4,16", "--label-counts", "2,4"]).is_ok());
        assert!(parse(&["profile", "--url", "http://127.0.0.1:1", "--model", "m"]).is_err());
        assert!(parse(&["profile", "--url", "http://h:1", "--", "python", "-m", "s"]).is_ok());
        assert!(parse(&["profile", "--", "python", "-m", "s"]).is_err(), "where does it listen?");
        assert!(parse(&["run"]).is_err());
        assert!(parse(&["profile", "--device", "tpu"]).is_err());
        assert!(parse(&["analyze"]).is_err());
    }
}
