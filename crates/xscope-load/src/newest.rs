//! Figures of a load that goes on, of its newest requests: they say what is, not what was.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use xscope_trace::Nanos;
use xscope_trace::stats::{Percentile, as_f64};

use crate::record::RequestRow;

/// How many answers the figures are of.
const KEPT: usize = 2000;

/// The newest requests of a load.
#[derive(Debug, Default)]
pub struct Newest {
    requests: u64,
    failed: u64,
    /// Those that were answered right, the last one last.
    answers: VecDeque<Answer>,
}

/// A request that was answered right.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    pub end: Nanos,
    pub latency_ms: f64,
    /// What the server says of its stages.
    pub server_ms: BTreeMap<String, f64>,
}

/// What the newest requests come to; a percentile that they are too few for is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NewestFigures {
    /// Requests since the start, and those that failed.
    pub requests: u64,
    pub failed: u64,
    /// Of how many answers the figures below are.
    pub newest: usize,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// Answers per second.
    pub per_sec: Option<f64>,
    /// Mean time of each stage, over the answers that say it.
    pub stages_ms: BTreeMap<String, f64>,
    /// Seconds before the last answer, and latency in ms, in the order in which they came.
    pub latencies: Vec<(f64, f64)>,
}

impl Answer {
    /// `None` if the request failed.
    pub fn of(row: &RequestRow) -> Option<Self> {
        row.ok.then(|| Self {
            end: row.end,
            latency_ms: row.latency_ms,
            server_ms: row.server_ms.clone(),
        })
    }
}

impl Newest {
    /// A request ended; `None` if it failed.
    pub fn add(&mut self, answer: Option<Answer>) {
        self.requests += 1;
        let Some(answer) = answer else {
            self.failed += 1;
            return;
        };
        if self.answers.len() == KEPT {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
    }

    /// Requests up to now.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    pub fn figures(&self) -> NewestFigures {
        let mut sorted: Vec<f64> = self.answers.iter().map(|answer| answer.latency_ms).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let ends = self.answers.iter().map(|answer| answer.end);
        let (first, last) = (ends.clone().min(), ends.max().unwrap_or_default());
        let secs = first.map_or(0.0, |first| (last - first).as_millis() / 1e3);
        let count = as_f64(sorted.len() as u64);
        let points = self.answers.iter();
        let latencies =
            points.map(|answer| ((answer.end - last).as_millis() / 1e3, answer.latency_ms));
        NewestFigures {
            requests: self.requests,
            failed: self.failed,
            newest: sorted.len(),
            p50_ms: Percentile::P50.given(&sorted),
            p95_ms: Percentile::P95.given(&sorted),
            p99_ms: Percentile::P99.given(&sorted),
            max_ms: sorted.last().copied(),
            per_sec: (secs > 0.0).then(|| (count - 1.0) / secs),
            stages_ms: self.stages_ms(),
            latencies: latencies.collect(),
        }
    }

    fn stages_ms(&self) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
        for (stage, ms) in self.answers.iter().flat_map(|answer| &answer.server_ms) {
            let (sum, count) = sums.entry(stage).or_default();
            (*sum, *count) = (*sum + ms, *count + 1);
        }
        let mean =
            |(stage, (sum, count)): (&str, (f64, u64))| (stage.to_owned(), sum / as_f64(count));
        sums.into_iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xscope_trace::Nanos;

    use super::{Answer, KEPT, Newest};

    fn answer(second: i64, ms: f64) -> Answer {
        let server_ms = BTreeMap::from([("forward".to_owned(), ms / 2.0)]);
        Answer { end: Nanos(second * 1_000_000_000), latency_ms: ms, server_ms }
    }

    #[test]
    fn figures_are_of_the_newest_answers_and_counts_of_all() {
        let mut newest = Newest::default();
        assert_eq!((newest.figures().p50_ms, newest.figures().per_sec), (None, None));
        newest.add(None);
        for second in 0..30 {
            newest.add(Some(answer(second, 10.0)));
        }
        let figures = newest.figures();
        assert_eq!((figures.requests, figures.failed, figures.newest), (31, 1, 30));
        assert_eq!(
            (figures.p50_ms, figures.p95_ms, figures.p99_ms),
            (Some(10.0), Some(10.0), None)
        );
        assert_eq!((figures.per_sec, figures.stages_ms["forward"]), (Some(1.0), 5.0));
        assert_eq!((figures.latencies[0], figures.latencies[29]), ((-29.0, 10.0), (0.0, 10.0)));
        for second in 0..KEPT {
            newest.add(Some(answer(30 + i64::try_from(second).unwrap(), 20.0)));
        }
        let figures = newest.figures();
        assert_eq!((figures.newest, figures.p50_ms), (KEPT, Some(20.0)));
        assert_eq!(figures.p99_ms, figures.max_ms);
    }
}
