//! The requests of a run: stages, the typical and the slowest one, what the slowest have in common,
//! and the batches that served them.

pub mod batch_rows;
mod batch_work;
pub mod batches;
pub mod by_point;
mod findings;
pub mod follow;
pub(crate) mod join;
pub mod latency;
pub(crate) mod launches;
pub mod measured;
pub mod profiled;
pub mod slow;
pub(crate) mod spans;
pub mod stages;
pub mod view;

use serde::Serialize;
use xscope_trace::quality::Finding;
use xscope_trace::trim::Window;
use xscope_trace::{Picos, Trace};

use crate::memory::MemoryReport;
use crate::requests::batch_rows::{BatchRow, batch_rows};
use crate::requests::batches::{BatchSummary, batches_of, summary};
use crate::requests::by_point::{PointReport, by_point, mixed};
use crate::requests::findings::{Facts, findings};
use crate::requests::join::Join;
use crate::requests::latency::{Latency, RequestPoint, latency, points};
use crate::requests::launches::Launches;
use crate::requests::measured::RequestCounts;
use crate::requests::profiled::{Profiled, profiled, shares_by_request};
use crate::requests::slow::SlowReport;
use crate::requests::stages::StageRow;
use crate::requests::view::{RequestView, requests_of};

/// What a trace says of its requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestsReport {
    /// How many requests there were, and of what kind.
    #[serde(rename = "request_counts")]
    pub requests: RequestCounts,
    /// Latency from the intended send time; of several points no percentile, no mean and no rate.
    pub latency: Latency,
    /// Where their time went, in the order of the pipeline; the shares add up to 1. Empty for
    /// requests of several points.
    pub stages: Vec<StageRow>,
    /// The measured request with the median latency; of several points that of the first.
    pub typical: Option<Profiled>,
    /// The slowest measured request; `null` if none was measured.
    pub slowest: Option<Profiled>,
    /// Each point apart, in the order of their first requests.
    pub by_point: Vec<PointReport>,
    /// Measured requests by start; of many, the slowest of each of as many groups as are kept.
    pub points: Vec<RequestPoint>,
    /// The slowest 1 % against the others; absent if there are no others, and of several points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowReport>,
    /// All batches together; `null` if the files know of none.
    pub batches: Option<BatchSummary>,
    /// Every batch that a recorder gave an identity.
    pub batch_rows: Vec<BatchRow>,
    /// What makes these figures wrong.
    pub findings: Vec<Finding>,
}

/// The requests of a trace; `None` if it knows of none. `compiling` is when programs were compiled.
pub(crate) fn request_report(
    trace: &Trace,
    window: Option<&Window>,
    memory: &MemoryReport,
    compiling: &[(Picos, Picos)],
) -> Option<RequestsReport> {
    if trace.client.is_empty() && trace.spans.is_empty() {
        return None;
    }
    let join = Join::of(trace);
    let launches = Launches::of(trace, &join);
    let mut views = requests_of(trace, &join, &launches);
    views.retain(|view| window.is_none_or(|w| w.holds(view.start, view.start + view.total)));
    let batches = batches_of(trace, &join, &launches);
    let measured: Vec<&RequestView> =
        views.iter().filter(|view| view.phase.is_measured() && view.ok).collect();
    let shares = shares_by_request(&batches);
    let describe = |view: &&RequestView| profiled(view, &batches, &shares, memory);
    let findings = findings(&Facts {
        trace,
        join: &join,
        launches: &launches,
        views: &views,
        measured: &measured,
        batches: &batches,
    });
    let by_point = by_point(&measured, &batches, compiling, describe);
    let (latency, stages, slow) = match by_point.as_slice() {
        [] => (latency(&[]), Vec::new(), None),
        [only] => (only.latency.clone(), only.stages.clone(), only.slow.clone()),
        several => (mixed(several), Vec::new(), None),
    };
    let first = by_point.first();
    Some(RequestsReport {
        requests: RequestCounts::of(&views),
        latency,
        stages,
        typical: first.and_then(|point| point.typical.clone()),
        slowest: first.and_then(|point| point.slowest.clone()),
        points: points(&measured, trace.start()),
        slow,
        batches: summary(&batches),
        batch_rows: batch_rows(trace, &views, &batches),
        findings,
        by_point,
    })
}

#[cfg(test)]
mod tests {
    use xscope_trace::model::{ClientRequest, SourceId};
    use xscope_trace::{Metric, Phase, Picos, Trace};

    use super::request_report;
    use crate::memory::memory;

    #[test]
    fn the_slowest_are_told_from_the_others() {
        let mut trace = Trace::default();
        for index in 0..200 {
            // Two wait 9 ms longer before they are sent.
            let wait = if index % 100 == 7 { 9_000_000_000 } else { 0 };
            let intended = index * 20_000_000_000;
            trace.client.push(ClientRequest {
                id: format!("r{index}"),
                source: SourceId(0),
                point: String::new(),
                phase: Phase::Measure,
                ok: true,
                items: if wait > 0 { 8 } else { 2 },
                labels: 2,
                intended: Picos(intended),
                sent: Some(Picos(intended + wait)),
                end: Picos(intended + wait + 1_000_000_000),
            });
        }
        let report = request_report(&trace, None, &memory(&trace, &[], &[]), &[]).unwrap();
        let slow = report.slow.unwrap();
        assert_eq!((slow.slow, slow.others), (2, 198));
        assert!((slow.from_ms - 10.0).abs() < 1e-9);
        let first = &slow.stages[0];
        assert_eq!((first.name.as_str(), first.added_ms), ("client.wait", 9.0));
        let items = slow.traits.iter().find(|row| row.name == "items").unwrap();
        assert_eq!(items.slow, Metric::valid(8.0, "1"));
        assert_eq!(items.others, Metric::valid(2.0, "1"));
        assert!(request_report(&Trace::default(), None, &memory(&trace, &[], &[]), &[]).is_none());
    }
}
