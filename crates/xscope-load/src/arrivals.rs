//! When requests are due. Pure: a schedule is a list of times from the start of a window, made
//! from a seed; who waits for them is elsewhere.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xscope_trace::run::read_jsonl;
use xscope_trace::stats::Random;
use xscope_trace::{Nanos, Phase};

use crate::error::{LoadError, SpellingError};
use crate::limits::{MAX_CONNECTIONS, MAX_PER_SEC, MAX_SECS};

/// How requests arrive.
///
/// As text, which is how it stands in a TOML file, on the command line and in results: `closed:4`,
/// `constant:20/s`, `poisson:20/s`, `gamma:20/s,0.5` (rate, burstiness: 1 is Poisson, below 1 is
/// burstier), `ramp:1-50/s,60s` (from, to, how long), `stages:10/s*30s+20/s*30s`,
/// `replay:requests.jsonl` (of a recorded run).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub enum Arrivals {
    /// So many requests in flight: the next is due when one has its answer.
    Closed(u32),
    Constant {
        per_sec: f64,
    },
    Poisson {
        per_sec: f64,
    },
    /// Intervals from a gamma distribution of this shape.
    Gamma {
        per_sec: f64,
        burstiness: f64,
    },
    /// The rate changes linearly, then the load ends.
    Ramp {
        from_per_sec: f64,
        to_per_sec: f64,
        secs: f64,
    },
    /// Constant rates, one after the other, then the load ends.
    Steps(Vec<RateStep>),
    /// The times, and the numbers of items, of the measured requests of a run.
    Replay(PathBuf),
}

/// A constant rate for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateStep {
    pub per_sec: f64,
    pub secs: f64,
}

impl Arrivals {
    /// Requests in flight in a closed loop.
    pub fn concurrency(&self) -> Option<u32> {
        match self {
            Self::Closed(concurrency) => Some(*concurrency),
            _ => None,
        }
    }

    /// What warms a server up for this: a closed loop with about as many in flight as come in a
    /// twentieth of a second.
    pub(crate) fn warm_up(&self) -> Self {
        let per_sec = match self {
            Self::Closed(concurrency) => return Self::Closed(*concurrency),
            Self::Constant { per_sec }
            | Self::Poisson { per_sec }
            | Self::Gamma { per_sec, .. } => *per_sec,
            Self::Ramp { from_per_sec, to_per_sec, .. } => from_per_sec.max(*to_per_sec),
            Self::Steps(steps) => steps.iter().map(|step| step.per_sec).fold(0.0, f64::max),
            Self::Replay(_) => 80.0,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a range that fits"
        )]
        let at_once = (per_sec / 20.0).clamp(1.0, 64.0) as u32;
        Self::Closed(at_once)
    }

    /// Why nothing can arrive like this, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        let rate = |rate: f64| rate > 0.0 && rate <= MAX_PER_SEC;
        let secs = |secs: f64| secs > 0.0 && secs <= MAX_SECS;
        let is_usable = match self {
            Self::Closed(concurrency) => (1..=MAX_CONNECTIONS).contains(concurrency),
            Self::Constant { per_sec } | Self::Poisson { per_sec } => rate(*per_sec),
            Self::Gamma { per_sec, burstiness } => {
                rate(*per_sec) && (0.01..=1000.0).contains(burstiness)
            }
            Self::Ramp { from_per_sec, to_per_sec, secs: length } => {
                *from_per_sec >= 0.0
                    && *to_per_sec >= 0.0
                    && rate(from_per_sec + to_per_sec)
                    && secs(*length)
            }
            Self::Steps(steps) => {
                let usable =
                    |s: &RateStep| s.per_sec >= 0.0 && s.per_sec <= MAX_PER_SEC && secs(s.secs);
                steps.iter().any(|step| step.per_sec > 0.0) && steps.iter().all(usable)
            }
            Self::Replay(_) => true,
        };
        (!is_usable).then(|| {
            format!(
                "is {self}: concurrency is from 1 to {MAX_CONNECTIONS}, rates are above 0 and at most \
                 {MAX_PER_SEC}/s, times above 0"
            )
        })
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(concurrency) => write!(f, "closed:{concurrency}"),
            Self::Constant { per_sec } => write!(f, "constant:{per_sec}/s"),
            Self::Poisson { per_sec } => write!(f, "poisson:{per_sec}/s"),
            Self::Gamma { per_sec, burstiness } => write!(f, "gamma:{per_sec}/s,{burstiness}"),
            Self::Ramp { from_per_sec, to_per_sec, secs } => {
                write!(f, "ramp:{from_per_sec}-{to_per_sec}/s,{secs}s")
            }
            Self::Steps(steps) => {
                f.write_str("stages:")?;
                for (index, RateStep { per_sec, secs }) in steps.iter().enumerate() {
                    let plus = if index > 0 { "+" } else { "" };
                    write!(f, "{plus}{per_sec}/s*{secs}s")?;
                }
                Ok(())
            }
            Self::Replay(path) => write!(f, "replay:{}", path.display()),
        }
    }
}

