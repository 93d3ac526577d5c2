//! What the host worked on in gaps of devices, by name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use xscope_trace::model::{MetaId, Slices, Track, TrackKind};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::devices::idle::CodeRow;
use crate::intervals::Intervals;

/// How many lines of host code a device has.
const CODE_ROWS: usize = 10;

/// What the other host code is called together.
const OTHER_CODE: &str = "(other code)";

/// Of more slices of host code than this, the shorter ones count as the code that called them: memory
/// and time are bounded, and what fills a gap is longer.
const MOST_HOST_SLICES: usize = 1_000_000;

/// From which duration on slices of host code are looked at: none, or a power of 2 in microseconds.
fn shortest(hosts: &[&Track], accepted: &[bool]) -> Picos {
    const MICROSECOND: i64 = 1_000_000;
    // By power: the first counts the slices below one microsecond.
    let of_track = |track: &&Track| {
        let mut counts = [0_usize; 64];
        for (meta, dur) in track.slices.meta.iter().zip(&track.slices.dur) {
            if accepted[meta.0 as usize] {
                let power = (dur.0 / MICROSECOND).checked_ilog2().map_or(0, |power| power + 1);
                counts[power as usize] += 1;
            }
        }
        counts
    };
    let counts: Vec<[usize; 64]> = hosts.par_iter().map(of_track).collect();
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

/// The names of what the host worked on in the gaps of each device, with their times, largest first;
/// together they are all of the gaps. Host events count whose meta is accepted.
pub(super) fn host_code(trace: &Trace, gaps: &[Intervals], accepted: &[bool]) -> Vec<Vec<CodeRow>> {
    let mut code: Vec<GapCode<'_>> =
        gaps.iter().map(|gaps| GapCode { gaps: &gaps.0, times: FxHashMap::default() }).collect();
    let all = Intervals::of_sets(gaps.iter().cloned());
    if !all.0.is_empty() {
        host_work(trace, &all, accepted, |work| {
            code.par_iter_mut().for_each(|code| code.add(work));
        });
    }
    code.into_iter().zip(gaps).map(|(code, gaps)| code.rows(trace, gaps.total())).collect()
}

/// What the host worked on at some time: the slice that was innermost on its thread; of several
/// threads that of the shortest slice, which says most.
type Work = (Picos, Picos, MetaId);

/// How much host work is known at once.
const WORK_AT_ONCE: usize = 1 << 16;

/// Tells `take` what the host worked on in some gaps, part by part in order.
fn host_work(trace: &Trace, gaps: &Intervals, accepted: &[bool], take: impl FnMut(&[Work])) {
    let hosts: Vec<&Track> =
        trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread).collect();
    let shortest = shortest(&hosts, accepted);
    let is_wanted = |slices: &Slices, row: usize| {
        accepted[slices.meta[row].0 as usize] && slices.dur[row] >= shortest
    };
    let mut threads: Vec<Stretches<'_, _>> =
        hosts.iter().map(|track| Stretches::new(&track.slices, &gaps.0, is_wanted)).collect();
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
        if let Some(stretch) = active.first().and_then(|&(_, _, best)| current[best]) {
            sink.add((at, moment, stretch.meta));
        }
        at = moment;
        let next_moment = moments.peek().map_or(Picos(i64::MAX), |&Reverse((next, ..))| next);
        // Most of the time one thread works, and its stretches are not compared with any.
        while begins
            && active.is_empty()
            && let Some(stretch) = current[thread].filter(|open| open.to <= next_moment)
        {
            sink.add((stretch.from, stretch.to, stretch.meta));
            current[thread] = threads[thread].next();
        }
        let Some(stretch) = current[thread] else { continue };
        let key = (stretch.dur, trace.meta(stretch.meta).name, thread);
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

/// Collects host work and hands it on.
struct Sink<F> {
    work: Vec<Work>,
    take: F,
}

impl<F: FnMut(&[Work])> Sink<F> {
    /// Adds work that begins at the end of what was added before, or later.
    fn add(&mut self, (from, to, meta): Work) {
        if from >= to {
            return;
        }
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

/// The innermost slices of a thread that are wanted, where they lie in gaps, in order.
struct Stretches<'a, W> {
    slices: &'a Slices,
    is_wanted: W,
    row: usize,
    /// The wanted slices that are open, as their whole stretches; innermost last.
    open: Vec<Stretch>,
    at: Picos,
    gaps: &'a [(Picos, Picos)],
    /// What is left of a stretch that reaches beyond a gap.
    rest: Option<Stretch>,
}

impl<'a, W: Fn(&Slices, usize) -> bool> Stretches<'a, W> {
    fn new(slices: &'a Slices, gaps: &'a [(Picos, Picos)], is_wanted: W) -> Self {
        let at = Picos(i64::MIN);
        Self { slices, is_wanted, row: 0, open: Vec::new(), at, gaps, rest: None }
    }

    /// The next stretch, in gaps or not.
    fn next_stretch(&mut self) -> Option<Stretch> {
        loop {
            while self.row < self.slices.len() && !(self.is_wanted)(self.slices, self.row) {
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
            let from = start?;
            let (row, slices) = (self.row, self.slices);
            let (to, dur, meta) = (slices.end(row), slices.dur[row], slices.meta[row]);
            self.open.push(Stretch { from, to, dur, meta });
            self.at = from;
            self.row += 1;
        }
    }
}

impl<W: Fn(&Slices, usize) -> bool> Iterator for Stretches<'_, W> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        loop {
            let stretch = match self.rest.take() {
                Some(rest) => rest,
                None => self.next_stretch()?,
            };
            while self.gaps.first().is_some_and(|gap| gap.1 <= stretch.from) {
                self.gaps = &self.gaps[1..];
            }
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

impl GapCode<'_> {
    /// Adds work that comes after what was added before.
    fn add(&mut self, work: &[Work]) {
        for &(from, to, meta) in work {
            while self.gaps.first().is_some_and(|gap| gap.1 <= from) {
                self.gaps = &self.gaps[1..];
            }
            for &(start, end) in self.gaps.iter().take_while(|gap| gap.0 < to) {
                let sum = self.times.entry(meta).or_default();
                *sum = sum.saturating_add(to.min(end) - from.max(start));
            }
        }
    }

    /// The time of each name, largest first; together they are `whole`.
    fn rows(self, trace: &Trace, whole: Picos) -> Vec<CodeRow> {
        let mut named: BTreeMap<&str, Picos> = BTreeMap::new();
        for (meta, time) in self.times.into_iter().collect::<BTreeMap<_, _>>() {
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
        let row =
            |(name, time): (&str, Picos)| CodeRow { name: name.to_owned(), us: time.as_micros() };
        rows.into_iter().map(row).collect()
    }
}
