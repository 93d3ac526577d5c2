//! Files that are cut, flipped, hostile or not there: each gives an answer, or an error that says
//! which file, where, and what to do. None brings the reader down.

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rayon::ThreadPool;
use rustix::time::{ClockId, clock_gettime};
use xscope_testing::{files, fixture, traces};
use xscope_trace::quality::Code;
use xscope_trace::stats::SplitMix;
use xscope_trace::{Error, Trace, read_paths};

use crate::feed;
use xscope_trace::model::SourceId;

/// Processor time that any damaged file up to a few megabytes may take, in an unoptimised build.
const MOST_SECS: i64 = 20;

/// Files up to this size are cut at every byte.
const CUT_EVERYWHERE_BELOW: usize = 20_000;

/// Flips and truncations of each file.
const CASES: u64 = 200;

/// The same damage on every machine.
struct Random(SplitMix);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.bits() % bound as u64).unwrap()
    }
}

/// The profiles below a folder up to `limit` bytes, sorted, each with the name that it is read by.
fn profiles(folder: &Path, limit: u64) -> Vec<(String, Vec<u8>)> {
    let suffixes = [".pb", ".riegeli", ".xspan", ".json", ".json.gz", "requests.jsonl", ".prof"];
    let mut profiles = Vec::new();
    for path in files(folder) {
        let name = path.strip_prefix(fixture("")).unwrap_or(&path).display().to_string();
        if suffixes.iter().any(|suffix| name.ends_with(suffix))
            && fs::metadata(&path).unwrap().len() <= limit
        {
            profiles.push((name, fs::read(&path).unwrap()));
        }
    }
    profiles
}

thread_local! {
    /// Readers work on one thread, whose time does not depend on what else the machine does.
    static READER: ThreadPool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
}

/// Reads `bytes` and checks that whatever comes of it is of use. `what` names the damage.
fn survive(name: &str, what: &str, bytes: &[u8]) -> Result<Trace, Error> {
    let secs = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
    let read = || {
        let begin = secs();
        let result = catch_unwind(AssertUnwindSafe(|| feed::read(name, bytes)));
        (result, secs() - begin)
    };
    let (result, took) = READER.with(|reader| reader.install(read));
    let result = result.unwrap_or_else(|_| panic!("{name}, {what}: the reader panicked"));
    assert!(took < MOST_SECS, "{name}, {what}: took {took} s");
    if let Err(error) = &result {
        check_message(name, what, error);
    }
    result
}

fn check_message(name: &str, what: &str, error: &Error) {
    let message = error.to_string();
    assert!(message.contains(name), "{name}, {what}: the message names no file: {message}");
    let helps = match error {
        Error::Damaged { .. } => message.contains("at byte ") && message.contains("; "),
        Error::UnknownFormat { .. } => message.contains("it reads "),
        Error::Io { .. } => message.contains("; "),
        _ => message.len() > name.len() + 20,
    };
    assert!(helps, "{name}, {what}: the message does not help: {message}");
}

/// Flips 1, 2, 4 ... 64 bytes somewhere, and cuts the file somewhere.
fn flip_and_cut(name: &str, bytes: &[u8], cases: u64) {
    for seed in 0..cases {
        let mut random = Random(SplitMix::new(seed));
        let mut flipped = bytes.to_vec();
        for _ in 0..1_u32 << (seed % 7) {
            let at = random.below(flipped.len());
            flipped[at] = random.0.bits().to_le_bytes()[0];
        }
        drop(survive(name, &format!("flipped with seed {seed}"), &flipped));
        let cut = random.below(bytes.len());
        drop(survive(name, &format!("cut at byte {cut}"), &bytes[..cut]));
    }
}

/// Runs `check` on each file, on two threads.
fn each(files: &[(String, Vec<u8>)], check: impl Fn(&str, &[u8]) + Sync) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            let files = files.iter().skip(half).step_by(2);
            scope.spawn(|| files.for_each(|(name, bytes)| check(name, bytes)));
        }
    });
}

