//! What all benchmarks in process share: their run directory and their results.

use std::path::Path;

use anyhow::{Context as _, Result};
use xscope_capture::{InProcess, MeasuredRun};
use xscope_model::bench::Repeat;
use xscope_trace::Nanos;
use xscope_trace::results::{BenchConfig, Judgement, PointResult, Results};
use xscope_trace::run::replace_file;
use xscope_view::colour::Text;

use crate::cli::{InProcessArgs, InProcessOutputArgs};
use crate::exit::Exit;
use crate::output;
use crate::parts::job;

/// A trial is at least so long: a hundred times what a clock and a loop cost.
const TRIAL: Nanos = Nanos(20_000_000);

/// Fewer trials give no interval.
const LEAST_TRIALS: u32 = 6;

/// What the model in a folder is called.
pub(crate) fn model_name(folder: Option<&Path>) -> String {
    let name = folder.map(|path| path.file_name().unwrap_or_default().to_string_lossy());
    name.map_or("preset".to_owned(), Into::into)
}

/// How often to repeat.
pub(crate) fn repeat(args: &InProcessArgs) -> Repeat {
    Repeat { least: LEAST_TRIALS, most: args.trials, trial: TRIAL, within: args.within / 100.0 }
}

/// A benchmark that is under way.
#[derive(Debug)]
pub(crate) struct Session {
    measured: InProcess,
    shows: bool,
}

impl Session {
    /// Makes the run of a benchmark of `planned` points.
    pub(crate) fn begin(
        args: &InProcessOutputArgs,
        config: BenchConfig,
        device: &str,
        planned: usize,
    ) -> Result<Self> {
        // There is no server that might not be ready.
        let request = job::run_request(&args.run.output_dir, 0);
        let measured = InProcess::begin(&request, config, device, planned)?;
        let session = Self { measured, shows: !args.progress.no_progress };
        session.say(&format!("writing {}", session.measured.path().display()));
        Ok(session)
    }

    /// Says what is done next.
    pub(crate) fn say(&self, what: &str) {
        if self.shows {
            output::progress(what);
        }
    }

    /// Keeps what was measured.
    pub(crate) fn add(&mut self, point: PointResult) -> Result<()> {
        Ok(self.measured.add(point)?)
    }

    /// What was measured so far, and where.
    pub(crate) fn results(&mut self) -> &mut Results {
        &mut self.measured.results
    }

    /// Ends the run, and prints it: as JSON, or as `text` has it.
    pub(crate) fn end(
        self,
        args: &InProcessOutputArgs,
        text: impl FnOnce(&Results) -> Text,
    ) -> Result<Exit> {
        let MeasuredRun { results, .. } = self.measured.end()?;
        if let Some(path) = &args.file.output_json {
            let json = serde_json::to_vec_pretty(&results).context("results are no JSON")?;
            replace_file(path, &json)?;
        }
        match args.output.json {
            true => output::json(&results)?,
            false => output::page(&text(&results))?,
        }
        let is_invalid = |point: &PointResult| point.validity.status == Judgement::Invalid;
        Ok(match results.results.iter().any(is_invalid) {
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
