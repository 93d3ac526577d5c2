//! `run.json`: what was run, where, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock;
use crate::run::host::{HostInfo, ProcessId};
use crate::run::servers::ServerRecord;
use crate::time::{Bytes, Nanos};

/// The version of `run.json` that is written. Fields may be added to a version; one that changes
/// its meaning makes a new version.
pub const SCHEMA: &str = "xscope/run/2";

/// The version before, whose fields have other names.
const OLDER: &str = "xscope/run/1";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It is being written; interrupted, if its writer is not alive.
    Running,
    /// It came to its end.
    Complete,
    /// It ended before its time; what is there can be used.
    #[default]
    Interrupted,
    /// It could not be measured.
    Failed,
}

/// The clocks of a run's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RunClock {
    /// Add this to the monotonic clock to get wall time.
    #[serde(rename = "wall_offset_ns", alias = "wall_offset_nanos")]
    pub wall_offset: Nanos,
    /// Error of the offset, ±.
    #[serde(rename = "wall_offset_error_ns", alias = "wall_offset_error_nanos")]
    pub wall_offset_error: Nanos,
}

impl RunClock {
    /// Reads the clocks of this machine.
    pub fn read() -> Self {
        let (wall_offset, wall_offset_error) = clock::wall_offset();
        Self { wall_offset, wall_offset_error }
    }
}

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FileEntry {
    /// Relative to the run, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: Bytes,
    /// CRC-32 (as in gzip) in eight hexadecimal digits: against damage, not against forgery.
    pub crc32: String,
}

/// The content of `run.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RunManifest {
    /// The kind and the version of this document.
    pub schema: String,
    /// The name of the directory at its creation.
    pub id: String,
    /// How it ended.
    pub status: RunStatus,
    /// The command, word by word.
    pub command_line: Vec<String>,
    /// What was measured: a URL, a command, or the built-in engine.
    pub target: String,
    /// Whatever describes the load.
    pub workload: Value,
    /// The machine.
    pub host: HostInfo,
    /// Version by name of the software: xscope, server, JAX ...
    pub versions: BTreeMap<String, String>,
    /// Of the source tree that was measured, if known.
    pub git_commit: Option<String>,
    /// Its clocks.
    pub clock: RunClock,
    /// Wall time, since the Unix epoch.
    #[serde(rename = "started_wall_ns", alias = "started_wall_nanos")]
    pub started_wall: Nanos,
    /// Wall time, since the Unix epoch.
    #[serde(rename = "ended_wall_ns", alias = "ended_wall_nanos")]
    pub ended_wall: Option<Nanos>,
    /// The process that writes the run.
    pub writer: ProcessId,
    /// The servers whose profilers were steered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerRecord>,
    /// All files but `run.json`, by path, as they were when the run ended.
    pub files: Vec<FileEntry>,
    /// Fields of other versions, kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl RunManifest {
    /// Reads `run.json` of this or another version, or what somebody made of it. A field that
    /// does not fit is left at its default and told; bytes that are no JSON give a manifest of
    /// defaults.
    pub fn from_json(bytes: &[u8]) -> (Self, Vec<String>) {
        let mut issues = Vec::new();
        let fields = match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => {
                issues.push("run.json is no JSON object; nothing is known of the run".to_owned());
                Map::new()
            }
            Err(error) => {
                issues.push(format!("run.json is no JSON; nothing is known of the run: {error}"));
                Map::new()
            }
        };
        let mut accepted = Map::new();
        for (key, value) in fields {
            // Each field alone: all others have defaults.
            let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            match serde_json::from_value::<Self>(alone) {
                Ok(_) => {
                    accepted.insert(key, value);
                }
                Err(error) => issues.push(format!("run.json: ignored {key}: {error}")),
            }
        }
        let mut manifest: Self =
            serde_json::from_value(Value::Object(accepted)).unwrap_or_default();
        match manifest.schema.as_str() {
            SCHEMA => {}
            // Its names are read too; what is written again has today's.
            OLDER => SCHEMA.clone_into(&mut manifest.schema),
            "" => issues.push("run.json names no schema; read what looks familiar".to_owned()),
            other => issues.push(format!(
                "run.json has schema {other:?}, this version reads {SCHEMA}; read what both know"
            )),
        }
        (manifest, issues)
    }
}
