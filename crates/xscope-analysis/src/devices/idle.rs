//! Why devices idle: every moment between a device's first and last operation in which none runs
//! has one cause.
//!
//! Causes are asked in this order, so that they add up: the device notes that it is in a barrier; a host
//! thread compiles; data is moved between host and device; no request is in flight (where requests are
//! known); another device that runs the same programs is busy, so this one waits for it; a host thread is
//! in a call that copies while no copy runs; a host thread does something, and the innermost of what it
//! does is named; a host thread waits for something to do; unknown.

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, MetaId, ProgramId, Track, TrackKind};
use xscope_trace::stats::share;
use xscope_trace::{Picos, Trace};

use crate::devices::collectives::Barriers;
use crate::devices::host_code::{CodeRow, host_code, times_of};
use crate::devices::host_kinds::{
    HostKind, awaiting_threads, host_kinds, is_transfer, records_copies,
};
use crate::intervals::Intervals;

/// With more devices than this no device's peers are looked at: every pair is compared.
const MOST_PEERS: usize = 2048;

/// The idle time of one device by cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdleRow {
    /// The device, by the name that it has in `devices`.
    pub device: String,
    /// The sum of all causes.
    pub idle_us: f64,
    /// By time, largest first: `compile`, `transfer`, `no_request`, `peer`, `blocked`, `host`, `unknown`.
    pub causes: Vec<CauseRow>,
    /// What the host did in the gaps of cause `host`, by time; all of it, so it adds up to them.
    pub host_code: Vec<CodeRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CauseRow {
    /// `compile`, `transfer`, `no_request`, `peer`, `blocked`, `host` or `unknown`.
    pub cause: &'static str,
    /// Idle time, in microseconds.
    pub us: f64,
    /// Of the device's idle time.
    pub share: f64,
    /// The calls in which the host was, by time, of the causes `blocked` and `no_request`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CodeRow>,
    #[serde(skip)]
    pub time: Picos,
}

/// What causes are told from before the host's code is looked at, once for all devices.
struct KnownTimes {
    compile: Intervals,
    transfer: Intervals,
    /// When requests were in flight; `None` if the trace knows of none.
    requests: Option<Intervals>,
}

/// When host threads were in events of a kind, as far as devices idled.
struct Gaps {
    copying: Intervals,
    host: Intervals,
    awaiting: Intervals,
}

/// The idle time of every device; `busy` is when they were not, `compile` when a host thread compiled.
pub(crate) fn idle(
    trace: &Trace,
    busy: &IdVec<DeviceId, Intervals>,
    compile: Intervals,
) -> Vec<IdleRow> {
    let kinds = host_kinds(trace);
    let hosts: Vec<&Track> =
        trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread).collect();
    let launchers = awaiting_threads(trace, &hosts);
    let known = KnownTimes {
        compile,
        transfer: match records_copies(trace) {
            true => Intervals::default(),
            false => host_intervals(trace, is_transfer),
        },
        requests: requests(trace),
    };
    let programs: IdVec<DeviceId, FxHashSet<ProgramId>> =
        busy.ids().map(|device| programs(trace, device)).collect();
    // A device's own busy time is not in its gaps, so it may be among its peers': devices that run
    // the same programs then share one set.
    let peers = |device: DeviceId| -> Vec<DeviceId> {
        let same = |other: &DeviceId| !programs[device].is_disjoint(&programs[*other]);
        busy.ids().filter(|_| busy.len() <= MOST_PEERS).filter(same).collect()
    };
    let groups: IdVec<DeviceId, Vec<DeviceId>> = busy.ids().map(peers).collect();
    let mut unions: FxHashMap<&[DeviceId], Intervals> = FxHashMap::default();
    for group in &groups {
        let union =
            || Intervals::of_all(&group.iter().map(|&other| &busy[other]).collect::<Vec<_>>());
        unions.entry(group).or_insert_with(union);
    }
    let begin = |device: DeviceId| {
        let peers = unions.get(groups[device].as_slice());
        let barriers = Barriers::of(trace, device);
        let barriers = Intervals::of_ordered(barriers.times().iter().copied());
        Unexplained::of(&busy[device], &barriers, peers, &known)
    };
    let devices: Vec<DeviceId> = busy.ids().collect();
    let begun: Vec<Unexplained> = devices.into_par_iter().map(begin).collect();
    // What the host did is looked up only where nothing else says why a device idled.
    let rests = Intervals::of_all(&begun.iter().map(|it| &it.rest).collect::<Vec<_>>());
    let [copying, host] = times_of(&hosts, &kinds, [HostKind::Copying, HostKind::Work], &rests);
    let [awaiting] = times_of(&launchers, &kinds, [HostKind::Awaiting], &rests);
    let times = Gaps { copying, host, awaiting };
    let names = busy.ids().map(|device| trace.device_label(device).to_owned());
    let (mut rows, gaps): (Vec<IdleRow>, Vec<Gaps>) =
        begun.into_iter().zip(names).map(|(begun, name)| begun.explain(name, &times)).unzip();
    let (mut copying, mut host, mut awaiting) = (Vec::new(), Vec::new(), Vec::new());
    for gaps in gaps {
        copying.push(gaps.copying);
        host.push(gaps.host);
        awaiting.push(gaps.awaiting);
    }
    let code = host_code(trace, &hosts, &host, &kinds, HostKind::Work);
    let blocked = host_code(trace, &hosts, &copying, &kinds, HostKind::Copying);
    let awaited = host_code(trace, &launchers, &awaiting, &kinds, HostKind::Awaiting);
    for (row, ((code, blocked), awaited)) in
        rows.iter_mut().zip(code.into_iter().zip(blocked).zip(awaited))
    {
        row.host_code = code;
        row.add_calls("blocked", blocked);
        row.add_calls("no_request", awaited);
    }
    rows
}