#[test]
fn whole_fixtures_are_read_without_damage() {
    for (name, bytes) in profiles(&fixture(""), u64::MAX) {
        if name.starts_with("chrome_json") || name.ends_with("n.json") || name.ends_with("s.json") {
            continue;
        }
        let trace = survive(&name, "whole", &bytes).unwrap();
        let damage = trace.findings.iter().find(|finding| finding.code.as_str().contains("damage"));
        assert_eq!(damage, None, "{name}");
        let rows = trace.slice_count() + trace.client.len();
        assert!(
            rows + trace.profiles.len() + trace.memory_reports.len() > 0,
            "{name} has something in it"
        );
    }
    let run = feed_paths(&[fixture("run")]).unwrap();
    assert_eq!(run.sources.len(), 3, "{:?}", run.sources);
    assert!(run.client.len() >= 3 && !run.spans.is_empty() && !run.devices.is_empty());
}

fn feed_paths(paths: &[PathBuf]) -> Result<Trace, Error> {
    read_paths(paths).inspect(feed::look)
}

#[test]
fn flipped_and_cut_fixtures_are_survived() {
    each(&profiles(&fixture(""), u64::MAX), |name, bytes| flip_and_cut(name, bytes, CASES));
}

#[test]
fn fixtures_are_survived_cut_at_every_byte() {
    each(&profiles(&fixture(""), CUT_EVERYWHERE_BELOW as u64), |name, bytes| {
        for cut in 0..bytes.len() {
            drop(survive(name, &format!("cut at byte {cut}"), &bytes[..cut]));
        }
    });
}

/// All cases take an hour in an unoptimised build, so that is for `XSCOPE_SLOW_TESTS=1`.
#[test]
fn flipped_and_cut_real_traces_are_survived() {
    let Some(folder) = traces() else { return };
    let slow = std::env::var_os("XSCOPE_SLOW_TESTS").is_some();
    let (cases, limit) = if slow { (CASES, 5 << 20) } else { (4, 1 << 20) };
    each(&profiles(&folder, limit), |name, bytes| flip_and_cut(name, bytes, cases));
}

#[test]
fn a_file_copied_as_text_is_refused() {
    let bytes = fs::read(fixture("tpu_v6e/excerpt.xplane.pb")).unwrap();
    let copied = String::from_utf8_lossy(&bytes).into_owned().into_bytes();
    let error = survive("copied.xplane.pb", "copied as text", &copied).unwrap_err();
    assert!(error.to_string().contains("binary mode"), "{error}");
}

