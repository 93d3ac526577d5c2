//! `results.json`: what a benchmark measured. Written by the load generator, read by comparison.
//!
//! The names that the score benchmark's users already have (`config`, `results[]`, `metadata`;
//! `p50_ms`, `throughput_items_per_sec` ...) stand where they have them, so that their own files
//! read as results too: every field has a default, and what a file does not have is missing, not 0.

mod durations;
mod kernel;
mod search;
mod targets;
mod validity;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use durations::Durations;
pub use kernel::{KernelFigures, MeasuredPeaks};
pub use search::{
    CellRow, CellStatus, FIND_MAX_SCHEMA, FindMax, Found, Grid, RateOutcome, RateRow, SWEEP_SCHEMA,
    Sweep,
};
pub use targets::{Better, CheckOutcome, TargetCheck};
pub use validity::{Cause, CauseKind, Judgement, Validity};

use crate::metric::{Metric, in_unit};
use crate::run::HostInfo;
use crate::stats::median;
use crate::time::Nanos;

/// The version of `results.json` that is written.
pub const SCHEMA: &str = "xscope/results/2";

/// A whole `results.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Results {
    /// The kind and the version of this document; empty in a file of another tool.
    pub schema: String,
    /// Whether all points that were planned are here.
    pub ended: Ended,
    /// What was asked for.
    pub config: BenchConfig,
    /// One entry for each point.
    pub results: Vec<PointResult>,
    /// Where and with what it was measured.
    pub metadata: Metadata,
    /// Targets that were checked, in the order of the targets.
    pub checks: Vec<TargetCheck>,
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// All requests of the plan were sent.
    #[default]
    Complete,
    /// Some were not: the load is still running, was cancelled, or lost its server.
    Early,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BenchConfig {
    /// `score`, `serving`, `one-batch`, `one-batch-server`, `offline`, `kernel`.
    pub bench: String,
    /// `smoke`, `standard`, `full`, or absent if the matrix was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Items of a request, of all points.
    pub batch_sizes: Vec<u32>,
    /// Labels of a request, of all points.
    pub label_counts: Vec<u32>,
    /// Measured requests of a point and trial.
    pub num_runs: u32,
    /// Warm-up requests that were asked for at least.
    pub warmup_runs: u32,
    /// The model's name.
    pub model: String,
    /// Of the weights, as the server states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// How requests are spelled: `sglang`, `vllm-score`, `openai-chat` ...
    pub backend: String,
    /// The server; empty without one.
    pub url: String,
    /// The workload, whole.
    pub workload: Value,
    /// Names the content of the requests, see FORMAT.md. Runs with different ones are not
    /// comparable.
    pub workload_hash: String,
    /// How often each point was measured.
    #[serde(rename = "trial_count", alias = "trials")]
    pub trials: u32,
    /// Of all that is drawn.
    pub seed: u64,
    /// The command, word by word.
    pub command_line: Vec<String>,
}

