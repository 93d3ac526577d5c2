//! From paths to a [`Trace`]: finds the files, tells their formats by content, reads each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::align::align;
use crate::bytes::FileBytes;
use crate::chrome;
use crate::error::{Error, Result};
use crate::ids::IdVec;
use crate::memory_report;
use crate::model::{DeviceId, Dropped, SharedBytes, Source, Trace, short_device};
use crate::pprof;
use crate::quality::{Code, Finding};
use crate::run::{RunDir, RunStatus, ServerClock};
use crate::server_log;
use crate::spans;
use crate::strings::{StrId, Strings};
use crate::time::{Bytes, Nanos, Picos};
use crate::unpack::{Packing, unpacked_limit};
use crate::xplane;

/// The client's rows in a run directory.
const REQUESTS: &str = "requests.jsonl";

/// Where a run directory keeps what its servers printed.
const LOGS: &str = "logs";

/// How deep a directory is searched for profiles: `run/trace/plugins/profile/<stamp>/<file>` and
/// a few levels above it.
const SEARCH_DEPTH: usize = 8;

/// What is kept of what is read.
///
/// Operations are always kept, on whatever thread they ran. What is dropped is other slices of
/// host threads of XPlane files, which can be most of a file; they are counted in
/// [`Trace::dropped`].
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// What the slices of all files may take in memory; of a file that would take more, only what
    /// is needed is kept. No limit if `None`.
    pub memory_limit: Option<Bytes>,
    /// Whether slices of host threads with this name are needed in any case.
    pub needed: fn(&str) -> bool,
}

impl Default for LoadOptions {
    /// Everything is kept.
    fn default() -> Self {
        Self { memory_limit: None, needed: |_| true }
    }
}

/// Half of this machine's memory, the usual [`LoadOptions::memory_limit`]; `None` where it cannot
/// be told.
pub fn half_of_memory() -> Option<Bytes> {
    let facts = fs::read_to_string("/proc/meminfo").ok()?;
    let line = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib.saturating_mul(1024) / 2))
}

/// Reads everything that `paths` name (files, TensorBoard log directories, run directories,
/// folders of such) into one trace, and keeps all of it.
///
/// # Errors
/// If a named file, or every file of a named directory, cannot be read. A directory with a
/// broken file beside good ones is read, with a finding for the broken one.
pub fn load(paths: &[PathBuf]) -> Result<Trace> {
    load_with(paths, LoadOptions::default())
}

/// [`load`], keeping what `options` say.
///
/// # Errors
/// As [`load`].
pub fn load_with(paths: &[PathBuf], options: LoadOptions) -> Result<Trace> {
    let mut trace = Trace::default();
    for path in paths {
        match path.is_dir() {
            true => load_directory(path, options, &mut trace)?,
            false => load_file(path, options, &mut trace)?,
        }
    }
    report_dropped(options, &mut trace);
    Ok(finish(trace))
}

/// Says what a memory limit cost.
fn report_dropped(options: LoadOptions, trace: &mut Trace) {
    let dropped: u64 = trace.dropped.iter().map(Dropped::count).sum();
    let (Some(limit), 1..) = (options.memory_limit, dropped) else { return };
    let message = format!(
        "slices of host threads were counted but not kept, because all would take more than the \
         limit of {} MB; device figures are whole, what the host did is not: raise --memory-limit \
         to see all",
        limit.0 / 1_000_000
    );
    trace.findings.push(Finding::new(Code::LoadDropped, message).times(dropped));
}

/// Reads the bytes of one file, which need not lie on a disk (standard input, a test, a fuzzer).
///
/// `name` stands in messages and for the host where a file does not name one. The format is told
/// by the bytes alone, but for the client's rows, whose name must end in `requests.jsonl`.
///
/// # Errors
/// If nothing can be read of them; lesser damage is a finding.
pub fn read_bytes(name: &str, bytes: Vec<u8>) -> Result<Trace> {
    let mut trace = Trace::default();
    read_file(Path::new(name), FileBytes::Owned(bytes), LoadOptions::default(), &mut trace)?;
    Ok(finish(trace))
}

/// What can only be done when all files are read.
fn finish(mut trace: Trace) -> Trace {
    sort_devices(&mut trace);
    label_devices(&mut trace);
    align(&mut trace);
    trace
}

