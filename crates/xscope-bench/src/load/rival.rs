//! The generators.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::Target;
use super::send::Sent;
use crate::process;

#[derive(Debug)]
pub(crate) enum Rival {
    /// This program, which sends with xscope's generator.
    Xscope(PathBuf),
    Oha(PathBuf),
    /// wrk, and where its script is put.
    Wrk(PathBuf, PathBuf),
}

/// What one run reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub per_sec: f64,
    /// Processor time of the generator, in cores.
    pub cores: f64,
    pub lag_p50_ms: Option<f64>,
    pub lag_p99_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl Rival {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Xscope(_) => "xscope",
            Self::Oha(_) => "oha",
            Self::Wrk(..) => "wrk",
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Xscope(_))
    }

    /// Whether it can send at a rate and count latency from when a request was due.
    pub(crate) fn keeps_schedules(&self) -> bool {
        matches!(self, Self::Xscope(_) | Self::Oha(_))
    }

    /// Loads a server once; each generator sends with one thread.
    pub(crate) fn run(
        &self,
        target: &Target,
        connections: u32,
        secs: u32,
        per_sec: Option<f64>,
    ) -> Result<Rate> {
        let (connections, secs_text) = (connections.to_string(), secs.to_string());
        let rate = per_sec.map(|per_sec| format!("{per_sec:.0}"));
        let mut command = match self {
            Self::Xscope(path) => {
                let mut command = Command::new(path);
                command.args(["send", "--url", &target.url, "--body", &target.body]);
                command.args(["--connections", &connections, "--secs", &secs_text]);
                command.args(rate.iter().flat_map(|rate| ["--per-sec", rate]));
                command
            }
            Self::Oha(path) => {
                let mut command = Command::new(path);
                // Its usual number of worker threads is that of the cores.
                command.env("TOKIO_WORKER_THREADS", "1");
                command.args(["--no-tui", "--output-format", "json", "-c", &connections]);
                command.args(["-z", &format!("{secs}s")]);
                command.args(rate.iter().flat_map(|rate| ["--latency-correction", "-q", rate]));
                if !target.body.is_empty() {
                    command.args(["-m", "POST", "-T", "application/json", "-d", &target.body]);
                }
                command.arg(&target.url);
                command
            }
            Self::Wrk(path, script) => {
                let mut command = Command::new(path);
                command.args(["-t", "1", "-c", &connections, "-d", &secs_text]);
                if !target.body.is_empty() {
                    fs::write(script, lua(&target.body))?;
                    command.arg("-s").arg(script);
                }
                command.arg(&target.url);
                command
            }
        };
        let (sample, said) = process::run(&mut command)?;
        let said = String::from_utf8(said)?;
        let cores = sample.cpu.as_secs_f64() / sample.wall.as_secs_f64();
        self.read(&said, cores).with_context(|| format!("{} says: {said}", self.name()))
    }

    fn read(&self, said: &str, cores: f64) -> Result<Rate> {
        let none = Rate { per_sec: 0.0, cores, lag_p50_ms: None, lag_p99_ms: None, p99_ms: None };
        match self {
            Self::Xscope(_) => {
                let Sent { per_sec, lag_p50_ms, lag_p99_ms, p99_ms, .. } =
                    serde_json::from_str(said)?;
                Ok(Rate { per_sec, lag_p50_ms, lag_p99_ms, p99_ms, ..none })
            }
            Self::Oha(_) => {
                let said = Oha::deserialize(serde_json::from_str::<Value>(said)?)?;
                let p99_ms = said.latency_percentiles.get("p99").and_then(Value::as_f64);
                Ok(Rate {
                    per_sec: said.summary.per_sec,
                    p99_ms: p99_ms.map(|secs| 1e3 * secs),
                    ..none
                })
            }
            Self::Wrk(..) => {
                let line = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
                let per_sec = line.context("no line Requests/sec")?.trim().parse()?;
                Ok(Rate { per_sec, ..none })
            }
        }
    }
}

/// What is read of oha's report.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Oha {
    summary: OhaSummary,
    latency_percentiles: Value,
}

#[derive(Debug, Deserialize)]
struct OhaSummary {
    #[serde(rename = "requestsPerSec")]
    per_sec: f64,
}

fn lua(body: &str) -> String {
    format!(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n\
         wrk.body = [==[{body}]==]\n"
    )
}
