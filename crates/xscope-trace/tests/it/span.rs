use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use proptest::prelude::*;
use xscope_testing::{again, is_again};
use xscope_trace::quality::Code;
use xscope_trace::span::{
    self, Counter, NameId, RecordIndex, Span, SpanFile, SpanIssue, SpanWriter, ThreadId, Value,
};
use xscope_trace::{Bytes, Nanos};

/// Tells a run of a test by itself where to write.
const FILE: &str = "XSCOPE_TEST_SPAN_FILE";

struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("1.xspan")
    }

    fn writer(&self, max_bytes: u64) -> SpanWriter {
        SpanWriter::create(&self.path(), Bytes(max_bytes)).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }
}

fn codes(issues: &[SpanIssue]) -> Vec<Code> {
    issues.iter().map(|issue| issue.code).collect()
}

fn read_whole(bytes: &[u8]) -> SpanFile<'_> {
    let (file, issues) = span::read(bytes);
    assert!(issues.is_empty(), "{issues:?}");
    file
}

#[test]
fn what_is_written_is_read() {
    let scratch = Scratch::new();
    let writer = scratch.writer(1 << 20);
    let forward = writer.name("forward");
    assert_eq!(writer.name("forward"), forward);
    let tokens = writer.name("tokens");
    let request = writer.text("0b1f9c52-6f0e-4f0e-9d5b-9c1f2a3b4c5d, an id longer than one part");
    writer.thread_name(ThreadId(7), "engine");
    let span = Span {
        name: forward,
        thread: ThreadId(7),
        start: Nanos(1_000),
        dur: Nanos(50),
        request: Some(Value::Text(request)),
        batch: Some(Value::Int(-3)),
        arg: Some((tokens, Value::Float(0.5))),
        overlaps: true,
    };
    let record = writer.span(&span).unwrap();
    writer.extra_arg(record, tokens, Value::Int(9));
    let depth = writer.name("queue_requests");
    let counter =
        Counter { name: depth, thread: ThreadId(0), ts: Nanos(2_000), value: Value::Int(4) };
    writer.counter(&counter);
    let closed = writer.close().unwrap();
    assert_eq!((closed.records, closed.dropped), (10, 0));
    assert!(closed.stopped_by.is_none());

    let bytes = scratch.bytes();
    assert_eq!(bytes.len() as u64, closed.bytes.0);
    let file = read_whole(&bytes);
    assert_eq!(file.header.pid, std::process::id());
    assert!(file.header.closed && file.header.wall_offset > Nanos::ZERO);
    assert_eq!(file.spans[0].span, span);
    assert_eq!(file.spans[0].record, record);
    assert_eq!(file.counters[0].counter, counter);
    assert_eq!(file.strings.get(request).unwrap().len(), 64);
    assert_eq!(file.strings.get(file.threads[&ThreadId(7)]), Some("engine"));
    assert_eq!((file.extra_args[0].record, file.extra_args[0].value), (record, Value::Int(9)));
}

#[test]
fn a_killed_writer_leaves_all_it_wrote() {
    let scratch = Scratch::new();
    let writer = scratch.writer(4 << 20);
    let name = writer.name("tokenize");
    for start in 0..20_000 {
        writer.span(&Span { name, start: Nanos(start), ..Span::default() });
    }
    // What a killed process leaves is what the file holds before it is closed.
    let bytes = scratch.bytes();
    assert_eq!(bytes.len(), 2 << 20);
    let (file, issues) = span::read(&bytes);
    assert_eq!(file.spans.len(), 20_000);
    assert_eq!(codes(&issues), [Code::XspanNotClosed]);
}

#[test]
fn a_full_file_counts_what_it_drops() {
    let scratch = Scratch::new();
    let writer = scratch.writer(64 * 11);
    for _ in 0..25 {
        writer.span(&Span::default());
    }
    assert_eq!(writer.name("late"), NameId(0));
    let closed = writer.close().unwrap();
    assert_eq!((closed.records, closed.dropped), (10, 16));
    writer.span(&Span::default());
    assert_eq!(writer.close().unwrap().dropped, 17);
    let bytes = scratch.bytes();
    let (file, issues) = span::read(&bytes);
    assert_eq!((file.spans.len(), file.header.dropped, file.header.capacity), (10, 17, 10));
    assert_eq!(codes(&issues), [Code::XspanDropped]);
}

