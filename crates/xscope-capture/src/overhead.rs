//! Windows of one load with more and less recording, in turns: what recording does to latency.
//!
//! The probes are switched by a byte, so theirs are windows of one request: what else goes on meets
//! both of a pair. A profiler takes its time to start and stop, so its windows are longer.
//!
//! All windows send the same requests, so that their answers can be compared too. The order within
//! a round is reversed from one to the next: what only goes on in one direction, a machine that
//! gets hotter, favours neither. What a device profile of a window holds is thrown away.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xscope_load::{Cancel, FailureKind, Load, LoadEvent, Plan, Point, Stretch, Workload};
use xscope_trace::overhead::{NotRecorded, OverheadRecord, OverheadWindow, Recording, SCHEMA};
use xscope_trace::run::{JsonlWriter, RunDir};

use crate::error::CaptureError;
use crate::profiler::{self, NotStarted, TracerLevels, absolute};
use crate::watchdog::Watched;

/// What to compare, and for how long.
#[derive(Debug, Clone)]
pub struct OverheadOptions {
    /// What is compared to the probes alone.
    pub recordings: Vec<Recording>,
    /// How long; as long as suits the measurement if `None`.
    pub limit: Option<Duration>,
}

/// Without a limit that was asked for, this share of the measurement is spent, but not more than
/// the longest.
const SHARE: u32 = 2;
const LONGEST: Duration = Duration::from_secs(10);

/// Rounds are made short enough that so many fit.
const ROUNDS: u32 = 8;

/// A window is at most so long: the shorter, the more alike is what its neighbours meet.
const WINDOW: Duration = Duration::from_millis(150);

/// Requests of a window: a median of fewer says little.
const FEWEST: u32 = 4;
const MOST: u32 = 64;

/// What was measured before, for windows of a fitting size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    /// How long all of it took.
    pub measured: Duration,
    /// Requests of the first point in that time.
    pub requests_per_sec: f64,
}

/// A point, whose shapes the server has compiled for, to be loaded with more and less recording.
pub(crate) struct Alternation<'a> {
    pub(crate) options: &'a OverheadOptions,
    pub(crate) before: Before,
    pub(crate) load: Load,
    pub(crate) plan: &'a Plan,
    pub(crate) url: &'a str,
    pub(crate) run: &'a RunDir,
    pub(crate) watchdog: &'a [OsString],
    pub(crate) cancel: &'a Cancel,
}

/// Alternates windows on the point.
///
/// What cannot be measured (a server without a profiler) is left out with the reason; so is the
/// rest of it when it is cancelled.
///
/// # Errors
/// The server is gone, or the run cannot be written.
pub(crate) async fn alternate(of: Alternation<'_>) -> Result<OverheadRecord, CaptureError> {
    let place = Place::of(&of);
    let Alternation { options, before, load, plan, cancel, .. } = of;
    let (mut recordings, mut left_out) = (Vec::new(), Vec::new());
    for recording in [Recording::Nothing, Recording::Basic, Recording::Full] {
        match place.why_not(recording, options) {
            None => recordings.push(recording),
            Some(why) => left_out.push(NotRecorded { recording, why: why.to_owned() }),
        }
    }
    let limit = options.limit.unwrap_or((before.measured / SHARE).min(LONGEST));
    let (shape, arrivals) = (plan.shape(), &plan.workload().arrivals);
    let record = OverheadRecord {
        schema: SCHEMA.to_owned(),
        batch_size: shape.batch_size.unwrap_or(0),
        label_count: shape.label_count.unwrap_or(0),
        concurrency: arrivals.concurrency().unwrap_or(0),
        windows: Vec::new(),
        left_out,
    };
    let (pairs, windows): (Vec<_>, Vec<_>) =
        recordings.into_iter().partition(|&recording| recording == Recording::Nothing);
    let mut result = Ok(());
    let both = if pairs.is_empty() || windows.is_empty() { 1 } else { 2 };
    let rows = JsonlWriter::open(&of.run.requests_path())?;
    let mut turns = Turns { load, place, record, rows, limit: limit / both, cancel };
    for others in [pairs, windows].into_iter().filter(|others| !others.is_empty()) {
        let is_pair = others == [Recording::Nothing];
        let recordings = [&[Recording::Probes], others.as_slice()].concat();
        let requests = match is_pair {
            true => 1,
            false => window_requests(before.requests_per_sec, turns.limit, recordings.len()),
        };
        let mut point = point_of(plan, requests)?;
        result = turns.rounds(&mut point, recordings).await;
        if result.is_err() {
            break;
        }
    }
    let Turns { place, mut record, .. } = turns;
    fs::remove_dir_all(&place.scratch).ok();
    if let Err(why) = place.set_probes(true) {
        record.left_out.push(NotRecorded { recording: Recording::Probes, why: why.to_string() });
    }
    result.map(|()| record)
}

