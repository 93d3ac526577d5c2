//! Follows a server's log for what it says of compilations.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use xscope_load::{CompileSign, CompileSigns};
use xscope_trace::server_log::{LogEvent, parse_line};
use xscope_trace::{Nanos, clock};

/// How often the log is looked at: so exactly is known when a line was written.
const LOOK: Duration = Duration::from_millis(20);

/// What is read at one look.
const MOST_BYTES: u64 = 1 << 20;

/// A log that is being followed, from what it was at the beginning; ends when this is dropped.
#[derive(Debug)]
pub(crate) struct LogWatch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What a log has said.
#[derive(Debug, Default)]
struct Seen {
    signs: Vec<CompileSign>,
    /// Whether it says what the server runs at all: silence of one that never does proves nothing.
    speaks: bool,
}

impl LogWatch {
    /// # Errors
    ///
    /// The log cannot be opened.
    pub(crate) fn start(log: &Path) -> std::io::Result<Self> {
        let mut file = File::open(log)?;
        let speaks = tail(log, MOST_BYTES).is_some_and(|text| speaks(&text));
        file.seek(SeekFrom::End(0))?;
        let seen = Arc::new(Mutex::new(Seen { signs: Vec::new(), speaks }));
        let follower = Follower { file, half: String::new(), looked: clock::monotonic() };
        let task = tokio::spawn(follow(follower, Arc::clone(&seen)));
        Ok(Self { seen, task })
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The log of a server, if there is one to follow.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    watch: Option<LogWatch>,
    /// All that was seen.
    pub(crate) all: Vec<CompileSign>,
}

impl Signs {
    pub(crate) fn of(log: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self { watch: log.map(LogWatch::start).transpose()?, all: Vec::new() })
    }
}

impl CompileSigns for Signs {
    fn seen_by(&self) -> &str {
        let speaks =
            |watch: &LogWatch| watch.seen.lock().unwrap_or_else(PoisonError::into_inner).speaks;
        if self.watch.as_ref().is_some_and(speaks) { "log" } else { "" }
    }

    fn take(&mut self) -> Vec<CompileSign> {
        let Some(watch) = &self.watch else { return Vec::new() };
        let mut seen = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut seen.signs);
        self.all.extend(taken.iter().cloned());
        taken
    }
}

async fn follow(mut follower: Follower, seen: Arc<Mutex<Seen>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some((signs, speaks)) = follower.look() else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.signs.extend(signs);
        seen.speaks |= speaks;
    }
}

#[derive(Debug)]
struct Follower {
    file: File,
    /// A line whose end has not been written yet.
    half: String,
    /// When it was looked at last.
    looked: Nanos,
}

impl Follower {
    /// What whole lines have come since the last look, if any.
    fn look(&mut self) -> Option<(Vec<CompileSign>, bool)> {
        let (from, to) = (self.looked, clock::monotonic());
        self.looked = to;
        let mut bytes = Vec::new();
        // A log that cannot be read any more says nothing more.
        self.file.by_ref().take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        self.half.push_str(&String::from_utf8_lossy(&bytes));
        let (lines, half) = self.half.rsplit_once('\n')?;
        let signs = lines.lines().filter_map(|line| sign(line, from, to)).collect();
        let found = (signs, speaks(lines));
        self.half = half.to_owned();
        Some(found)
    }
}

fn speaks(text: &str) -> bool {
    text.lines().any(|line| parse_line(line).is_some())
}

fn sign(line: &str, from: Nanos, to: Nanos) -> Option<CompileSign> {
    let from = match parse_line(line)?.event {
        LogEvent::CacheMiss { .. } => from,
        LogEvent::Compiled { took, .. } => from - took,
        _ => return None,
    };
    Some(CompileSign { from, to, text: line.trim().to_owned() })
}

/// What a log says of the end of its server: the last line that names an error, else the last one.
pub(crate) fn last_words(log: &Path) -> Option<String> {
    let words = ["Error", "Exception", "error:", "SIGQUIT", "sigquit", "Killed", "panicked"];
    let text = tail(log, 64 << 10)?;
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let named = lines().find(|line| words.iter().any(|word| line.contains(word)));
    named.or_else(|| lines().next()).map(str::to_owned)
}

/// The end of a file, at most so many bytes.
fn tail(path: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes))).ok()?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end).ok()?;
    Some(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_that_come_are_signs_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.log");
        fs::write(&path, "Prefill batch. #bid: 1, #cache_miss: 1\n").unwrap();
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        let mut follower = Follower { file, half: String::new(), looked: Nanos(5) };
        assert_eq!(follower.look(), None);
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        write!(log, "INFO other\nPrefill batch. #bid: 2, #cache_").unwrap();
        assert_eq!(follower.look(), Some((Vec::new(), false)));
        let before = follower.looked;
        writeln!(log, "miss: 2").unwrap();
        let (signs, speaks) = follower.look().unwrap();
        let text = "Prefill batch. #bid: 2, #cache_miss: 2".to_owned();
        let sign = CompileSign { from: before, to: follower.looked, text };
        assert_eq!((signs, speaks), (vec![sign], true));
    }

    #[test]
    fn last_words_name_an_error_if_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.log");
        let check = |text: &str, expected: Option<&str>| {
            fs::write(&path, text).unwrap();
            assert_eq!(last_words(&path).as_deref(), expected);
        };
        check(
            "ready\nTypeError: Cannot concatenate\nbye\n\n",
            Some("TypeError: Cannot concatenate"),
        );
        check("ready\nbye\n", Some("bye"));
        check("", None);
    }
}
