//! Wall time that no span covers.

use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{share, sum};

use crate::requests::findings::facts::Facts;
use xscope_trace::stage::Stage;

/// Unaccounted share of wall time above which the waterfall is degraded.
const MUCH_UNACCOUNTED: f64 = 0.02;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let measured = facts.measured.iter();
    // What the server recorded nothing of is a finding of its own.
    if !measured.clone().all(|view| view.has_server) {
        return None;
    }
    let total = sum(&measured.clone().map(|view| view.total).collect::<Vec<_>>());
    let lost = sum(&measured.map(|view| view.stage(Stage::Unaccounted)).collect::<Vec<_>>());
    let lost = share(lost, total);
    (lost > MUCH_UNACCOUNTED).then(|| {
        let message = format!("{:.1} % of the requests' wall time is in no stage", 100.0 * lost);
        Finding::new(Code::RequestsUnaccounted, message)
    })
}
