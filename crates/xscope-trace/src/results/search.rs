//! What searches find: the largest rate that keeps service levels, the best settings of a server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Figure;

/// Version of [`Sweep`] as JSON.
pub const SWEEP_SCHEMA: &str = "xscope/sweep/1";

/// What came out, for one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub point: String,
    pub slo: Vec<String>,
    /// The largest rate that held, also in a longer run.
    pub max_per_sec: Figure,
    /// The same in items.
    pub max_items_per_sec: Figure,
    /// The smallest rate that did not hold: the capacity lies between the two.
    pub fails_per_sec: Option<f64>,
    /// Why the search ended.
    pub ended: String,
    pub probes: Vec<ProbeRow>,
}

/// What follows from a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    Holds,
    Fails,
    /// Nothing.
    Invalid,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    pub per_sec: f64,
    pub confirms: bool,
    pub outcome: ProbeOutcome,
    pub why: String,
    /// Its own run, relative to the search's.
    pub run: String,
}

/// Settings, as a user writes them down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Starts the server, by the shell; `{port}` becomes a free port, `{NAME}` the setting NAME.
    pub command: String,
    /// All combinations are measured, the first setting outermost.
    pub values: BTreeMap<String, Vec<Value>>,
}

/// What became of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    Measured,
    /// Measured, and the verdict on a point is invalid.
    Invalid,
    /// Valid, and a service level is not kept.
    MissesSlo,
    OutOfMemory,
    /// The server did not start, or died.
    Failed,
    /// Not tried: a smaller value of one setting ran out of memory already.
    Skipped,
}

/// A setting that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellRow {
    pub name: String,
    pub values: BTreeMap<String, String>,
    pub status: CellStatus,
    /// Why it is not simply measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The figure that it is ranked by, of its points by geometric mean.
    pub value: Option<f64>,
    /// Its own run, relative to the sweep's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// From the start of the server to its end.
    pub secs: f64,
}

/// A whole `sweep.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    pub schema: String,
    pub grid: Grid,
    /// What was measured; a sweep goes on only with the same.
    pub load: Value,
    pub rank: String,
    pub cells: Vec<CellRow>,
    /// The best of them, from fresh starts.
    pub confirmed: Vec<CellRow>,
    /// The best of the confirmed ones.
    pub winner: Option<String>,
    /// Whether nothing is left to do.
    pub complete: bool,
}
