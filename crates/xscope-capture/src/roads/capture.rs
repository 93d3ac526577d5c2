//! `xscope capture`: a profile of servers that run already, taken while they have work.
//!
//! The servers are told to begin when there is work, end after so many steps or at the limit of
//! time, whichever comes first, and what they wrote is looked at: if no device did anything to
//! speak of, it is taken once more, and the better of the two is kept.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use xscope_load::{Cancel, LoadEvent, Matrix, Ready, SendOptions, Stretch, WarmUp, wait_ready};
use xscope_trace::model::{Track, TrackKind};
use xscope_trace::quality::Finding;
use xscope_trace::read::ReadOptions;
use xscope_trace::run::{ProfilerState, RunDir, ServerClock, ServerRecord};
use xscope_trace::stats::sum;
use xscope_trace::{Bytes, Nanos, Phase, Picos, Trace, clock};

use crate::begin::{create, finish};
use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::files::{self, Files};
use crate::measure::Measurement;
use crate::pool::{CaptureServer, names};
use crate::profiler::{self, ProfilerOptions, ProfilerStatus, absolute};
use crate::request::{RunRequest, Target};
use crate::results::{About, hardware_of, model_of};
use crate::session;
use crate::under_test::ServerUnderTest;
use crate::work::{LOOK, Seen, Work};

/// How often a capture that came back empty is taken.
const ATTEMPTS: u32 = 2;

/// How long requests of a load of ours may take to end when the profiled time is over.
const DRAIN: Duration = Duration::from_secs(5);

/// How many answers of each connection show that a load of ours is in full swing.
const WARM_ANSWERS: u32 = 2;

/// What to capture, when, and where to.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    pub run: RunRequest,
    /// At least one.
    pub servers: Vec<CaptureServer>,
    pub profiler: ProfilerOptions,
    /// How long the profilers are on at most.
    pub limit: Duration,
    pub start: StartWhen,
    /// Where the servers write on their own disks, if that is not the run's directory.
    pub remote_dir: Option<ServerDir>,
    /// What is wrong with a profile that says nothing of its devices.
    pub judge: fn(&Trace) -> Option<Finding>,
}

/// When profilers are started.
#[derive(Debug, Clone)]
pub enum StartWhen {
    /// At once.
    Now,
    /// When every server that says what it does has work: so many requests in flight, or as many
    /// as it gets.
    Busy { in_flight: Option<u32>, limit: Duration },
    /// When xscope's own load is in full swing.
    OwnLoad(Box<OwnLoad>),
}

/// A load of xscope's own.
#[derive(Debug, Clone)]
pub struct OwnLoad {
    /// Where it is sent; to the first server if `None`.
    pub url: Option<String>,
    pub matrix: Matrix,
    pub send: SendOptions,
    pub warm_up: WarmUp,
}

/// A directory on a server's disk: absolute there, or in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerDir(String);

impl ServerDir {
    /// # Errors
    /// It is not absolute: sglang-jax would never answer again.
    pub fn new(text: &str) -> Result<Self, CaptureError> {
        let is_absolute = text.starts_with('/') || text.starts_with("gs://");
        match is_absolute && !text.contains("/../") && !text.ends_with("/..") {
            true => Ok(Self(text.trim_end_matches('/').to_owned())),
            false => Err(CaptureError::Option {
                what: "the directory on the server",
                value: text.to_owned(),
                why: "it must be an absolute path without `..`, or gs://BUCKET/PATH",
            }),
        }
    }

    fn is_bucket(&self) -> bool {
        self.0.starts_with("gs://")
    }
}

/// Captures the servers and writes the run.
///
/// A cancelled run is no error: its profilers are stopped, and it holds what they had until then.
/// Servers whose state is [`ProfilerState::Elsewhere`] have their files on their own disks.
///
/// # Errors
/// A server is not there or does not profile, no work comes, or the run cannot be written.
pub async fn capture(
    request: CaptureRequest,
    control: Control<'_>,
) -> Result<RunDir, CaptureError> {
    let mut infos = Vec::new();
    for server in &request.servers {
        infos.push(tokio::select! {
            ready = wait_ready(&server.url, request.run.ready) => ready?,
            () = control.cancel.cancelled() => return Err(CaptureError::Cancelled),
        });
        let is_bucket = request.remote_dir.as_ref().is_some_and(ServerDir::is_bucket);
        if is_bucket && profiler::status(&server.url).await == ProfilerStatus::Unknown {
            return Err(CaptureError::Profiler {
                url: server.url.clone(),
                why: "releases without /profile_status never answer again when they are told to \
                      write into a bucket: give --remote-dir a path on the server's disk"
                    .to_owned(),
            });
        }
    }
    let mut run = new_capture(&request, &infos, control)?;
    let result = Box::pin(attempts(&mut run, &request, &infos, control)).await;
    finish(&mut run, result.is_ok(), control)?;
    result.map(|()| run)
}