/// Brings devices into the order of their sources and numbers: readers meet them in the order of
/// their first operation.
fn sort_devices(trace: &mut Trace) {
    let mut order: Vec<DeviceId> = trace.devices.ids().collect();
    order.sort_by_key(|&id| {
        let device = &trace.devices[id];
        (device.source, device.kind, device.ordinal)
    });
    let mut place = IdVec::filled(&trace.devices, DeviceId(0));
    for (new, &old) in trace.devices.ids().zip(&order) {
        place[old] = new;
    }
    trace.devices = order.iter().map(|&id| trace.devices[id].clone()).collect();
    for device in trace.tracks.iter_mut().filter_map(|track| track.device.as_mut()) {
        *device = place[*device];
    }
}

/// Tells devices of one name apart: by their host, else by the folder of their file, else by its
/// number.
fn label_devices(trace: &mut Trace) {
    let mut named: BTreeMap<StrId, Vec<DeviceId>> = BTreeMap::new();
    for (id, device) in trace.devices.iter_ids() {
        named.entry(device.name).or_default().push(id);
    }
    for (name, alike) in named.into_iter().filter(|(_, alike)| alike.len() > 1) {
        let source = |&id: &DeviceId| &trace.sources[trace.devices[id].source];
        let hosts: Vec<&str> = alike.iter().map(|id| trace.strings.get(source(id).host)).collect();
        let paths: Vec<&Path> = alike.iter().map(|id| Path::new(&source(id).path)).collect();
        let common = paths[0].ancestors().find(|it| paths.iter().all(|path| path.starts_with(it)));
        let parts = paths.iter().copied().map(|path| {
            let rest = path.strip_prefix(common?).ok()?;
            rest.components().next()?.as_os_str().to_str()
        });
        let parts: Option<Vec<&str>> = parts.collect();
        let numbers: Vec<String> = (1..=alike.len()).map(|number| number.to_string()).collect();
        let numbers = || numbers.iter().map(String::as_str).collect();
        let marks = [Some(hosts), parts].into_iter().flatten().find(|marks| are_distinct(marks));
        let short = short_device(trace.strings.get(name)).to_owned();
        let labels: Vec<String> =
            marks.unwrap_or_else(numbers).iter().map(|mark| format!("{short} of {mark}")).collect();
        for (id, label) in alike.into_iter().zip(labels) {
            trace.devices[id].label = trace.strings.intern(&label);
        }
    }
}

fn are_distinct(names: &[&str]) -> bool {
    let distinct: BTreeSet<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    distinct.len() == names.len()
}

fn load_directory(directory: &Path, options: LoadOptions, trace: &mut Trace) -> Result<()> {
    let files = find_profiles(directory)?;
    if files.is_empty() {
        return Err(Error::NothingFound {
            path: directory.to_owned(),
            what:
                "no profile in it or below it (looked for *.xplane.pb, *.xspan, *.json[.gz] with \
                   trace events, *.prof, memory_report_*.json); \
                   was the capture stopped before it could write?"
                    .to_owned(),
        });
    }
    let run = RunDir::open(directory).ok();
    trace.findings.extend(run.as_ref().and_then(unfinished_run));
    let mut first_error = None;
    let before = trace.sources.len();
    for file in files {
        if let Err(error) = load_file(&file, options, trace) {
            // Most servers' logs have nothing to say, which is no damage.
            if is_log(&file) {
                continue;
            }
            let message = format!("{error} (the other files were read)");
            trace.findings.push(Finding::new(Code::SourceUnreadable, message));
            first_error.get_or_insert(error);
        }
    }
    if let Some(run) = &run {
        let (_, sources) = trace.sources.split_at_mut(before);
        place_own(run, sources);
        place_servers(run, sources, &mut trace.strings);
    }
    match first_error {
        Some(error) if trace.sources.len() == before => Err(error),
        _ => Ok(()),
    }
}

/// Says of sources that only have the monotonic clock of the run's machine what wall time that is.
fn place_own(run: &RunDir, sources: &mut [Source]) {
    let offset = run.manifest.clock.wall_offset;
    for clock in sources.iter_mut().map(|source| &mut source.clock) {
        if let (Some(monotonic), None, true) =
            (clock.monotonic_epoch, clock.unix_epoch, offset != Nanos::ZERO)
        {
            clock.unix_epoch = Some(Nanos(monotonic.0.saturating_add(offset.0)));
        }
    }
}

