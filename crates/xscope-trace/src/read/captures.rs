//! Modules of kernels that were replayed in a graph of CUDA or HIP.
//!
//! A graph is captured once, launch by launch, and then replayed by one call: its kernels have no launch of
//! their own that modules could be told by. The profile of the capture has the launches; servers write it
//! beside that of the work. A replay runs the kernels in the order in which they were captured, so they are
//! joined one by one if all of their names agree, and else not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::ids::IdVec;
use crate::model::{
    ArgValue, DeviceId, DeviceKind, Flow, MetaId, OpenModules, Replay, SliceRef, SourceId, Trace,
    Track, TrackId, TrackKind,
};
use crate::quality::{Code, Finding};
use crate::strings::StrId;
use crate::time::Picos;

/// The categories of a host's calls to a GPU, as Kineto writes them.
const CALLS: [&str; 2] = ["cuda_runtime", "cuda_driver"];

/// What calls that copy or fill are called in a capture, and what begins the names of their operations.
const COPIES: [&str; 2] = ["Memcpy", "Memset"];

/// A file whose captured launches are this share of all of its launches at least holds nothing else.
const CAPTURED_SHARE: usize = 3;

/// What a call of the host does to graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Begin,
    End,
    /// Of a kernel, a copy or a fill: what becomes a part of a graph that is being captured.
    Launch,
    Replay,
}

/// A graph, as it was captured: its kernels, and the path of the modules that launched each.
struct Capture {
    source: SourceId,
    kernels: Vec<StrId>,
    modules: Vec<String>,
}

/// One time that a graph ran: its kernels, and where they are.
struct Run {
    source: SourceId,
    at: Picos,
    kernels: Vec<(Picos, SliceRef, StrId)>,
}

/// Gives kernels of graphs the modules that launched them when the graphs were captured, and leaves out
/// files that hold captures and lie beside a profile of the work.
pub(super) fn join(trace: &mut Trace) {
    let calls: IdVec<MetaId, Option<Call>> = trace.metas.ids().map(|it| call(trace, it)).collect();
    if !calls.contains(&Some(Call::Begin)) {
        return;
    }
    let captures = captures(trace, &calls);
    let beside = beside(trace, &calls, &captures);
    leave_out(&beside, trace);
    let runs = runs(trace, &calls);
    let (mut replays, mut joined, mut unlike) = (Vec::new(), BTreeSet::new(), 0);
    let mut next = None;
    for run in &runs {
        let like = alike(&captures, run);
        let Some(&first) = like.first() else {
            (next, unlike) = (None, unlike + 1);
            continue;
        };
        joined.insert(captures[first].source);
        let is_one = like.iter().all(|&at| captures[at].modules == captures[first].modules);
        // Graphs of a model's parts are captured in the order in which they run.
        let found = next.filter(|next| like.contains(next)).or(is_one.then_some(first));
        next = found.map(|at| at + 1);
        for (place, &(_, op, _)) in run.kernels.iter().enumerate() {
            let of = |at: usize| captures[at].modules[place].as_str();
            let modules = match found {
                Some(at) => of(at),
                None => like.iter().map(|&at| of(at)).reduce(shared).unwrap_or_default(),
            };
            if !modules.is_empty() {
                replays.push(Replay { op, modules: trace.strings.intern(modules) });
            }
        }
    }
    replays.sort_unstable_by_key(|replay| replay.op);
    trace.replays = replays;
    let said = Said { runs: runs.len(), unlike, joined, beside };
    let findings = said.findings(trace, &captures);
    trace.findings.extend(findings);
}

fn call(trace: &Trace, meta: MetaId) -> Option<Call> {
    let meta = trace.meta(meta);
    if !CALLS.contains(&trace.strings.get(meta.category)) {
        return None;
    }
    let name = trace.strings.get(meta.name);
    let has = |part: &&str| name.contains(part);
    match name {
        _ if has(&"StreamBeginCapture") => Some(Call::Begin),
        _ if has(&"StreamEndCapture") => Some(Call::End),
        _ if has(&"GraphLaunch") => Some(Call::Replay),
        _ if has(&"Launch") || COPIES.iter().any(has) => Some(Call::Launch),
        _ => None,
    }
}

/// The calls of a track's thread, with their rows.
fn calls_of<'a>(
    track: &'a Track,
    calls: &'a IdVec<MetaId, Option<Call>>,
) -> impl Iterator<Item = (u32, Call)> + 'a {
    let of_host = (track.kind == TrackKind::HostThread).then_some(&track.slices.meta);
    let rows = (0..).zip(of_host.into_iter().flatten());
    rows.filter_map(|(row, &meta)| Some((row, calls[meta]?)))
}

