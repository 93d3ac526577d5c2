//! Why devices idle: every moment between a device's first and last operation in which none runs
//! has one cause.
//!
//! Causes are asked in this order, so that they add up: a host thread compiles; data is moved
//! between host and device; no request is in flight (where requests are known); another device that
//! runs the same programs is busy, so this one waits for it; a host thread does something, and the
//! innermost of what it does is named; unknown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, ProgramId, Slices, Track, TrackKind};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::compiles::compiling;
use crate::intervals::Intervals;
use crate::stats::share;

/// With more devices than this no device's peers are looked at: every pair is compared.
const MOST_PEERS: usize = 2048;
/// How many lines of host code a row has.
const CODE_ROWS: usize = 10;
/// What the other host code is called together.
const OTHER_CODE: &str = "(other code)";

/// The idle time of one device by cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdleRow {
    pub device: String,
    /// The sum of all causes.
    pub idle_us: f64,
    /// By time, largest first: `compile`, `transfer`, `no_request`, `peer`, `host`, `unknown`.
    pub causes: Vec<CauseRow>,
    /// What the host did in the gaps of cause `host`, by time; all of it, so it adds up to them.
    pub host_code: Vec<CodeRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseRow {
    pub cause: &'static str,
    pub us: f64,
    pub share: f64,
    #[serde(skip)]
    pub time: Picos,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeRow {
    pub name: String,
    pub us: f64,
}

/// What the causes are told from, once for all devices.
struct Evidence {
    compile: Intervals,
    transfer: Intervals,
    /// When requests were in flight; `None` if the trace knows of none.
    requests: Option<Intervals>,
    host: Intervals,
}

/// The idle time of every device, in the trace's order; `busy` is when they were not.
pub(crate) fn idle(trace: &Trace, busy: &[Intervals]) -> Vec<IdleRow> {
    let evidence = Evidence {
        compile: compiling(trace),
        transfer: host_intervals(trace, is_transfer),
        requests: requests(trace),
        host: host_intervals(trace, is_work),
    };
    let ids = || (0..trace.devices.len()).filter_map(|index| u32::try_from(index).ok());
    let programs: Vec<FxHashSet<ProgramId>> =
        ids().map(|id| programs(trace, DeviceId(id))).collect();
    // A device's own busy time is not in its gaps, so it may be among its peers': devices that run
    // the same programs then share one set.
    let peers = |index: usize| -> Vec<usize> {
        let same = |other: &usize| !programs[index].is_disjoint(&programs[*other]);
        let others = if busy.len() > MOST_PEERS { 0 } else { busy.len() };
        (0..others).filter(same).collect()
    };
    let groups: Vec<Vec<usize>> = (0..busy.len()).map(peers).collect();
    let mut unions: FxHashMap<&[usize], Intervals> = FxHashMap::default();
    for group in &groups {
        unions
            .entry(group)
            .or_insert_with(|| Intervals::of_sets(group.iter().map(|&other| busy[other].clone())));
    }
    let row = |index: usize| {
        let name = trace.strings.get(trace.devices[index].name).to_owned();
        let peers = unions.get(groups[index].as_slice());
        device_row(name, &busy[index], peers, &evidence)
    };
    let (mut rows, gaps): (Vec<IdleRow>, Vec<Intervals>) =
        (0..busy.len()).into_par_iter().map(row).unzip();
    let mut code: Vec<GapCode<'_>> =
        gaps.iter().map(|gaps| GapCode { gaps: &gaps.0, times: FxHashMap::default() }).collect();
    host_work(trace, &Intervals::of_sets(gaps.iter().cloned()), |work| {
        code.par_iter_mut().for_each(|code| code.add(work));
    });
    for ((row, gaps), code) in rows.iter_mut().zip(&gaps).zip(code) {
        row.host_code = code.rows(trace, gaps.total());
    }
    rows
}

/// The row without the host's code, and the gaps in which that ran.
fn device_row(
    device: String,
    busy: &Intervals,
    peers: Option<&Intervals>,
    evidence: &Evidence,
) -> (IdleRow, Intervals) {
    let window = match (busy.0.first(), busy.0.last()) {
        (Some(&(start, _)), Some(&(_, end))) => Intervals::of(vec![(start, end)]),
        _ => Intervals::default(),
    };
    let idle = window.minus(busy);
    let whole = idle.total();
    let mut rest = idle;
    let mut causes = Vec::new();
    let mut take = |cause: &'static str, part: Intervals, rest: &mut Intervals| {
        *rest = rest.minus(&part);
        let time = part.total();
        if time > Picos::ZERO {
            causes.push(CauseRow { cause, us: time.as_micros(), share: share(time, whole), time });
        }
    };
    take("compile", rest.intersection(&evidence.compile), &mut rest);
    take("transfer", rest.intersection(&evidence.transfer), &mut rest);
    if let Some(requests) = &evidence.requests {
        take("no_request", rest.minus(requests), &mut rest);
    }
    if let Some(peers) = peers {
        take("peer", rest.intersection(peers), &mut rest);
    }
    let host = rest.intersection(&evidence.host);
    take("host", host.clone(), &mut rest);
    take("unknown", rest.clone(), &mut rest);
    causes.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.cause.cmp(b.cause)));
    (IdleRow { device, idle_us: whole.as_micros(), causes, host_code: Vec::new() }, host)
}

