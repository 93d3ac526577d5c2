//! Notes of calls, written as Python's `marshal` would.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use xscope_trace::Nanos;
use xscope_trace::quality::Code;
use xscope_trace::span::{self, SpanFile, SpanRow, Value};

const SEGMENT: usize = 512;

/// A value in format 2 of `marshal`.
fn dumps(value: &Json) -> Vec<u8> {
    let counted = |kind: u8, count: usize, rest: Vec<u8>| {
        let count = u32::try_from(count).unwrap().to_le_bytes();
        [vec![kind], count.to_vec(), rest].concat()
    };
    match value {
        Json::Null => vec![b'N'],
        Json::Bool(true) => vec![b'T'],
        Json::Bool(false) => vec![b'F'],
        Json::Number(number) if number.is_f64() => {
            [&b"g"[..], &number.as_f64().unwrap().to_le_bytes()].concat()
        }
        Json::Number(number) => {
            let number = i32::try_from(number.as_i64().unwrap()).unwrap();
            [&b"i"[..], &number.to_le_bytes()].concat()
        }
        Json::String(text) => counted(b'u', text.len(), text.as_bytes().to_vec()),
        Json::Array(items) => counted(b'(', items.len(), items.iter().flat_map(dumps).collect()),
        Json::Object(pairs) => {
            let pair = |(key, value): (&String, &Json)| [dumps(&json!(key)), dumps(value)].concat();
            [vec![b'{'], pairs.iter().flat_map(pair).collect(), vec![b'0']].concat()
        }
    }
}

fn header(closed: bool) -> Vec<u8> {
    let segment = u32::try_from(SEGMENT).unwrap().to_le_bytes();
    let state = u64::from(closed).to_le_bytes();
    [&b"XSPAN\0\0\x02"[..], &segment, &7_u32.to_le_bytes(), &[0; 40], &state].concat()
}

/// A file as the probes write it: a value never begins where the one before it left no room for it.
fn file(values: &[Json]) -> Vec<u8> {
    let mut bytes = header(true);
    for value in values {
        let value = dumps(value);
        let end = bytes.len().next_multiple_of(SEGMENT);
        if bytes.len() + value.len() > end {
            bytes.resize(end, 0);
        }
        bytes.extend(value);
    }
    bytes
}

fn read(bytes: &[u8]) -> SpanFile<'_> {
    let (file, issues) = span::read(bytes);
    assert!(issues.is_empty(), "{issues:?}");
    file
}

