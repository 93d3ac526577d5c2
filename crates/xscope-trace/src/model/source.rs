//! Files that went into a trace, and their clocks.

use std::fmt;

use crate::model::Format;
use crate::strings::StrId;
use crate::time::{Bytes, Nanos, Picos};

/// One file that went into a trace.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: String,
    pub format: Format,
    pub size: Bytes,
    pub host: StrId,
    /// Of a run with several servers, whose it is; else empty.
    pub server: StrId,
    /// Which of the processes of a job it is of, if that is known.
    pub rank: Option<Rank>,
    pub clock: Clock,
    /// Facts that the file states of itself: versions, options, flags; sorted by key.
    pub facts: Vec<(String, String)>,
}

/// How a source's own clock relates to the trace's time axis.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Clock {
    /// When the source's time zero was, in nanoseconds since the Unix epoch, if it says so.
    pub unix_epoch: Option<Nanos>,
    /// When the source's time zero was on its machine's monotonic clock, if it says so.
    pub monotonic_epoch: Option<Nanos>,
    /// What was subtracted from the times in the file, because picoseconds since the zero that
    /// they count from do not fit an `i64`; 0 for most sources.
    pub base: Nanos,
    /// When the profiler session ended, on the source's own axis, if it says so.
    pub session: Option<Picos>,
    /// What was added to the source's times to reach the trace's axis.
    pub offset: Picos,
    /// How far off `offset` may be; `None` if nothing is known of it.
    pub error: Option<Picos>,
    /// What its devices and those of other sources did together says of it.
    pub measured: Option<MeasuredClock>,
}

/// What is known of a source's clock by what its devices did together with those of others. Against the
/// first of those sources.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredClock {
    pub verdict: ClockVerdict,
    /// What it was ahead, by the times that the files state.
    pub ahead: Picos,
    /// The least and the most that it can have been ahead.
    pub certain: (Picos, Picos),
    /// What it gains, in millionths; `None` if that cannot be told from what ends of exchanges differ.
    pub drift_ppm: Option<f64>,
    /// How far off that is, or below what nothing can be told.
    pub drift_error_ppm: f64,
    /// Whether ends of exchanges tell it, which then end at one time everywhere; else only what is certain does.
    pub by_ends: bool,
    /// Exchanges that it was told by.
    pub matched: u64,
    /// What was subtracted from its times.
    pub moved: Picos,
}

/// What became of a clock that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Nothing proves the times wrong that its file states.
    Kept,
    /// It was wrong, or files did not say when they began.
    Corrected,
    /// What is certain of it contradicts itself.
    Contradiction,
}

/// The place of a process in a job of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rank {
    /// Its number among all; `None` if only its places along axes are known.
    pub global: Option<u32>,
    /// How many there are.
    pub world: Option<u32>,
    /// Its place along axes of parallelism, by their names: `TP`, `DP`, `PP`, `EP`, `CP`.
    pub axes: Vec<(String, u32)>,
}

/// `3 of 8`, `TP 0, DP 1`.
impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let global = self.global.map(|global| match self.world {
            Some(world) => format!("{global} of {world}"),
            None => global.to_string(),
        });
        let axes = self.axes.iter().map(|(axis, place)| format!("{axis} {place}"));
        f.write_str(&global.into_iter().chain(axes).collect::<Vec<_>>().join(", "))
    }
}

impl Rank {
    /// As SGLang marks processes of merged traces: `TP00-EP01`; else `rank 3`.
    pub fn mark(&self) -> String {
        match (self.axes.is_empty(), self.global) {
            (false, _) => {
                let axes = self.axes.iter().map(|(axis, place)| format!("{axis}{place:02}"));
                axes.collect::<Vec<_>>().join("-")
            }
            (true, Some(global)) => format!("rank {global}"),
            (true, None) => String::new(),
        }
    }
}