/// A point with so many requests in a window, each twice if it can be, so that the load compares
/// answers.
fn point_of(plan: &Plan, requests: u32) -> Result<Point, CaptureError> {
    let workload = Workload {
        requests: Some(requests),
        distinct: Some(requests.div_ceil(2)),
        ..plan.workload().clone()
    };
    Ok(Point::new(Plan::new(plan.name(), workload, plan.backend())?))
}

/// Windows under way.
struct Turns<'a> {
    load: Load,
    place: Place<'a>,
    record: OverheadRecord,
    rows: JsonlWriter,
    /// Of the rounds with one set of recordings.
    limit: Duration,
    cancel: &'a Cancel,
}

impl Turns<'_> {
    async fn rounds(
        &mut self,
        point: &mut Point,
        mut recordings: Vec<Recording>,
    ) -> Result<(), CaptureError> {
        let Self { load, place, record, rows, limit, cancel } = self;
        let begun = Instant::now();
        // The first one fills the caches of the server, which all others find full.
        window(load, rows, point, (0, Recording::Probes)).await?;
        let first = record.windows.last().map_or(0, |window| window.round + 1);
        for round in first.. {
            for recording in recordings.clone() {
                if cancel.is_cancelled() || begun.elapsed() >= *limit || recordings.len() < 2 {
                    return Ok(());
                }
                let profiler = match place.begin(recording).await {
                    Ok(profiler) => profiler,
                    Err(why) => {
                        record.left_out.push(NotRecorded { recording, why: why.to_string() });
                        recordings.retain(|other| *other != recording);
                        continue;
                    }
                };
                let window = window(load, rows, point, (round, recording)).await;
                let stopped = match profiler {
                    Some(profiler) => {
                        profiler.stop(profiler::stop_limit(window.is_err())).await.map(drop)
                    }
                    None => Ok(()),
                };
                record.windows.push(window?);
                if let Err(why) = stopped {
                    record.left_out.push(NotRecorded { recording, why: why.to_string() });
                    return Ok(());
                }
            }
            recordings.reverse();
        }
        Ok(())
    }
}

async fn window(
    load: &mut Load,
    rows: &mut JsonlWriter,
    point: &mut Point,
    (round, recording): (u32, Recording),
) -> Result<OverheadWindow, CaptureError> {
    let mut window =
        OverheadWindow { round, recording, latencies_ms: Vec::new(), differ: 0, failed: 0 };
    let mut written = Ok(());
    let note = |event: LoadEvent| {
        let LoadEvent::Row(row) = event else { return };
        if written.is_ok() {
            written = rows.write(&row);
        }
        let differs = row.failure == Some(FailureKind::Drift);
        match row.ok || differs {
            true => window.latencies_ms.push(row.latency_ms),
            false => window.failed += 1,
        }
        window.differ += u64::from(differs);
    };
    let stretch = Stretch::with_recording(point.plan(), round);
    if let Some(reason) = load.run(&stretch, point, note).await?.gone {
        return Err(load.server_gone(reason).into());
    }
    written?;
    Ok(window)
}

