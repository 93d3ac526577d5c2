//! Capturing a profile: from the request to start one to the files on disk.
//!
//! The scheduler owns the running capture, since it makes what is captured; other threads see a
//! published status. What a capture holds is on disk after each batch, so a `kill -9` loses the
//! batch that was being written at most. When it ends, the files are closed and merged off the
//! scheduler's thread, after the requests of its batches have been answered.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use xscope_model::{Family, OpRecorder};
use xscope_trace::{Nanos, clock, span::ThreadId};

use crate::{
    device_trace::{DeviceTrace, Planes, hostname},
    error::EngineError,
    error::chain,
    records::{BatchDone, THREAD_NAME},
    span_sink::{SinkRef, SpanSink},
    telemetry::Telemetry,
};

/// How long the end of a capture waits for requests of its batches to be answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a capture that the engine's own process asks for is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureLayout {
    /// TensorBoard's log directory: the XPlane file goes to `plugins/profile/<stamp>/` in it.
    pub output_dir: PathBuf,
    /// For the `.xspan` file.
    pub spans_dir: PathBuf,
}

impl From<&CaptureLayout> for Plan {
    fn from(layout: &CaptureLayout) -> Self {
        Self {
            output_dir: layout.output_dir.clone(),
            spans_dir: layout.spans_dir.clone(),
            num_steps: None,
            start_step: None,
            planes: Planes { host: true, device: true },
        }
    }
}

/// What to capture, and where to.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// TensorBoard's log directory: the file goes to `plugins/profile/<stamp>/` in it.
    pub(crate) output_dir: PathBuf,
    pub(crate) spans_dir: PathBuf,
    /// Ends by itself after so many batches.
    pub(crate) num_steps: Option<u64>,
    /// Begins with the batch of this number, or the next if that has run.
    pub(crate) start_step: Option<u64>,
    pub(crate) planes: Planes,
}

/// What a capture has left behind.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CaptureReport {
    pub output_dir: PathBuf,
    /// The XPlane file.
    pub xplane: Option<PathBuf>,
    /// The `.xspan` file.
    pub spans: Option<PathBuf>,
    /// Batches captured.
    pub batches: u64,
    /// Spans that the file had no room for.
    pub spans_dropped: u64,
    /// Why the capture is not complete, if it is not.
    pub error: Option<String>,
}

/// What the profiler does, as `/profile_status` tells it.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// Where the capture in progress writes to; `None` when idle.
    pub(crate) output_dir: Option<PathBuf>,
    pub(crate) last: Option<CaptureReport>,
}

/// Who is told when a capture has ended and its files are complete.
pub(crate) type Waiter = oneshot::Sender<Result<CaptureReport, EngineError>>;

/// The published status.
#[derive(Debug)]
pub(crate) struct StatusBoard(Mutex<Board>);

#[derive(Debug)]
struct Board {
    status: Status,
    waiters: Vec<Waiter>,
}

impl StatusBoard {
    pub(crate) fn new() -> Arc<Self> {
        let status = Status { output_dir: None, last: None };
        Arc::new(Self(Mutex::new(Board { status, waiters: Vec::new() })))
    }

    pub(crate) fn read(&self) -> Status {
        self.lock().status.clone()
    }

    fn begin(&self, output_dir: &Path) -> Result<(), EngineError> {
        let status = &mut self.lock().status;
        if let Some(output_dir) = status.output_dir.clone() {
            return Err(EngineError::CaptureInProgress { output_dir });
        }
        status.output_dir = Some(output_dir.to_owned());
        Ok(())
    }

    /// Nothing came of what began.
    fn call_off(&self) {
        self.lock().status.output_dir = None;
    }

    /// Lets `waiter` know of the end, or at once that nothing is in progress.
    fn wait(&self, waiter: Waiter) {
        let mut board = self.lock();
        if board.status.output_dir.is_some() {
            board.waiters.push(waiter);
        } else {
            // Whoever asked may have gone.
            drop(waiter.send(Err(EngineError::CaptureIdle)));
        }
    }

