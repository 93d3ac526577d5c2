//! A `trace.json.gz` that ends where its writer stops, without a mark in it.

use xscope_trace::model::{Format, SourceId};
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;

/// At how many events JAX and TensorBoard cut a `trace.json.gz`, without a mark in it.
const JSON_CAPS: [u64; 2] = [1_000_000, 5_000_000];

/// How far below a cap a file still counts as cut: metadata events are among the capped ones.
const CAP_SLACK: u64 = 2_000;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let &Facts { trace, window, .. } = facts;
    let events = |id: SourceId| {
        if let Some(window) = window {
            return window.events_of(id);
        }
        let own = trace.tracks.iter().filter(|track| track.source == id);
        own.map(|track| track.slices.len() as u64).sum::<u64>()
    };
    let is_cut =
        |events: u64| JSON_CAPS.iter().any(|&cap| (cap - CAP_SLACK..=cap).contains(&events));
    let json = trace.sources.iter_ids().filter(|(_, s)| s.format == Format::ChromeJson);
    let cut: Vec<&str> =
        json.filter(|&(id, _)| is_cut(events(id))).map(|(_, s)| s.path.as_str()).collect();
    let first = cut.first()?;
    Some(
        Finding::new(
            Code::JsonCapped,
            format!(
                "as many events as the writer of trace.json.gz keeps: later ones are lost, and \
                 lines that came late are missing; read the xplane.pb beside {first}"
            ),
        )
        .times(cut.len() as u64),
    )
}
