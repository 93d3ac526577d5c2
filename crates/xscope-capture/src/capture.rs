//! `xscope capture`: a profile of servers that run already, taken while they have work.
//!
//! The servers are told to begin when there is work, end after so many steps or at the limit of
//! time, whichever comes first, and what they wrote is looked at: if no device did anything to
//! speak of, it is taken once more.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use xscope_load::{
    Cancel, Load, LoadEvent, Matrix, Phase, Point, Ready, SendOptions, Stretch, wait_ready,
};
use xscope_trace::load::LoadOptions as TraceOptions;
use xscope_trace::quality::Finding;
use xscope_trace::run::{
    JsonlWriter, NewRun, ProfilerState, RunClock, RunDir, RunStatus, ServerClock, ServerRecord,
};
use xscope_trace::{Bytes, Nanos, Trace, clock};

use crate::error::CaptureError;
use crate::profile::{info, model_of};
use crate::profiler::{self, ProfilerOptions, ProfilerStatus, absolute};
use crate::session::{self, profile_bytes};
use crate::work::{LOOK, Seen, Work};

/// How often a capture that came back empty is taken.
const ATTEMPTS: u32 = 2;

/// How long a server that runs may take to say so.
const READY: Duration = Duration::from_secs(5);

/// How long requests of a load of ours may take to end when the profiled time is over.
const DRAIN: Duration = Duration::from_secs(5);

/// How many answers of each connection show that a load of ours is in full swing.
const WARM_ANSWERS: u32 = 2;

/// What to capture, when, and where to.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
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
    /// A command that calls [`watch_over`](crate::watch_over) with the arguments that are put
    /// behind it; profilers outlive a `kill -9` without one.
    pub watchdog: Vec<OsString>,
    pub command_line: Vec<String>,
    pub git_commit: Option<String>,
}

/// A server to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureServer {
    /// `prefill`, `decode`; empty for one that does both.
    pub role: &'static str,
    pub url: String,
}