/// One point of the matrix. Latencies and rates count right answers of the measured phase only,
/// of all trials.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PointResult {
    /// Name of the point, unique in its file: `b4_l2`, `in1024_out1_c8`, `b4_l2@poisson:20/s`.
    pub point: String,
    #[serde(flatten)]
    pub shape: PointShape,
    /// As that of the whole load, of this point alone.
    pub workload_hash: String,
    /// How the requests were sent: `closed:4`, `constant:20/s`, `poisson:20/s`, `replay` ...
    pub arrivals: String,
    /// Requests in flight at once in a closed loop, the most that were in an open one.
    pub concurrency: u32,
    /// Measured requests that ended.
    pub requests: u64,
    /// Of those, answered rightly.
    #[serde(rename = "ok_requests", alias = "ok")]
    pub ok: u64,
    /// Of those, without a right answer.
    pub failed: u64,
    /// Failed requests by kind.
    pub failures: BTreeMap<String, u64>,
    /// From the intended send time to the last byte of the answer.
    #[serde(flatten)]
    pub latency: Durations,
    /// What holds the median of trials with 95 % confidence, of benchmarks in process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_interval_ms: Option<[f64; 2]>,
    /// The same from the actual send time: what a client that waits its turn would see.
    pub from_sent: Durations,
    /// Mean latency divided by items.
    #[serde(with = "in_unit::Ms")]
    pub item_ms: Metric,
    /// Items of right answers, from the first intended send to the last end.
    #[serde(with = "in_unit::ItemsPerSec")]
    pub throughput_items_per_sec: Metric,
    /// Right answers, from the first intended send to the last end.
    #[serde(with = "in_unit::PerSec")]
    pub requests_per_sec: Metric,
    /// Tokens of prompts of right answers.
    #[serde(with = "in_unit::TokensPerSec")]
    pub input_tokens_per_sec: Metric,
    /// Tokens that were generated in right answers.
    #[serde(with = "in_unit::TokensPerSec")]
    pub output_tokens_per_sec: Metric,
    #[serde(flatten)]
    pub stream: StreamTimes,
    /// Of a kernel only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Box<KernelFigures>>,
    /// Profile of this point, relative to the file or absolute.
    pub trace_path: Option<String>,
    /// What the client itself did to the measurement.
    pub client: ClientAudit,
    /// Requests that waited for a compilation, apart from the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compile: Option<CompileSplit>,
    /// The same of the requests that were sent while the profile was taken, which are in no other
    /// figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compile_profiled: Option<CompileSplit>,
    /// What was done before measuring.
    pub warmup: WarmupReport,
    /// Mean milliseconds of the server's stages, from `server-timing` headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub server_ms: BTreeMap<String, f64>,
    /// The most device memory in use during the run.
    #[serde(with = "in_unit::Mb")]
    pub peak_hbm_mb: Metric,
    /// In the currency of the price that was given.
    #[serde(skip_serializing_if = "Option::is_none", with = "in_unit::Plain")]
    pub cost_per_million_items: Option<Metric>,
    /// Requests within all limits of `--slo`, per second.
    #[serde(skip_serializing_if = "Option::is_none", with = "in_unit::PerSec")]
    pub goodput_per_sec: Option<Metric>,
    /// Answers that were compared with that of an equal request; 0: drift was not checked.
    pub drift_compared: u64,
    /// The units of replication: statistics of a comparison are made of these, never of requests.
    pub trials: Vec<Trial>,
    /// Whether the figures mean what their names say.
    #[serde(alias = "verdict")]
    pub validity: Validity,
}

impl PointResult {
    /// How long the median trial took, from its start to its last answer; of those that were answered in
    /// full.
    pub fn median_trial_secs(&self) -> Option<f64> {
        let answered = self.trials.iter().filter(|trial| trial.failed == 0);
        let secs = answered.map(|trial| (trial.ended - trial.started).as_millis() / 1e3);
        median(secs.collect()).filter(|&secs| secs > 0.0)
    }
}

/// What makes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PointShape {
    /// Items of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// Labels of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_count: Option<u32>,
    /// Tokens of a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_len: Option<u32>,
    /// Tokens that are generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_len: Option<u32>,
}

/// One uninterrupted measurement of a point on one start of the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Trial {
    /// From 0, in the order of time. Trials of different points with one number were measured
    /// right after each other.
    pub trial: u32,
    /// On the monotonic clock.
    #[serde(rename = "started_ns")]
    pub started: Nanos,
    /// When it ended, on the monotonic clock.
    #[serde(rename = "ended_ns")]
    pub ended: Nanos,
    /// Right answers.
    #[serde(flatten)]
    pub latency: Durations,
    /// Items of right answers, from the first intended send to the last end.
    #[serde(with = "in_unit::ItemsPerSec")]
    pub throughput_items_per_sec: Metric,
    /// Right answers, from the first intended send to the last end.
    #[serde(with = "in_unit::PerSec")]
    pub requests_per_sec: Metric,
    /// Of requests that generate.
    #[serde(skip_serializing_if = "Option::is_none", with = "in_unit::TokensPerSec")]
    pub output_tokens_per_sec: Option<Metric>,
    #[serde(flatten)]
    pub stream: StreamTimes,
    /// Requests without a right answer.
    pub failed: u64,
}

/// When tokens came; absent where answers are no streams.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StreamTimes {
    /// Time to the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Durations>,
    /// Time for each token after the first, one sample a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Durations>,
    /// Time between tokens after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl: Option<Durations>,
}

