//! A file much larger than the memory that there is: what is not needed is not kept.

use std::env;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;

use xscope_testing::{again, is_again};
use xscope_trace::model::TrackId;
use xscope_trace::read::{ReadOptions, read_paths_with};
use xscope_trace::write::xplane::{Event, EventMeta, PlaneBuilder};
use xscope_trace::{Bytes, Nanos, Picos};

const CALLS: i64 = 4_000_000;

/// What the process may have of its own, in KiB; mapped files do not count. The rows of all calls
/// take 80 MB.
const LIMIT_KIB: u32 = 32_000;

/// Tells a run of this test by itself what it is to read, and how.
const FILE: &str = "XSCOPE_TEST_LARGE_FILE";
const KEEP_ALL: &str = "XSCOPE_TEST_KEEP_ALL";

fn write_large(path: &Path) {
    let mut plane = PlaneBuilder::new(1, "/host:CPU");
    let call = plane.event(EventMeta { name: "$model.py:1 forward", ..EventMeta::default() });
    let compile = plane.event(EventMeta { name: "backend_compile", ..EventMeta::default() });
    let line = plane.line(7, "python", Nanos(1000));
    for n in 0..CALLS {
        let id = if n == 1000 { compile } else { call };
        let offset = Picos(n * 1_000_000);
        plane.push(line, &Event { id, offset, dur: Picos(500_000), stats: &[] });
    }
    let mut bytes = Vec::new();
    plane.encode_into(&mut bytes);
    BufWriter::new(File::create(path).unwrap()).write_all(&bytes).unwrap();
}

/// The part that runs under a limit.
fn read_large(path: &Path) {
    let needed: fn(&str) -> bool = |name| name == "backend_compile";
    let limit = if env::var_os(KEEP_ALL).is_some() { u64::MAX } else { 10_000_000 };
    let options = ReadOptions { memory_limit: Some(Bytes(limit)), needed };
    let trace = read_paths_with(&[path.to_owned()], options).unwrap();
    assert_eq!(trace.slice_count(), usize::try_from(CALLS).unwrap());
    assert_eq!(trace.tracks[TrackId(0)].slices.len(), 1);
    assert_eq!(trace.dropped[0].count(), CALLS.unsigned_abs() - 1);
}

#[test]
fn a_file_larger_than_memory_is_read() {
    if is_again() {
        read_large(Path::new(&env::var_os(FILE).unwrap()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.xplane.pb");
    write_large(&path);
    let limited = |all: Option<&str>| {
        let test = again("memory::a_file_larger_than_memory_is_read");
        let mut command = Command::new("sh");
        let script = format!("ulimit -d {LIMIT_KIB}; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(test.get_program()).args(test.get_args());
        command.envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env(FILE, &path).envs(all.map(|all| (KEEP_ALL, all))).output().unwrap()
    };
    let output = limited(None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!limited(Some("1")).status.success(), "the limit is none: everything fits");
}