impl IdleRow {
    fn add_calls(&mut self, cause: &str, calls: Vec<CodeRow>) {
        if let Some(row) = self.causes.iter_mut().find(|row| row.cause == cause) {
            row.calls = calls;
        }
    }
}

/// When a device idled between its first and its last operation.
fn gaps(busy: &Intervals) -> Intervals {
    Intervals::of(busy.extent().into_iter().collect()).minus(busy)
}

/// The idle time of a device, of which a part is explained.
struct Unexplained {
    whole: Picos,
    causes: Vec<(&'static str, Picos)>,
    /// Time in which requests were known and none was in flight.
    unasked: Picos,
    rest: Intervals,
}

impl Unexplained {
    /// Of a device that was in barriers at some times, and whose peers were busy at others.
    fn of(
        busy: &Intervals,
        barriers: &Intervals,
        peers: Option<&Intervals>,
        known: &KnownTimes,
    ) -> Self {
        let mut rest = gaps(busy);
        let whole = rest.total();
        let mut waited = rest.cut(barriers);
        let mut causes =
            vec![("compile", rest.cut(&known.compile)), ("transfer", rest.cut(&known.transfer))];
        let mut unasked = Picos::ZERO;
        if let Some(requests) = &known.requests {
            let asked = rest.intersection(requests);
            unasked = rest.total() - asked.total();
            rest = asked;
        }
        if let Some(peers) = peers {
            waited = waited.saturating_add(rest.cut(peers));
        }
        causes.push(("peer", waited));
        Self { whole, causes, unasked, rest }
    }

    /// The row without the names of what the host did, and the gaps in which it did that.
    fn explain(self, device: String, hosts: &Gaps) -> (IdleRow, Gaps) {
        let Self { whole, mut causes, unasked, mut rest } = self;
        let mut take = |times: &Intervals| {
            let taken = rest.intersection(times);
            rest.cut(times);
            taken
        };
        let copying = take(&hosts.copying);
        let host = take(&hosts.host);
        let awaiting = take(&hosts.awaiting);
        causes.push(("blocked", copying.total()));
        causes.push(("host", host.total()));
        causes.push(("no_request", unasked.saturating_add(awaiting.total())));
        causes.push(("unknown", rest.total()));
        causes.retain(|(_, time)| *time > Picos::ZERO);
        causes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let row = |(cause, time): (&'static str, Picos)| {
            let (us, share) = (time.as_micros(), share(time, whole));
            CauseRow { cause, us, share, calls: Vec::new(), time }
        };
        let causes = causes.into_iter().map(row).collect();
        let row = IdleRow { device, idle_us: whole.as_micros(), causes, host_code: Vec::new() };
        (row, Gaps { copying, host, awaiting })
    }
}

fn programs(trace: &Trace, device: DeviceId) -> FxHashSet<ProgramId> {
    let tracks = trace.device_tracks(device, TrackKind::Ops);
    let mut seen = IdVec::filled(&trace.metas, false);
    for &meta in tracks.flat_map(|track| &track.slices.meta) {
        seen[meta] = true;
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
fn accepted(trace: &Trace, wanted: fn(&str) -> bool) -> IdVec<MetaId, bool> {
    let names = trace.metas.iter().map(|meta| match meta.display.is_empty() {
        true => meta.name,
        false => meta.display,
    });
    names.map(|name| wanted(trace.strings.get(name))).collect()
}

/// When any host thread had an event open whose name `wanted` accepts.
fn host_intervals(trace: &Trace, wanted: fn(&str) -> bool) -> Intervals {
    let accepted = accepted(trace, wanted);
    let hosts = trace.tracks.par_iter().filter(|track| track.kind == TrackKind::HostThread);
    let of_track = |track: &Track| {
        let rows = track.slices.meta.iter().zip(track.slices.times());
        let rows = rows.filter(|(meta, _)| accepted[**meta]);
        Intervals::of_ordered(rows.map(|(_, times)| times))
    };
    Intervals::of_sets(hosts.map(of_track).collect())
}