/// Requests of a window that is as long as it should be.
fn window_requests(per_sec: f64, limit: Duration, recordings: usize) -> u32 {
    let windows = ROUNDS * u32::try_from(recordings).unwrap_or(1).max(1);
    let window = (limit / windows).min(WINDOW);
    let fit = (per_sec * window.as_secs_f64()).clamp(f64::from(FEWEST), f64::from(MOST));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between the two bounds"
    )]
    let requests = fit.ceil() as u32;
    requests
}

/// What is switched for a window.
struct Place<'a> {
    url: &'a str,
    /// The byte that the probes of a server look at; `None` if there are none.
    control: Option<PathBuf>,
    /// Where the server's profiler writes meanwhile.
    scratch: PathBuf,
    /// Whether what the server writes there can be seen, and thrown away, from here.
    is_here: bool,
    watchdog: &'a [OsString],
    cancel: &'a Cancel,
}

impl<'a> Place<'a> {
    fn of(of: &Alternation<'a>) -> Self {
        let Alternation { url, run, watchdog, cancel, .. } = *of;
        let root = absolute(run.path());
        let control = root.join("probe/control");
        Self {
            url,
            control: control.exists().then_some(control),
            scratch: root.join("overhead"),
            is_here: fs::read_dir(run.capture_dir()).is_ok_and(|mut files| files.next().is_some()),
            watchdog,
            cancel,
        }
    }

    /// Why nothing of this kind is measured, if so.
    fn why_not(&self, recording: Recording, options: &OverheadOptions) -> Option<&'static str> {
        match recording {
            _ if !options.recordings.contains(&recording) => {
                Some("ask for it with --overhead-levels")
            }
            Recording::Nothing if self.control.is_none() => {
                Some("the server runs without xscope's probes")
            }
            _ => None,
        }
    }

    /// Switches to a kind of recording; the profiler, if that is on then.
    async fn begin(&self, recording: Recording) -> Result<Option<Watched>, NotSwitched> {
        // In every window, so that those with recording do not come sooner after the last answer.
        self.set_probes(recording != Recording::Nothing)?;
        match recording {
            Recording::Nothing | Recording::Probes => Ok(None),
            Recording::Basic | Recording::Full => {
                if !self.is_here {
                    return Err(NotSwitched::Elsewhere);
                }
                let levels = TracerLevels::with_python(recording == Recording::Full);
                let order = profiler::order_below(&self.scratch, levels);
                let started = Watched::start(self.url, &order, self.watchdog, self.cancel).await;
                Ok(Some(started?))
            }
        }
    }

    /// Writes the byte in place: the server has the file mapped.
    fn set_probes(&self, on: bool) -> Result<(), NotSwitched> {
        let Some(control) = &self.control else { return Ok(()) };
        set_byte(control, u8::from(on))
            .map_err(|source| NotSwitched::Probes { path: control.clone(), source })
    }
}

/// Why recording is not as it should be for a window.
#[derive(Debug, thiserror::Error)]
enum NotSwitched {
    #[error(
        "the server's profiles do not come to this machine, on which they would be thrown away \
         again"
    )]
    Elsewhere,
    #[error("cannot write {}: {source}", path.display())]
    Probes { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Profiler(#[from] NotStarted),
}

fn set_byte(path: &Path, value: u8) -> std::io::Result<()> {
    File::options().write(true).open(path)?.write_all_at(&[value], 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::window_requests;

    #[test]
    fn windows_are_short_and_hold_some_requests() {
        let secs = Duration::from_secs;
        assert_eq!(window_requests(60.0, secs(2), 2), 8, "an eighth of a second");
        assert_eq!(window_requests(60.0, secs(600), 2), 9, "no more than 150 ms");
        assert_eq!(window_requests(0.5, secs(2), 2), 4);
        assert_eq!(window_requests(1e9, secs(2), 3), 64);
        assert_eq!(window_requests(0.0, Duration::ZERO, 0), 4);
    }
}
