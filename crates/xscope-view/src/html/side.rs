//! What a page is about.

use std::path::Path;

use xscope_analysis::{ProfileReport, from_disk};
use xscope_trace::results::Results;
use xscope_trace::run::{RunDir, RunManifest};

use crate::sections::{self, LeftOut};

/// What a page is about: a run, or any profile.
#[derive(Debug)]
pub struct Side {
    pub report: ProfileReport,
    /// Absent if it is not of a run.
    pub manifest: Option<RunManifest>,
    /// What a benchmark wrote of its points.
    pub results: Option<Results>,
}

impl Side {
    /// A run in whatever state it is in, or any other profile.
    ///
    /// # Errors
    ///
    /// There is no run and no profile.
    pub fn read(path: &Path) -> xscope_analysis::Result<Self> {
        let (report, run) = from_disk::profile_of(path)?;
        Ok(match run {
            Some(run) => Self::of_run(report, &run),
            None => Self::of_profile(report),
        })
    }

    /// A run with what lies beside its profile.
    pub fn of_run(report: ProfileReport, run: &RunDir) -> Self {
        let results = run.read_json(&run.results_path());
        Self { report, manifest: Some(run.manifest.clone()), results }
    }

    pub fn of_profile(report: ProfileReport) -> Self {
        Self { report, manifest: None, results: None }
    }

    /// What a run is called, or where a profile without one is.
    pub(crate) fn title(&self) -> String {
        match &self.manifest {
            Some(manifest) => manifest.id.clone(),
            None => self.report.run_dir.clone(),
        }
    }

    /// Leaves of its lists what a page can hold; how much went.
    pub(crate) fn cut(&mut self) -> LeftOut {
        sections::cut(&mut self.report.analysis)
    }
}