/// Puts the sources of a run's servers on the run's clock, and names their hosts after them where
/// there are several.
fn place_servers(run: &RunDir, sources: &mut [Source], strings: &mut Strings) {
    for server in &run.manifest.servers {
        let folders = [run.server_trace_dir(server), run.server_spans_dir(server)];
        for source in sources.iter_mut() {
            if !folders.iter().any(|folder| Path::new(&source.path).starts_with(folder)) {
                continue;
            }
            if !server.name.is_empty() {
                let host = format!("{} ({})", server.name, strings.get(source.host));
                source.host = strings.intern(&host);
            }
            if let Some(ServerClock { ahead, error }) = server.clock {
                let clock = &mut source.clock;
                clock.unix_epoch =
                    clock.unix_epoch.map(|epoch| Nanos(epoch.0.saturating_sub(ahead.0)));
                clock.error = Some(Picos::from(error));
                // Another machine's, which counts from that machine's start.
                clock.monotonic_epoch = None;
            }
        }
    }
}

/// What a run says of how it ended, unless all is well.
fn unfinished_run(run: &RunDir) -> Option<Finding> {
    let (code, what) = match run.manifest.status {
        RunStatus::Complete => return None,
        RunStatus::Running => (Code::RunRunning, "the run is still going on"),
        RunStatus::Interrupted => (
            Code::RunInterrupted,
            "the run was interrupted; it holds what was \
             recorded until then",
        ),
        RunStatus::Failed => (
            Code::RunFailed,
            "the run failed: its server went away or could not be \
             loaded; it holds what was recorded until then",
        ),
    };
    Some(Finding::new(code, what))
}

/// The profiles below a directory, sorted. Chrome JSON beside an XPlane file of the same host is
/// left out: JAX writes it from the same data, cut at a million events.
fn find_profiles(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![(directory.to_owned(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let io = |source| Error::Io { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let kind = fs::symlink_metadata(&path).map_err(io)?.file_type();
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if kind.is_dir() && depth < SEARCH_DEPTH && !is_hidden {
                pending.push((path, depth + 1));
            } else if kind.is_file() && (is_profile_name(&path) || is_unnamed_profile(&path)) {
                files.push(path);
            }
        }
    }
    files.retain(|path| !is_log(path) || path.parent().is_some_and(|p| p.ends_with(LOGS)));
    files.sort();
    let twin = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let host = name.strip_suffix(".trace.json.gz")?;
        Some(path.with_file_name(format!("{host}.xplane.pb")))
    };
    let all = files.clone();
    files.retain(|path| twin(path).is_none_or(|twin| all.binary_search(&twin).is_err()));
    Ok(files)
}

fn is_profile_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == REQUESTS
        || server_log::is_log_name(name)
        || memory_report::is_report_name(name)
        || [
            ".xplane.pb",
            ".xplane.pb.gz",
            ".xplane.pb.xz",
            ".xplane.riegeli",
            ".xspan",
            ".trace.json",
            ".trace.json.gz",
            ".trace.json.xz",
            ".prof",
            ".pprof",
            ".cpu.pb",
        ]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// How much of a file of JSON is looked at to tell whether it is a profile, in bytes. Kineto writes
/// two kilobytes about the devices and the environment first.
const LOOKED_AT: u64 = 64 << 10;

/// Whether a file of JSON without a profile's name is Chrome JSON all the same, as PyTorch's are.
fn is_unnamed_profile(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if ![".json", ".json.gz", ".json.xz"].iter().any(|suffix| name.ends_with(suffix)) {
        return false;
    }
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut head));
    let unpacked = match Packing::of(&head) {
        Some(packing) => packing.head(&head, LOOKED_AT),
        None => head,
    };
    read.is_ok() && chrome::is_chrome_json(&unpacked)
}

fn is_log(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(server_log::is_log_name)
}

/// From start to end of the run that a log is part of, since the Unix epoch.
fn run_of(log: &Path) -> Option<(Nanos, Nanos)> {
    let manifest = RunDir::open(log.parent()?.parent()?).ok()?.manifest;
    Some((manifest.started_wall, manifest.ended_wall?))
}