fn text(file: &SpanFile<'_>, value: Option<Value>) -> String {
    match value {
        Some(Value::Text(id)) => file.strings.get(id).unwrap().to_owned(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        None => "-".to_owned(),
    }
}

/// A span as a line: name, start, end, request, batch, arguments.
fn line(file: &SpanFile<'_>, row: &SpanRow) -> String {
    let span = &row.span;
    let extra = file.extra_args.iter().filter(|arg| arg.record == row.record);
    let args = span.arg.into_iter().chain(extra.map(|arg| (arg.key, arg.value)));
    let args: Vec<String> = args
        .map(|(key, value)| {
            format!("{}={}", file.strings.get(key).unwrap(), text(file, Some(value)))
        })
        .collect();
    format!(
        "{} {}..{} {} {} {}",
        file.strings.get(span.name).unwrap(),
        span.start.0,
        (span.start + span.dur).0,
        text(file, span.request),
        text(file, span.batch),
        args.join(" ")
    )
    .trim_end()
    .to_owned()
}

fn lines(values: &[Json]) -> Vec<String> {
    let bytes = file(values);
    let file = read(&bytes);
    file.spans.iter().map(|row| line(&file, row)).collect()
}

#[test]
fn a_note_is_a_span_with_what_was_found_of_its_call() {
    let probe = json!(["probe", 3, {"span": "forward", "spans": {"DECODE": "decode"},
        "keys": ["rows", "lens"], "facts": ["kind", "batch", "rids", "arg", "arg"], "later": [1]}]);
    let found = lines(&[
        probe,
        json!(["thread", 9, "worker"]),
        json!(["a later version", 1]),
        json!([3, 10, 30, 9, null, "EXTEND", 7, ["a", 1, "b"], 2, [4, null, 1.5], null]),
        json!([3, 30, 40, 9, null, "DECODE", null, "a", null, null, "ValueError"]),
        json!([3, 40, 50, 9, null, "DECODE", null, "a", null, null, ["CancelledError"]]),
    ]);
    assert_eq!(
        found,
        [
            "forward 10..30 - 7 rows=2 lens=4 lens=1.5 rid=a rid=b",
            "decode 30..40 a - rid=a error=ValueError",
        ]
    );
}

#[test]
fn a_request_has_what_lies_between_its_calls_and_whose_items_it_lists() {
    let found = lines(&[
        json!(["probe", 1, {"span": "request", "opens": true, "tail": "http.respond",
            "facts": ["tail", "own"]}]),
        json!(["probe", 2, {"head": "http.parse", "facts": ["head"]}]),
        // Key 5; the second call knows since when.
        json!([2, 120, 130, 9, 5, 100, null]),
        json!([1, 100, 200, 9, 5, 130, ["x", "y"], null]),
        json!([2, 120, 130, 9, null, null, null]),
    ]);
    assert_eq!(
        found,
        [
            "http.parse 100..120 5 -",
            "http.respond 130..200 5 -",
            "request 100..200 5 - rid=x rid=y",
        ]
    );
}

#[test]
fn what_waited_is_told_from_when_it_came() {
    let found = lines(&[
        json!(["probe", 1, {"span": "ipc.send", "stamp": "ingest", "facts": ["request", "stamped"]}]),
        json!(["probe", 2, {"wait": ["queue.wait", "ingest"], "facts": ["waited"]}]),
        json!([1, 10, 11, 9, null, "a", "a", null]),
        json!([1, 11, 12, 9, null, "b", "b", "KeyError"]),
        json!([2, 20, 30, 9, null, ["a", "b", "c"], null]),
        json!([2, 40, 50, 9, null, ["a"], null]),
    ]);
    assert_eq!(
        found,
        ["ipc.send 10..11 a -", "ipc.send 11..12 b - error=KeyError", "queue.wait 11..20 a -"]
    );
}

#[test]
fn spans_get_the_batch_of_the_next_call_or_of_the_one_around_them() {
    let found = lines(&[
        json!(["probe", 1, {"span": "schedule", "batch": "next", "facts": []}]),
        json!(["probe", 2, {"span": "kernel", "batch": "around", "facts": []}]),
        json!(["probe", 3, {"span": "forward", "facts": ["batch"]}]),
        json!([1, 10, 11, 9, null, null]),
        json!([2, 12, 13, 9, null, null]),
        json!([2, 21, 22, 9, null, null]),
        json!([2, 21, 22, 8, null, null]),
        json!([3, 20, 30, 9, null, 7, null]),
        json!([1, 40, 41, 9, null, null]),
    ]);
    assert_eq!(
        found,
        [
            "schedule 10..11 - 7",
            "kernel 12..13 - -",
            "kernel 21..22 - 7",
            "kernel 21..22 - -",
            "forward 20..30 - 7",
            "schedule 40..41 - -",
        ]
    );
}

#[test]
fn notes_larger_than_a_segment_take_several() {
    let rids: Vec<String> = (0..100).map(|number| format!("request-{number}")).collect();
    let probe = json!(["probe", 1, {"span": "s", "facts": ["rids"]}]);
    let small = json!([1, 3, 4, 9, null, "x", null]);
    let large = json!([1, 1, 2, 9, null, rids, null]);
    let bytes = file(&[probe, small.clone(), large, small]);
    assert!(bytes.len() > 3 * SEGMENT);
    let file = read(&bytes);
    assert_eq!(file.spans.len(), 3);
    assert_eq!(file.spans[1].span.start, Nanos(1));
}

#[test]
fn what_recording_costs_is_in_the_file() {
    let bytes =
        file(&[json!(["cost", 2500, 300]), json!(["probe", 1, {"span": "s", "facts": []}])]);
    let recorded = read(&bytes).recorded();
    assert_eq!(recorded.costs, Some((Nanos(2500), Nanos(300))));
    let bytes = file(&[json!(["cost", null, null])]);
    assert_eq!(read(&bytes).recorded().costs, None);
}

#[test]
fn a_note_that_was_cut_off_is_lost_alone() {
    let probe = json!(["probe", 1, {"span": "s", "facts": []}]);
    let whole = file(&[probe, json!([1, 1, 2, 9, null, null]), json!([1, 2, 3, 9, null, null])]);
    let last = dumps(&json!([1, 2, 3, 9, null, null])).len();
    for lost in 1..last {
        let mut bytes = whole.clone();
        let end = bytes.len();
        bytes[end - lost..].fill(0);
        let (file, issues) = span::read(&bytes);
        let codes: Vec<Code> = issues.iter().map(|issue| issue.code).collect();
        // The zeros of its last value may be what was to be written.
        assert!(file.spans.len() == 1 && codes == [Code::XspanDamagedNote], "{lost}: {codes:?}");
    }
    // What stands in later segments is there.
    let mut bytes = whole;
    bytes.extend([b'?'; 4]);
    bytes.resize(SEGMENT, 0);
    bytes.extend(dumps(&json!([1, 5, 6, 9, null, null])));
    let (file, issues) = span::read(&bytes);
    assert_eq!((file.spans.len(), issues.len()), (3, 1));
}

#[test]
fn notes_of_nothing_known_are_told() {
    let bytes = file(&[json!([1, 1, 2, 9, null, null])]);
    let (file, issues) = span::read(&bytes);
    assert!(file.spans.is_empty());
    assert_eq!((issues[0].code, issues[0].offset), (Code::XspanDamagedNote, 64));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        body in proptest::collection::vec(
            prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                prop::sample::select(vec![b'(', b'{', b'i', b'u', b'l', b'N', b'0']).prop_map(|kind| vec![kind]),
                (0_i32..5).prop_map(|number| number.to_le_bytes().to_vec()),
                Just(dumps(&json!(["probe", 1, {"span": "s", "facts": ["waited", "rids", "arg"]}]))),
                Just(dumps(&json!([1, 1, 2, 9, 5, ["a"], "b", 3, null]))),
            ],
            0..60,
        )
    ) {
        let bytes = [header(false), body.concat()].concat();
        let (file, _) = span::read(&bytes);
        prop_assert!(file.spans.is_sorted_by_key(|row| row.record));
        for arg in &file.extra_args {
            let owner = file.spans.binary_search_by_key(&arg.record, |row| row.record);
            prop_assert!(owner.is_ok(), "{arg:?}");
        }
    }
}
