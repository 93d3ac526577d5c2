//! What searches find: the largest rate that keeps service levels, the best settings of a server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metric::{Metric, in_unit};

/// Version of [`Sweep`] as JSON.
pub const SWEEP_SCHEMA: &str = "xscope/sweep/2";

/// Version of [`FindMax`] as JSON.
pub const FIND_MAX_SCHEMA: &str = "xscope/find-max/1";

/// A whole `find_max.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FindMax {
    /// The kind and the version of this document.
    pub schema: String,
    /// What came out, for each point.
    pub points: Vec<Found>,
}

impl From<Vec<Found>> for FindMax {
    fn from(points: Vec<Found>) -> Self {
        Self { schema: FIND_MAX_SCHEMA.to_owned(), points }
    }
}

/// What came out, for one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Found {
    /// The point.
    pub point: String,
    /// The service levels that must hold.
    pub slo: Vec<String>,
    /// The largest rate that held, also in a longer run.
    #[serde(with = "in_unit::PerSec")]
    pub max_per_sec: Metric,
    /// The same in items.
    #[serde(with = "in_unit::ItemsPerSec")]
    pub max_items_per_sec: Metric,
    /// The smallest rate that did not hold: the capacity lies between the two.
    pub fails_per_sec: Option<f64>,
    /// Why the search ended.
    pub ended: String,
    /// The rates that were tried, in order of time.
    #[serde(alias = "probes")]
    pub rates: Vec<RateRow>,
}

/// What follows from a rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RateOutcome {
    /// All service levels are kept.
    Holds,
    /// One is not.
    Fails,
    /// Nothing.
    Invalid,
}

/// One rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RateRow {
    /// Requests per second.
    pub per_sec: f64,
    /// Whether it is the longer run that confirms the result.
    pub confirms: bool,
    /// What follows from it.
    pub outcome: RateOutcome,
    /// The reason, as a sentence.
    pub why: String,
    /// Its own run, relative to the search's.
    pub run: String,
}

/// Settings, as a user writes them down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Starts the server, by the shell; `{port}` becomes a free port, `{NAME}` the setting NAME.
    pub command: String,
    /// All combinations are measured, the first setting outermost.
    pub values: BTreeMap<String, Vec<Value>>,
}

/// What became of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    /// Measured, valid, and all service levels are kept.
    Measured,
    /// Measured, and the verdict on a point is invalid.
    Invalid,
    /// Valid, and a service level is not kept.
    MissesSlo,
    /// The device had not enough memory.
    OutOfMemory,
    /// The server did not start, or died.
    Failed,
    /// Not tried: a smaller value of one setting ran out of memory already.
    Skipped,
}

/// A setting that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CellRow {
    /// The settings as one word.
    pub name: String,
    /// The settings by name.
    #[serde(rename = "settings", alias = "values")]
    pub values: BTreeMap<String, String>,
    /// What became of it.
    pub status: CellStatus,
    /// Why it is not simply measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The figure that it is ranked by, of its points by geometric mean.
    #[serde(rename = "rank_figure", alias = "value")]
    pub value: Metric,
    /// Its own run, relative to the sweep's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// From the start of the server to its end.
    pub secs: f64,
}

/// A whole `sweep.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sweep {
    /// The kind and the version of this document.
    pub schema: String,
    /// What was asked for.
    pub grid: Grid,
    /// What was measured; a sweep goes on only with the same.
    pub load: Value,
    /// The name of the figure that settings are ranked by.
    pub rank: String,
    /// What is done, in order of time.
    pub cells: Vec<CellRow>,
    /// The best of them, from fresh starts.
    pub confirmed: Vec<CellRow>,
    /// The best of the confirmed ones.
    pub winner: Option<String>,
    /// Whether nothing is left to do.
    pub complete: bool,
}
