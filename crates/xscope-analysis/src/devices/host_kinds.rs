//! What an event of a host thread says that the thread did.

use rustc_hash::FxHashSet;
use xscope_trace::Trace;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, DeviceKind, EventMeta, MetaId, Track, TrackKind};
use xscope_trace::strings::StrId;

use crate::devices::steps::numbered_metas;
use crate::kernels::category::kind;

/// What a host thread did while an event was the innermost one that says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    /// It ran code.
    Work,
    /// It was in a call that copies between host and device: blocked, but for the time in which the copy
    /// itself runs, which the device records.
    Copying,
    /// It waited for something to do.
    Awaiting,
    /// It started or stopped the recorder.
    Recorder,
    /// Nothing: a wait inside of work is part of that work, and an annotation is no code.
    Silent,
}

impl HostKind {
    /// Whether what is called inside is part of it.
    pub(super) fn covers(self) -> bool {
        matches!(self, Self::Copying | Self::Awaiting | Self::Recorder)
    }
}

/// The kind of every event, as if it were on a host thread.
pub(super) fn host_kinds(trace: &Trace) -> IdVec<MetaId, HostKind> {
    let of_devices = names_of_operations(trace);
    let copies = records_copies(trace);
    let steps = numbered_metas(trace);
    let of_meta = |id: MetaId| {
        let meta = trace.meta(id);
        let is_mark = steps.contains(&id) || is_annotation(trace, meta);
        if is_mark || of_devices.contains(&meta.name) {
            return HostKind::Silent;
        }
        let name = trace.label(id);
        match kind_of_name(name) {
            HostKind::Work if copies && is_transfer(name) => HostKind::Copying,
            kind => kind,
        }
    };
    trace.metas.ids().map(of_meta).collect::<Vec<_>>().into()
}

/// A host event that runs an operation is named after it by some recorders; the operation is the device's.
fn names_of_operations(trace: &Trace) -> FxHashSet<StrId> {
    let mut seen = IdVec::filled(&trace.metas, false);
    let ops = trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops);
    ops.flat_map(|track| &track.slices.meta).for_each(|&meta| seen[meta] = true);
    let names = trace.metas.iter().zip(&seen).filter(|(_, seen)| **seen);
    names.flat_map(|(meta, _)| [meta.name, meta.op]).filter(|name| !name.is_empty()).collect()
}

/// Whether devices say themselves when copies between them and the host run.
pub(super) fn records_copies(trace: &Trace) -> bool {
    let mut seen = IdVec::filled(&trace.metas, false);
    let of_device = |device: DeviceId| trace.device_tracks(device, TrackKind::Ops);
    let gpus = trace.devices.ids().filter(|&device| trace.devices[device].kind == DeviceKind::Gpu);
    gpus.flat_map(of_device)
        .flat_map(|track| &track.slices.meta)
        .for_each(|&meta| seen[meta] = true);
    seen.iter_ids().any(|(meta, &seen)| seen && kind(trace, meta).category == "copy")
}

/// Marks that people and frameworks set around code: PyTorch's `record_function`, its profiler's steps.
fn is_annotation(trace: &Trace, meta: &EventMeta) -> bool {
    let name = trace.strings.get(meta.name);
    trace.strings.get(meta.category) == "user_annotation"
        || name.starts_with("ProfilerStep#")
        || (name.starts_with("## ") && name.ends_with(" ##"))
}

/// Whether a host event is a call of CUDA's or HIP's that copies.
pub(crate) fn is_copy_call(name: &str) -> bool {
    ["cudaMemcpy", "hipMemcpy", "cuMemcpy"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a host event moves data between host and device, as JAX's runtime calls it.
pub(crate) fn is_transfer(name: &str) -> bool {
    const PARTS: [&str; 8] = [
        "TransferTo",
        "TransferFrom",
        "TransferLiteral",
        "BufferFromHost",
        "CopyToDevice",
        "CopyRawToHost",
        "ToLiteral",
        "copy_to_host",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// Whether a thread launches work of devices in an event of this name.
fn is_launch(name: &str) -> bool {
    const PARTS: [&str; 4] =
        ["PjitFunction", "LaunchKernel", "GraphLaunch", "LoadedExecutable::Execute"];
    PARTS.iter().any(|part| name.contains(part))
}

/// Host threads whose waiting says that there was nothing to do: those that launch work, if any does. Others
/// wait for most of their life whatever devices do.
pub(super) fn awaiting_threads<'a>(trace: &Trace, hosts: &[&'a Track]) -> Vec<&'a Track> {
    let launches: IdVec<MetaId, bool> =
        trace.metas.ids().map(|meta| is_launch(trace.label(meta))).collect::<Vec<_>>().into();
    let is_launcher = |track: &&&Track| track.slices.meta.iter().any(|&meta| launches[meta]);
    let launchers: Vec<&Track> = hosts.iter().filter(is_launcher).copied().collect();
    if launchers.is_empty() { hosts.to_vec() } else { launchers }
}

/// What is told from a name alone.
fn kind_of_name(name: &str) -> HostKind {
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
    // Sockets, event loops, locks.
    const AWAITED: [&str; 9] = [
        "recv_pyobj",
        "recv_multipart",
        "recv_json",
        "recv_string",
        "epoll",
        "kqueue",
        "method acquire of",
        "'acquire' of",
        "simplequeue",
    ];
    const RECORDERS: [&str; 4] =
        ["start_trace", "stop_trace", "profilersession", "profiler/profiler.py"];
    let lower = name.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let function = lower.rsplit([' ', '.', ':']).next().unwrap_or_default();
    let waits_for_work = has(&AWAITED)
        || function == "acquire"
        || (function == "get" && lower.contains("queue"))
        || (function == "select" && lower.contains("selectors.py"));
    if is_copy_call(name) {
        HostKind::Copying
    } else if waits_for_work {
        HostKind::Awaiting
    } else if has(&RECORDERS) {
        HostKind::Recorder
    } else if has(&WAITS) {
        HostKind::Silent
    } else {
        HostKind::Work
    }
}

#[cfg(test)]
mod tests {
    use super::{HostKind, kind_of_name};

    #[test]
    fn a_name_says_what_a_thread_does() {
        use HostKind::{Awaiting, Copying, Recorder, Silent, Work};
        for (name, expected) in [
            ("hipMemcpyWithStream", Copying),
            ("cudaMemcpyAsync", Copying),
            ("$socket.py:961 recv_pyobj", Awaiting),
            ("zmq/sugar/socket.py(961): recv_pyobj", Awaiting),
            ("$<unknown> acquire", Awaiting),
            ("<built-in method acquire of _thread.lock object at 0x7f11>", Awaiting),
            ("$queue.py:154 get", Awaiting),
            ("queue.py(171): get", Awaiting),
            ("<built-in method get of _queue.SimpleQueue object at 0x7f>", Awaiting),
            ("$selectors.py:451 select", Awaiting),
            ("select.epoll.poll", Awaiting),
            ("$profiler.py:115 start_trace", Recorder),
            ("block_until_ready", Silent),
            ("cudaDeviceSynchronize", Silent),
            ("$dict get", Work),
            ("aten::select", Work),
            ("queue_batch", Work),
            ("hipLaunchKernel", Work),
        ] {
            assert_eq!(kind_of_name(name), expected, "{name}");
        }
    }
}