fn captures(trace: &mut Trace, calls: &IdVec<MetaId, Option<Call>>) -> Vec<Capture> {
    let mut found: Vec<(SourceId, Vec<(String, String)>)> = Vec::new();
    for (id, track) in trace.tracks.iter_ids() {
        let mut modules = OpenModules::of(trace, id);
        let mut paths: Vec<String> = Vec::new();
        let mut open = None;
        for (row, call) in calls_of(track, calls) {
            match (call, &mut open) {
                (Call::Begin, _) => open = Some(Vec::new()),
                (Call::End, _) => {
                    found.extend(open.take().map(|launches| (track.source, launches)));
                }
                (Call::Launch, Some(launches)) => {
                    let module = modules.at(row, |outer: Option<usize>, name| {
                        let outer = outer.map(|outer| format!("{}/", paths[outer]));
                        paths.push(outer.unwrap_or_default() + name);
                        paths.len() - 1
                    });
                    let module = module.map_or_else(String::new, |path| paths[path].clone());
                    launches.push((launched(trace, track, row), module));
                }
                _ => {}
            }
        }
    }
    let strings = &mut trace.strings;
    let capture = |(source, launches): (SourceId, Vec<(String, String)>)| {
        let (kernels, modules): (Vec<String>, _) = launches.into_iter().unzip();
        let kernels = kernels.iter().map(|kernel| strings.intern(kernel)).collect();
        Capture { source, kernels, modules }
    };
    found.into_iter().filter(|(_, launches)| !launches.is_empty()).map(capture).collect()
}

/// What a call launches, if it says so; else the call.
fn launched(trace: &Trace, track: &Track, row: u32) -> String {
    let call = trace.strings.get(trace.meta(track.slices.meta[row as usize]).name);
    let kernel = track.slices.args.find(row as usize, "kernel", &trace.strings);
    match (kernel, COPIES.iter().find(|copy| call.contains(**copy))) {
        (Some(ArgValue::Text(kernel)), _) => kernel,
        (_, Some(copy)) => (*copy).to_owned(),
        _ => call.to_owned(),
    }
}

/// The files of captures that were taken before the work of another file, and hold nothing else.
fn beside(
    trace: &Trace,
    calls: &IdVec<MetaId, Option<Call>>,
    captures: &[Capture],
) -> BTreeSet<SourceId> {
    let has_captures: BTreeSet<SourceId> = captures.iter().map(|it| it.source).collect();
    let of = |source: SourceId| trace.tracks.iter().filter(move |track| track.source == source);
    let mut begins: BTreeMap<SourceId, Picos> = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| is_stream(trace, track)) {
        if let Some(&start) = track.slices.start.first() {
            let begin = begins.entry(track.source).or_insert(start);
            *begin = start.min(*begin);
        }
    }
    begins.retain(|source, _| !has_captures.contains(source));
    let Some(&begin) = begins.values().max() else { return BTreeSet::new() };
    let is_beside = |source: &SourceId| {
        let captured = captures.iter().filter(|it| it.source == *source);
        let captured: usize = captured.map(|it| it.kernels.len()).sum();
        let launches = of(*source).flat_map(|track| calls_of(track, calls));
        let launches = launches.filter(|(_, call)| *call == Call::Launch).count();
        let end = of(*source).filter_map(|it| it.slices.extent()).map(|(_, end)| end).max();
        captured * CAPTURED_SHARE >= launches && end.is_some_and(|end| end <= begin)
    };
    has_captures.iter().copied().filter(is_beside).collect()
}

fn is_stream(trace: &Trace, track: &Track) -> bool {
    let is_gpu = |device: DeviceId| trace.devices[device].kind == DeviceKind::Gpu;
    track.kind == TrackKind::Ops && track.device.is_some_and(is_gpu)
}

/// Drops what files hold; they stay among the sources.
fn leave_out(files: &BTreeSet<SourceId>, trace: &mut Trace) {
    if files.is_empty() {
        return;
    }
    let mut devices: IdVec<DeviceId, Option<DeviceId>> = IdVec::filled(&trace.devices, None);
    let all = std::mem::take(&mut trace.devices);
    for (old, device) in devices.iter_mut().zip(all) {
        if !files.contains(&device.source) {
            *old = Some(trace.devices.push(device));
        }
    }
    let mut tracks: IdVec<TrackId, Option<TrackId>> = IdVec::filled(&trace.tracks, None);
    let all = std::mem::take(&mut trace.tracks);
    for (old, mut track) in tracks.iter_mut().zip(all) {
        if !files.contains(&track.source) {
            track.device = track.device.and_then(|device| devices[device]);
            *old = Some(trace.tracks.push(track));
        }
    }
    let moved = |slice: SliceRef| Some(SliceRef { track: tracks[slice.track]?, ..slice });
    let flows = std::mem::take(&mut trace.flows).into_iter();
    let flows =
        flows.filter_map(|flow| Some(Flow { from: moved(flow.from)?, to: moved(flow.to)? }));
    trace.flows = flows.collect();
    trace.dropped.retain_mut(|dropped| {
        let track = tracks.get(dropped.track).copied().flatten();
        dropped.track = track.unwrap_or(dropped.track);
        track.is_some()
    });
    trace.counters.retain(|counter| !files.contains(&counter.source));
    trace.processes.retain(|process| !files.contains(&process.source));
}

