//! One profile that is looked at: read in the background, then asked for windows of it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use xscope_analysis::from_disk::read_what_is_left;
use xscope_analysis::{RunFacts, profile};
use xscope_trace::Trace;
use xscope_trace::run::RunDir;

use crate::html::{Side, report_html};
use crate::timeline::Timeline;

/// The name of a profile that was named on the command line.
pub(crate) const ONLY: &str = "0";

/// Most profiles that are kept in memory.
const MOST_OPEN: usize = 3;

/// What keeps a profile from being looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Load(#[from] xscope_analysis::Error),
    #[error("cannot start a thread")]
    Thread { source: io::Error },
}

/// The profiles that are open, the last used last.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<VecDeque<(String, Arc<Session>)>>,
}

impl Sessions {
    /// The session of this name, begun if there is none.
    pub(crate) fn open(&self, id: &str, paths: &[PathBuf]) -> Arc<Session> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(known, _)| known == id)
            && let Some(entry) = open.remove(at)
        {
            let session = Arc::clone(&entry.1);
            open.push_back(entry);
            return session;
        }
        let session = Session::begin(paths);
        open.push_back((id.to_owned(), Arc::clone(&session)));
        if open.len() > MOST_OPEN {
            open.pop_front();
        }
        session
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().find(|(known, _)| known == id).map(|(_, session)| Arc::clone(session))
    }
}

/// A profile, and what came of reading it.
#[derive(Debug)]
pub(crate) struct Session {
    paths: Vec<PathBuf>,
    timeline: OnceLock<Result<Timeline, ReadError>>,
    report: OnceLock<String>,
}

impl Session {
    fn begin(paths: &[PathBuf]) -> Arc<Self> {
        let session = Arc::new(Self {
            paths: paths.to_vec(),
            timeline: OnceLock::new(),
            report: OnceLock::new(),
        });
        let reader = Arc::clone(&session);
        let begun = std::thread::Builder::new().name("xscope-read".to_owned()).spawn(move || {
            reader.timeline.get_or_init(|| read(&reader.paths));
        });
        if let Err(source) = begun {
            session.timeline.get_or_init(|| Err(ReadError::Thread { source }));
        }
        session
    }

    /// The paths that it is of, as they were given.
    pub(crate) fn name(&self) -> String {
        let paths = self.paths.iter().map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join(", ")
    }

    /// `None` while it is being read.
    pub(crate) fn timeline(&self) -> Option<Result<&Timeline, &ReadError>> {
        self.timeline.get().map(Result::as_ref)
    }

    /// The report of the same profile, made when it is first asked for.
    pub(crate) fn report(&self, trace: &Trace) -> &str {
        self.report.get_or_init(|| self.report_page(trace))
    }

    fn report_page(&self, trace: &Trace) -> String {
        let run = match &self.paths[..] {
            [path] => RunDir::open(path).ok(),
            _ => None,
        };
        let facts = match &run {
            Some(run) => RunFacts::of(run, run.read_json(&run.overhead_path())),
            None => RunFacts { run_dir: self.name(), complete: true, ..RunFacts::default() },
        };
        let report = profile(trace, &facts);
        report_html(match &run {
            Some(run) => Side::of_run(report, run),
            None => Side::of_profile(report),
        })
    }
}

fn read(paths: &[PathBuf]) -> Result<Timeline, ReadError> {
    Ok(Timeline::new(read_what_is_left(paths)?))
}
