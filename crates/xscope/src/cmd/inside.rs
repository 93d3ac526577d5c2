//! What all benchmarks in process share: their run directory and their results.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use xscope_model::bench::Repeat;
use xscope_trace::results::{self, BenchConfig, Ended, Judgement, Metadata, PointResult, Results};
use xscope_trace::run::{HostInfo, NewRun, RunClock, RunDir, RunStatus, Utc, replace_file};
use xscope_trace::{Nanos, clock};
use xscope_view::colour::Text;

use crate::cli::{InsideArgs, InsideOutputArgs};
use crate::cmd::{Exit, profile};
use crate::output;

/// A trial is at least so long: a hundred times what a clock and a loop cost.
const TRIAL: Nanos = Nanos(20_000_000);

/// Fewer trials give no interval.
const LEAST_TRIALS: u32 = 6;

/// What the model in a folder is called.
pub(crate) fn model_name(folder: Option<&Path>) -> String {
    let name = folder.map(|path| path.file_name().unwrap_or_default().to_string_lossy());
    name.map_or("preset".to_owned(), Into::into)
}

/// Appends a line of JSON to a file.
pub(crate) fn append(path: &Path, line: &serde_json::Value) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// How often to repeat.
pub(crate) fn repeat(args: &InsideArgs) -> Repeat {
    Repeat { least: LEAST_TRIALS, most: args.trials, trial: TRIAL, within: args.within / 100.0 }
}

/// A benchmark that is under way. Its results are on disk after each point.
#[derive(Debug)]
pub(crate) struct Session {
    run: RunDir,
    pub results: Results,
    planned: usize,
    shows: bool,
}

impl Session {
    /// Makes the run directory of a benchmark of `planned` points.
    pub(crate) fn begin(
        args: &InsideOutputArgs,
        config: BenchConfig,
        device: String,
        planned: usize,
    ) -> Result<Self> {
        let (started_wall, commit) = (clock::wall(), profile::git_commit());
        let version = ("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let new_run = NewRun {
            kind: config.bench.clone(),
            model: config.model.clone(),
            hardware: device.clone(),
            command_line: std::env::args().collect(),
            target: "in process".to_owned(),
            workload: config.workload.clone(),
            versions: vec![version.clone()],
            git_commit: commit.clone(),
            clock: RunClock::read(),
            started_wall,
        };
        let run = RunDir::create(&args.output_dir, new_run)?;
        let shows = !args.no_progress;
        if shows {
            output::progress(&format!("writing {}", run.path().display()));
        }
        let metadata = Metadata {
            devices: vec![device],
            device_count: Some(1),
            commit,
            timestamp: Utc::from_wall(started_wall).to_string(),
            host: HostInfo::read(),
            versions: [version].into(),
            ..Metadata::default()
        };
        let config = BenchConfig { command_line: std::env::args().collect(), ..config };
        let results = Results {
            schema: results::SCHEMA.to_owned(),
            ended: Ended::Early,
            config,
            metadata,
            ..Results::default()
        };
        Ok(Self { run, results, planned, shows })
    }

    /// Says what is done next.
    pub(crate) fn say(&self, what: &str) {
        if self.shows {
            output::progress(what);
        }
    }

    /// Keeps what was measured.
    pub(crate) fn add(&mut self, point: PointResult) -> Result<()> {
        self.results.results.push(point);
        if self.results.results.len() == self.planned {
            self.results.ended = Ended::Complete;
        }
        self.write()
    }

    fn write(&self) -> Result<()> {
        Ok(self.run.write_json(&self.run.results_path(), &self.results)?)
    }

    /// Ends the run, and prints it: as JSON, or as `text` has it.
    pub(crate) fn end(
        mut self,
        args: &InsideOutputArgs,
        text: impl FnOnce(&Results) -> Text,
    ) -> Result<Exit> {
        self.write()?;
        self.run.finish(RunStatus::Complete, clock::wall())?;
        if let Some(path) = &args.output_json {
            let json = serde_json::to_vec_pretty(&self.results).context("results are no JSON")?;
            replace_file(path, &json)?;
        }
        match args.output.json {
            true => output::json(&self.results)?,
            false => output::page(&text(&self.results))?,
        }
        let is_invalid = |point: &PointResult| point.verdict.status == Judgement::Invalid;
        Ok(match self.results.results.iter().any(is_invalid) {
            true => Exit::Target,
            false => Exit::Fine,
        })
    }
}

/// The configuration of a benchmark in process whose content `workload` says.
pub(crate) fn config(
    bench: &str,
    model: &str,
    workload: serde_json::Value,
    trials: u32,
) -> BenchConfig {
    BenchConfig {
        bench: bench.to_owned(),
        model: model.to_owned(),
        dtype: Some("float32".to_owned()),
        backend: "in-process".to_owned(),
        workload,
        trials,
        ..BenchConfig::default()
    }
}
