//! Why devices idle: every moment between a device's first and last operation in which none runs
//! has one cause.
//!
//! Causes are asked in this order, so that they add up: a host thread compiles; data is moved
//! between host and device; no request is in flight (where requests are known); another device that
//! runs the same programs is busy, so this one waits for it; a host thread does something, and the
//! innermost of what it does is named; unknown.

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, MetaId, ProgramId, Track, TrackKind};
use xscope_trace::stats::share;
use xscope_trace::{Picos, Trace};

use crate::devices::host_code::{CodeRow, host_code};
use crate::intervals::Intervals;

/// With more devices than this no device's peers are looked at: every pair is compared.
const MOST_PEERS: usize = 2048;

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

/// What the causes are told from, once for all devices.
struct CauseTimes {
    compile: Intervals,
    transfer: Intervals,
    /// When requests were in flight; `None` if the trace knows of none.
    requests: Option<Intervals>,
    host: Intervals,
}

/// The idle time of every device; `busy` is when they were not, `compile` when a host thread compiled.
pub(crate) fn idle(
    trace: &Trace,
    busy: &IdVec<DeviceId, Intervals>,
    compile: Intervals,
) -> Vec<IdleRow> {
    let (transfer, (requests, host)) = rayon::join(
        || host_intervals(trace, is_transfer),
        || (requests(trace), host_intervals(trace, is_work)),
    );
    let times = CauseTimes { compile, transfer, requests, host };
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
    let row = |device: DeviceId| {
        let name = trace.device_label(device).to_owned();
        let peers = unions.get(groups[device].as_slice());
        device_row(name, &busy[device], peers, &times)
    };
    let devices: Vec<DeviceId> = busy.ids().collect();
    let (mut rows, gaps): (Vec<IdleRow>, Vec<Intervals>) = devices.into_par_iter().map(row).unzip();
    let code = host_code(trace, &gaps, &accepted(trace, is_work));
    for (row, code) in rows.iter_mut().zip(code) {
        row.host_code = code;
    }
    rows
}

/// The row without the host's code, and the gaps in which that ran.
fn device_row(
    device: String,
    busy: &Intervals,
    peers: Option<&Intervals>,
    times: &CauseTimes,
) -> (IdleRow, Intervals) {
    let window = Intervals::of(busy.extent().into_iter().collect());
    let mut rest = window.minus(busy);
    let whole = rest.total();
    let mut causes = Vec::new();
    let mut add = |cause: &'static str, time: Picos| {
        if time > Picos::ZERO {
            causes.push(CauseRow { cause, us: time.as_micros(), share: share(time, whole), time });
        }
    };
    add("compile", rest.cut(&times.compile));
    add("transfer", rest.cut(&times.transfer));
    if let Some(requests) = &times.requests {
        let asked = rest.intersection(requests);
        add("no_request", rest.total() - asked.total());
        rest = asked;
    }
    if let Some(peers) = peers {
        add("peer", rest.cut(peers));
    }
    let host = rest.intersection(&times.host);
    add("host", host.total());
    add("unknown", rest.total() - host.total());
    causes.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.cause.cmp(b.cause)));
    (IdleRow { device, idle_us: whole.as_micros(), causes, host_code: Vec::new() }, host)
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
