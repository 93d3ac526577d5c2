//! A run directory that is being written: the newest requests, and the newest spans.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xscope_load::newest::{Answer, Newest, NewestFigures};
use xscope_trace::run::RunDir;
use xscope_trace::span;
use xscope_trace::{Nanos, Phase};

/// Most bytes that are read of a file at one look.
const MOST_BYTES: u64 = 16 << 20;

/// Follows a run, or the newest run of a folder.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    run: PathBuf,
    at: u64,
    /// A row of which only the beginning is written yet.
    torn: Vec<u8>,
    newest: Newest,
}

/// What is taken of a row of `requests.jsonl`.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    phase: Phase,
    end_ns: Nanos,
    latency_ms: f64,
    #[serde(default)]
    server_ms: BTreeMap<String, f64>,
}

/// What a benchmark has measured up to now.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct TailFigures {
    pub run: String,
    pub status: String,
    #[serde(flatten)]
    pub newest: NewestFigures,
    /// Spans by name: how many there are.
    pub spans: BTreeMap<String, u64>,
    pub issues: Vec<String>,
}

impl TailFigures {
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = self.issues.clone();
        if self.newest.requests == 0 {
            missing.push("latencies: the run has no rows in requests.jsonl yet".to_owned());
        }
        if self.spans.is_empty() {
            missing.push(
                "spans: the run has none yet; those of xscope's engine come at the end".to_owned(),
            );
        }
        missing
    }
}

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { run: path.clone(), path, at: 0, torn: Vec::new(), newest: Newest::default() }
    }

    /// Reads what was written since the last look.
    pub(crate) fn look(&mut self) -> TailFigures {
        let run = newest_run(&self.path);
        if run != self.run {
            *self = Self { run, ..Self::new(self.path.clone()) };
        }
        let mut figures = TailFigures { run: self.run.display().to_string(), ..Default::default() };
        match RunDir::open(&self.run) {
            Ok(run) => figures.status = format!("{:?}", run.manifest.status).to_lowercase(),
            Err(error) => figures.issues.push(format!("the run: {error}")),
        }
        if let Err(error) = self.read_rows() {
            figures.issues.push(format!("requests.jsonl: {error}"));
        }
        figures.newest = self.newest.figures();
        spans(&self.run.join("spans"), &mut figures);
        figures
    }

    fn read_rows(&mut self) -> std::io::Result<()> {
        let mut file = match File::open(self.run.join("requests.jsonl")) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.at))?;
        let before = self.torn.len();
        file.take(MOST_BYTES).read_to_end(&mut self.torn)?;
        self.at += (self.torn.len() - before) as u64;
        let end = self.torn.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.torn.split_off(end);
        let whole = std::mem::replace(&mut self.torn, rest);
        for line in whole.split(|&byte| byte == b'\n') {
            let Ok(row) = serde_json::from_slice::<Row>(line) else { continue };
            if !row.phase.is_measured() {
                continue;
            }
            let Row { end_ns: end, latency_ms, server_ms, .. } = row;
            self.newest.add(row.ok.then_some(Answer { end, latency_ms, server_ms }));
        }
        Ok(())
    }
}

/// The path itself if it is a run, else the newest run in it.
fn newest_run(path: &Path) -> PathBuf {
    if RunDir::is_at(path) {
        return path.to_owned();
    }
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let runs = entries.map(|entry| entry.path()).filter(|path| RunDir::is_at(path));
    runs.max().unwrap_or_else(|| path.to_owned())
}

fn spans(folder: &Path, figures: &mut TailFigures) {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for path in files.map(|file| file.path()) {
        if path.extension().is_none_or(|extension| extension != "xspan") {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        let mut bytes = Vec::new();
        if file.take(MOST_BYTES).read_to_end(&mut bytes).is_err() {
            continue;
        }
        if bytes.len() as u64 == MOST_BYTES {
            let what = "has more spans than are counted while it is written";
            figures.issues.push(format!("{} {what}", path.display()));
        }
        let (file, _) = span::read(&bytes);
        for row in &file.spans {
            let name = file.strings.get(row.span.name).unwrap_or("unnamed");
            match figures.spans.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(figures.spans.insert(name.to_owned(), 1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::Tail;

    #[test]
    fn rows_are_read_as_they_come_and_torn_ones_later() {
        let run = tempfile::tempdir().unwrap();
        std::fs::write(run.path().join("run.json"), "{}").unwrap();
        let write = |text: &str| {
            let path = run.path().join("requests.jsonl");
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let mut tail = Tail::new(run.path().to_owned());
        assert_eq!(tail.look().newest.requests, 0);
        write(
            "{\"ok\":true,\"phase\":\"measure\",\"end_ns\":1000000000,\"latency_ms\":5}\n{\"ok\":tr",
        );
        assert_eq!(tail.look().newest.requests, 1);
        write("ue,\"phase\":\"measure\",\"end_ns\":2000000000,\"latency_ms\":7}\nnonsense\n");
        let found = tail.look();
        let found = found.newest;
        assert_eq!((found.requests, found.newest, found.p50_ms), (2, 2, Some(5.0)));
        assert_eq!((found.p99_ms, found.per_sec), (None, Some(1.0)));
    }
}
