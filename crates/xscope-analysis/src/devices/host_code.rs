//! What the host worked on in gaps of devices, by name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{MetaId, Slices, Track};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::devices::host_kinds::HostKind;
use crate::intervals::{Intervals, ahead};

/// Host code of one name, and how long it ran in gaps of a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CodeRow {
    /// The name of the host's event.
    pub name: String,
    /// Time in gaps, in microseconds.
    pub us: f64,
}

/// How many lines of host code a device has.
const CODE_ROWS: usize = 10;

/// What the other host code is called together.
const OTHER_CODE: &str = "(other code)";

/// Of more slices of host code than this, the shorter ones count as the code that called them: memory
/// and time are bounded, and what fills a gap is longer.
const MOST_HOST_SLICES: usize = 1_000_000;

/// So many rows of a track are worth a task of their own.
const ROWS_AT_ONCE: usize = 1 << 15;

/// The kind of each event on a host thread.
pub(super) type HostKinds = IdVec<MetaId, HostKind>;

/// From which duration on slices of host code are looked at: none, or a power of 2 in microseconds.
fn shortest(hosts: &[&Track], kinds: &HostKinds) -> Picos {
    const MICROSECOND: i64 = 1_000_000;
    // By power: the first counts the slices below one microsecond.
    let of_rows = |(metas, durations): (&[MetaId], &[Picos])| {
        let mut counts = [0_usize; 64];
        for (meta, dur) in metas.iter().zip(durations) {
            if kinds[*meta] != HostKind::Silent {
                let power = (dur.0 / MICROSECOND).checked_ilog2().map_or(0, |power| power + 1);
                counts[power as usize] += 1;
            }
        }
        counts
    };
    let rows = hosts.par_iter().flat_map(|track| {
        let durations = track.slices.dur.par_chunks(ROWS_AT_ONCE);
        track.slices.meta.par_chunks(ROWS_AT_ONCE).zip(durations)
    });
    let counts: Vec<[usize; 64]> = rows.map(of_rows).collect();
    let mut left: usize = counts.iter().flatten().sum();
    let mut shortest = Picos::ZERO;
    for power in 0..63 {
        if left <= MOST_HOST_SLICES {
            break;
        }
        left -= counts.iter().map(|counts| counts[power]).sum::<usize>();
        shortest = Picos(MICROSECOND.saturating_mul(1 << power));
    }
    shortest
}

/// When a thread of `hosts` was in an event of each of some kinds, in some gaps.
pub(super) fn times_of<const N: usize>(
    hosts: &[&Track],
    kinds: &HostKinds,
    wanted: [HostKind; N],
    gaps: &Intervals,
) -> [Intervals; N] {
    if !kinds.iter().any(|kind| wanted.contains(kind)) {
        return wanted.map(|_| Intervals::default());
    }
    let of_track = |track: &&Track| {
        let mut times = wanted.map(|_| Intervals::default());
        for Stretch { from, to, meta, .. } in
            Stretches::new(&track.slices, &gaps.0, kinds, Picos::ZERO)
        {
            if let Some(index) = wanted.iter().position(|kind| *kind == kinds[meta]) {
                times[index].push((from, to));
            }
        }
        times
    };
    let of_tracks: Vec<[Intervals; N]> = hosts.par_iter().map(of_track).collect();
    let mut sets = wanted.map(|_| Vec::with_capacity(hosts.len()));
    for of_track in of_tracks {
        sets.iter_mut().zip(of_track).for_each(|(set, times)| set.push(times));
    }
    sets.map(Intervals::of_sets)
}

/// The names of what the host did in the gaps of each device, with their times, largest first;
/// together they are all of the gaps. Host events of one kind are named.
pub(super) fn host_code(
    trace: &Trace,
    hosts: &[&Track],
    gaps: &[Intervals],
    kinds: &HostKinds,
    kind: HostKind,
) -> Vec<Vec<CodeRow>> {
    if gaps.iter().all(|gaps| gaps.0.is_empty()) {
        return vec![Vec::new(); gaps.len()];
    }
    let hosts = Hosts { threads: hosts, kinds, kind, shortest: shortest(hosts, kinds) };
    let all = Intervals::of_all(&gaps.iter().collect::<Vec<_>>());
    let of_part = |window: &Intervals| {
        let mut code: Vec<GapCode<'_>> = gaps.iter().map(GapCode::new).collect();
        host_work(trace, &hosts, &all.intersection(window), |work| {
            code.par_iter_mut().for_each(|code| code.add(work));
        });
        code
    };
    let parts: Vec<Vec<GapCode<'_>>> = parts(hosts.threads).par_iter().map(of_part).collect();
    let of_device = |(device, gaps): (usize, &Intervals)| {
        let times = parts.iter().flat_map(|part| &part[device].times);
        rows(trace, times, gaps.total())
    };
    gaps.iter().enumerate().map(of_device).collect()
}