fn programs(trace: &Trace, device: DeviceId) -> FxHashSet<ProgramId> {
    let tracks = trace.device_tracks(device, TrackKind::Ops);
    let mut seen: Vec<bool> = vec![false; trace.metas.len()];
    for meta in tracks.flat_map(|track| &track.slices.meta) {
        seen[meta.0 as usize] = true;
    }
    let metas = seen.iter().zip(&trace.metas).filter(|(seen, _)| **seen);
    metas.filter_map(|(_, meta)| meta.program).collect()
}

fn requests(trace: &Trace) -> Option<Intervals> {
    let client = trace.client.iter().map(|request| (request.intended, request.end));
    let spans = trace.spans.iter().filter(|span| span.request.is_some());
    let all: Vec<_> = client.chain(spans.map(|span| (span.start, span.end()))).collect();
    (!all.is_empty()).then(|| Intervals::of(all))
}

/// Whether `wanted` accepts the name of each meta.
fn accepted(trace: &Trace, wanted: fn(&str) -> bool) -> Vec<bool> {
    let names = trace.metas.iter().map(|meta| match meta.display.is_empty() {
        true => meta.name,
        false => meta.display,
    });
    names.map(|name| wanted(trace.strings.get(name))).collect()
}

/// When any host thread had an event open whose name `wanted` accepts.
fn host_intervals(trace: &Trace, wanted: fn(&str) -> bool) -> Intervals {
    let accepted = accepted(trace, wanted);
    let hosts = trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread);
    Intervals::of_sets(hosts.map(|track| {
        let slices = &track.slices;
        let rows = (0..slices.len()).filter(|&row| accepted[slices.meta[row].0 as usize]);
        Intervals::of_ordered(rows.map(|row| (slices.start[row], slices.end(row))))
    }))
}

pub(crate) fn is_transfer(name: &str) -> bool {
    const PARTS: [&str; 9] = [
        "TransferTo",
        "TransferFrom",
        "TransferLiteral",
        "BufferFromHost",
        "CopyToDevice",
        "CopyRawToHost",
        "ToLiteral",
        "copy_to_host",
        "hipMemcpy",
    ];
    PARTS.iter().any(|part| name.contains(part)) || name.starts_with("cudaMemcpy")
}

/// Whether a host event is work, and not waiting or bookkeeping of a recorder.
fn is_work(name: &str) -> bool {
    const WAITS: [&str; 10] = [
        "wait",
        "await",
        "blockhost",
        "block_until_ready",
        "synchronize",
        "sleep",
        "threadpoollistener",
        "end: ",
        "select.",
        "poll",
    ];
    let lower = name.to_ascii_lowercase();
    !WAITS.iter().any(|part| lower.contains(part))
}

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

/// What the host worked on at some time: the slice that was innermost on its thread; of several
/// threads that of the shortest slice, which says most.
type Work = (Picos, Picos, MetaId);

/// How much host work is known at once.
const WORK_AT_ONCE: usize = 1 << 16;

/// Tells `take` what the host worked on in some gaps, part by part in order.
fn host_work(trace: &Trace, gaps: &Intervals, mut take: impl FnMut(&[Work])) {
    if gaps.0.is_empty() {
        return;
    }
    let accepted = accepted(trace, is_work);
    let hosts: Vec<&Track> =
        trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread).collect();
    let shortest = shortest(&hosts, &accepted);
    let is_wanted = |slices: &Slices, row: usize| {
        accepted[slices.meta[row].0 as usize] && slices.dur[row] >= shortest
    };
    let mut threads: Vec<Stretches<'_, _>> =
        hosts.iter().map(|track| Stretches::new(&track.slices, &gaps.0, is_wanted)).collect();
    // Of each thread the stretch that is open or comes next, and its next end.
    let mut current: Vec<Option<Stretch>> = threads.iter_mut().map(Iterator::next).collect();
    let begins = current.iter().enumerate();
    let mut moments: BinaryHeap<Reverse<(Picos, bool, usize)>> = begins
        .filter_map(|(thread, first)| Some(Reverse((first.as_ref()?.from, true, thread))))
        .collect();
    let mut active: BTreeSet<(Picos, StrId, usize)> = BTreeSet::new();
    let mut work: Vec<Work> = Vec::new();
    let mut at = Picos(i64::MIN);
    while let Some(Reverse((moment, begins, thread))) = moments.pop() {
        let best = active.first().filter(|_| at < moment);
        if let Some(stretch) = best.and_then(|&(_, _, best)| current[best]) {
            match work.last_mut() {
                Some(last) if last.1 == at && last.2 == stretch.meta => last.1 = moment,
                _ => {
                    if work.len() == WORK_AT_ONCE {
                        take(&work);
                        work.clear();
                    }
                    work.push((at, moment, stretch.meta));
                }
            }
        }
        at = moment;
        let Some(stretch) = current[thread] else { continue };
        let key = (stretch.dur, trace.meta(stretch.meta).name, thread);
        if begins {
            active.insert(key);
            moments.push(Reverse((stretch.to, false, thread)));
        } else {
            active.remove(&key);
            current[thread] = threads[thread].next();
            moments.extend(current[thread].map(|next| Reverse((next.from, true, thread))));
        }
    }
    take(&work);
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
        for (meta, time) in self.times {
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
