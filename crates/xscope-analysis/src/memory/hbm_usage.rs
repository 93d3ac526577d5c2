//! The counter that users of profiles ask for by name: `hbm_usage`, bytes in use on a device.
//!
//! No recorder writes it under that name. It is made of what the trace has, the best first: events of
//! device allocators, what operations carry of live bytes, counters of memory by owner.

use std::collections::BTreeMap;

use xscope_trace::model::{Counter, Track, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::memory::allocators::in_use;
use crate::memory::usage::Usage;
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
    use xscope_trace::Picos;
    use xscope_trace::model::{Counter, SourceId, Trace};

    use super::add_hbm_usage;

    #[test]
    fn owners_add_up_where_all_were_sampled() {
        let mut trace = Trace::default();
        for (owner, samples) in [
            ("kv", vec![(1, 10.0), (2, 20.0), (3, 30.0)]),
            ("weights", vec![(1, 100.0), (3, 100.0)]),
        ] {
            let name = trace.strings.intern(&format!("memory_{owner}_live_bytes"));
            let unit = trace.strings.intern("bytes");
            let (at, value) = samples.into_iter().map(|(at, value)| (Picos(at), value)).unzip();
            trace.counters.push(Counter { name, unit, source: SourceId(0), pid: 1, at, value });
        }
        add_hbm_usage(&mut trace);
        add_hbm_usage(&mut trace);
        let [_, _, usage] = &trace.counters[..] else { panic!("{:?}", trace.counters) };
        assert_eq!(trace.strings.get(usage.name), "hbm_usage");
        assert_eq!(
            (&usage.at[..], &usage.value[..]),
            (&[Picos(1), Picos(3)][..], &[110.0, 130.0][..])
        );
    }
}