impl FromStr for Arrivals {
    type Err = SpellingError;

    fn from_str(text: &str) -> Result<Self, SpellingError> {
        parse(text.trim()).ok_or_else(|| SpellingError::Arrivals { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Arrivals> {
    let rate = |text: &str| text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    let secs = |text: &str| text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let (kind, rest) = text.split_once(':')?;
    Some(match kind {
        "closed" => Arrivals::Closed(rest.parse().ok()?),
        "constant" => Arrivals::Constant { per_sec: rate(rest)? },
        "poisson" => Arrivals::Poisson { per_sec: rate(rest)? },
        "gamma" => {
            let (per_sec, burstiness) = rest.split_once(',')?;
            Arrivals::Gamma { per_sec: rate(per_sec)?, burstiness: burstiness.parse().ok()? }
        }
        "ramp" => {
            let (rates, length) = rest.split_once(',')?;
            let (from, to) = rates.split_once('-')?;
            let (from_per_sec, to_per_sec) = (rate(from)?, rate(to)?);
            Arrivals::Ramp { from_per_sec, to_per_sec, secs: secs(length)? }
        }
        "stages" => {
            let step = |text: &str| {
                let (per_sec, length) = text.split_once('*')?;
                Some(RateStep { per_sec: rate(per_sec)?, secs: secs(length)? })
            };
            Arrivals::Steps(rest.split('+').map(step).collect::<Option<_>>()?)
        }
        "replay" if !rest.is_empty() => Arrivals::Replay(rest.into()),
        _ => return None,
    })
}

impl TryFrom<String> for Arrivals {
    type Error = SpellingError;

    fn try_from(text: String) -> Result<Self, SpellingError> {
        text.parse()
    }
}

impl From<Arrivals> for String {
    fn from(arrivals: Arrivals) -> Self {
        arrivals.to_string()
    }
}

/// A request of a recorded run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Recorded {
    /// From the first request.
    pub(crate) offset: Nanos,
    pub(crate) items: Option<u32>,
}

/// The measured requests of a recorded run, in the order in which they were due.
pub(crate) fn read_recorded(path: &std::path::Path) -> Result<Arc<[Recorded]>, LoadError> {
    #[derive(Deserialize)]
    struct Row {
        phase: Phase,
        intended_ns: i64,
        batch_size: Option<u32>,
    }
    let bytes =
        std::fs::read(path).map_err(|source| LoadError::File { path: path.to_owned(), source })?;
    let rows: Vec<Row> = read_jsonl(&bytes).0;
    let rows = || rows.iter().filter(|row| row.phase == Phase::Measure);
    let first = rows().map(|row| row.intended_ns).min();
    let first = first.ok_or_else(|| LoadError::Workload {
        field: "arrivals",
        reason: format!("replays {}, which has no measured requests", path.display()),
    })?;
    let mut recorded: Vec<Recorded> = rows()
        .map(|row| Recorded {
            offset: Nanos(row.intended_ns.saturating_sub(first)),
            items: row.batch_size.filter(|&items| items > 0),
        })
        .collect();
    recorded.sort_unstable();
    Ok(recorded.into())
}

/// Times at which requests are due, from the start; without end unless the arrivals have one. A
/// closed loop has none.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    recorded: Arc<[Recorded]>,
    random: Random,
    count: u32,
    /// Seconds from the start to the last arrival.
    at: f64,
}

impl Schedule {
    pub(crate) fn new(arrivals: Arrivals, recorded: Arc<[Recorded]>, seed: u64) -> Self {
        Self { arrivals, recorded, random: Random::of(&[seed, 3]), count: 0, at: 0.0 }
    }

    fn next_secs(&mut self) -> Option<f64> {
        let index = f64::from(self.count);
        match &self.arrivals {
            Arrivals::Closed(_) | Arrivals::Replay(_) => None,
            Arrivals::Constant { per_sec } => Some(index / per_sec),
            Arrivals::Poisson { per_sec } => Some(self.at + self.random.exponential() / per_sec),
            Arrivals::Gamma { per_sec, burstiness } => {
                Some(self.at + self.random.gamma(*burstiness) / (per_sec * burstiness))
            }
            Arrivals::Ramp { from_per_sec, to_per_sec, secs } => {
                ramp(*from_per_sec, *to_per_sec, *secs, index)
            }
            Arrivals::Steps(steps) => stepped(steps, index),
        }
    }
}

impl Iterator for Schedule {
    type Item = Nanos;

    fn next(&mut self) -> Option<Nanos> {
        let due = match &self.arrivals {
            Arrivals::Replay(_) => self.recorded.get(self.count as usize)?.offset,
            _ => {
                self.at = self.next_secs()?;
                Nanos::from_secs(self.at)
            }
        };
        self.count += 1;
        Some(due)
    }
}

/// When the `index`-th request of a ramp is due: the integral of its rate is then `index`.
fn ramp(from: f64, to: f64, secs: f64, index: f64) -> Option<f64> {
    if index >= secs * (from + to) / 2.0 {
        return None;
    }
    let slope = (to - from) / secs;
    // The root of slope/2 t² + from t = index that is also right where the slope is 0.
    let root = (from * from + 2.0 * slope * index).max(0.0).sqrt();
    Some(if index > 0.0 { 2.0 * index / (from + root) } else { 0.0 })
}

fn stepped(steps: &[RateStep], mut index: f64) -> Option<f64> {
    let mut start = 0.0;
    for step in steps {
        let requests = (step.per_sec * step.secs).round();
        if index < requests {
            return Some(start + index / step.per_sec);
        }
        index -= requests;
        start += step.secs;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str, seed: u64, most: usize) -> Vec<f64> {
        let arrivals: Arrivals = text.parse().unwrap();
        assert_eq!(arrivals.problem(), None, "{text}");
        assert_eq!(arrivals.to_string(), text);
        Schedule::new(arrivals, [].into(), seed)
            .take(most)
            .map(|due| due.as_millis() / 1e3)
            .collect()
    }

    #[test]
    fn fixed_schedules_are_exact() {
        assert_eq!(schedule("constant:20/s", 1, 3), [0.0, 0.05, 0.1]);
        assert_eq!(schedule("stages:10/s*0.2s+0/s*1s+20/s*0.1s", 1, 9), [0.0, 0.1, 1.2, 1.25]);
        // From 0/s the n-th request comes when t² = n.
        let ramp = schedule("ramp:0-8/s,4s", 1, 99);
        assert_eq!((ramp.len(), ramp[4], ramp[9]), (16, 2.0, 3.0));
        assert_eq!(schedule("ramp:4-4/s,1s", 1, 99), [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(schedule("ramp:8-0/s,4s", 1, 99).len(), 16);
        assert_eq!(schedule("closed:4", 1, 9), [] as [f64; 0]);
    }

    #[test]
    fn random_schedules_have_their_rate_and_spread_and_repeat() {
        let check = |text: &str, spread: f64| {
            let times = schedule(text, 1, 20_001);
            assert_eq!(times, schedule(text, 1, 20_001));
            assert_ne!(times, schedule(text, 2, 20_001));
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = gaps.iter().sum::<f64>() / 20_000.0;
            let square = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 20_000.0;
            assert!((mean * 50.0 - 1.0).abs() < 0.03, "{text}: {mean}");
            assert!((square.sqrt() / mean - spread).abs() < 0.06 * spread, "{text}");
        };
        check("poisson:50/s", 1.0);
        check("gamma:50/s,4", 0.5);
        check("gamma:50/s,0.25", 2.0);
    }

    #[test]
    fn a_recorded_run_is_replayed_in_the_order_of_intention() {
        let rows = [("warmup", 1, 4), ("measure", 900, 8), ("measure", 400, 2)];
        let lines = rows.map(|(phase, at, items)| {
            format!("{{\"phase\":\"{phase}\",\"intended_ns\":{at},\"batch_size\":{items}}}\n")
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("requests.jsonl");
        std::fs::write(&path, lines.concat()).unwrap();
        let recorded = read_recorded(&path).unwrap();
        assert_eq!(recorded.iter().map(|row| row.items).collect::<Vec<_>>(), [Some(2), Some(8)]);
        let arrivals = Arrivals::Replay(path.clone());
        let times: Vec<_> = Schedule::new(arrivals, recorded, 1).collect();
        assert_eq!(times, [Nanos(0), Nanos(500)]);
        std::fs::write(&path, &lines[0]).unwrap();
        assert!(read_recorded(&path).unwrap_err().to_string().contains("no measured requests"));
    }

    #[test]
    fn what_cannot_arrive_is_refused() {
        for text in ["closed:0", "constant:0/s", "poisson:-1/s", "gamma:1/s,0", "ramp:0-0/s,1s"] {
            assert!(text.parse::<Arrivals>().unwrap().problem().is_some(), "{text}");
        }
        for text in ["", "poisson", "often:2", "constant:NaNs", "ramp:1/s", "replay:"] {
            assert!(
                text.parse::<Arrivals>().unwrap_err().to_string().contains("write closed:4"),
                "{text}"
            );
        }
    }
}
