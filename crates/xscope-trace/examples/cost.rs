//! Prints what it costs to write a span, from one thread and from two, and an event of XPlane:
//! `cargo run --release -p xscope-trace --example cost`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program to look at figures with")]

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use xscope_trace::span::{Span, SpanWriter, ThreadId, Value};
use xscope_trace::write::xplane::{Event, EventMeta, PlaneBuilder};
use xscope_trace::{Bytes, Nanos, Picos};

const COUNT: i64 = 2_000_000;

fn main() {
    for threads in [1, 2] {
        println!("{threads} threads: {} ns per span of each thread", of_spans(threads));
    }
    for chunk in [10, 1000] {
        println!("{} ns per event, in chunks of {chunk}", of_events(chunk));
    }
}

/// Runs `work`; its time for each of `COUNT` in nanoseconds.
fn each(work: impl FnOnce()) -> u128 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_nanos() / u128::try_from(COUNT).unwrap()
}

fn of_spans(threads: u32) -> u128 {
    let folder = tempfile::tempdir().unwrap();
    let writer = SpanWriter::create(&folder.path().join("1.xspan"), Bytes(1 << 30)).unwrap();
    let name = writer.name("forward");
    let write = |thread| {
        let request = Some(Value::Int(1));
        for start in 0..COUNT {
            let start = Nanos(start);
            black_box(writer.span(&Span { name, thread, start, request, ..Span::default() }));
        }
    };
    each(|| {
        thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || write(ThreadId(thread)));
            }
        });
    })
}

fn of_events(chunk: i64) -> u128 {
    let mut plane = PlaneBuilder::new(1, "/host:CPU");
    let id = plane.event(EventMeta { name: "forward", ..EventMeta::default() });
    let line = plane.line(1, "engine", Nanos(1000));
    let mut out = Vec::new();
    each(|| {
        for n in 0..COUNT {
            let offset = Picos(n * 1_000_000);
            plane.push(line, &Event { id, offset, dur: Picos(500_000), stats: &[] });
            if n % chunk == 0 {
                out.clear();
                plane.encode_into(&mut out);
            }
        }
    })
}