#[test]
fn threads_write_at_once() {
    let scratch = Scratch::new();
    let writer = scratch.writer(16 << 20);
    thread::scope(|scope| {
        for thread in 1..=4 {
            let writer = &writer;
            scope.spawn(move || {
                for start in 0..15_000 {
                    let name = writer.name(&format!("span {}", start % 100));
                    let (thread, start) = (ThreadId(thread), Nanos(start));
                    writer.span(&Span { name, thread, start, ..Span::default() });
                }
            });
        }
    });
    writer.close().unwrap();
    let bytes = scratch.bytes();
    let file = read_whole(&bytes);
    assert_eq!((file.spans.len(), file.strings.len()), (60_000, 100));
    for thread in 1..=4 {
        let starts = file.spans.iter().filter(|row| row.span.thread == ThreadId(thread));
        assert!(starts.map(|row| row.span.start.0).eq(0..15_000));
    }
}

/// Writes until it is killed.
fn write_for_ever(path: &Path) {
    let writer = SpanWriter::create(path, Bytes(1 << 30)).unwrap();
    thread::scope(|scope| {
        for thread in 1..=2 {
            let writer = &writer;
            scope.spawn(move || {
                for start in 0.. {
                    let span =
                        Span { thread: ThreadId(thread), start: Nanos(start), ..Span::default() };
                    writer.span(&span);
                }
            });
        }
    });
}

