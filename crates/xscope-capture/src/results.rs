//! The only place that makes `run.json` and `results.json`: what they say of where a measurement
//! comes from is the same whatever road it took.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xscope_load::{Matrix, Ready, TrialSamples};
use xscope_trace::clock;
use xscope_trace::results::{BenchConfig, Ended, Metadata, Results, SCHEMA};
use xscope_trace::run::{HostInfo, NewRun, RunClock, RunDir, Utc};

use crate::error::CaptureError;
use crate::request::{LoadRequest, RunRequest};
use crate::under_test::ServerUnderTest;

/// What differs between the manifests of runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// `score`, `serving`, `ab` ...
    pub(crate) kind: String,
    pub(crate) model: String,
    pub(crate) hardware: String,
    pub(crate) target: String,
    pub(crate) workload: Value,
}

impl About {
    /// A run of this kind that sends such a load; the model's name may be the server's to say.
    pub(crate) fn of_load(kind: &str, matrix: &Matrix) -> Self {
        Self {
            kind: kind.to_owned(),
            model: matrix.workload.model.clone(),
            workload: json!(matrix.workload),
            ..Self::default()
        }
    }
}

/// The manifest of a run that begins.
pub(crate) fn new_run(request: &RunRequest, about: About) -> NewRun {
    let About { kind, model, hardware, target, workload } = about;
    NewRun {
        kind,
        model,
        hardware,
        command_line: request.command_line.clone(),
        target,
        workload,
        versions: versions().into_iter().collect(),
        git_commit: request.git_commit.clone(),
        clock: RunClock::read(),
        started_wall: clock::wall(),
    }
}

/// Results without figures of what these requests measure on this server.
pub(crate) fn of_server(
    request: &RunRequest,
    load: &LoadRequest,
    server: &ServerUnderTest,
    ready: &Ready,
) -> Results {
    let workload = &load.matrix.workload;
    let config = BenchConfig {
        num_runs: workload.requests.unwrap_or(0),
        warmup_runs: load.warm_up.at_least,
        model: workload.model.clone(),
        dtype: said(ready, &["dtype"]),
        backend: load.matrix.backend.to_string(),
        url: server.url().to_owned(),
        workload: json!(workload),
        trials: load.trials,
        seed: workload.seed,
        ..load.config.clone()
    };
    let info = ready.server_info.as_ref();
    let stated_start = || info?.get("pid").map(|pid| format!("pid {pid}"));
    let device = said(ready, &["device", "platform"]);
    let devices = devices(ready).unwrap_or_else(|| device.clone().into_iter().collect());
    let stated = ["device_count", "tp_size"].iter().find_map(|name| info?.get(name)?.as_u64());
    let mut results = empty(request, config);
    let metadata = &mut results.metadata;
    metadata.jax_version = said(ready, &["jax_version"]);
    metadata.device_count = stated.or((!devices.is_empty()).then_some(devices.len() as u64));
    metadata.platform = device;
    metadata.devices = devices;
    metadata.server_info.clone_from(&ready.server_info);
    metadata.server_start = server.started().map(str::to_owned).or_else(stated_start);
    metadata.server_command = server.words();
    if let Some(version) = said(ready, &["version"]) {
        metadata.versions.insert("server".to_owned(), version);
    }
    results
}

/// Results of what is measured in this process, on this device.
pub(crate) fn in_process(request: &RunRequest, config: BenchConfig, device: &str) -> Results {
    let mut results = empty(request, config);
    results.metadata.devices = vec![device.to_owned()];
    results.metadata.device_count = Some(1);
    results
}

/// What is known before anybody is asked.
fn empty(request: &RunRequest, config: BenchConfig) -> Results {
    Results {
        schema: SCHEMA.to_owned(),
        ended: Ended::Early,
        config: BenchConfig { command_line: request.command_line.clone(), ..config },
        metadata: Metadata {
            commit: request.git_commit.clone(),
            timestamp: Utc::from_wall(clock::wall()).to_string(),
            host: HostInfo::read(),
            versions: versions(),
            ..Metadata::default()
        },
        ..Results::default()
    }
}

