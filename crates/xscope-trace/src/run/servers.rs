//! The servers of a run whose profilers xscope steers, as `run.json` has them: what was told to
//! whom, what may still be on, and whose files are still to be collected.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Nanos;

/// A server whose profiler was steered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServerRecord {
    /// Its folder in `trace/` and `spans/`; empty if the run has one server, which has no folder.
    pub name: String,
    /// Where it listens.
    pub url: String,
    /// Where its profiler was told to write, as a path on its own disk.
    pub output_dir: String,
    /// What is known of its profiler.
    pub profiler: ProfilerState,
    /// How it was known that the server had work when its profiler was started.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub load: String,
    /// When its profiler was told to start and had answered; absent if it never was.
    #[serde(
        rename = "profiler_start",
        alias = "started_wall_nanos",
        skip_serializing_if = "Option::is_none"
    )]
    pub started: Option<Exchange>,
    /// The same of stopping; absent if it had ended by itself.
    #[serde(
        rename = "profiler_stop",
        alias = "stopped_wall_nanos",
        skip_serializing_if = "Option::is_none"
    )]
    /// The same of stopping; absent if it had ended by itself.
    pub stopped: Option<Exchange>,
    /// What it said of itself before.
    #[serde(rename = "server_info", skip_serializing_if = "Value::is_null")]
    pub info: Value,
    /// Absent where its clock agrees with that of the run's machine, and where nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ServerClock>,
}

/// When a server was asked for something, by the wall clock of the run's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exchange {
    /// When the request was sent, since the Unix epoch.
    #[serde(rename = "asked_wall_ns")]
    pub asked: Nanos,
    /// When the answer was there, since the Unix epoch.
    #[serde(rename = "answered_wall_ns")]
    pub answered: Nanos,
}

/// What is known of a server's profiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProfilerState {
    /// It was not started.
    #[default]
    Off,
    /// It was started and not stopped yet. In a run whose writer is gone, it may still be on.
    On,
    /// It has ended, and its files are in the run.
    Collected,
    /// It has ended, and its files are on the server's disk.
    Elsewhere,
}

/// A server's wall clock beside that of the run's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServerClock {
    /// How far the server's clock is ahead.
    #[serde(rename = "ahead_ns", alias = "ahead_nanos")]
    pub ahead: Nanos,
    /// Of `ahead`, ±.
    #[serde(rename = "error_ns", alias = "error_nanos")]
    pub error: Nanos,
}

impl ServerClock {
    /// From moments of the server's clock, each known to lie between two of ours: `(server's, ours
    /// before, ours after)`. `None` if both clocks may be the same.
    pub fn between(moments: &[(Nanos, Nanos, Nanos)]) -> Option<Self> {
        let most = moments.iter().map(|&(server, before, _)| server - before).min()?;
        let least = moments.iter().map(|&(server, _, after)| server - after).max()?;
        // Clocks that run apart meanwhile can contradict each other; the middle is still nearest.
        let (least, most) = (least.min(most), most.max(least));
        if least <= Nanos::ZERO && most >= Nanos::ZERO {
            return None;
        }
        let error = Nanos((most - least).0 / 2);
        Some(Self { ahead: least + error, error })
    }
}

#[cfg(test)]
mod tests {
    use super::{Nanos, ServerClock};

    #[test]
    fn a_clock_is_known_as_well_as_moments_are() {
        let check = |moments: &[(i64, i64, i64)], expected: Option<(i64, i64)>| {
            let moments: Vec<_> =
                moments.iter().map(|&(s, b, a)| (Nanos(s), Nanos(b), Nanos(a))).collect();
            let expected = expected
                .map(|(ahead, error)| ServerClock { ahead: Nanos(ahead), error: Nanos(error) });
            assert_eq!(ServerClock::between(&moments), expected, "{moments:?}");
        };
        check(&[], None);
        check(&[(105, 100, 110)], None);
        check(&[(1105, 100, 110)], Some((1000, 5)));
        // The second moment narrows the first.
        check(&[(1105, 100, 110), (1209, 200, 210)], Some((1002, 3)));
        check(&[(-895, 100, 110)], Some((-1000, 5)));
        // A server whose clock jumped in between.
        check(&[(1105, 100, 110), (1300, 200, 210)], Some((1047, 42)));
    }
}