fn new_capture(
    request: &CaptureRequest,
    infos: &[Ready],
    control: Control<'_>,
) -> Result<RunDir, CaptureError> {
    let first = &infos[0];
    let urls: Vec<&str> = request.servers.iter().map(|server| server.url.as_str()).collect();
    let about = About {
        kind: "capture".to_owned(),
        model: model_of(first),
        hardware: hardware_of(first),
        target: urls.join(" "),
        workload: match &request.start {
            StartWhen::OwnLoad(own) => json!(own.matrix.workload),
            StartWhen::Now | StartWhen::Busy { .. } => Value::Null,
        },
    };
    let mut run = create(&request.run, about, control)?;
    let names = names(&request.servers);
    for ((server, name), ready) in request.servers.iter().zip(names).zip(infos) {
        let mut record = ServerRecord {
            name,
            url: server.url.clone(),
            info: ready.server_info.clone().unwrap_or_default(),
            ..ServerRecord::default()
        };
        record.output_dir = match &request.remote_dir {
            Some(ServerDir(root)) => [root.as_str(), &run.manifest.id, &record.name]
                .join("/")
                .trim_end_matches('/')
                .to_owned(),
            None => absolute(&run.server_trace_dir(&record)).to_string_lossy().into_owned(),
        };
        run.manifest.servers.push(record);
    }
    if let [_] = infos {
        run.manifest.other.insert("server_info".to_owned(), json!(first.server_info));
    }
    run.save()?;
    Ok(run)
}

/// Captures, and once more if what came back is as good as empty; of both, the one in which devices
/// worked for longer is kept.
async fn attempts(
    run: &mut RunDir,
    request: &CaptureRequest,
    infos: &[Ready],
    control: Control<'_>,
) -> Result<(), CaptureError> {
    let mut first: Option<Aside> = None;
    for attempt in 1..=ATTEMPTS {
        let taken = match &request.start {
            StartWhen::OwnLoad(own) => {
                // The second time, the server is warm.
                let warm_up = if attempt == 1 { own.warm_up } else { WarmUp::NONE };
                let own = OwnLoad { warm_up, ..own.as_ref().clone() };
                Box::pin(under_own_load(run, request, own, &infos[0], control)).await
            }
            StartWhen::Now | StartWhen::Busy { .. } => take(run, request, None, control).await,
        };
        let mut seen = match taken {
            Ok(true) => look_at(run, request.judge),
            Ok(false) | Err(_) => Looked::default(),
        };
        if let Some(aside) = first.take() {
            let is_better = aside.seen.work > seen.work || !matches!(taken, Ok(true));
            let before = aside.settle(run, is_better, control);
            if is_better {
                control.say("keeping the first, in which devices worked for longer");
                seen = before;
            }
        }
        run.save()?;
        let is_taken = taken?;
        let Some(empty) = &seen.empty else { return Ok(()) };
        if attempt == ATTEMPTS || control.is_cancelled() || !is_taken {
            control.warn(format!("{empty} [taken {attempt} times]"));
            return Ok(());
        }
        control.warn(format!("{empty}; taking it once more"));
        first = Some(Aside::of(run, seen, control));
        run.save()?;
    }
    Ok(())
}

/// An attempt that is kept until the next one has shown whether it is better. A folder with a dot is
/// left out where profiles are searched.
#[derive(Debug)]
struct Aside {
    folder: PathBuf,
    /// What lies there, and where it lay.
    moved: Vec<(PathBuf, PathBuf)>,
    servers: Vec<ServerRecord>,
    seen: Looked,
}

impl Aside {
    /// Takes what an attempt left in the run out of the way; elsewhere, the next one gets another
    /// place.
    fn of(run: &mut RunDir, seen: Looked, control: Control<'_>) -> Self {
        let folder = run.path().join(".first");
        let servers = run.manifest.servers.clone();
        let mut aside = Self { folder, moved: Vec::new(), servers, seen };
        for index in 0..run.manifest.servers.len() {
            let server = &run.manifest.servers[index];
            let folders = [run.server_trace_dir(server), run.server_spans_dir(server)];
            if Path::new(&server.output_dir) != absolute(&folders[0]) {
                run.manifest.servers[index].output_dir += "/again";
            }
            for folder in folders.into_iter().filter(|folder| folder.exists()) {
                let moved = aside.take(&folder).and_then(|()| fs::create_dir_all(&folder));
                if let Err(error) = moved {
                    control.warn(format!(
                        "the report will have both attempts, because the first cannot be moved \
                         from {} ({error}): the server runs as another user",
                        folder.display()
                    ));
                }
            }
        }
        // There is none without a load of ours.
        aside.take(&run.requests_path()).ok();
        aside
    }

