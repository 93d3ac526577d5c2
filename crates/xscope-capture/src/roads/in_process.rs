//! What is measured in this process, without a server: a run whose results are on disk after each
//! point.

use std::path::Path;

use xscope_trace::clock;
use xscope_trace::results::{BenchConfig, Ended, PointResult, Results};
use xscope_trace::run::{RunDir, RunStatus};

use crate::error::CaptureError;
use crate::request::RunRequest;
use crate::results::{About, MeasuredRun, in_process, new_run};

/// A benchmark that is under way.
#[derive(Debug)]
pub struct InProcess {
    run: RunDir,
    pub results: Results,
    planned: usize,
}

impl InProcess {
    /// Makes the run of a benchmark of so many points on this device.
    ///
    /// # Errors
    ///
    /// The run cannot be written.
    pub fn begin(
        request: &RunRequest,
        config: BenchConfig,
        device: &str,
        planned: usize,
    ) -> Result<Self, CaptureError> {
        let about = About {
            kind: config.bench.clone(),
            model: config.model.clone(),
            hardware: device.to_owned(),
            target: "in process".to_owned(),
            workload: config.workload.clone(),
        };
        let run = RunDir::create(&request.output_dir, new_run(request, about))?;
        Ok(Self { run, results: in_process(request, config, device), planned })
    }

    pub fn path(&self) -> &Path {
        self.run.path()
    }

    /// Keeps what was measured.
    ///
    /// # Errors
    ///
    /// The run cannot be written.
    pub fn add(&mut self, point: PointResult) -> Result<(), CaptureError> {
        self.results.results.push(point);
        if self.results.results.len() == self.planned {
            self.results.ended = Ended::Complete;
        }
        Ok(self.run.write_json(&self.run.results_path(), &self.results)?)
    }

    /// Ends the run.
    ///
    /// # Errors
    ///
    /// The run cannot be written.
    pub fn end(self) -> Result<MeasuredRun, CaptureError> {
        let Self { mut run, results, .. } = self;
        run.write_json(&run.results_path(), &results)?;
        run.finish(RunStatus::Complete, clock::wall())?;
        Ok(MeasuredRun { run, results, profiled: Vec::new(), died: None })
    }
}