/// Windows that are worth a core each.
fn parts(hosts: &[&Track]) -> Vec<Intervals> {
    let longest = hosts.iter().map(|track| track.slices.start.as_slice()).max_by_key(|it| it.len());
    let rows = longest.unwrap_or_default();
    let count = rayon::current_num_threads().min(rows.len() / ROWS_AT_ONCE + 1);
    let inner = (1..count).map(|part| rows[rows.len() / count * part]);
    let ends: Vec<Picos> =
        [Picos(i64::MIN)].into_iter().chain(inner).chain([Picos(i64::MAX)]).collect();
    ends.windows(2).map(|ends| Intervals::of(vec![(ends[0], ends[1])])).collect()
}

/// What the host worked on at some time: the slice that was innermost on its thread; of several
/// threads that of the shortest slice, which says most.
type Work = (Picos, Picos, MetaId);

/// How much host work is known at once.
const WORK_AT_ONCE: usize = 1 << 16;

/// The host's threads, and which of their slices are named.
struct Hosts<'a> {
    threads: &'a [&'a Track],
    kinds: &'a HostKinds,
    kind: HostKind,
    /// Shorter ones do not count.
    shortest: Picos,
}

impl<'a> Hosts<'a> {
    /// What a thread did in some gaps, as far as it is of the kind that is named.
    fn stretches(
        &self,
        thread: &'a Track,
        gaps: &'a Intervals,
    ) -> impl Iterator<Item = Stretch> + 'a {
        let (kinds, kind) = (self.kinds, self.kind);
        let stretches = Stretches::new(&thread.slices, &gaps.0, kinds, self.shortest);
        stretches.filter(move |stretch| kinds[stretch.meta] == kind)
    }
}

/// Tells `take` what the host worked on in some gaps, part by part in order.
fn host_work(trace: &Trace, hosts: &Hosts<'_>, gaps: &Intervals, take: impl FnMut(&[Work])) {
    let mut threads: Vec<_> = hosts.threads.iter().map(|it| hosts.stretches(it, gaps)).collect();
    let mut sink = Sink { work: Vec::new(), take };
    // When the stretch of a thread begins or ends that comes next or is open.
    let mut moments = BinaryHeap::new();
    let mut current: Vec<Option<Stretch>> = threads.iter_mut().map(Iterator::next).collect();
    for (thread, first) in current.iter().enumerate() {
        moments.extend(first.map(|first| Reverse((first.from, true, thread))));
    }
    let mut active: BTreeSet<(Picos, StrId, usize)> = BTreeSet::new();
    let mut at = Picos(i64::MIN);
    while let Some(Reverse((moment, begins, thread))) = moments.pop() {
        // What says most, of the threads that this one is compared with.
        let first = active.first().copied();
        let best = first.and_then(|(_, _, thread)| current[thread]);
        sink.add(at, moment, best);
        at = moment;
        let next_moment = moments.peek().map_or(Picos(i64::MAX), |&Reverse((next, ..))| next);
        // Most stretches begin and end while no other thread's does.
        while begins && let Some(stretch) = current[thread].filter(|open| open.to <= next_moment) {
            sink.add(at, stretch.from, best);
            let says_less = first.is_some_and(|first| first < key(trace, &stretch, thread));
            sink.add(stretch.from, stretch.to, if says_less { best } else { Some(stretch) });
            at = stretch.to;
            current[thread] = threads[thread].next();
        }
        let Some(stretch) = current[thread] else { continue };
        let key = key(trace, &stretch, thread);
        if begins && stretch.from == moment {
            active.insert(key);
            moments.push(Reverse((stretch.to, false, thread)));
        } else if begins {
            moments.push(Reverse((stretch.from, true, thread)));
        } else {
            active.remove(&key);
            current[thread] = threads[thread].next();
            moments.extend(current[thread].map(|next| Reverse((next.from, true, thread))));
        }
    }
    sink.flush();
}