    fn take(&mut self, from: &Path) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let place = self.folder.join(self.moved.len().to_string());
        fs::rename(from, &place)?;
        self.moved.push((place, from.to_owned()));
        Ok(())
    }

    /// Puts it back in place of what was taken since, or throws it away. What had come of it.
    fn settle(self, run: &mut RunDir, is_better: bool, control: Control<'_>) -> Looked {
        if is_better {
            run.manifest.servers = self.servers;
            for (place, from) in &self.moved {
                let free = if from.is_dir() { fs::remove_dir_all(from) } else { Ok(()) };
                if let Err(error) = free.and_then(|()| fs::rename(place, from)) {
                    control.warn(format!(
                        "the first attempt lies in {} and cannot be put back to {}: {error}",
                        place.display(),
                        from.display()
                    ));
                    return self.seen;
                }
            }
        }
        // What cannot be removed is hidden, and does no harm.
        fs::remove_dir_all(&self.folder).ok();
        self.seen
    }
}

/// Captures while a load of ours runs; it ends before the profilers are stopped, so that no request
/// waits for that, and each that the device worked for has its row.
async fn under_own_load(
    run: &mut RunDir,
    request: &CaptureRequest,
    mut own: OwnLoad,
    ready: &Ready,
    control: Control<'_>,
) -> Result<bool, CaptureError> {
    let points = own.matrix.fit(ready.server_info.as_ref())?;
    let swing = Swing {
        over: Cancel::new(),
        drained: Cancel::new(),
        right: Cell::new(0),
        ended: Cell::new(0),
        wanted: points
            .iter()
            .map(|point| point.plan().workload().arrivals.concurrency().unwrap_or(1))
            .max()
            .unwrap_or(1)
            * WARM_ANSWERS,
    };
    let on_event = |event: Event<'_>| {
        swing.count(&event);
        control.tell(event);
    };
    let url = own.url.as_ref().unwrap_or(&request.servers[0].url).clone();
    let server = ServerUnderTest::new(Target::Running { url, log: None }, &[]);
    let send = SendOptions { drain: DRAIN, ..own.send };
    let sender = Control { cancel: &swing.over, on_event: &on_event };
    let rows = run.requests_path();
    let mut measurement = Measurement::new(&server, points, &rows, &send, sender)?;
    let sending = async {
        let sent = send_on(&mut measurement, own.warm_up).await;
        swing.drained.cancel();
        sent
    };
    let both = async {
        let sending = Box::pin(sending);
        let taking = take(run, request, Some(&swing), control);
        tokio::pin!(sending, taking);
        tokio::select! {
            // A load that ends by itself has failed: nothing to capture, but profilers to stop.
            sent = &mut sending => {
                swing.over.cancel();
                let taken = taking.await?;
                sent?;
                Ok::<_, CaptureError>(taken)
            }
            taken = &mut taking => {
                swing.over.cancel();
                sending.await?;
                taken
            }
        }
    };
    let taken = both.await?;
    measurement.rows_are_whole()?;
    Ok(taken)
}

/// Warms the points up and sends them, one after the other and again, until it is over.
async fn send_on(measurement: &mut Measurement<'_>, warm_up: WarmUp) -> Result<(), CaptureError> {
    for index in measurement.points() {
        measurement.warm_up(index, warm_up).await?;
    }
    while !measurement.is_over() {
        for index in measurement.points() {
            let stretch = Stretch::measured(measurement.plan(index), 0);
            measurement.stretch(index, &stretch).await?;
            if measurement.is_over() {
                break;
            }
        }
    }
    measurement.gone().map_or(Ok(()), |error| Err(error.into()))
}

/// How far a load of ours has come.
struct Swing {
    /// Ends it.
    over: Cancel,
    /// Says that it has ended.
    drained: Cancel,
    /// Right answers, and all that came to an end.
    right: Cell<u32>,
    ended: Cell<u32>,
    /// How many right answers show that it is in full swing.
    wanted: u32,
}

