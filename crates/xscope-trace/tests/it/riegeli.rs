//! XPlane files in Riegeli's form: the same answers as the XSpace that their records make, and what is
//! damaged costs its chunk.

use std::fs;

use xscope_trace::model::Trace;
use xscope_trace::read::read_bytes;
use xscope_trace::stats::SplitMix;
use xscope_trace::{Error, read_paths};

use crate::feed::{self, riegeli_file};

const NAME: &str = "host7.xplane.riegeli";

fn read(bytes: &[u8]) -> Result<Trace, Error> {
    feed::read(NAME, bytes)
}

/// Each name with the time and number of its slices, as reports sum them.
fn sums(trace: &Trace) -> Vec<(String, usize, i64)> {
    let mut sums = std::collections::BTreeMap::<String, (usize, i64)>::new();
    for track in &trace.tracks {
        for row in 0..track.slices.len() {
            let name = trace.label(track.slices.meta[row]);
            let line = trace.strings.get(track.name);
            let sum = sums.entry(format!("{line}: {name}")).or_default();
            *sum = (sum.0 + 1, sum.1 + track.slices.dur[row].0);
        }
    }
    sums.into_iter().map(|(name, (count, ps))| (name, count, ps)).collect()
}

fn codes(trace: &Trace) -> Vec<&str> {
    trace.findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn what_jax_writes_in_parts_is_read_whole() {
    let Some(cases) = xscope_testing::cases() else { return };
    for (name, events, calls) in
        [("jax0.12_cpu", 1425, 50), ("jax0.12_cpu_62k_events", 62_774, 3000)]
    {
        let path = cases.join("riegeli").join(format!("{name}.xplane.riegeli"));
        let trace = read_paths(&[path]).unwrap();
        assert_eq!((trace.slice_count(), codes(&trace)), (events, vec![]), "{name}");
        assert_eq!(trace.sources.len(), 1);
        // The second part numbers its events differently than the first.
        let sums = sums(&trace);
        let find =
            |name: &str| sums.iter().find(|row| row.0 == format!("python: {name}")).unwrap().1;
        assert_eq!(find("$profiler.py:278 start_trace"), 1);
        assert_eq!((find("PjitFunction(<lambda>)"), find("ParseArguments")), (2 * calls, calls));
    }
}

#[test]
fn records_in_chunks_and_blocks_read_as_the_file_of_the_same_programs() {
    let files = ["jax_cpu", "tpu_v6e"].map(|name| format!("{name}/excerpt.xplane.pb"));
    let files = files.map(|name| fs::read(xscope_testing::fixture(&name)).unwrap());
    let whole = files.concat();
    assert!(whole.len() > riegeli_file::BLOCK);
    let expected = sums(&read_bytes("host7.xplane.pb", whole.clone()).unwrap());
    assert!(expected.len() > 100);
    // Records need not end where messages do: only their row is one.
    for size in [whole.len(), 65_512, 65_432, 65_431, 65_400, 4000, 100] {
        let parts: Vec<&[u8]> = whole.chunks(size).collect();
        let trace = read(&riegeli_file::of(&parts)).unwrap();
        assert_eq!((sums(&trace), codes(&trace)), (expected.clone(), vec![]), "chunks of {size}");
    }
}

/// An XSpace of one plane with a line of one event, and of nothing else.
fn small_space(name: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let event = field(4, &[8, 1, 16, 5, 24, 7]);
    let line = field(3, &[field(2, b"main"), event].concat());
    let meta = field(
        4,
        &[vec![8, 1], field(2, &[vec![8, 1], field(2, name.as_bytes())].concat())].concat(),
    );
    field(1, &[field(2, b"/host:CPU"), line, meta].concat())
}

#[test]
fn what_is_damaged_costs_its_chunk() {
    let spaces: Vec<Vec<u8>> = (0..3000).map(|n| small_space(&format!("event {n}"))).collect();
    let parts: Vec<&[u8]> = spaces.iter().map(Vec::as_slice).collect();
    let whole = riegeli_file::of(&parts);
    assert!(whole.len() > 4 * riegeli_file::BLOCK);
    let names = |bytes: &[u8]| {
        let trace = read(bytes).unwrap();
        (trace.slice_count(), codes(&trace).join(" "))
    };
    assert_eq!(names(&whole), (3000, String::new()));
    let begin_of = |n: usize| riegeli_file::of(&parts[..n]).len();
    let flip = |at: usize| {
        let mut file = whole.clone();
        file[at] ^= 0x10;
        file
    };
    let lost = "xplane.lost_chunk".to_owned();
    // The data of a chunk: the others are read.
    assert_eq!(names(&flip(begin_of(500) + 60)), (2999, lost.clone()));
    // Its header: where the next begins is known of the next block.
    let in_block = riegeli_file::BLOCK / (begin_of(502) - begin_of(501));
    let (kept, code) = names(&flip(begin_of(500) + 3));
    assert!(kept < 3000 && kept + in_block >= 3000 && code == lost, "{kept} of 3000, {code}");
    // The header of a block is asked for nothing else.
    assert_eq!(names(&flip(riegeli_file::BLOCK + 3)), (3000, String::new()));
    // The end.
    let (kept, code) = names(&whole[..begin_of(2000) + 10]);
    assert_eq!((kept, code), (2000, lost));
    // Kinds and packings that are not read.
    for (kind, data, expected) in [(b't', &b"b"[..], "transposed"), (b'r', b"z\0\0", "Brotli")] {
        let mut file = riegeli_file::of(&parts[..7]);
        riegeli_file::put_chunk(&mut file, kind, 1, 9, data);
        file.extend(&riegeli_file::of(&parts[7..9])[64..]);
        let trace = read(&file).unwrap();
        assert_eq!((trace.slice_count(), codes(&trace)), (9, vec!["xplane.lost_chunk"]));
        assert!(trace.findings[0].message.contains(expected), "{:?}", trace.findings);
        let mut alone = riegeli_file::begin();
        riegeli_file::put_chunk(&mut alone, kind, 1, 9, data);
        let error = read(&alone).unwrap_err().to_string();
        assert!(error.contains("at byte 64") && error.contains(expected), "{error}");
    }
}

#[test]
fn chunks_that_say_what_is_not_so_are_no_harm() {
    let space = small_space("event");
    for (unpacked, data) in [
        (usize::MAX, &b"\0\x01\x05abc"[..]),
        (4, b"\0\x01\x05abcde"),
        (3, b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        (3, b"b\0"),
        (3, b"b\0\x03not brotli"),
        (3, b""),
    ] {
        let mut file = riegeli_file::of(&[&space]);
        riegeli_file::put_chunk(&mut file, b'r', 1, unpacked, data);
        file.extend(&riegeli_file::of(&[&space])[64..]);
        let trace = read(&file).unwrap();
        assert_eq!(
            (trace.slice_count(), codes(&trace)),
            (2, vec!["xplane.lost_chunk"]),
            "{data:?}"
        );
    }
}

/// What a file of one chunk of JAX answers, whatever is damaged of it.
#[test]
fn flips_and_cuts_give_an_answer_or_say_why_not() {
    let file = fs::read(xscope_testing::fixture("riegeli/continuous.xplane.riegeli")).unwrap();
    let mut random = SplitMix::new(7);
    for _ in 0..3000 {
        let mut damaged = file.clone();
        // Most of the file is padding.
        for _ in 0..1 + random.bits() % 3 {
            let at = usize::try_from(random.bits() % 14_500).unwrap();
            damaged[at] ^= 1 << (random.bits() % 8);
        }
        if random.bits().is_multiple_of(4) {
            damaged.truncate(usize::try_from(random.bits() % 14_500).unwrap());
        }
        match read_bytes(NAME, damaged) {
            Ok(trace) => assert!(trace.slice_count() == 1425 || !trace.findings.is_empty()),
            Err(error) => assert!(error.to_string().contains(NAME), "{error}"),
        }
    }
}