/// Which of several stretches says most: that of the least key.
fn key(trace: &Trace, stretch: &Stretch, thread: usize) -> (Picos, StrId, usize) {
    (stretch.dur, trace.meta(stretch.meta).name, thread)
}

/// Collects host work and hands it on.
struct Sink<F> {
    work: Vec<Work>,
    take: F,
}

impl<F: FnMut(&[Work])> Sink<F> {
    /// Adds work, if there is any, that begins at the end of what was added before, or later.
    fn add(&mut self, from: Picos, to: Picos, stretch: Option<Stretch>) {
        let Some(Stretch { meta, .. }) = stretch.filter(|_| from < to) else { return };
        match self.work.last_mut() {
            Some(last) if last.1 == from && last.2 == meta => last.1 = to,
            _ => {
                if self.work.len() == WORK_AT_ONCE {
                    self.flush();
                }
                self.work.push((from, to, meta));
            }
        }
    }

    fn flush(&mut self) {
        (self.take)(&self.work);
        self.work.clear();
    }
}

/// Part of a gap in which one slice was innermost on its thread.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Picos,
    to: Picos,
    /// Of the whole slice.
    dur: Picos,
    meta: MetaId,
}

fn stretch(slices: &Slices, row: usize) -> Stretch {
    let (from, dur, meta) = (slices.start[row], slices.dur[row], slices.meta[row]);
    Stretch { from, to: slices.end(row), dur, meta }
}

/// The innermost slices of a thread that say anything, where they lie in gaps, in order.
struct Stretches<'a> {
    slices: &'a Slices,
    kinds: &'a HostKinds,
    /// Shorter slices do not count.
    shortest: Picos,
    row: usize,
    /// The slices that count and are open, as their whole stretches; innermost last.
    open: Vec<Stretch>,
    at: Picos,
    gaps: &'a [(Picos, Picos)],
    /// What is left of a stretch that reaches beyond a gap.
    rest: Option<Stretch>,
}

impl<'a> Stretches<'a> {
    fn new(
        slices: &'a Slices,
        gaps: &'a [(Picos, Picos)],
        kinds: &'a HostKinds,
        shortest: Picos,
    ) -> Self {
        let at = Picos(i64::MIN);
        Self { slices, kinds, shortest, row: 0, open: Vec::new(), at, gaps, rest: None }
    }

    fn counts(&self, row: usize) -> bool {
        self.kinds[self.slices.meta[row]] != HostKind::Silent
            && self.slices.dur[row] >= self.shortest
    }

    /// Opens the slice of a row; inside of one that covers what it calls it is part of that.
    fn open(&mut self, row: usize) {
        let own = stretch(self.slices, row);
        let covers = |open: &&Stretch| self.kinds[open.meta].covers() && open.to >= own.to;
        let own = match self.open.iter().rev().find(covers) {
            Some(&Stretch { dur, meta, .. }) => Stretch { dur, meta, ..own },
            None => own,
        };
        self.open.push(own);
    }

    /// Goes on at a later time: what ends before it is not looked at.
    fn skip_to(&mut self, at: Picos) {
        self.open.retain(|open| open.to > at);
        let begun = ahead(&self.slices.start[self.row..], |&start| start < at);
        for row in self.row..self.row + begun {
            if self.slices.end(row) > at && self.counts(row) {
                self.open(row);
            }
        }
        self.row += begun;
        self.at = at;
    }

    /// The next stretch from now on, in gaps or not.
    fn next_stretch(&mut self) -> Option<Stretch> {
        loop {
            while self.row < self.slices.len() && !self.counts(self.row) {
                self.row += 1;
            }
            let start = self.slices.start.get(self.row).copied();
            if let Some(&top) = self.open.last() {
                let until = start.map_or(top.to, |start| start.min(top.to));
                let from = self.at;
                self.at = from.max(until);
                if until == top.to {
                    self.open.pop();
                }
                if from < until {
                    return Some(Stretch { from, to: until, ..top });
                }
                if until == top.to {
                    continue;
                }
            }
            self.at = start?;
            self.open(self.row);
            self.row += 1;
        }
    }
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        loop {
            let stretch = match self.rest.take() {
                Some(rest) => rest,
                None => {
                    self.gaps = &self.gaps[ahead(self.gaps, |gap| gap.1 <= self.at)..];
                    let &(start, _) = self.gaps.first()?;
                    if self.at < start {
                        self.skip_to(start);
                    }
                    self.next_stretch()?
                }
            };
            self.gaps = &self.gaps[ahead(self.gaps, |gap| gap.1 <= stretch.from)..];
            let &(start, end) = self.gaps.first()?;
            if start >= stretch.to {
                continue;
            }
            if end < stretch.to {
                self.rest = Some(Stretch { from: end, ..stretch });
            }
            return Some(Stretch {
                from: start.max(stretch.from),
                to: end.min(stretch.to),
                ..stretch
            });
        }
    }
}