fn load_file(path: &Path, options: LoadOptions, trace: &mut Trace) -> Result<()> {
    read_file(path, FileBytes::open(path)?, options, trace)
}

/// Reads one file, of whatever format it is.
fn read_file(
    path: &Path,
    mut bytes: FileBytes,
    options: LoadOptions,
    trace: &mut Trace,
) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::Empty {
            path: path.to_owned(),
            hint: "JAX writes an empty file when a profile would be larger than 2 GiB; capture \
                   for a shorter time, without the Python tracer",
        });
    }
    let name = path.to_string_lossy();
    if let Some(packing) = Packing::of(&bytes) {
        // JSON is read as a stream: unpacked, it is ten times as large and read only once.
        if matches!(detect(&packing.head(&bytes, DETECTED_BY)), Detected::ChromeJson) {
            return chrome::read(&name, packing.reader(&bytes), trace);
        }
        bytes = packing.unpack(path, &bytes, unpacked_limit(&bytes))?;
    }
    if is_log(path) {
        return server_log::read(&name, &bytes, run_of(path), trace);
    }
    if path.file_name().is_some_and(|file| file == REQUESTS) {
        spans::read_requests(&name, &bytes, trace);
        return Ok(());
    }
    if pprof::is_pprof(&bytes) {
        return pprof::read(&name, &bytes, trace);
    }
    if memory_report::is_report(&name, &bytes) {
        return memory_report::read(&name, &bytes, trace);
    }
    match detect(&bytes) {
        Detected::XPlane => {
            let filter = filter(bytes.len(), options, trace);
            xplane::read(&name, &SharedBytes::new(bytes), filter, trace)
        }
        Detected::ChromeJson => chrome::read(&name, &bytes[..], trace),
        Detected::XSpan => spans::read_xspan(&name, &bytes, trace),
        Detected::Unknown(found) => {
            Err(Error::UnknownFormat { path: path.to_owned(), found: found.to_owned() })
        }
    }
}

/// The rule for what is kept of an XPlane file of `size` bytes; `None` to keep all.
fn filter(size: usize, options: LoadOptions, trace: &Trace) -> Option<fn(&str) -> bool> {
    // An event takes 10 to 60 bytes in a file and 20 to 32 here.
    let read: u64 = trace.sources.iter().map(|source| source.size.0).sum();
    let expected = read.saturating_add(size as u64).saturating_mul(3) / 2;
    options.memory_limit.is_some_and(|limit| expected > limit.0).then_some(options.needed)
}

/// How many bytes tell the format of a file that is named or found as a profile.
const DETECTED_BY: u64 = 256;

enum Detected {
    XPlane,
    ChromeJson,
    XSpan,
    Unknown(&'static str),
}

/// What every Riegeli file begins with.
const RIEGELI: &[u8] = &[0x83, 0xaf, 0x70, 0xd1, 0x0d, 0x88, 0x4a, 0x3f];

/// Tells the format of a file by its first bytes.
fn detect(bytes: &[u8]) -> Detected {
    if bytes.starts_with(b"XSPAN") {
        return Detected::XSpan;
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut marks = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    // Field 1 (planes), length-delimited: what every XSpace starts with, unless it has errors or
    // warnings or host names only. The tag is a line feed and the length may be a bracket.
    let is_plane = matches!(bytes.first(), Some(0x0a | 0x12 | 0x1a | 0x22));
    match (marks.next(), marks.next()) {
        (None, _) => Detected::Unknown("only white space"),
        (Some(b'{' | b'['), Some(next)) if is_plane && !next.is_ascii_graphic() => Detected::XPlane,
        (Some(b'{' | b'['), _) => Detected::ChromeJson,
        _ if is_plane => Detected::XPlane,
        _ if bytes.starts_with(RIEGELI) => Detected::Unknown(
            "an XPlane in chunks in a Riegeli file, which xscope does not read: XProf does; or \
             capture with a profiler that writes *.xplane.pb",
        ),
        _ if pprof::is_gperftools(bytes) => Detected::Unknown(
            "a CPU profile of gperftools' older kind, addresses without names: convert it with \
             `pprof -proto`",
        ),
        _ => Detected::Unknown("unknown bytes"),
    }
}