/// The runs of graphs, in the order of their files and launches.
fn runs(trace: &mut Trace, calls: &IdVec<MetaId, Option<Call>>) -> Vec<Run> {
    let copies = COPIES.map(|copy| trace.strings.intern(copy));
    let correlation = |track: &Track, row: u32| {
        track.slices.args.find(row as usize, "correlation", &trace.strings)?.as_i64()
    };
    let mut runs: BTreeMap<(SourceId, i64), Run> = BTreeMap::new();
    for track in &trace.tracks {
        for (row, _) in calls_of(track, calls).filter(|(_, call)| *call == Call::Replay) {
            let Some(id) = correlation(track, row) else { continue };
            let (source, at) = (track.source, track.slices.start[row as usize]);
            runs.insert((source, id), Run { source, at, kernels: Vec::new() });
        }
    }
    let files: BTreeSet<SourceId> = runs.keys().map(|&(source, _)| source).collect();
    for (id, track) in trace.tracks.iter_ids() {
        if !files.contains(&track.source) || !is_stream(trace, track) {
            continue;
        }
        for (row, (&start, &meta)) in (0..).zip(track.slices.start.iter().zip(&track.slices.meta)) {
            let run = correlation(track, row).and_then(|id| runs.get_mut(&(track.source, id)));
            let Some(run) = run else { continue };
            let name = trace.meta(meta).name;
            let text = trace.strings.get(name);
            let copy = COPIES.iter().position(|copy| text.starts_with(copy));
            let kernel = copy.map_or(name, |copy| copies[copy]);
            run.kernels.push((start, SliceRef { track: id, row }, kernel));
        }
    }
    let mut runs: Vec<Run> = runs.into_values().filter(|run| !run.kernels.is_empty()).collect();
    runs.iter_mut().for_each(|run| run.kernels.sort_unstable());
    runs.sort_by_key(|run| (run.source, run.at));
    runs
}

/// The captures whose kernels are those of a run, in order: of its own file, else of the first that has any.
/// Where none is, those that go on a little after its end, of which the profile may lack the last.
fn alike(captures: &[Capture], run: &Run) -> Vec<usize> {
    let len = run.kernels.len();
    let rank = |capture: &Capture| {
        let begins = capture.kernels.iter().zip(&run.kernels).all(|(a, (_, _, b))| a == b);
        let longer = capture.kernels.len().checked_sub(len)?;
        let fits = begins && longer <= len / 10;
        fits.then_some((capture.source != run.source, longer > 0, capture.source))
    };
    let ranks: Vec<_> = captures.iter().map(rank).collect();
    let best = ranks.iter().flatten().min();
    (0..captures.len()).filter(|&at| best.is_some() && ranks[at].as_ref() == best).collect()
}

/// The path of modules that two others are in.
fn shared<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b);
    let len: usize = same.map(|(part, _)| part.len() + 1).sum();
    &a[..len.saturating_sub(1)]
}

/// What came of it.
struct Said {
    runs: usize,
    unlike: u64,
    joined: BTreeSet<SourceId>,
    beside: BTreeSet<SourceId>,
}

impl Said {
    fn findings(&self, trace: &Trace, captures: &[Capture]) -> Vec<Finding> {
        let names = |files: &BTreeSet<SourceId>| {
            let path = |id: &SourceId| Path::new(&trace.sources[*id].path).file_name();
            let names = files.iter().filter_map(path).map(|name| name.to_string_lossy());
            names.collect::<Vec<_>>().join(", ")
        };
        let left_out = match self.beside.is_empty() {
            true => String::new(),
            false => format!("; what {} ran itself is in no figure", names(&self.beside)),
        };
        let joined = self.runs as u64 - self.unlike;
        let mut findings = Vec::new();
        if joined > 0 {
            let message = format!(
                "{joined} of {} replays of graphs run the kernels that were captured in {}, in the same \
                 order: these have the modules that launched them there{left_out}",
                self.runs,
                names(&self.joined)
            );
            findings.push(Finding::new(Code::GraphsCaptured, message).times(joined));
        } else if !left_out.is_empty() && self.unlike == 0 {
            let message = format!("captures of graphs lie beside the profile{left_out}");
            findings.push(Finding::new(Code::GraphsCaptured, message));
        }
        if self.unlike > 0 {
            let files = captures.iter().map(|it| it.source).collect();
            let left_out = if joined > 0 { "" } else { &left_out };
            let message = format!(
                "{} of {} replays of graphs run other kernels than were captured in {}, or in another \
                 order: no module is known of them{left_out}",
                self.unlike,
                self.runs,
                names(&files)
            );
            findings.push(Finding::new(Code::GraphsUnlike, message).times(self.unlike));
        }
        findings
    }
}
