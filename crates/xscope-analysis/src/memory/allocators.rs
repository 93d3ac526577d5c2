//! What each device allocator held over time, from its own trace events.
//!
//! JAX's GPU allocators write an event for each allocation and deallocation (`MemoryAllocation`,
//! `MemoryDeallocation`) with what is in use after it, what is free and how fragmented that is.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{MetaId, Track, TrackKind};
use xscope_trace::{Bytes, Picos, Trace};

use crate::memory::usage::Usage;

/// How many samples of a series are kept: the largest of each of as many equal parts of the window.
const SAMPLES: usize = 200;

/// What an allocator had in use at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InUse {
    /// From the start of the trace.
    pub at_us: f64,
    /// Bytes in use then.
    pub bytes: Bytes,
}

/// One allocator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AllocatorRow {
    /// The allocator's name; empty if it has none.
    pub name: String,
    /// Most bytes in use after any event of the window.
    pub peak_bytes: Bytes,
    /// When that was, from the start of the trace.
    pub peak_at_us: f64,
    /// Share of the free memory that is not in its largest piece, at the peak.
    pub peak_fragmentation: f64,
    /// Most bytes in use since the process started, as the allocator says.
    pub lifetime_peak_bytes: Bytes,
    /// What it may use.
    pub capacity_bytes: Bytes,
    /// Allocations in the window.
    #[serde(rename = "allocation_count")]
    pub allocations: u64,
    /// Deallocations in the window.
    #[serde(rename = "deallocation_count")]
    pub deallocations: u64,
    /// The largest allocation that was asked for.
    pub largest_request_bytes: Bytes,
    /// Bytes in use at the last event minus those before the first: growth over the window.
    pub growth_bytes: i64,
    /// What was in use over time, thinned out.
    pub samples: Vec<InUse>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Event {
    at: Picos,
    is_allocation: bool,
    in_use: i64,
    free: i64,
    reserved: i64,
    lifetime: i64,
    requested: i64,
    size: i64,
    fragmentation: f64,
}

/// Events of each allocator, with the track that they are on.
fn events(trace: &Trace) -> BTreeMap<String, (&Track, Vec<Event>)> {
    let wanted: IdVec<MetaId, Option<bool>> = trace
        .metas
        .iter()
        .map(|meta| match trace.strings.get(meta.name) {
            "MemoryAllocation" => Some(true),
            "MemoryDeallocation" => Some(false),
            _ => None,
        })
        .collect();
    let mut events: BTreeMap<String, (&Track, Vec<Event>)> = BTreeMap::new();
    if wanted.iter().all(Option::is_none) {
        return events;
    }
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread) {
        for (row, &meta) in track.slices.meta.iter().enumerate() {
            let Some(is_allocation) = wanted[meta] else { continue };
            let args = track.slices.args.get(row, &trace.strings);
            let (name, event) = read(&args, track.slices.start[row], is_allocation);
            events.entry(name).or_insert_with(|| (track, Vec::new())).1.push(event);
        }
    }
    events
}

/// Bytes in use of each allocator after each of its events.
pub(crate) fn in_use(trace: &Trace) -> Vec<Usage> {
    let usage = |(track, events): (&Track, Vec<Event>)| {
        #[expect(clippy::cast_precision_loss, reason = "counters are floats")]
        let samples = events.iter().map(|event| (event.at, event.in_use as f64));
        Usage::of(track, samples.collect())
    };
    events(trace).into_values().map(usage).collect()
}

/// All allocators, by peak.
pub(crate) fn allocators(trace: &Trace) -> Vec<AllocatorRow> {
    let events = events(trace);
    if events.is_empty() {
        return Vec::new();
    }
    let zero = trace.start();
    let mut rows: Vec<AllocatorRow> =
        events.into_iter().map(|(name, (_, events))| summarise(name, events, zero)).collect();
    rows.sort_by(|a, b| b.peak_bytes.cmp(&a.peak_bytes).then_with(|| a.name.cmp(&b.name)));
    rows
}

fn read(args: &[(&str, ArgValue)], at: Picos, is_allocation: bool) -> (String, Event) {
    let mut event = Event { at, is_allocation, ..Event::default() };
    let mut name = String::new();
    for (key, value) in args {
        let number = match value {
            ArgValue::Int(value) => *value,
            ArgValue::Uint(value) => i64::try_from(*value).unwrap_or(i64::MAX),
            _ => 0,
        };
        match (*key, value) {
            ("allocator_name", ArgValue::Text(text)) => text.clone_into(&mut name),
            // TPUs name the device instead.
            ("index_on_host", _) if name.is_empty() => name = format!("device {number}"),
            ("fragmentation", value) => event.fragmentation = value.as_f64().unwrap_or(0.0),
            ("bytes_allocated", _) => event.in_use = number,
            ("bytes_available", _) => event.free = number,
            ("bytes_reserved", _) => event.reserved = number,
            ("peak_bytes_in_use", _) => event.lifetime = number,
            ("requested_bytes", _) => event.requested = number,
            ("allocation_bytes", _) => event.size = number,
            _ => {}
        }
    }
    (name, event)
}

fn summarise(name: String, mut events: Vec<Event>, zero: Picos) -> AllocatorRow {
    events.sort_by_key(|event| event.at);
    let bytes = |value: i64| Bytes(u64::try_from(value).unwrap_or(0));
    let peak = events.iter().rev().max_by_key(|event| event.in_use).copied().unwrap_or_default();
    let most = |get: fn(&Event) -> i64| bytes(events.iter().map(get).max().unwrap_or(0));
    let first = events.first().copied().unwrap_or_default();
    let before =
        if first.is_allocation { first.in_use - first.size } else { first.in_use + first.size };
    let part = events.len().div_ceil(SAMPLES).max(1);
    let samples = events.chunks(part).filter_map(|events| {
        let event = events.iter().max_by_key(|event| event.in_use)?;
        Some(InUse { at_us: (event.at - zero).as_micros(), bytes: bytes(event.in_use) })
    });
    let allocations = events.iter().filter(|event| event.is_allocation).count() as u64;
    AllocatorRow {
        name,
        peak_bytes: bytes(peak.in_use),
        peak_at_us: (peak.at - zero).as_micros(),
        peak_fragmentation: peak.fragmentation,
        lifetime_peak_bytes: most(|event| event.lifetime),
        capacity_bytes: most(|event| {
            event.in_use.saturating_add(event.free).saturating_add(event.reserved)
        }),
        allocations,
        deallocations: events.len() as u64 - allocations,
        largest_request_bytes: most(|event| event.requested),
        growth_bytes: events.last().map_or(0, |last| last.in_use - before),
        samples: samples.collect(),
    }
}