/// The host work in the gaps of one device.
struct GapCode<'a> {
    gaps: &'a [(Picos, Picos)],
    times: FxHashMap<MetaId, Picos>,
}

impl<'a> GapCode<'a> {
    fn new(gaps: &'a Intervals) -> Self {
        Self { gaps: &gaps.0, times: FxHashMap::default() }
    }

    /// Adds work that comes after what was added before.
    fn add(&mut self, work: &[Work]) {
        for &(from, to, meta) in work {
            self.gaps = &self.gaps[ahead(self.gaps, |gap| gap.1 <= from)..];
            for &(start, end) in self.gaps.iter().take_while(|gap| gap.0 < to) {
                let sum = self.times.entry(meta).or_default();
                *sum = sum.saturating_add(to.min(end) - from.max(start));
            }
        }
    }
}

/// The time of each name, largest first; together they are `whole`.
fn rows<'a>(
    trace: &Trace,
    times: impl Iterator<Item = (&'a MetaId, &'a Picos)>,
    whole: Picos,
) -> Vec<CodeRow> {
    let mut named: BTreeMap<&str, Picos> = BTreeMap::new();
    for (&meta, &time) in times {
        let sum = named.entry(trace.label(meta)).or_default();
        *sum = sum.saturating_add(time);
    }
    let known = named.values().fold(Picos::ZERO, |sum, &time| sum.saturating_add(time));
    let mut rows: Vec<_> = named.into_iter().collect();
    rows.sort_by_key(|&(name, time)| (Reverse(time), name));
    let rest = rows.split_off(rows.len().min(CODE_ROWS));
    let rest = rest.iter().fold(whole - known, |sum, row| sum.saturating_add(row.1));
    if rest > Picos::ZERO {
        rows.push((OTHER_CODE, rest));
    }
    let row = |(name, time): (&str, Picos)| CodeRow { name: name.to_owned(), us: time.as_micros() };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};
    use xscope_trace::Picos;
    use xscope_trace::ids::Id as _;
    use xscope_trace::model::{MetaId, Slices};

    use super::{HostKind, Intervals, Stretches};

    /// How long each slice is innermost in `gaps`.
    fn innermost(slices: &Slices, gaps: &Intervals) -> Vec<i64> {
        let mut times = vec![0; slices.len()];
        let kinds = (0..20).map(|meta| match meta % 5 {
            0 => HostKind::Awaiting,
            1 => HostKind::Silent,
            _ => HostKind::Work,
        });
        let kinds = kinds.collect::<Vec<_>>().into();
        for stretch in Stretches::new(slices, &gaps.0, &kinds, Picos(2)) {
            times[stretch.meta.index()] += (stretch.to - stretch.from).0;
        }
        times
    }

    proptest! {
        #[test]
        fn parts_of_gaps_say_together_what_all_gaps_say(
            mut rows in proptest::collection::vec((0_i64..60, 0_i64..40), 0..20),
            gaps in proptest::collection::vec((0_i64..80, 0_i64..30), 0..8),
            cut in 0_i64..100,
        ) {
            rows.sort_by_key(|&(start, dur)| (start, -dur));
            let slices = Slices {
                start: rows.iter().map(|row| Picos(row.0)).collect(),
                dur: rows.iter().map(|row| Picos(row.1)).collect(),
                meta: (0..20).take(rows.len()).map(MetaId).collect(),
                ..Slices::default()
            };
            let gaps = gaps.iter().map(|gap| (Picos(gap.0), Picos(gap.0 + gap.1)));
            let gaps = Intervals::of(gaps.collect());
            let part = |from, to| {
                innermost(&slices, &gaps.intersection(&Intervals::of(vec![(Picos(from), Picos(to))])))
            };
            let parts: Vec<i64> =
                part(i64::MIN, cut).iter().zip(part(cut, i64::MAX)).map(|(a, b)| a + b).collect();
            prop_assert_eq!(parts, innermost(&slices, &gaps));
        }
    }
}
