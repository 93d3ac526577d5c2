//! How long requests were in each stage.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xscope_trace::Metric;
use xscope_trace::Picos;
use xscope_trace::stats::{Percentile, mean_micros, share, sum};

use crate::requests::view::RequestView;
use xscope_trace::stage::StageName;

/// Statistics of one stage over the measured requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StageRow {
    /// The stage.
    pub name: StageName,
    /// The median.
    pub p50_ms: Metric,
    /// 99 % take no longer; needs 100 samples.
    pub p99_ms: Metric,
    /// The mean.
    pub mean_ms: Metric,
    /// The mean of all that its spans cover: a moment belongs to one stage, so what runs within a stage,
    /// or for another batch of the request, is not in `mean_ms`.
    pub inclusive_ms: Metric,
    /// Share of all requests' wall time; the shares of all stages add up to 1.
    pub share: f64,
}

/// Statistics of every stage, in pipeline order; other stages follow by name.
pub fn stages(views: &[&RequestView]) -> Vec<StageRow> {
    let whole = sum(&views.iter().map(|view| view.total).collect::<Vec<_>>());
    let names: BTreeSet<&StageName> = views.iter().flat_map(|view| view.inclusive.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let of = |stages: fn(&RequestView) -> &BTreeMap<StageName, Picos>| -> Vec<Picos> {
                let time =
                    |view: &&RequestView| stages(view).get(name).copied().unwrap_or_default();
                views.iter().map(time).collect()
            };
            let mut times = of(|view| &view.stages);
            times.sort_unstable();
            let total = sum(&times);
            let mean = |total| Metric::valid(mean_micros(total, times.len() as u64) / 1e3, "ms");
            StageRow {
                name: name.clone(),
                p50_ms: Percentile::P50.metric(&times),
                p99_ms: Percentile::P99.metric(&times),
                mean_ms: mean(total),
                inclusive_ms: mean(sum(&of(|view| &view.inclusive))),
                share: share(total, whole),
            }
        })
        .collect()
}
