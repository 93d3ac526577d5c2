//! The report on a profiled scoring run: requests joined to the work that they caused.

use serde::Deserialize as _;
use xscope_trace::Trace;
use xscope_trace::overhead::OverheadRecord;
use xscope_trace::run::{RunDir, RunManifest, RunStatus};

use crate::overhead::overhead;
use crate::reports::analyze::analyze;
use crate::reports::profile_report::{ProfileReport, SCHEMA};
use crate::reports::targets::{Overrides, Targets, check_profile};
use crate::requests::latency::latency;
use crate::requests::measured::RequestCounts;
use crate::requests::profiled::{Profiled, no_request};

/// What a run says of itself, beside its trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFacts {
    /// The run directory, as given to the command.
    pub run_dir: String,
    /// Whether it came to its end.
    pub complete: bool,
    pub model_name: Option<String>,
    pub hardware: Option<String>,
    /// Its windows with more and less recording.
    pub overhead: Option<OverheadRecord>,
    pub targets: Targets,
}

impl RunFacts {
    /// What a run directory says, and its record of what recording costs, if it has one.
    pub fn of(run: &RunDir, overhead: Option<OverheadRecord>) -> Self {
        let stated = |field: &str| {
            let info = run.manifest.other.get("server_info")?;
            info.get(field)?.as_str().map(str::to_owned)
        };
        Self {
            run_dir: run.path().display().to_string(),
            complete: run.manifest.status == RunStatus::Complete,
            model_name: stated("served_model_name").or_else(|| stated("model_path")),
            hardware: stated("device").or_else(|| run.manifest.host.cpu_model.clone()),
            overhead,
            targets: stated_targets(&run.manifest),
        }
    }
}

/// The targets that the run was taken for: those of the RFC, but for the limits in its manifest.
fn stated_targets(manifest: &RunManifest) -> Targets {
    let stated = manifest.other.get("targets");
    let overrides = stated.and_then(|targets| Overrides::deserialize(targets).ok());
    Targets::with(&overrides.unwrap_or_default()).unwrap_or_default()
}

/// Analyses the trace of a run directory.
pub fn profile(trace: &Trace, run: &RunFacts) -> ProfileReport {
    let mut analysis = analyze(trace);
    let requests = analysis.requests.take();
    let name = |request: Profiled| Profiled {
        model_name: run.model_name.clone(),
        hardware: run.hardware.clone(),
        ..request
    };
    let (typical, slowest, batches) = match &requests {
        Some(found) => (found.typical.clone(), found.slowest.clone(), found.batches.clone()),
        None => (None, None, None),
    };
    let (counts, latency, stages, points, by_point) = match requests {
        Some(found) => {
            analysis.quality.extend(found.findings);
            (found.requests, found.latency, found.stages, found.points, found.by_point)
        }
        None => (RequestCounts::default(), latency(&[]), Vec::new(), Vec::new(), Vec::new()),
    };
    let mut report = ProfileReport {
        schema: SCHEMA,
        run_dir: run.run_dir.clone(),
        complete: run.complete,
        typical: typical.map_or_else(no_request, name),
        requests: counts,
        latency,
        stages,
        by_point,
        slowest: slowest.map(name),
        points,
        batches,
        overhead: run.overhead.as_ref().map(|record| overhead(record, trace)),
        checks: Vec::new(),
        analysis,
    };
    report.checks = check_profile(&report, &run.targets);
    report
}
