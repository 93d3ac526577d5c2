//! What several formats say of a trace.

use crate::model::{MetaId, Trace};
use crate::strings::StrId;
use crate::time::Picos;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    pub slices: u64,
    /// Slices that overlap so many others that the format could only hold a part of them.
    pub clipped: u64,
}

/// The origin of what a writer counts time from, on the trace's axis: its zero, or the first
/// event if that comes before it.
pub(super) fn origin(trace: &Trace) -> Picos {
    trace.extent().map_or(Picos::ZERO, |(first, _)| first.min(Picos::ZERO))
}

/// When the trace's zero was, in nanoseconds since the Unix epoch, if a source says so.
pub fn unix_zero(trace: &Trace) -> Option<i64> {
    trace.sources.iter().find_map(|source| {
        Some(source.clock.unix_epoch?.0.saturating_sub(source.clock.offset.0.div_euclid(1000)))
    })
}

/// When the trace's zero was on the monotonic clock, in nanoseconds, if a source says so.
pub(super) fn monotonic_zero(trace: &Trace) -> Option<i64> {
    trace.sources.iter().find_map(|source| {
        Some(source.clock.monotonic_epoch?.0.saturating_sub(source.clock.offset.0.div_euclid(1000)))
    })
}

/// The hosts of a trace in the order of its sources; sources that name none count to the first.
pub(super) fn hosts(trace: &Trace) -> Vec<StrId> {
    let mut hosts = Vec::new();
    for source in trace.sources.iter().filter(|source| !source.host.is_empty()) {
        if !hosts.contains(&source.host) {
            hosts.push(source.host);
        }
    }
    hosts
}

/// What the events of a kind have in common, as arguments: those that an event does not state
/// itself are written with it.
pub(super) struct Common<'a> {
    pub scope: &'a str,
    pub category: &'a str,
    pub program: &'a str,
    pub flops: Option<u64>,
    pub bytes: Option<u64>,
}

impl<'a> Common<'a> {
    pub(super) fn of(trace: &'a Trace, meta: MetaId) -> Self {
        let event = trace.meta(meta);
        let program = event.program.and_then(|id| trace.programs.get(id));
        Self {
            scope: trace.strings.get(trace.scope_of(meta)),
            category: trace.strings.get(event.category),
            program: program.map_or("", |program| trace.strings.get(program.name)),
            flops: event.flops,
            bytes: event.bytes,
        }
    }
}
