use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xscope_trace::args::ArgValue;
use xscope_trace::model::{SliceRef, Track, TrackKind};
use xscope_trace::{Error, Picos, Trace, chrome, load};

use crate::traces;

fn read(json: impl AsRef<[u8]>) -> Trace {
    let mut trace = Trace::default();
    chrome::read("test.trace.json", json.as_ref(), &mut trace).unwrap();
    trace
}

fn codes(trace: &Trace) -> Vec<(&str, u64)> {
    trace.findings.iter().map(|finding| (finding.code.as_str(), finding.count)).collect()
}

/// One row of Perfetto's answer: the cells of the columns that were asked for.
type Row = Vec<String>;

/// The rows of a CSV file whose quoted cells have no line breaks.
fn csv(path: &Path) -> (Row, Vec<Row>) {
    let text = fs::read_to_string(path).unwrap();
    let mut rows = text.lines().map(cells);
    (rows.next().unwrap(), rows.collect())
}

fn cells(line: &str) -> Row {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

/// A slice with one of its arguments.
struct Answer<'a> {
    trace: &'a Trace,
    track: &'a Track,
    row: usize,
    arg: Option<(&'a str, ArgValue)>,
}

impl Answer<'_> {
    fn name(&self) -> &str {
        self.trace.label(self.track.slices.meta[self.row])
    }

    /// The cell of one column as Perfetto prints it.
    fn cell(&self, column: &str) -> String {
        let null = || "[NULL]".to_owned();
        let text = |id| match self.trace.strings.get(id) {
            "" => null(),
            text => text.to_owned(),
        };
        let slices = &self.track.slices;
        let key = || self.arg.as_ref().map_or_else(null, |(key, _)| format!("args.{key}"));
        match (column, self.arg.as_ref().map(|(_, value)| value)) {
            ("ts", _) => {
                let base = self.trace.sources[self.track.source.0 as usize].clock.base;
                (base.0 + slices.start[self.row].0 / 1000).to_string()
            }
            ("dur", _) => match slices.dur[self.row] {
                Picos::UNFINISHED => "-1".to_owned(),
                dur => (dur.0 / 1000).to_string(),
            },
            ("name", _) => self.name().to_owned(),
            ("thread_name" | "track_name", _) => text(self.track.name),
            ("process_name", _) => text(self.track.process),
            ("pid", _) => self.track.pid.to_string(),
            ("tid", _) => self.track.tid.to_string(),
            ("track_type", _) => match self.track.pid {
                Track::NO_PROCESS => "legacy_async_global_slice".to_owned(),
                _ => "legacy_async_process_slice".to_owned(),
            },
            ("flat_key" | "key", _) => key(),
            ("string_value", Some(ArgValue::Text(text))) => text.clone(),
            ("int_value", Some(ArgValue::Int(value))) => value.to_string(),
            ("string_value" | "int_value", _) => null(),
            (column, _) => panic!("unknown column {column}"),
        }
    }
}

/// All slices with each of their arguments, or once if they have none.
fn slices(trace: &Trace) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    for track in &trace.tracks {
        for row in 0..track.slices.len() {
            let args = track.slices.args.get(row, &trace.strings);
            if args.is_empty() {
                answers.push(Answer { trace, track, row, arg: None });
            }
            let args = args.into_iter().map(Some);
            answers.extend(args.map(|arg| Answer { trace, track, row, arg }));
        }
    }
    answers
}

/// What this crate answers to the query that made the rows of `case`.
fn answer(case: &str, header: &[String], trace: &Trace) -> Vec<Row> {
    let text = |id| match trace.strings.get(id) {
        "" => "[NULL]".to_owned(),
        text => text.to_owned(),
    };
    let rows = slices(trace);
    let all =
        |answer: &Answer<'_>| -> Row { header.iter().map(|column| answer.cell(column)).collect() };
    match case {
        "json_counter_args" => {
            let row = |counter: &xscope_trace::model::Counter| {
                let process = trace.processes.iter().find(|process| process.pid == counter.pid);
                let process = process.map_or_else(|| "[NULL]".to_owned(), |p| text(p.name));
                let value = format!("{:.6}", counter.value[0]);
                vec![counter.pid.to_string(), process, text(counter.name), value]
            };
            trace.counters.iter().map(row).collect()
        }
        "json_metadata_missing_or_invalid_ts" => {
            let processes = trace.processes.iter();
            processes.map(|process| vec![process.pid.to_string(), text(process.name)]).collect()
        }
        // The query counts over all slices, so that it answers with the first one alone.
        "json_flow" => {
            let first = rows.iter().find(|answer| answer.track.tid == 11).unwrap();
            let flows = trace.flows.len().to_string();
            let mut row: Row = header[..3].iter().map(|column| first.cell(column)).collect();
            row.extend([flows.clone(), flows]);
            vec![row]
        }
        "args_ordered" => rows.iter().map(all).collect(),
        case if case.starts_with("json_id2_") => {
            let mut rows: Vec<Row> = rows.iter().map(all).collect();
            rows.dedup();
            rows
        }
        _ => {
            // Slices of threads and processes.
            let own = rows.iter().filter(|answer| answer.track.pid != Track::NO_PROCESS);
            own.map(all).collect()
        }
    }
}

fn check_perfetto_cases(folder: &Path) {
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    cases.sort();
    assert_eq!(cases.len(), 15);
    for path in cases {
        let case = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (header, mut expected) = csv(&path.with_extension("expected.csv"));
        let trace = load(&[path]).unwrap();
        let mut rows = answer(&case, &header, &trace);
        if case != "args_ordered" {
            rows.sort();
            expected.sort();
        }
        assert_eq!(rows, expected, "{case}");
    }
}

#[test]
fn corner_cases_answer_as_perfetto_does() {
    check_perfetto_cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chrome_json"));
    if let Some(traces) = traces() {
        check_perfetto_cases(&traces.join("chrome_json"));
    }
}
