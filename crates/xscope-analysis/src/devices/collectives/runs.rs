//! What ran of collectives on a device.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rustc_hash::FxHashMap;
use xscope_trace::model::{DeviceId, MetaId, Track, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::devices::collectives::barriers::Barriers;
use crate::devices::collectives::messages::{Message, message};
use crate::devices::collectives::rendezvous::Rendezvous;
use crate::devices::timeline::{Class, Classes};
use crate::intervals::{Intervals, Merged};
use crate::kernels::by_meta::ByMeta;
use crate::kernels::row::program_name;

/// One execution on one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CollectiveRun {
    /// The module execution.
    pub execution: i64,
    /// How often the device ran the collective before in that.
    pub number: u32,
    pub device: DeviceId,
    pub start: Picos,
    pub dur: Picos,
    /// Waiting that the runtime recorded in it.
    pub waited: Option<Picos>,
    /// Waiting in the barrier before it, if the device notes one.
    pub barrier: Option<Picos>,
    /// The group of devices that it is among, if it is known.
    pub group: Option<u32>,
    /// What other operations of the device hide of it.
    pub hidden: Picos,
    /// What it exchanged, if its event says it.
    pub(super) message: Option<Message>,
}

impl CollectiveRun {
    pub(crate) fn end(&self) -> Picos {
        self.start.saturating_add(self.dur)
    }
}

/// The executions of the collectives on one device, those of one together and in order.
#[derive(Debug)]
pub(crate) struct CollectiveRuns {
    pub(super) device: DeviceId,
    /// Where those of each are.
    pub(super) ranges: Vec<(MetaId, Range<usize>)>,
    pub(super) runs: Vec<CollectiveRun>,
}

/// What ran of collectives on a device, which computed at some times.
pub(crate) fn runs(
    trace: &Trace,
    device: DeviceId,
    classes: &Classes,
    rendezvous: &Rendezvous<'_>,
    computation: &Intervals,
) -> CollectiveRuns {
    let is_wanted = |meta: MetaId| classes[meta] == Some(Class::Communication);
    let runs = wanted(trace, device, is_wanted, rendezvous, computation);
    let mut runs = runs.with_whole_operations(trace, computation);
    runs.add_barriers(trace);
    runs
}

impl CollectiveRuns {
    /// Operations of a device and when they ran, without what else is known of them.
    pub(crate) fn plain(
        trace: &Trace,
        device: DeviceId,
        is_wanted: impl Fn(MetaId) -> bool + Copy,
    ) -> Self {
        let none = Intervals::default();
        let runs = wanted(trace, device, is_wanted, &Rendezvous::none(), &none);
        runs.with_whole_operations(trace, &none)
    }
}

fn wanted<'t>(
    trace: &'t Trace,
    device: DeviceId,
    is_wanted: impl Fn(MetaId) -> bool + Copy,
    rendezvous: &'t Rendezvous<'_>,
    computation: &Intervals,
) -> CollectiveRuns {
    let tracks = || trace.device_tracks(device, TrackKind::Ops);
    let metas = tracks().flat_map(|track| track.slices.meta.iter().copied());
    let mut by_meta = ByMeta::of(trace, metas.filter(|&meta| is_wanted(meta)));
    let none = CollectiveRun {
        execution: 0,
        number: 0,
        device,
        start: Picos::ZERO,
        dur: Picos::ZERO,
        waited: None,
        barrier: None,
        group: None,
        hidden: Picos::ZERO,
        message: None,
    };
    let of_track = |track: &'t Track| {
        let (slices, host) = (&track.slices, rendezvous.on(track));
        let mut met = 0;
        let rows = slices.meta.iter().copied().enumerate();
        rows.filter(|&(_, meta)| is_wanted(meta)).map(move |(row, meta)| {
            let (start, end) = (slices.start[row], slices.end(row));
            let waited = host.and_then(|host| rendezvous.waited(host, &mut met, start, end));
            // More than it took is of others on the same thread at the same time.
            let waited = waited.map(|waited| waited.min(end - start));
            let execution = slices.run_of(row).unwrap_or(0);
            let message = message(trace, track, row);
            (meta, CollectiveRun { execution, start, dur: end - start, waited, message, ..none })
        })
    };
    let mut runs = vec![none; by_meta.rows()];
    let mut computed = 0;
    for (meta, run) in Merged::of(tracks().map(of_track).collect(), |(_, run)| run.start) {
        let hidden = computation.within_from(&mut computed, run.start, run.end());
        runs[by_meta.put(meta).1] = CollectiveRun { hidden, ..run };
    }
    for (_, range) in &by_meta.ranges {
        number(&mut runs[range.clone()]);
    }
    CollectiveRuns { device, ranges: by_meta.ranges, runs }
}