#[test]
fn empty_and_blank_files_are_refused() {
    for (bytes, expected) in [
        (&b""[..], "0 bytes"),
        (b" \n\t ", "only white space"),
        (b"\x00\x00\x00\x00", "unknown bytes"),
        (b"\x1f\x8b", "cannot read"),
        (b"{}", ""),
        (b"[", ""),
        (b"XSPAN", "at byte 0"),
    ] {
        match survive("small.xplane.pb", "as it is", bytes) {
            Ok(_) => assert_eq!(expected, "", "{bytes:?} was read"),
            Err(error) => assert!(error.to_string().contains(expected), "{bytes:?}: {error}"),
        }
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn message(number: u64, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [varint(number << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

/// A stat metadata entry of a plane.
fn stat_name(id: u64, name: &str) -> Vec<u8> {
    message(5, [int(1, id), message(2, [int(1, id), message(2, name)].concat())].concat())
}

/// A host plane that has `parts`.
fn host_plane(parts: &[Vec<u8>]) -> Vec<u8> {
    message(1, [message(2, "/host:CPU"), parts.concat()].concat())
}

#[test]
fn lengths_that_no_file_has_are_survived() {
    for length in [1 << 31, 1 << 32, 1 << 62, u64::MAX - 1, u64::MAX] {
        for (what, head) in [
            ("a plane", vec![0x0a]),
            ("a host name", [message(1, message(2, "/host:CPU")), vec![0x22]].concat()),
        ] {
            let bytes = [head, varint(length), vec![0; 100]].concat();
            drop(survive("huge.xplane.pb", &format!("{what} of {length} bytes"), &bytes));
        }
        let line = [vec![0x22], varint(length)].concat();
        let trace = survive("huge.xplane.pb", "an event", &host_plane(&[message(3, line)]));
        assert_eq!(trace.unwrap().findings[0].code, Code::XplaneDamagedLine);
    }
}

#[test]
fn times_at_the_ends_of_their_range_are_survived() {
    let extremes = [0, 1, 1 << 62, i64::MAX.cast_unsigned(), 1 << 63, u64::MAX];
    let mut lines = Vec::new();
    for timestamp in extremes {
        let events = extremes.map(|time| message(4, [int(2, time), int(3, time)].concat()));
        lines.push(message(3, [int(3, timestamp), events.concat()].concat()));
    }
    let stats = [stat_name(1, "profile_start_time"), stat_name(2, "profile_stop_time")].concat();
    for start in extremes {
        let session = [(1, start), (2, !start)]
            .map(|(id, value)| message(6, [int(1, id), int(4, value)].concat()));
        let plane = host_plane(&[stats.clone(), session.concat(), lines.concat()]);
        let trace = survive("times.xplane.pb", &format!("start {start}"), &plane).unwrap();
        assert_eq!(trace.slice_count(), extremes.len() * extremes.len());
    }
}

#[test]
fn a_million_planes_of_nothing_are_survived() {
    let trace = survive("planes.xplane.pb", "empty planes", &[0x0a, 0].repeat(1_000_000));
    assert!(matches!(trace, Err(Error::UnknownFormat { .. })));
    let bytes = [host_plane(&[]), [0x0a, 0].repeat(1_000_000)].concat();
    survive("planes.xplane.pb", "one plane and many empty ones", &bytes).unwrap();
}

#[test]
fn packed_and_repeated_fields_are_survived() {
    let program = |instruction: Vec<u8>| {
        let module = message(3, [int(5, 1), message(2, instruction)].concat());
        let proto = message(1, [message(1, "jit_f"), module].concat());
        let stat = message(5, [int(1, 1), message(6, proto)].concat());
        let event = message(2, [message(2, "jit_f(1)"), stat].concat());
        let entry = message(4, [int(1, 1), event].concat());
        let name = message(2, "/host:metadata");
        message(1, [name, stat_name(1, "hlo proto"), entry].concat())
    };
    let called = message(38, vec![0xff; 100_000]);
    drop(survive("packed.xplane.pb", "numbers that do not end", &program(called)));
    let called = message(38, vec![1; 100_000]);
    drop(survive("packed.xplane.pb", "many calls of itself", &program(called)));
    let event = message(4, int(4, 1).repeat(100_000));
    drop(survive("packed.xplane.pb", "repeated fields", &host_plane(&[message(3, event)])));
}

/// Sums that a small file could make large: every stat a reference to one long text.
#[test]
fn references_to_a_long_text_stay_small() {
    let text = "x".repeat(100_000);
    let names = [stat_name(1, "k"), stat_name(2, &text)].concat();
    let stat = [int(1, 1), int(7, 2)].concat();
    let plane = host_plane(&[names, message(6, stat).repeat(100_000)]);
    let trace = survive("refs.xplane.pb", "plane stats", &plane).unwrap();
    let facts: usize = trace.sources[SourceId(0)].facts.iter().map(|(_, text)| text.len()).sum();
    assert!(facts < 10 * plane.len(), "{facts} bytes of facts of {} bytes", plane.len());
}

#[test]
fn each_event_on_a_device_of_its_own_is_survived() {
    let names = ["hlo_op", "device_ordinal", "program_id"];
    let names = (1..).zip(names).map(|(id, name)| stat_name(id, name)).collect::<Vec<_>>().concat();
    let event = |device: u64| {
        let op = message(4, [int(1, 1), message(5, "dot")].concat());
        let on = message(4, [int(1, 2), int(3, device)].concat());
        let of = message(4, [int(1, 3), int(3, device + 1)].concat());
        message(4, [op, on, of].concat())
    };
    let events: Vec<u8> = (0..30_000).flat_map(event).collect();
    let plane = host_plane(&[names, message(3, events)]);
    survive("devices.xplane.pb", "many devices", &plane).unwrap();
}

#[test]
fn nesting_is_survived() {
    for open in ["[", "{\"a\":", "{\"traceEvents\":[{\"args\":", "[{\"args\":{\"a\":["] {
        let deep = open.repeat(200_000);
        drop(survive("deep.trace.json", open, deep.as_bytes()));
        let event = format!(r#"[{{"ph":"X","ts":1,"dur":1,"name":"a","args":{{"k":{deep}"#);
        drop(survive("deep.trace.json", "inside of an event", event.as_bytes()));
    }
    let row = format!(r#"{{"request_id":"a","extra":{}"#, "[".repeat(200_000));
    drop(survive("requests.jsonl", "nested", row.as_bytes()));
    let deep = (0..2000).fold(Vec::new(), |inner, _| message(1, inner));
    drop(survive("deep.xplane.pb", "nested planes", &deep));
}

fn gzip(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        encoder.write_all(piece.as_ref()).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn compressed_text_that_does_not_end_is_survived() {
    let piece = " ".repeat(1 << 20);
    let blank = gzip((0..16).map(|_| &piece));
    drop(survive("bomb.json.gz", "white space", &blank));
    let head = r#"[{"ph":"X","ts":1,"dur":1,"name":""#;
    let name = gzip([head].into_iter().chain((0..16).map(|_| piece.as_str())));
    drop(survive("bomb.json.gz", "a name without an end", &name));
}

#[test]
fn folders_without_profiles_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
    fs::create_dir(folder.path().join("deeper")).unwrap();
    let error = feed_paths(&[folder.path().to_owned()]).unwrap_err();
    assert!(error.to_string().contains("looked for *.xplane.pb"), "{error}");
    check_message(&folder.path().display().to_string(), "no profile", &error);
    let missing = folder.path().join("missing.xplane.pb");
    let error = feed_paths(std::slice::from_ref(&missing)).unwrap_err();
    check_message(&missing.display().to_string(), "missing", &error);
}

#[cfg(unix)]
#[test]
fn links_in_circles_are_not_followed() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink(folder.path(), at("around")).unwrap();
    symlink(at("b.xplane.pb"), at("a.xplane.pb")).unwrap();
    symlink(at("a.xplane.pb"), at("b.xplane.pb")).unwrap();
    let error = feed_paths(&[folder.path().to_owned()]).unwrap_err();
    assert!(matches!(error, Error::NothingFound { .. }), "{error}");
    let error = feed_paths(&[at("a.xplane.pb")]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    fs::copy(fixture("gpu_amd/excerpt.xplane.pb"), at("c.xplane.pb")).unwrap();
    assert_eq!(feed_paths(&[folder.path().to_owned()]).unwrap().sources.len(), 1);
}

#[test]
fn a_broken_file_does_not_hide_the_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.xplane.pb"), "").unwrap();
    fs::write(folder.path().join("b.xspan"), "XSPAN").unwrap();
    fs::copy(fixture("gpu_amd/excerpt.xplane.pb"), folder.path().join("c.xplane.pb")).unwrap();
    let trace = feed_paths(&[folder.path().to_owned()]).unwrap();
    let unreadable = trace.findings.iter().filter(|finding| finding.code == Code::SourceUnreadable);
    assert_eq!((trace.sources.len(), unreadable.count()), (1, 2));
}

/// Decompression gives a few kilobytes at a time; a large element must not be parsed anew at each.
#[test]
fn a_large_compressed_value_is_read_in_linear_time() {
    let text: String = (0..500_000).map(|n| format!("{:016x}", SplitMix::nth(1, n))).collect();
    let event = format!(r#"[{{"ph":"X","ts":1,"dur":1,"name":"a","args":{{"hlo":"{text}"}}}}]"#);
    let trace = survive("large.json.gz", "whole", &gzip([event])).unwrap();
    assert_eq!(trace.slice_count(), 1);
}