#[test]
fn kill_nine_loses_at_most_what_was_being_written() {
    if is_again() {
        write_for_ever(Path::new(&std::env::var_os(FILE).unwrap()));
    }
    let scratch = Scratch::new();
    let mut child = again("span::kill_nine_loses_at_most_what_was_being_written")
        .env(FILE, scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let spans = || fs::read(scratch.path()).map_or(0, |bytes| span::read(&bytes).0.spans.len());
    while spans() < 50_000 {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let bytes = scratch.bytes();
    let (file, issues) = span::read(&bytes);
    assert!(
        issues.iter().all(|issue| [Code::XspanHole, Code::XspanNotClosed].contains(&issue.code)),
        "{issues:?}"
    );
    for thread in 1..=2 {
        let starts = file.spans.iter().filter(|row| row.span.thread == ThreadId(thread));
        // Every span of the thread up to where it was killed.
        assert!((0..).zip(starts).all(|(start, row)| row.span.start.0 == start));
    }
}

#[test]
fn damage_is_told() {
    let scratch = Scratch::new();
    let writer = scratch.writer(1 << 20);
    let name = writer.name("a");
    let span = |start| Span { name, start: Nanos(start), ..Span::default() };
    for start in 0..6 {
        writer.span(&span(start));
    }
    writer.extra_arg(RecordIndex(0), name, Value::Int(1));
    writer.span(&Span { name: NameId(99), dur: Nanos(-1), ..Span::default() });
    writer.close().unwrap();
    let mut bytes = scratch.bytes();
    bytes[64 * 3] = 0; // the span of start 1
    bytes[64 * 4] = 0;
    bytes[64 * 5] = 200;
    bytes.truncate(bytes.len() + 1);
    bytes.extend([2; 10]);
    let (file, issues) = span::read(&bytes);
    assert_eq!(file.spans.len(), 4);
    let expected = [
        Code::XspanDanglingArg,
        Code::XspanHole,
        Code::XspanNegativeDuration,
        Code::XspanTruncated,
        Code::XspanUndefinedString,
        Code::XspanUnknownKind,
    ];
    assert_eq!(codes(&issues), expected);
    assert_eq!(issues[1].offset, 64 * 3);
    assert!(issues[1].message.starts_with("2 times"), "{}", issues[1].message);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let scratch = Scratch::new();
    fs::write(scratch.path(), "precious").unwrap();
    let error = SpanWriter::create(&scratch.path(), Bytes(1 << 20)).unwrap_err();
    assert!(error.to_string().contains("1.xspan"), "{error}");
    assert_eq!(scratch.bytes(), b"precious");
    let missing = Path::new("/nonexistent/1.xspan");
    assert!(SpanWriter::create(missing, Bytes(1 << 20)).is_err());
    assert!(SpanWriter::create(&scratch.path(), Bytes(127)).is_err());
}

#[derive(Debug, Clone)]
enum Write {
    Name(String),
    Thread(u32, String),
    Span(Span),
    Counter(Counter),
    Extra(Value),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (1..5_u32).prop_map(|id| Value::Text(NameId(id))),
        any::<i32>().prop_map(|int| Value::Float(f64::from(int) / 8.0)),
    ]
}

fn a_span() -> impl Strategy<Value = Span> {
    let ids = (prop::option::of(value()), prop::option::of(value()));
    let arg = prop::option::of((0..5_u32, value()));
    (0..5_u32, any::<u32>(), any::<i64>(), 0..i64::MAX, ids, arg, any::<bool>()).prop_map(
        |(name, thread, start, dur, (request, batch), arg, overlaps)| Span {
            name: NameId(name),
            thread: ThreadId(thread),
            start: Nanos(start),
            dur: Nanos(dur),
            request,
            batch,
            arg: arg.map(|(key, value)| (NameId(key), value)),
            overlaps,
        },
    )
}

fn write() -> impl Strategy<Value = Write> {
    let text = "\\PC{0,120}";
    prop_oneof![
        text.prop_map(Write::Name),
        (any::<u32>(), text).prop_map(|(thread, name)| Write::Thread(thread, name)),
        a_span().prop_map(Write::Span),
        (1..5_u32, any::<u32>(), any::<i64>(), value()).prop_map(|(name, thread, ts, value)| {
            let (name, thread, ts) = (NameId(name), ThreadId(thread), Nanos(ts));
            Write::Counter(Counter { name, thread, ts, value })
        }),
        value().prop_map(Write::Extra),
    ]
}

/// Writes all, with strings 1 to 4 defined before, and closes.
fn written(writes: &[Write]) -> Vec<u8> {
    let scratch = Scratch::new();
    let writer = scratch.writer(1 << 20);
    for text in ["one", "two", "three", "four"] {
        writer.name(text);
    }
    let mut last = None;
    for write in writes {
        match write {
            Write::Name(text) => _ = writer.text(text),
            Write::Thread(thread, name) => writer.thread_name(ThreadId(*thread), name),
            Write::Span(span) => last = writer.span(span),
            Write::Counter(counter) => writer.counter(counter),
            Write::Extra(value) => {
                if let Some(record) = last {
                    writer.extra_arg(record, NameId(1), *value);
                }
            }
        }
    }
    drop(writer);
    scratch.bytes()
}

proptest! {
    #[test]
    fn read_inverts_write(writes in prop::collection::vec(write(), 0..60)) {
        let bytes = written(&writes);
        let file = read_whole(&bytes);
        let spans: Vec<Span> = file.spans.iter().map(|row| row.span).collect();
        let counters: Vec<Counter> = file.counters.iter().map(|row| row.counter).collect();
        let pick = |write: &Write| if let Write::Span(span) = write { Some(*span) } else { None };
        prop_assert_eq!(spans, writes.iter().filter_map(pick).collect::<Vec<_>>());
        let pick = |write: &Write| if let Write::Counter(c) = write { Some(*c) } else { None };
        prop_assert_eq!(counters, writes.iter().filter_map(pick).collect::<Vec<_>>());
        let texts = writes.iter().filter_map(|write| match write {
            Write::Name(text) => Some(text.as_str()),
            _ => None,
        });
        let read: Vec<&str> = (1..=200).filter_map(|id| file.strings.get(NameId(id))).collect();
        for text in texts {
            prop_assert!(read.contains(&text), "{text:?}");
        }
    }

    #[test]
    fn any_damage_gives_an_answer(
        writes in prop::collection::vec(write(), 0..30),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = written(&writes);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let (file, _) = span::read(&bytes);
        prop_assert!(file.spans.len() <= bytes.len() / 64);
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = bytes;
        span::read(&bytes);
        bytes.splice(0..0, *b"XSPAN\0\0\x01");
        span::read(&bytes);
    }
}
