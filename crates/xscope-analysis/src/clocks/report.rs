//! What is known of the clock of each file.

use serde::Serialize;
use xscope_trace::model::{ClockVerdict, MeasuredClock, Rank, Source, SourceId};
use xscope_trace::{Metric, Picos, Trace};

/// The clock of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockRow {
    /// The file, as given.
    pub source: String,
    /// The machine; empty if unknown.
    pub hostname: String,
    /// Which process of a job it is of, as `3 of 8` or `TP 0, DP 1`; empty if unknown.
    pub rank: String,
    /// What its place on the report's time axis is from.
    pub method: Method,
    /// What was subtracted from its times, because it was proven wrong.
    pub moved_us: f64,
    /// What its clock is ahead of that of the first file that it is compared with.
    pub ahead_us: Metric,
    /// How far off that may be.
    pub error_us: Metric,
    /// The least that it can be ahead: nobody leaves an exchange before the last has come.
    pub certain_least_us: Metric,
    /// The most that it can be ahead.
    pub certain_most_us: Metric,
    /// What it gains, in millionths; unavailable where that is less than what can be told.
    pub drift_ppm: Metric,
    /// How far off that may be: three standard errors; below this nothing can be told.
    pub drift_error_ppm: Metric,
    /// Exchanges among devices that it was told by.
    #[serde(rename = "exchange_count")]
    pub exchanges: u64,
}

/// What the place of a file on the time axis is from, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Exchanges of its devices with those of other files proved its clock wrong, and correct it.
    Exchanges,
    /// The clock of its server was asked over the network.
    Server,
    /// The monotonic clock that all processes of a machine share.
    Monotonic,
    /// The wall time that it states.
    Wall,
    /// It does not say when it began.
    None,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Exchanges => "exchanges",
            Self::Server => "server",
            Self::Monotonic => "monotonic",
            Self::Wall => "wall",
            Self::None => "none",
        }
    }
}

/// The clocks of all files that have times.
pub(crate) fn clocks(trace: &Trace) -> Vec<ClockRow> {
    let timed = trace.sources.iter_ids().filter(|(_, source)| source.format.has_times());
    timed.map(|(id, source)| row(trace, id, source)).collect()
}

fn row(trace: &Trace, id: SourceId, source: &Source) -> ClockRow {
    let clock = &source.clock;
    let measured = clock.measured.as_ref();
    let known = |value: Option<f64>, unit| {
        let why = match trace.sources.len() {
            1 => "there is one file only",
            _ => "its devices did nothing together with those of another file",
        };
        Metric::known(value, unit, why)
    };
    let of = |get: fn(&MeasuredClock) -> Picos| {
        let certain = measured.map(get).filter(|it| it.0 > i64::MIN && it.0 < i64::MAX);
        known(certain.map(Picos::as_micros), "us")
    };
    let is_contradiction = measured.is_some_and(|it| it.verdict == ClockVerdict::Contradiction);
    let ahead = match is_contradiction {
        true => Metric::unavailable("us", "what is certain of it contradicts itself"),
        false => of(|it| it.ahead),
    };
    ClockRow {
        source: source.path.clone(),
        hostname: trace.strings.get(source.host).to_owned(),
        rank: source.rank.as_ref().map(Rank::to_string).unwrap_or_default(),
        method: method(trace, id),
        moved_us: measured.map_or(0.0, |it| it.moved.as_micros()),
        ahead_us: ahead,
        error_us: Metric::known(
            clock.error.map(Picos::as_micros),
            "us",
            "nothing tells how far off it is",
        ),
        certain_least_us: of(|it| it.certain.0),
        certain_most_us: of(|it| it.certain.1),
        drift_ppm: measured.map_or_else(|| known(None, "ppm"), drift),
        drift_error_ppm: known(measured.map(|it| it.drift_error_ppm), "ppm"),
        exchanges: measured.map_or(0, |it| it.matched),
    }
}

fn method(trace: &Trace, id: SourceId) -> Method {
    let clock = &trace.sources[id].clock;
    match clock.measured {
        Some(MeasuredClock { verdict: ClockVerdict::Corrected, .. }) => Method::Exchanges,
        None if clock.error.is_some() => Method::Server,
        _ if clock.monotonic_epoch.is_some() => Method::Monotonic,
        _ if clock.unix_epoch.is_some() => Method::Wall,
        _ => Method::None,
    }
}

fn drift(measured: &MeasuredClock) -> Metric {
    match measured.drift_ppm {
        Some(drift) => Metric::valid(drift, "ppm"),
        // The file that the others are compared with.
        None if measured.certain == (Picos::ZERO, Picos::ZERO) => Metric::valid(0.0, "ppm"),
        None => {
            Metric::unavailable("ppm", "ends of exchanges differ by more than the clock drifts")
        }
    }
}