/// What the client itself did to the measurement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ClientAudit {
    /// From the intended to the actual send time.
    pub schedule_lag: Durations,
    /// Rate that the schedule asked for; `null` in a closed loop, which asks for none.
    pub requested_per_sec: Option<f64>,
    /// Rate at which requests were sent.
    #[serde(with = "in_unit::PerSec")]
    pub delivered_per_sec: Metric,
    /// Processor time of the client, in cores: 1.0 is one core kept busy.
    #[serde(with = "in_unit::Cores")]
    pub cpu_cores: Metric,
    /// Cores that the client may use.
    pub cores: u32,
    /// Requests that were due and not sent when the window ended.
    pub unsent: u64,
}

/// Latencies with and without compilation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CompileSplit {
    /// How compilations were noticed: `log`, `header`, `trace`.
    pub detected_by: String,
    /// What said so, the first few, as found.
    pub evidence: Vec<String>,
    /// Latencies of requests that waited for no compilation.
    pub clean: Durations,
    /// Latencies of requests that did.
    pub hit: Durations,
}

/// What was done before measuring, and how it is known to have been enough.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WarmupReport {
    /// Requests that were sent.
    pub requests: u64,
    /// Of those, without a right answer.
    pub failed: u64,
    /// `None` if nobody looked.
    pub warm: Option<bool>,
    /// How that is known: one sentence for each sign (log, header, steadiness).
    pub evidence: Vec<String>,
}

/// Where and with what it was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Metadata {
    /// As the server states it.
    pub jax_version: Option<String>,
    /// The devices' names, as the server states them.
    #[serde(rename = "device_names", alias = "devices")]
    pub devices: Vec<String>,
    /// How many devices the server has.
    pub device_count: Option<u64>,
    /// What the devices are: `tpu`, `gpu`, `cpu`.
    pub platform: Option<String>,
    /// Of the source tree that the benchmark was started in.
    pub commit: Option<String>,
    /// When the benchmark began, RFC 3339 in UTC.
    pub timestamp: String,
    /// The client's machine.
    pub host: HostInfo,
    /// Version by name of the software.
    pub versions: BTreeMap<String, String>,
    /// What the server says of itself: `GET /get_server_info`, arguments and all.
    pub server_info: Option<Value>,
    /// Differs between starts of a server, if it can be told.
    pub server_start: Option<String>,
    /// Command that started the server, if xscope did.
    pub server_command: Option<Vec<String>>,
    /// Of benchmarks of kernels: what the device can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_peaks: Option<MeasuredPeaks>,
    /// Fields of other tools, kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the users' own script writes.
    const FOREIGN: &str = r#"{
        "config": {"batch_sizes": [1], "label_counts": [2], "num_runs": 5, "warmup_runs": 2,
                   "model": "meta-llama/Llama-3.2-1B-Instruct", "dtype": "bfloat16"},
        "results": [{"batch_size": 1, "label_count": 2, "p50_ms": 12.5, "p95_ms": 13, "p99_ms": 13,
                     "mean_ms": 12.6, "throughput_items_per_sec": 79.4, "trace_path": null}],
        "metadata": {"jax_version": "0.8.1", "devices": ["TPU_0"], "device_count": 1,
                     "platform": "tpu", "commit": "c6b52a0", "timestamp": "2026-02-11T01:02:03Z",
                     "pod": "tpu-7"}
    }"#;

    #[test]
    fn files_of_the_users_own_script_read_as_results() {
        let results: Results = serde_json::from_str(FOREIGN).unwrap();
        let point = &results.results[0];
        assert_eq!(point.shape.batch_size, Some(1));
        assert_eq!(point.latency.p99_ms, Metric::valid(13.0, "ms"));
        assert_eq!(point.requests_per_sec.value, None);
        assert_eq!(point.validity.status, Judgement::Unknown);
        assert_eq!(results.metadata.commit.as_deref(), Some("c6b52a0"));
        assert_eq!(results.metadata.other["pod"], "tpu-7");
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut results: Results = serde_json::from_str(FOREIGN).unwrap();
        results.results[0].trials.push(Trial { trial: 1, failed: 2, ..Trial::default() });
        let json = serde_json::to_string(&results).unwrap();
        // A figure that a file lacks gets its unit when it is written.
        let read: Results = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert_eq!(read.results[0].latency.p50_ms, results.results[0].latency.p50_ms);
    }
}
