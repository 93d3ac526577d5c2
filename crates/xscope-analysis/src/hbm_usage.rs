//! The counter that users of profiles ask for by name: `hbm_usage`, bytes in use on a device.
//!
//! No recorder writes it under that name. It is made of what the trace has, the best first: events of
//! device allocators, what operations carry of live bytes, counters of memory by owner.

use std::collections::BTreeMap;

use xscope_trace::model::{Counter, SourceId, Track, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::allocators::in_use;
use crate::memory::{LIVE_PREFIX, LIVE_SUFFIX, live_bytes};

const NAME: &str = "hbm_usage";

/// Adds a counter `hbm_usage` for each device or allocator that says how much is in use; none if
/// there is one already, or if nothing says it.
pub fn add_hbm_usage(trace: &mut Trace) {
    if trace.counters.iter().any(|counter| trace.strings.get(counter.name) == NAME) {
        return;
    }
    let (name, unit) = (trace.strings.intern(NAME), trace.strings.intern("bytes"));
    let mut found = in_use(trace);
    if found.is_empty() {
        found = by_operation(trace);
    }
    if found.is_empty() {
        found.extend(by_owner(trace));
    }
    trace.counters.extend(found.into_iter().map(|Usage { source, pid, samples }| {
        let (at, value) = samples.into_iter().unzip();
        Counter { name, unit, source, pid, at, value }
    }));
}

/// Bytes in use over time.
pub(crate) struct Usage {
    pub source: SourceId,
    pub pid: i64,
    /// By time.
    pub samples: Vec<(Picos, f64)>,
}

impl Usage {
    pub(crate) fn of(track: &Track, mut samples: Vec<(Picos, f64)>) -> Self {
        samples.sort_by_key(|&(at, _)| at);
        Self { source: track.source, pid: track.pid, samples }
    }
}

fn by_operation(trace: &Trace) -> Vec<Usage> {
    let tracks = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    let of_track = |track: &Track| {
        let sample = |row| Some((track.slices.end(row), live_bytes(trace, track, row)?.0));
        Usage::of(track, (0..track.slices.len()).filter_map(sample).collect())
    };
    let counted = tracks.filter(|track| live_bytes(trace, track, 0).is_some());
    counted.map(of_track).collect()
}

/// The sum over the owners at each moment at which all of them were sampled.
fn by_owner(trace: &Trace) -> Option<Usage> {
    let is_live = |counter: &&Counter| {
        let name = trace.strings.get(counter.name);
        name.starts_with(LIVE_PREFIX) && name.ends_with(LIVE_SUFFIX)
    };
    let owners: Vec<&Counter> = trace.counters.iter().filter(is_live).collect();
    let first = owners.first()?;
    let mut sums: BTreeMap<Picos, (usize, f64)> = BTreeMap::new();
    for counter in &owners {
        for (&at, value) in counter.at.iter().zip(&counter.value) {
            let (count, sum) = sums.entry(at).or_default();
            (*count, *sum) = (*count + 1, *sum + value);
        }
    }
    let whole = sums.into_iter().filter(|(_, (count, _))| *count == owners.len());
    let samples = whole.map(|(at, (_, sum))| (at, sum)).collect();
    Some(Usage { source: first.source, pid: first.pid, samples })
}

#[cfg(test)]
mod tests {
    use xscope_trace::load::read_bytes;

    use super::add_hbm_usage;

    #[test]
    fn owners_add_up_where_all_were_sampled() {
        let sample = |owner: &str, ts: u32, value: u32| {
            format!(
                r#"{{"ph":"C","name":"memory_{owner}_live_bytes","pid":1,"ts":{ts},"args":{{"v":{value}}}}}"#
            )
        };
        let events = [
            sample("kv", 1, 10),
            sample("weights", 1, 100),
            sample("kv", 2, 20),
            sample("weights", 3, 100),
            sample("kv", 3, 30),
            r#"{"ph":"X","name":"a","pid":1,"tid":1,"ts":0,"dur":1}"#.to_owned(),
        ];
        let text = format!("[{}]", events.join(","));
        let mut trace = read_bytes("t.trace.json", text.into_bytes()).unwrap();
        let before = trace.counters.len();
        add_hbm_usage(&mut trace);
        add_hbm_usage(&mut trace);
        let [usage] = &trace.counters[before..] else { panic!("{:?}", trace.counters) };
        assert_eq!(trace.strings.get(usage.name), "hbm_usage");
        assert_eq!(usage.value, [110.0, 130.0]);
    }
}