    fn end(&self, report: &CaptureReport) {
        let mut board = self.lock();
        board.status = Status { output_dir: None, last: Some(report.clone()) };
        for waiter in board.waiters.drain(..) {
            let result = match &report.error {
                None => Ok(report.clone()),
                Some(error) => Err(EngineError::Capture(error.clone())),
            };
            // As above.
            drop(waiter.send(result));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scheduler's side: starts, feeds and ends captures.
#[derive(Debug)]
pub(crate) struct Captures {
    runtime: tokio::runtime::Handle,
    /// A copy for each capture that is being closed; whoever waits for the end of the engine has
    /// the other end.
    running: mpsc::Sender<()>,
    telemetry: Arc<Telemetry>,
    status: Arc<StatusBoard>,
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    plan: Plan,
    /// The first batch.
    begin_at: u64,
    thread: ThreadId,
    family: Family,
    batches: u64,
    files: Option<Files>,
    error: Option<String>,
}

#[derive(Debug)]
struct Files {
    sink: Arc<SpanSink>,
    leave: SinkRef,
    /// Closed when nobody has leave to write any more.
    gone: mpsc::Receiver<()>,
    device: DeviceTrace,
}

/// A capture whose batches are over.
#[derive(Debug)]
struct Ended {
    report: CaptureReport,
    files: Option<(Arc<SpanSink>, DeviceTrace)>,
    end: Nanos,
}

impl Captures {
    pub(crate) fn new(
        runtime: tokio::runtime::Handle,
        running: mpsc::Sender<()>,
        telemetry: Arc<Telemetry>,
        status: Arc<StatusBoard>,
    ) -> Self {
        Self { runtime, running, telemetry, status, active: None }
    }

    /// Starts a capture. `last_batch` is the last that has run.
    pub(crate) fn start(
        &mut self,
        plan: Plan,
        (thread, last_batch, family): (ThreadId, u64, Family),
    ) -> Result<(), EngineError> {
        if !self.telemetry.enabled() {
            return Err(EngineError::TelemetryOff);
        }
        self.status.begin(&plan.output_dir)?;
        let now = clock::monotonic();
        let begin_at = plan.start_step.unwrap_or(0).max(last_batch + 1);
        let at_once = begin_at == last_batch + 1;
        let mut active =
            Active { plan, begin_at, thread, family, batches: 0, files: None, error: None };
        let made = make_dirs(&active.plan).and_then(|()| {
            if at_once {
                active.open(now).map(|leave| self.telemetry.set_sink(Some(leave)))
            } else {
                Ok(())
            }
        });
        match made {
            Ok(()) => self.active = Some(active),
            Err(_) => self.status.call_off(),
        }
        made
    }

    /// A batch is about to run, formed from `schedule` on. Says where its requests are written
    /// to if it is captured.
    pub(crate) fn before_batch(&mut self, batch: u64, schedule: Nanos) -> Option<SinkRef> {
        let active = self.active.as_mut().filter(|active| batch >= active.begin_at)?;
        if active.files.is_none() && active.error.is_none() {
            match active.open(schedule) {
                Ok(leave) => self.telemetry.set_sink(Some(leave)),
                Err(error) => active.error = Some(chain(&error)),
            }
        }
        active.files.as_ref().map(|files| files.leave.clone())
    }

    /// A batch has run.
    pub(crate) fn after_batch(&mut self, done: &BatchDone, recorder: &OpRecorder) {
        let Some(active) = self.active.as_mut().filter(|active| done.batch >= active.begin_at)
        else {
            return;
        };
        if let Some(files) = &mut active.files {
            files.sink.batch(done, active.thread);
            match files.device.batch(done, recorder) {
                Ok(()) => active.batches += 1,
                Err(error) => active.error = Some(chain(&error)),
            }
        }
        let enough = active.plan.num_steps.is_some_and(|steps| active.batches >= steps);
        if enough || active.error.is_some() {
            self.finish();
        }
    }

    /// Ends the capture. `waiter` hears of it when the files are complete, also where the
    /// capture is ending by itself already.
    pub(crate) fn stop(&mut self, waiter: Waiter) {
        self.status.wait(waiter);
        self.finish();
    }

    /// Ends the capture, if there is one, before this returns. For the end of the engine.
    pub(crate) fn end_now(&mut self) {
        if let Some((ended, _)) = self.take() {
            let report = ended.close();
            self.telemetry.count_dropped(report.spans_dropped);
            self.status.end(&report);
        }
    }

    fn finish(&mut self) {
        let Some((ended, gone)) = self.take() else { return };
        let status = Arc::clone(&self.status);
        let blocking = self.runtime.clone();
        let running = self.running.clone();
        let telemetry = Arc::clone(&self.telemetry);
        self.runtime.spawn(async move {
            if let Some(mut gone) = gone {
                // Late requests are missing from the file: better than to wait for ever.
                drop(tokio::time::timeout(PATIENCE, gone.recv()).await);
            }
            let closing = ended.report.clone();
            let report = blocking.spawn_blocking(move || ended.close()).await;
            let report = report.unwrap_or_else(|error| CaptureReport {
                error: Some(format!("closing the files failed: {error}")),
                ..closing
            });
            telemetry.count_dropped(report.spans_dropped);
            status.end(&report);
            drop(running);
        });
    }

    fn take(&mut self) -> Option<(Ended, Option<mpsc::Receiver<()>>)> {
        let Active { plan, batches, files, error, .. } = self.active.take()?;
        self.telemetry.set_sink(None);
        let mut report = CaptureReport {
            output_dir: plan.output_dir,
            xplane: None,
            spans: None,
            batches,
            spans_dropped: 0,
            error,
        };
        let (files, gone) = match files {
            None => (None, None),
            Some(Files { sink, leave, gone, device }) => {
                drop(leave);
                report.xplane = Some(device.path().to_owned());
                report.spans = Some(sink.path().to_owned());
                (Some((sink, device)), Some(gone))
            }
        };
        Some((Ended { report, files, end: clock::monotonic() }, gone))
    }
}

impl Active {
    /// Makes the files. Their time counts from `origin`.
    fn open(&mut self, origin: Nanos) -> Result<SinkRef, EngineError> {
        let sink = Arc::new(SpanSink::create(&self.plan.spans_dir)?);
        sink.name_thread(self.thread, THREAD_NAME);
        let path = session_dir(&self.plan.output_dir)?.join(format!("{}.xplane.pb", hostname()));
        let context = (self.thread, self.family);
        let device = DeviceTrace::create(&path, origin, self.plan.planes, context)?;
        let (leave, gone) = SinkRef::new(Arc::clone(&sink));
        self.files = Some(Files { sink, leave: leave.clone(), gone, device });
        Ok(leave)
    }
}

impl Ended {
    /// Closes the files and merges the chunks.
    fn close(self) -> CaptureReport {
        let Self { mut report, files, end } = self;
        if let Some((sink, device)) = files {
            let spans = sink.close().map(|closed| report.spans_dropped = closed.dropped);
            let spans = spans.map_err(|error| chain(&error));
            let device = device.finish(end).map(drop).map_err(|error| chain(&error));
            report.error = report.error.or(spans.err()).or(device.err());
        }
        report
    }
}

fn make_dirs(plan: &Plan) -> Result<(), EngineError> {
    for dir in [&plan.output_dir, &plan.spans_dir] {
        fs::create_dir_all(dir)
            .map_err(|source| EngineError::Write { path: dir.clone(), source })?;
    }
    Ok(())
}

/// Makes TensorBoard's directory of one session, named by the second. Two sessions of one second
/// get a number behind it.
fn session_dir(output_dir: &Path) -> Result<PathBuf, EngineError> {
    let parent = output_dir.join("plugins").join("profile");
    let fail = |path: &Path, source| EngineError::Write { path: path.to_owned(), source };
    fs::create_dir_all(&parent).map_err(|source| fail(&parent, source))?;
    let stamp = stamp(clock::wall());
    for number in 1..1000 {
        let name = if number == 1 { stamp.clone() } else { format!("{stamp}_{number}") };
        let dir = parent.join(name);
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(fail(&dir, source)),
        }
    }
    Err(fail(&parent, io::Error::from(io::ErrorKind::AlreadyExists)))
}

/// Wall time as `YYYY_MM_DD_HH_MM_SS`, in UTC.
fn stamp(wall: Nanos) -> String {
    let seconds = wall.0.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years, as in Howard Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}_{month:02}_{day:02}_{hour:02}_{minute:02}_{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc() {
        for (seconds, expected) in [
            (0, "1970_01_01_00_00_00"),
            (951_782_399, "2000_02_28_23_59_59"),
            (951_868_799, "2000_02_29_23_59_59"),
            (1_795_515_300, "2026_11_24_10_15_00"),
        ] {
            assert_eq!(stamp(Nanos(seconds * 1_000_000_000)), expected);
        }
    }

    #[test]
    fn sessions_of_one_second_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = session_dir(dir.path()).unwrap();
        assert_ne!(first, session_dir(dir.path()).unwrap());
    }
}