impl Swing {
    fn count(&self, event: &Event<'_>) {
        if let Event::Load(LoadEvent::Row(row)) = event
            && row.phase == Phase::Measure
        {
            self.ended.set(self.ended.get() + 1);
            self.right.set(self.right.get() + u32::from(row.ok));
        }
    }

    /// Returns when it is in full swing, with how that is known.
    async fn is_full(&self) -> Result<String, CaptureError> {
        let begun = Instant::now();
        while self.right.get() < self.wanted {
            if self.right.get() == 0 && self.ended.get() > self.wanted {
                let seen = format!("{} answers to xscope's own load, none right", self.ended.get());
                return Err(CaptureError::NoLoad { waited: begun.elapsed(), seen });
            }
            sleep(LOOK / 4).await;
        }
        Ok(format!("xscope's own load: {} right answers so far", self.right.get()))
    }
}

/// Waits for work, starts the profilers, and stops them. `false` if it was cancelled before.
async fn take(
    run: &mut RunDir,
    request: &CaptureRequest,
    own: Option<&Swing>,
    control: Control<'_>,
) -> Result<bool, CaptureError> {
    let ended = async {
        match own {
            Some(own) => tokio::select! {
                () = control.cancel.cancelled() => {}
                () = own.over.cancelled() => {}
            },
            None => control.cancel.cancelled().await,
        }
    };
    tokio::pin!(ended);
    let known = tokio::select! {
        known = wait_for_work(request, own, control) => known?,
        () = &mut ended => return Ok(false),
    };
    for (server, known) in run.manifest.servers.iter_mut().zip(known) {
        control.say(format!("{}: {known}", server.url));
        server.load = known;
    }
    let mut say = |text: String| control.say(text);
    let mut session =
        session::start(run, &request.profiler, &request.run.watchdog, control.cancel, &mut say)
            .await?;
    control.say(format!("profiling for {:.1} s at most", request.limit.as_secs_f64()));
    tokio::select! {
        () = session.wait(run, request.limit) => {}
        () = &mut ended => {}
    }
    if let Some(own) = own {
        own.over.cancel();
        own.drained.cancelled().await;
    }
    control.say("stopping; servers answer nobody while they write");
    for warning in session.stop(run, profiler::STOP_LIMIT).await? {
        control.warn(warning);
    }
    Ok(true)
}

/// How each server is known to have work, when it has.
async fn wait_for_work(
    request: &CaptureRequest,
    own: Option<&Swing>,
    control: Control<'_>,
) -> Result<Vec<String>, CaptureError> {
    let count = request.servers.len();
    if let Some(own) = own {
        return Ok(vec![own.is_full().await?; count]);
    }
    let StartWhen::Busy { in_flight, limit } = &request.start else {
        return Ok(vec!["not asked: started at once".to_owned(); count]);
    };
    control.say(format!("waiting for work, for {:.0} s at most", limit.as_secs_f64()));
    let begun = Instant::now();
    let mut work: Vec<Work> = request.servers.iter().map(|_| Work::default()).collect();
    loop {
        let mut seen = Vec::new();
        for (server, work) in request.servers.iter().zip(&mut work) {
            seen.push((work.look(&server.url, *in_flight).await, &server.url));
        }
        if seen.iter().all(|(seen, _)| !matches!(seen, Seen::NotYet(_))) {
            let known = |(seen, _)| match seen {
                Seen::Full(said) | Seen::NotYet(said) => said,
                Seen::Nothing => "unknown: neither /metrics nor /get_server_info says how much \
                                  work it has; started at once"
                    .to_owned(),
            };
            return Ok(seen.into_iter().map(known).collect());
        }
        if begun.elapsed() >= *limit {
            let texts = seen.into_iter().filter_map(|(seen, url)| match seen {
                Seen::NotYet(said) => Some(format!("{url}: {said}")),
                Seen::Full(_) | Seen::Nothing => None,
            });
            let seen = texts.collect::<Vec<_>>().join("; ");
            return Err(CaptureError::NoLoad { waited: *limit, seen });
        }
        sleep(LOOK).await;
    }
}

/// What came of an attempt, as far as it is here.
#[derive(Debug, Default)]
struct Looked {
    /// Why it says nothing of its devices.
    empty: Option<String>,
    /// Time in all operations of all devices.
    work: Picos,
}

