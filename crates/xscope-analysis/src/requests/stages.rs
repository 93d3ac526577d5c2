//! How long requests were in each stage.

use serde::Serialize;
use xscope_trace::Picos;
use xscope_trace::stats::{Percentile, mean_micros, millis, share, sum};

use crate::requests::pipeline::place;
use crate::requests::view::RequestView;

/// Statistics of one stage over the measured requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageRow {
    pub name: String,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub mean_ms: f64,
    /// Share of all requests' wall time; the shares of all stages add up to 1.
    pub share: f64,
}

/// Statistics of every stage, in pipeline order; other stages follow by name.
pub fn stages(views: &[&RequestView]) -> Vec<StageRow> {
    let whole = sum(&views.iter().map(|view| view.total).collect::<Vec<_>>());
    let mut names: Vec<&str> =
        views.iter().flat_map(|view| view.stages.keys().map(String::as_str)).collect();
    names.sort_by_key(|name| (place(name), *name));
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let mut times: Vec<Picos> = views.iter().map(|view| view.stage(name)).collect();
            times.sort_unstable();
            let total = sum(&times);
            StageRow {
                name: name.to_owned(),
                p50_ms: millis(Percentile::P50.of(&times).unwrap_or_default()),
                p99_ms: millis(Percentile::P99.of(&times).unwrap_or_default()),
                mean_ms: mean_micros(total, times.len() as u64) / 1e3,
                share: share(total, whole),
            }
        })
        .collect()
}
