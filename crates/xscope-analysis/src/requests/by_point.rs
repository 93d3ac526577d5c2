//! The requests of each point of a matrix apart: requests of 1 item and of 8 have no median in common.

use serde::Serialize;
use xscope_trace::{Metric, Picos};

use crate::requests::batches::BatchView;
use crate::requests::latency::{Latency, latency};
use crate::requests::profiled::Profiled;
use crate::requests::slow::{SlowReport, slow};
use crate::requests::stages::{StageRow, stages};
use crate::requests::view::RequestView;

/// The measured requests of one point.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PointReport {
    /// As the client calls it (`b8_l2`); empty if the load is no matrix.
    pub point: String,
    /// Items of each request; absent if they differ, or nobody counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// Latency from the intended send time.
    pub latency: Latency,
    /// Where their time went, in the order of the pipeline; the shares add up to 1.
    pub stages: Vec<StageRow>,
    /// The request with the median latency.
    pub typical: Option<Profiled>,
    /// The slowest one; `null` if none was measured.
    pub slowest: Option<Profiled>,
    /// The slowest 1 % against the others; absent if there are no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowReport>,
}

/// The points of measured requests, in the order of their first ones. `describe` tells of one request.
pub(crate) fn by_point(
    measured: &[&RequestView],
    batches: &[BatchView],
    compiling: &[(Picos, Picos)],
    describe: impl Fn(&&RequestView) -> Profiled,
) -> Vec<PointReport> {
    let mut names: Vec<&str> = Vec::new();
    for view in measured {
        if !names.contains(&view.point.as_str()) {
            names.push(&view.point);
        }
    }
    let of_point = |name: &str| {
        let mine = measured.iter().copied().filter(|view| view.point == name);
        let mut mine: Vec<&RequestView> = mine.collect();
        let latency = latency(&mine);
        let stages = stages(&mine);
        mine.sort_by(|a, b| (a.total, &a.id).cmp(&(b.total, &b.id)));
        let items = mine.first().map(|view| view.items).filter(|items| *items > 0);
        PointReport {
            point: name.to_owned(),
            items: items.filter(|items| mine.iter().all(|view| view.items == *items)),
            latency,
            stages,
            typical: mine.get(mine.len().saturating_sub(1) / 2).map(&describe),
            slowest: mine.last().map(&describe),
            slow: slow(&mine, batches, compiling),
        }
    };
    names.into_iter().map(of_point).collect()
}

/// The latency of several points together: a mixture has requests one by one and no percentiles.
pub(crate) fn mixed(points: &[PointReport]) -> Latency {
    let why = format!(
        "the requests are of {} points and have no figure in common: see by_point",
        points.len()
    );
    let none = |unit: &'static str| Metric::unavailable(unit, why.clone());
    Latency {
        n: points.iter().map(|point| point.latency.n).sum(),
        p50_ms: none("ms"),
        p95_ms: none("ms"),
        p99_ms: none("ms"),
        mean_ms: none("ms"),
        items_per_sec: none("items/s"),
        histogram: Vec::new(),
        percentiles: Vec::new(),
    }
}