/// Reads what is there of each server: places its clock, and says what is wrong with it.
fn look_at(run: &mut RunDir, judge: fn(&Trace) -> Option<Finding>) -> Looked {
    let mut seen = Looked::default();
    for index in 0..run.manifest.servers.len() {
        let server = &run.manifest.servers[index];
        if server.profiler != ProfilerState::Collected {
            continue;
        }
        // One that cannot be read is told of by whoever reads the run.
        let Ok(trace) = read(&run.server_trace_dir(server)) else { continue };
        let server = &mut run.manifest.servers[index];
        server.clock = server_clock(&trace, server);
        let url = &server.url;
        let empty = judge(&trace).map(|it| format!("{url}: {} [{}]", it.message, it.code));
        seen.empty = seen.empty.or(empty);
        let is_work = |track: &&Track| track.kind == TrackKind::Ops;
        for track in trace.tracks.iter().filter(is_work) {
            seen.work = seen.work.saturating_add(sum(&track.slices.dur));
        }
    }
    seen
}

/// What devices did, without what hosts did: that is most of a file.
fn read(folder: &Path) -> Result<Trace, xscope_trace::Error> {
    let options = ReadOptions { memory_limit: Some(Bytes(0)), needed: |_| false };
    xscope_trace::read::read_paths_with(&[folder.to_owned()], options)
}

/// How far a server's clock is ahead: its profile began between the request to start and the
/// answer, and ended between that to stop and the answer.
fn server_clock(trace: &Trace, server: &ServerRecord) -> Option<ServerClock> {
    let clock =
        trace.sources.iter().map(|source| source.clock).find(|it| it.unix_epoch.is_some())?;
    let begin = clock.unix_epoch?;
    let started = server.started?;
    let mut moments = vec![(begin, started.asked, started.answered)];
    if let (Some(session), Some(stopped)) = (clock.session, server.stopped) {
        moments.push((begin + Nanos(session.0 / 1000), stopped.asked, stopped.answered));
    }
    ServerClock::between(&moments)
}

/// Finishes a run whose servers wrote on their own disks, when their files have been copied into
/// it; what is wrong about them goes to `warn`.
///
/// # Errors
/// It is no run, or files are still missing; how to get them is in the error.
pub async fn collect(path: &Path, warn: &mut dyn FnMut(String)) -> Result<RunDir, CaptureError> {
    let mut run = RunDir::open(path)?;
    for index in 0..run.manifest.servers.len() {
        let server = &run.manifest.servers[index];
        let folder = run.server_trace_dir(server);
        if !Files::of(&folder).are_there() {
            let commands = copy_commands(&run, server);
            return Err(CaptureError::NotCollected { folder, commands });
        }
        let settled = files::still(&folder, session::info(&run, server)).await;
        settled.wrong(&server.url, run.path(), &folder).into_iter().for_each(&mut *warn);
        // One that cannot be read is told of by whoever reads the run.
        let clock = read(&folder).ok().and_then(|trace| server_clock(&trace, server));
        let server = &mut run.manifest.servers[index];
        (server.profiler, server.clock) = (ProfilerState::Collected, clock);
    }
    let status = run.manifest.status;
    run.finish(status, run.manifest.ended_wall.unwrap_or_else(clock::wall))?;
    Ok(run)
}

/// Command lines that copy a server's files into the run; words in capitals are the user's to fill
/// in.
pub fn copy_commands(run: &RunDir, server: &ServerRecord) -> Vec<String> {
    let from = &server.output_dir;
    let to = absolute(&run.server_trace_dir(server));
    let to = to.display();
    if from.starts_with("gs://") {
        return vec![format!("gcloud storage cp -r '{from}/*' '{to}/'")];
    }
    let host = server.url.rsplit("://").next().unwrap_or_default();
    // Behind a name of this machine is another one, or the files would be here: through a tunnel, or in
    // a container.
    let host = match host.split(['/', ':']).next() {
        None | Some("" | "localhost" | "127.0.0.1" | "0.0.0.0" | "[") => "HOST",
        Some(host) => host,
    };
    vec![
        format!("scp -r '{host}:{from}/.' '{to}/'"),
        format!("kubectl cp 'NAMESPACE/POD:{from}/.' '{to}'"),
        format!(
            "gcloud compute tpus tpu-vm scp --recurse --worker=all --zone=ZONE 'TPU:{from}/plugins' '{to}/'"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::ServerDir;

    #[test]
    fn a_directory_on_a_server_is_absolute() {
        for text in ["/tmp/x", "/tmp/x/", "gs://bucket/x"] {
            assert!(ServerDir::new(text).is_ok(), "{text}");
        }
        for text in ["", "runs", "./x", "s3://x", "/tmp/../x", "/tmp/.."] {
            assert!(ServerDir::new(text).is_err(), "{text}");
        }
    }
}