fn versions() -> BTreeMap<String, String> {
    [("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into()
}

/// What a server calls its model; empty if it does not say.
pub(crate) fn model_of(ready: &Ready) -> String {
    said(ready, &["served_model_name", "model_path"]).unwrap_or_default()
}

/// What a server computes on; empty if it does not say.
pub(crate) fn hardware_of(ready: &Ready) -> String {
    said(ready, &["device"]).unwrap_or_default()
}

/// The first of these fields of what a server says of itself that is text.
fn said(ready: &Ready, names: &[&str]) -> Option<String> {
    let info = ready.server_info.as_ref()?;
    names.iter().find_map(|name| info.get(name).and_then(Value::as_str)).map(str::to_owned)
}

fn devices(ready: &Ready) -> Option<Vec<String>> {
    let listed = ready.server_info.as_ref()?.get("devices")?.as_array()?;
    let name = |device: &Value| device.as_str().map_or_else(|| device.to_string(), str::to_owned);
    Some(listed.iter().map(name).collect())
}

/// A run that was measured and has ended.
#[derive(Debug)]
pub struct MeasuredRun {
    pub run: RunDir,
    pub results: Results,
    /// Points whose profile was taken apart from what was measured, with the requests that were sent
    /// meanwhile.
    pub profiled: Vec<(String, TrialSamples)>,
    /// Why the server is gone, if it is.
    pub died: Option<String>,
}

impl MeasuredRun {
    /// Writes the results as they are by now, and the run's list of files with them.
    ///
    /// # Errors
    ///
    /// The run cannot be written.
    pub fn keep(&mut self) -> Result<(), CaptureError> {
        let Self { run, results, .. } = self;
        run.write_json(&run.results_path(), results)?;
        let ended = run.manifest.ended_wall.unwrap_or_else(clock::wall);
        Ok(run.finish(run.manifest.status, ended)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xscope_load::{Matrix, SendOptions, WarmUp, usual::score_workload};

    use super::*;
    use crate::request::Target;

    /// The results of a server that says this of itself.
    fn of(info: Value) -> Results {
        let run = RunRequest {
            output_dir: "runs".into(),
            command_line: vec!["xscope".to_owned()],
            git_commit: Some("c6b52a0".to_owned()),
            ready: Duration::ZERO,
            watchdog: Vec::new(),
        };
        let load = LoadRequest {
            matrix: Matrix::score(score_workload(7), &[1], &[2]),
            send: SendOptions::default(),
            warm_up: WarmUp::at_least(3),
            trials: 2,
            asked: Vec::new(),
            config: BenchConfig { bench: "score".to_owned(), ..BenchConfig::default() },
        };
        let target = Target::Running { url: "http://127.0.0.1:1".to_owned(), log: None };
        let ready = Ready { health_status: 200, server_info: Some(info) };
        of_server(&run, &load, &ServerUnderTest::new(target, &[]), &ready)
    }

    #[test]
    fn what_a_server_says_of_itself_is_kept() {
        let results = of(json!({
            "dtype": "bfloat16", "device": "tpu v6e", "devices": ["TPU_0", {"id": 1}],
            "jax_version": "0.8.1", "version": "0.0.2", "pid": 7,
        }));
        let (config, metadata) = (results.config, results.metadata);
        assert_eq!((config.num_runs, config.warmup_runs, config.trials), (7, 3, 2));
        assert_eq!((config.dtype.as_deref(), config.seed), (Some("bfloat16"), 1));
        assert_eq!(config.command_line, ["xscope"]);
        assert_eq!(metadata.devices, ["TPU_0", "{\"id\":1}"]);
        assert_eq!(
            (metadata.device_count, metadata.platform.as_deref()),
            (Some(2), Some("tpu v6e"))
        );
        assert_eq!(metadata.jax_version.as_deref(), Some("0.8.1"));
        assert_eq!(metadata.versions["server"], "0.0.2");
        assert_eq!(metadata.server_start.as_deref(), Some("pid 7"));
        assert_eq!(metadata.commit.as_deref(), Some("c6b52a0"));
    }

    #[test]
    fn what_a_server_does_not_say_is_not_made_up() {
        let metadata = of(json!({ "tp_size": 4 })).metadata;
        assert_eq!((metadata.device_count, metadata.platform), (Some(4), None));
        assert_eq!((metadata.devices.len(), metadata.server_start), (0, None));
        assert_eq!(metadata.server_command, None);
    }
}