/// Which half of an operation that runs beside others its name says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Half {
    Start,
    Done,
}

/// The name of the whole operation (`all-reduce.1`) whose half (`all-reduce-start.1`) a name is.
pub(super) fn half(name: &str) -> Option<(Cow<'_, str>, Half)> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let halves = [("-start", Half::Start), ("-done", Half::Done)];
    let (whole, half) =
        halves.into_iter().find_map(|(end, half)| Some((stem.strip_suffix(end)?, half)))?;
    Some((Cow::Owned(format!("{whole}{}", &name[stem.len()..])), half))
}

impl CollectiveRuns {
    /// The same with one run, from start to end, for each two that are its halves.
    fn with_whole_operations(self, trace: &Trace, computation: &Intervals) -> Self {
        let Self { device, ranges, runs } = self;
        let mut halves: BTreeMap<_, Vec<(Half, usize)>> = BTreeMap::new();
        for (place, &(meta, _)) in ranges.iter().enumerate() {
            if let Some((whole, half)) = half(trace.label(meta)) {
                let key = (whole, program_name(trace, meta));
                halves.entry(key).or_default().push((half, place));
            }
        }
        let mut done: FxHashMap<usize, usize> = FxHashMap::default();
        for mut pair in halves.into_values() {
            pair.sort_unstable();
            if let &[(Half::Start, start), (Half::Done, end)] = pair.as_slice() {
                done.insert(start, end);
            }
        }
        let ends: BTreeSet<usize> = done.values().copied().collect();
        let (mut whole, mut places) = (Vec::with_capacity(runs.len()), Vec::new());
        for (place, (meta, range)) in ranges.iter().enumerate().filter(|it| !ends.contains(&it.0)) {
            let from = whole.len();
            let starts = &runs[range.clone()];
            match done.get(&place) {
                Some(&end) => {
                    whole.extend(joined(starts, &runs[ranges[end].1.clone()], computation));
                }
                None => whole.extend_from_slice(starts),
            }
            places.push((*meta, from..whole.len()));
        }
        Self { device, ranges: places, runs: whole }
    }
}

impl CollectiveRuns {
    /// Gives each barrier's wait to the run that it is before.
    fn add_barriers(&mut self, trace: &Trace) {
        let barriers = Barriers::of(trace, self.device);
        if barriers.times().is_empty() {
            return;
        }
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        order.sort_by_key(|&at| self.runs[at].start);
        let starts: Vec<Picos> = order.iter().map(|&at| self.runs[at].start).collect();
        for (at, wait) in barriers.of_exchanges(&starts) {
            let barrier = &mut self.runs[order[at]].barrier;
            *barrier = Some(barrier.unwrap_or_default().saturating_add(wait));
        }
    }
}

/// Runs from their starts to their ends, which are in the same order; what lacks its other half stands alone.
fn joined(
    starts: &[CollectiveRun],
    ends: &[CollectiveRun],
    computation: &Intervals,
) -> Vec<CollectiveRun> {
    let key = |run: &CollectiveRun| (run.execution, run.number);
    let mut ends: BTreeMap<(i64, u32), CollectiveRun> =
        ends.iter().map(|run| (key(run), *run)).collect();
    let mut runs: Vec<CollectiveRun> = Vec::with_capacity(starts.len());
    for &start in starts {
        let end = ends.remove(&key(&start)).filter(|end| end.end() >= start.end());
        runs.push(end.map_or(start, |end| CollectiveRun {
            dur: end.end() - start.start,
            hidden: computation.within(start.start, end.end()),
            ..start
        }));
    }
    runs.extend(ends.into_values());
    runs.sort_by_key(|run| (key(run), run.start));
    runs
}

/// Brings the executions of a collective on one device in order and counts them in each module
/// execution.
fn number(runs: &mut [CollectiveRun]) {
    runs.sort_unstable_by_key(|run| (run.execution, run.start, run.dur));
    for same in runs.chunk_by_mut(|a, b| a.execution == b.execution) {
        for (number, run) in (0..).zip(same) {
            run.number = number;
        }
    }
}
