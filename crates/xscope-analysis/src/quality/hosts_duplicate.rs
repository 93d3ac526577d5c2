//! Files that say they are of the same host, though they were written by different sessions.

use xscope_trace::model::Format;
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let xplanes = trace.sources.iter().filter(|source| source.format == Format::XPlane);
    let mut hosts: Vec<&str> = xplanes.map(|source| trace.strings.get(source.host)).collect();
    let all = hosts.len();
    hosts.sort_unstable();
    hosts.dedup();
    (hosts.len() < all).then(|| {
        Finding::new(
            Code::HostsDuplicate,
            "several files name the same host: their devices are told apart by file, not by name; \
             if they are of several machines, give each its own hostname",
        )
        .times((all - hosts.len()) as u64)
    })
}
