//! Service levels: limits that figures of a point must keep.

use std::fmt;
use std::str::FromStr;

use xscope_load::RequestRow;
use xscope_trace::results::{Durations, PointResult};
use xscope_trace::stats::Percentile;
use xscope_trace::{Metric, Phase};

/// A limit on one figure: `p99=500ms`, `ttft.p95=0.2s`, `mean=20ms`.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    of: Of,
    statistic: Statistic,
    limit_ms: f64,
}

/// Why a word is no service level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no service level: write p99=500ms, ttft.p95=0.2s or mean=20ms")]
pub struct NoSlo {
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Latency,
    Ttft,
    Tpot,
    Itl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistic {
    P50,
    P95,
    P99,
    Mean,
    Max,
}

const STATISTICS: [(&str, Statistic); 5] = [
    ("p50", Statistic::P50),
    ("p95", Statistic::P95),
    ("p99", Statistic::P99),
    ("mean", Statistic::Mean),
    ("max", Statistic::Max),
];

impl FromStr for Slo {
    type Err = NoSlo;

    fn from_str(text: &str) -> Result<Self, NoSlo> {
        let wrong = || NoSlo { text: text.to_owned() };
        let (figure, limit) = text.split_once('=').ok_or_else(wrong)?;
        let (of, statistic) = match figure.trim().split_once('.') {
            None => (Of::Latency, figure.trim()),
            Some(("ttft", statistic)) => (Of::Ttft, statistic),
            Some(("tpot", statistic)) => (Of::Tpot, statistic),
            Some(("itl", statistic)) => (Of::Itl, statistic),
            Some(_) => return Err(wrong()),
        };
        let known = STATISTICS.iter().find(|(name, _)| *name == statistic);
        let (_, statistic) = known.ok_or_else(wrong)?;
        let limit = limit.trim();
        let (number, factor) = match limit.strip_suffix("ms") {
            Some(number) => (number, 1.0),
            None => (limit.strip_suffix('s').ok_or_else(wrong)?, 1e3),
        };
        let limit_ms = number.trim().parse::<f64>().ok().ok_or_else(wrong)? * factor;
        match limit_ms > 0.0 && limit_ms.is_finite() {
            true => Ok(Self { of, statistic: *statistic, limit_ms }),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            Of::Latency => "",
            Of::Ttft => "ttft.",
            Of::Tpot => "tpot.",
            Of::Itl => "itl.",
        };
        write!(f, "{of}{}={}ms", self.statistic_name(), self.limit_ms)
    }
}

impl Slo {
    fn statistic_name(&self) -> &'static str {
        let known = STATISTICS.iter().find(|(_, statistic)| *statistic == self.statistic);
        known.map_or("", |(name, _)| name)
    }

    /// The field of a result that it limits.
    pub fn field(&self) -> String {
        format!("{}_ms", self.statistic_name())
    }

    /// Fewest requests after which the figure means something: three beyond its percentile.
    pub fn requests(&self) -> u64 {
        3 * match self.statistic {
            Statistic::P50 | Statistic::Mean => Percentile::P90.samples_needed(),
            Statistic::P95 => Percentile::P95.samples_needed(),
            Statistic::P99 | Statistic::Max => Percentile::P99.samples_needed(),
        }
    }

    /// Fewest requests of which the figure can be told.
    pub(crate) fn samples(&self) -> u64 {
        match self.statistic {
            Statistic::P50 => Percentile::P50.samples_needed(),
            Statistic::P95 => Percentile::P95.samples_needed(),
            Statistic::P99 => Percentile::P99.samples_needed(),
            Statistic::Mean | Statistic::Max => 1,
        }
    }

    /// The figure that it limits.
    pub fn figure<'p>(&self, point: &'p PointResult) -> Option<&'p Metric> {
        let durations: &Durations = match self.of {
            Of::Latency => &point.latency,
            Of::Ttft => point.stream.ttft.as_ref()?,
            Of::Tpot => point.stream.tpot.as_ref()?,
            Of::Itl => point.stream.itl.as_ref()?,
        };
        Some(match self.statistic {
            Statistic::P50 => &durations.p50_ms,
            Statistic::P95 => &durations.p95_ms,
            Statistic::P99 => &durations.p99_ms,
            Statistic::Mean => &durations.mean_ms,
            Statistic::Max => &durations.max_ms,
        })
    }

    /// Whether a point keeps it; `None` if nobody knows.
    pub fn holds(&self, point: &PointResult) -> Option<bool> {
        Some(self.figure(point)?.value? <= self.limit_ms)
    }

    /// Whether one measured request is within the limit.
    pub fn includes(&self, row: &RequestRow) -> bool {
        let limit = |ms: f64| ms <= self.limit_ms;
        match self.of {
            _ if row.phase != Phase::Measure || !row.ok => false,
            Of::Latency => limit(row.latency_ms),
            Of::Ttft => {
                row.first_token.is_some_and(|first| limit((first - row.intended).as_millis()))
            }
            Of::Tpot => row.token_time().is_none_or(|time| limit(time.as_millis())),
            Of::Itl => row.itl_ms.iter().all(|&ms| limit(ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_statistic_and_a_limit() {
        for (text, expected) in [
            ("p99=500ms", Some("p99=500ms")),
            ("mean=0.02s", Some("mean=20ms")),
            ("ttft.p95=200ms", Some("ttft.p95=200ms")),
            ("itl.max=1s", Some("itl.max=1000ms")),
            ("p99=500", None),
            ("p999=5ms", None),
            ("ttfb.p99=5ms", None),
            ("p99=0ms", None),
            ("p99=NaNms", None),
        ] {
            let parsed = text.parse::<Slo>().ok().map(|slo| slo.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_point_keeps_it_or_not_or_nobody_knows() {
        let slo: Slo = "p99=500ms".parse().unwrap();
        let with = |p99_ms| PointResult {
            latency: Durations { p99_ms, ..Durations::default() },
            ..PointResult::default()
        };
        assert_eq!(slo.holds(&with(Metric::valid(500.0, "ms"))), Some(true));
        assert_eq!(slo.holds(&with(Metric::valid(501.0, "ms"))), Some(false));
        assert_eq!(slo.holds(&with(Metric::unavailable("ms", "too few"))), None);
        let ttft: Slo = "ttft.p50=5ms".parse().unwrap();
        assert_eq!(ttft.holds(&with(Metric::valid(1.0, "ms"))), None, "nothing streamed");
        assert_eq!(slo.requests(), 300);
    }
}