/// When profilers are started.
#[derive(Debug, Clone)]
pub enum StartWhen {
    /// At once.
    Now,
    /// When every server that says what it does has work: so many requests in flight, or as many
    /// as it gets.
    Busy { in_flight: Option<u32>, limit: Duration },
    /// When xscope's own load is in full swing; `None` sends it to the first server.
    OwnLoad { url: Option<String>, matrix: Box<Matrix>, load: SendOptions, warmup_rounds: u32 },
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

/// What happens on the way, for whoever shows progress.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaptureEvent<'a> {
    /// The run's directory is there.
    Created(&'a Path),
    Said(String),
    Warning(String),
    Load(LoadEvent),
}

/// Captures the servers and writes the run.
///
/// A cancelled run is no error: its profilers are stopped, and it holds what they had until then.
/// Servers whose state is [`ProfilerState::Elsewhere`] have their files on their own disks.
///
/// # Errors
/// A server is not there or does not profile, no work comes, or the run cannot be written.
pub async fn capture(
    options: CaptureOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(CaptureEvent<'_>),
) -> Result<RunDir, CaptureError> {
    let mut infos = Vec::new();
    for server in &options.servers {
        infos.push(wait_ready(&server.url, READY).await?);
        let is_bucket = options.remote_dir.as_ref().is_some_and(ServerDir::is_bucket);
        if is_bucket && profiler::status(&server.url).await == ProfilerStatus::Unknown {
            return Err(CaptureError::Profiler {
                url: server.url.clone(),
                why: "releases without /profile_status never answer again when they are told to \
                      write into a bucket: give --remote-dir a path on the server's disk"
                    .to_owned(),
            });
        }
    }
    let mut run = create(&options, &infos)?;
    on_event(CaptureEvent::Created(run.path()));
    let events: Events<'_, '_> = RefCell::new(&mut on_event);
    let result = attempts(&mut run, &options, &infos, cancel, &events).await;
    let status = match &result {
        _ if cancel.is_cancelled() => RunStatus::Interrupted,
        Ok(()) => RunStatus::Complete,
        Err(_) => RunStatus::Failed,
    };
    run.finish(status, clock::wall())?;
    result.map(|()| run)
}

fn create(options: &CaptureOptions, infos: &[Ready]) -> Result<RunDir, CaptureError> {
    let first = &infos[0];
    let urls: Vec<&str> = options.servers.iter().map(|server| server.url.as_str()).collect();
    let new = NewRun {
        kind: "capture".to_owned(),
        model: model_of(first).to_owned(),
        hardware: info(first, "device").unwrap_or_default().to_owned(),
        command_line: options.command_line.clone(),
        target: urls.join(" "),
        workload: match &options.start {
            StartWhen::OwnLoad { matrix, .. } => json!(matrix.workload),
            StartWhen::Now | StartWhen::Busy { .. } => Value::Null,
        },
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit: options.git_commit.clone(),
        clock: RunClock::read(),
        started_wall: clock::wall(),
    };
    let mut run = RunDir::create(&options.output_dir, new)?;
    let names = names(&options.servers);
    for ((server, name), ready) in options.servers.iter().zip(names).zip(infos) {
        let mut record = ServerRecord {
            name,
            url: server.url.clone(),
            info: ready.server_info.clone().unwrap_or_default(),
            ..ServerRecord::default()
        };
        record.output_dir = match &options.remote_dir {
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

/// Unique names for the folders of servers: none for a single one without a role.
pub(crate) fn names(servers: &[CaptureServer]) -> Vec<String> {
    let base = |server: &CaptureServer| match (server.role, servers.len()) {
        ("", 1) => String::new(),
        ("", _) => {
            let host = server.url.rsplit("://").next().unwrap_or_default();
            let keep = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
            host.trim_end_matches('/').chars().map(keep).collect()
        }
        (role, _) => role.to_owned(),
    };
    let bases: Vec<String> = servers.iter().map(base).collect();
    let place = |index: usize| bases[..index].iter().filter(|it| **it == bases[index]).count();
    let is_twice = |name: &String| bases.iter().filter(|it| *it == name).count() > 1;
    let name = |(index, name): (usize, &String)| match is_twice(name) {
        true => format!("{name}-{}", place(index)),
        false => name.clone(),
    };
    bases.iter().enumerate().map(name).collect()
}

type Events<'a, 'b> = RefCell<&'a mut (dyn FnMut(CaptureEvent<'_>) + 'b)>;

/// Captures, and once more if what came back is empty.
async fn attempts(
    run: &mut RunDir,
    options: &CaptureOptions,
    infos: &[Ready],
    cancel: &Cancel,
    events: &Events<'_, '_>,
) -> Result<(), CaptureError> {
    for attempt in 1..=ATTEMPTS {
        let taken = match &options.start {
            StartWhen::OwnLoad { url, matrix, load, warmup_rounds } => {
                let url = url.as_deref().unwrap_or(&options.servers[0].url);
                let mut matrix = matrix.clone();
                let points = matrix.fit(infos[0].server_info.as_ref())?;
                // The second time, the server is warm.
                let rounds = if attempt == 1 { *warmup_rounds } else { 0 };
                let own = ((url, load.clone()), points, rounds);
                under_own_load(run, options, own, cancel, events).await?
            }
            StartWhen::Now | StartWhen::Busy { .. } => {
                take(run, options, None, cancel, events).await?
            }
        };
        if !taken {
            return Ok(());
        }
        let empty = look_at(run, options.judge, events);
        run.save()?;
        let Some(empty) = empty else { return Ok(()) };
        if attempt == ATTEMPTS || cancel.is_cancelled() {
            warn(events, format!("{empty} [taken {attempt} times]"));
            return Ok(());
        }
        warn(events, format!("{empty}; taking it once more"));
        discard(run, events);
    }
    Ok(())
}

/// Throws away what an attempt left in the run; elsewhere, the next one gets another place.
fn discard(run: &mut RunDir, events: &Events<'_, '_>) {
    for index in 0..run.manifest.servers.len() {
        let server = &run.manifest.servers[index];
        let folders = [run.server_trace_dir(server), run.server_spans_dir(server)];
        if Path::new(&server.output_dir) != absolute(&folders[0]) {
            run.manifest.servers[index].output_dir += "/again";
        }
        for folder in folders.iter().filter(|folder| folder.exists()) {
            if let Err(error) = fs::remove_dir_all(folder).and_then(|()| fs::create_dir_all(folder))
            {
                warn(
                    events,
                    format!(
                        "the report will have both attempts, because the first cannot be removed \
                         from {} ({error}): the server runs as another user",
                        folder.display()
                    ),
                );
            }
        }
    }
    // There is none without a load of ours.
    fs::remove_file(run.requests_path()).ok();
}

/// Captures while a load of ours runs; it ends before the profilers are stopped, so that no request
/// waits for that, and each that the device worked for has its row.
async fn under_own_load(
    run: &mut RunDir,
    options: &CaptureOptions,
    ((url, load), mut points, rounds): ((&str, SendOptions), Vec<Point>, u32),
    cancel: &Cancel,
    events: &Events<'_, '_>,
) -> Result<bool, CaptureError> {
    let at_once = |point: &Point| point.plan().workload().arrivals.concurrency().unwrap_or(1);
    let wanted = points.iter().map(at_once).max().unwrap_or(1) * WARM_ANSWERS;
    let (over, drained) = (Cancel::new(), Cancel::new());
    let mut load = Load::new(url, SendOptions { drain: DRAIN, ..load }, over.clone())?;
    let mut rows = JsonlWriter::open(&run.requests_path())?;
    let (answered, ended) = (Cell::new(0), Cell::new(0));
    let row_error = Cell::new(None);
    let mut record = |event: LoadEvent| {
        if let LoadEvent::Row(row) = &event {
            if let Err(error) = rows.write(row) {
                row_error.set(Some(error));
            }
            let is_measured = row.phase == Phase::Measure;
            ended.set(ended.get() + u32::from(is_measured));
            answered.set(answered.get() + u32::from(is_measured && row.ok));
        }
        (events.borrow_mut())(CaptureEvent::Load(event));
    };
    let sending = async {
        if rounds > 0 {
            for point in &mut points {
                let stretch = Stretch::warm_up(point.plan(), rounds);
                send(&mut load, &stretch, point, &mut record).await?;
            }
        }
        while !over.is_cancelled() {
            for point in &mut points {
                let stretch = Stretch::measured(point.plan(), 0);
                send(&mut load, &stretch, point, &mut record).await?;
            }
        }
        Ok::<_, CaptureError>(())
    };
    let sending = Box::pin(sending);
    let sending = async {
        let sent = sending.await;
        drained.cancel();
        sent
    };
    let own = Own { over: &over, drained: &drained, answered: &answered, ended: &ended, wanted };
    let both = async {
        let taking = take(run, options, Some(own), cancel, events);
        tokio::pin!(sending, taking);
        tokio::select! {
            // A load that ends by itself has failed: nothing to capture, but profilers to stop.
            sent = &mut sending => {
                over.cancel();
                let taken = taking.await?;
                sent?;
                Ok::<_, CaptureError>(taken)
            }
            taken = &mut taking => {
                over.cancel();
                sending.await?;
                taken
            }
        }
    };
    let taken = both.await?;
    if let Some(error) = row_error.take() {
        return Err(error.into());
    }
    Ok(taken)
}

/// Sends a stretch of load; that the server has gone is an error.
async fn send(
    load: &mut Load,
    stretch: &Stretch,
    point: &mut Point,
    record: &mut impl FnMut(LoadEvent),
) -> Result<(), CaptureError> {
    let window = load.run(stretch, point, record).await?;
    match window.gone {
        Some(reason) => Err(load.server_gone(reason).into()),
        None => Ok(()),
    }
}

/// A load of ours.
#[derive(Clone, Copy)]
struct Own<'a> {
    /// Ends it.
    over: &'a Cancel,
    /// Says that it has ended.
    drained: &'a Cancel,
    /// Right answers, and all that came to an end.
    answered: &'a Cell<u32>,
    ended: &'a Cell<u32>,
    /// How many right ones answers show that it is in full swing.
    wanted: u32,
}

/// Waits for work, starts the profilers, and stops them. `false` if it was cancelled before.
async fn take(
    run: &mut RunDir,
    options: &CaptureOptions,
    own: Option<Own<'_>>,
    cancel: &Cancel,
    events: &Events<'_, '_>,
) -> Result<bool, CaptureError> {
    let ended = async {
        match own {
            Some(own) => tokio::select! {
                () = cancel.cancelled() => {}
                () = own.over.cancelled() => {}
            },
            None => cancel.cancelled().await,
        }
    };
    tokio::pin!(ended);
    let known = tokio::select! {
        known = wait_for_work(options, own, events) => known?,
        () = &mut ended => return Ok(false),
    };
    for (server, known) in run.manifest.servers.iter_mut().zip(known) {
        say(events, format!("{}: {known}", server.url));
        server.load = known;
    }
    let mut speak = |text| say(events, text);
    let mut session = session::start(run, &options.profiler, &options.watchdog, &mut speak).await?;
    say(events, format!("profiling for {:.1} s at most", options.limit.as_secs_f64()));
    tokio::select! {
        () = session.wait(run, options.limit) => {}
        () = &mut ended => {}
    }
    if let Some(own) = own {
        own.over.cancel();
        own.drained.cancelled().await;
    }
    say(events, "stopping; servers answer nobody while they write".to_owned());
    for warning in session.stop(run, profiler::STOP_LIMIT).await? {
        warn(events, warning);
    }
    Ok(true)
}

/// How each server is known to have work, when it has.
async fn wait_for_work(
    options: &CaptureOptions,
    own: Option<Own<'_>>,
    events: &Events<'_, '_>,
) -> Result<Vec<String>, CaptureError> {
    let count = options.servers.len();
    if let Some(own) = own {
        let begun = Instant::now();
        while own.answered.get() < own.wanted {
            if own.answered.get() == 0 && own.ended.get() > own.wanted {
                let seen = format!("{} answers to xscope's own load, none right", own.ended.get());
                return Err(CaptureError::NoLoad { waited: begun.elapsed(), seen });
            }
            sleep(LOOK / 4).await;
        }
        let known = format!("xscope's own load: {} right answers so far", own.answered.get());
        return Ok(vec![known; count]);
    }
    let StartWhen::Busy { in_flight, limit } = &options.start else {
        return Ok(vec!["not asked: started at once".to_owned(); count]);
    };
    say(events, format!("waiting for work, for {:.0} s at most", limit.as_secs_f64()));
    let begun = Instant::now();
    let mut work: Vec<Work> = options.servers.iter().map(|_| Work::default()).collect();
    loop {
        let mut seen = Vec::new();
        for (server, work) in options.servers.iter().zip(&mut work) {
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

/// Reads what is there of each server: places its clock, and says what is wrong with it.
fn look_at(
    run: &mut RunDir,
    judge: fn(&Trace) -> Option<Finding>,
    events: &Events<'_, '_>,
) -> Option<String> {
    let mut empty = None;
    for index in 0..run.manifest.servers.len() {
        let server = &run.manifest.servers[index];
        if server.profiler != ProfilerState::Collected {
            continue;
        }
        match read(&run.server_trace_dir(server)) {
            Ok(trace) => {
                let server = &mut run.manifest.servers[index];
                server.clock = server_clock(&trace, server);
                let url = &server.url;
                empty = empty
                    .or(judge(&trace).map(|it| format!("{url}: {} [{}]", it.message, it.code)));
            }
            Err(error) => warn(events, format!("{}: {error}", server.url)),
        }
    }
    empty
}

/// What devices did, without what hosts did: that is most of a file.
fn read(folder: &Path) -> Result<Trace, xscope_trace::Error> {
    let options = TraceOptions { memory_limit: Some(Bytes(0)), needed: |_| false };
    xscope_trace::load::load_with(&[folder.to_owned()], options)
}

/// How far a server's clock is ahead: its profile began between the request to start and the
/// answer, and ended between that to stop and the answer.
fn server_clock(trace: &Trace, server: &ServerRecord) -> Option<ServerClock> {
    let clock =
        trace.sources.iter().map(|source| source.clock).find(|it| it.unix_epoch.is_some())?;
    let begin = clock.unix_epoch?;
    let (sent, answered) = server.started?;
    let mut moments = vec![(begin, sent, answered)];
    if let (Some(session), Some((sent, answered))) = (clock.session, server.stopped) {
        moments.push((begin + Nanos(session.0 / 1000), sent, answered));
    }
    ServerClock::between(&moments)
}

/// Finishes a run whose servers wrote on their own disks, when their files have been copied into
/// it.
///
/// # Errors
/// It is no run, or files are still missing; how to get them is in the error.
pub fn collect(path: &Path) -> Result<RunDir, CaptureError> {
    let mut run = RunDir::open(path)?;
    for index in 0..run.manifest.servers.len() {
        let server = &run.manifest.servers[index];
        let folder = run.server_trace_dir(server);
        if profile_bytes(&folder) == 0 {
            let commands = copy_commands(&run, server);
            return Err(CaptureError::NotCollected { folder, commands });
        }
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
    let host = host.split(['/', ':']).next().unwrap_or("HOST");
    vec![
        format!("scp -r '{host}:{from}/.' '{to}/'"),
        format!("kubectl cp 'NAMESPACE/POD:{from}/.' '{to}'"),
        format!(
            "gcloud compute tpus tpu-vm scp --recurse --worker=all --zone=ZONE 'TPU:{from}/plugins' '{to}/'"
        ),
    ]
}

fn say(events: &Events<'_, '_>, text: String) {
    (events.borrow_mut())(CaptureEvent::Said(text));
}

fn warn(events: &Events<'_, '_>, text: String) {
    (events.borrow_mut())(CaptureEvent::Warning(text));
}

#[cfg(test)]
mod tests {
    use super::{CaptureServer, ServerDir, names};

    #[test]
    fn folders_of_servers_are_named_after_what_tells_them_apart() {
        let check = |servers: &[(&'static str, &str)], expected: &[&str]| {
            let servers: Vec<_> = servers
                .iter()
                .map(|&(role, url)| CaptureServer { role, url: url.to_owned() })
                .collect();
            assert_eq!(names(&servers), expected);
        };
        check(&[("", "http://h:1")], &[""]);
        check(&[("prefill", "http://h:1")], &["prefill"]);
        check(&[("prefill", "http://h:1"), ("decode", "http://h:2")], &["prefill", "decode"]);
        check(
            &[("prefill", "http://h:1"), ("decode", "http://h:2"), ("decode", "http://h:3")],
            &["prefill", "decode-0", "decode-1"],
        );
        check(&[("", "http://h:1/"), ("", "http://[::1]:2/a")], &["h_1", "___1__2_a"]);
        check(&[("", "http://h:1"), ("", "http://h:1")], &["h_1-0", "h_1-1"]);
    }

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
