//! A benchmark: ready, warm, measured in trials, judged, written down.
//!
//! Every point is warmed up before the first is measured; then each trial measures all points, so
//! that trials of different points with one number lie beside each other in time. Profiles are taken
//! apart from what is measured, because a profiler slows the server. `results.json` is written anew
//! after each point, so that what was measured survives whatever comes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use xscope_load::{
    Cancel, CompileSigns as _, Evidence, Load, LoadError, LoadEvent, Matrix, Point, Ready,
    SendOptions, Stretch, TrialSamples, WarmUp, Warmed, point_result, wait_ready, warm_up,
};
use xscope_trace::clock;
use xscope_trace::results::{
    self, BenchConfig, Ended, Metadata, PointResult, Results, WarmupReport,
};
use xscope_trace::run::{HostInfo, JsonlWriter, NewRun, RunClock, RunDir, RunStatus, Utc};

use crate::capture::{CaptureServer, names};
use crate::error::CaptureError;
use crate::log_watch::{Signs, last_words};
use crate::profile::{info, model_of};
use crate::profiler::{Order, ProfilerOptions, absolute, stop_limit};
use crate::server::{Server, free_port, must_be_free};
use crate::watchdog::Watched;

/// How long a server that answers no more may take to end by itself.
const DYING: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    pub target: BenchTarget,
    pub matrix: Matrix,
    pub warm_up: WarmUp,
    /// How often each point is measured.
    pub trials: u32,
    /// Figures that have to be valid; those that matter where nobody says, if empty.
    pub asked: Vec<String>,
    /// How long the server may take to get ready.
    pub ready: Duration,
    pub profile: ProfiledServers,
    /// A command that calls [`watch_over`](crate::watch_over) with the arguments that are put
    /// behind it; profilers outlive a `kill -9` without one.
    pub watchdog: Vec<OsString>,
    pub load: SendOptions,
    /// What was asked for, as far as the results should repeat it.
    pub config: BenchConfig,
    pub git_commit: Option<String>,
}

/// Where the server is, or how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchTarget {
    /// One that runs, with its log if it can be followed.
    Running { url: String, log: Option<PathBuf> },
    /// A command; `{port}` in a word becomes a free port of the loopback interface, which is where it
    /// listens if there is no address.
    Command { words: Vec<OsString>, url: Option<String> },
}

/// Which servers are profiled for each point, apart from what is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfiledServers {
    None,
    /// The one that is loaded.
    Loaded,
    /// Workers behind it, by their addresses.
    Workers(Vec<String>),
}

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum BenchEvent<'a> {
    /// The run's directory is there.
    Created(&'a Path),
    /// The server that was to be started is starting, with its log here.
    Starting(&'a Path),
    Load(LoadEvent),
    /// A point has been measured once more.
    Measured(&'a PointResult),
    /// Something is missing from the run, and why.
    Warning(String),
}

/// A benchmark that has ended.
#[derive(Debug)]
pub struct Benched {
    pub run: RunDir,
    pub results: Results,
    /// Points whose profile was taken, with the requests that were sent meanwhile.
    pub profiled: Vec<(String, TrialSamples)>,
    /// Why the server is gone, if it is.
    pub died: Option<String>,
}

/// Measures every point of the matrix.
///
/// A server that goes away, or a user who ends it, is no error: the results say so, and hold what
/// was measured before.
///
/// # Errors
///
/// The server does not get ready, a point cannot be made, or the run cannot be written.
pub async fn bench(
    options: BenchOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(BenchEvent<'_>),
) -> Result<Benched, CaptureError> {
    let mut run = RunDir::create(&options.output_dir, new_run(&options).await)?;
    on_event(BenchEvent::Created(run.path()));
    let (url, mut server) = match start(&options.target, &run, &mut on_event).await {
        Ok(started) => started,
        Err(error) => {
            run.finish(RunStatus::Failed, clock::wall())?;
            return Err(error);
        }
    };
    let measuring = measure(&url, &mut server, &mut run, options, cancel, &mut on_event);
    let measured = Box::pin(measuring).await;
    if let Some(server) = &mut server {
        server.stop().await?;
    }
    let status = match &measured {
        _ if cancel.is_cancelled() => RunStatus::Interrupted,
        Ok(Outcome { died: None, .. }) => RunStatus::Complete,
        Ok(_) | Err(_) => RunStatus::Failed,
    };
    run.finish(status, clock::wall())?;
    let Outcome { results, profiled, died } = measured?;
    Ok(Benched { run, results, profiled, died })
}

/// How long a server that runs may take to say its model, for the run's name.
const NAMING: Duration = Duration::from_secs(1);

pub(crate) async fn new_run(options: &BenchOptions) -> NewRun {
    let ready = match &options.target {
        BenchTarget::Running { url, .. } => wait_ready(url, NAMING).await.ok(),
        BenchTarget::Command { .. } => None,
    };
    let model = match options.matrix.workload.model.as_str() {
        "" => ready.as_ref().map_or("", model_of),
        model => model,
    };
    let hardware = ready.as_ref().and_then(|ready| info(ready, "device"));
    let target = match &options.target {
        BenchTarget::Running { url, .. } => url.clone(),
        BenchTarget::Command { words, .. } => text(words).join(" "),
    };
    NewRun {
        kind: options.config.bench.clone(),
        model: model.to_owned(),
        hardware: hardware.unwrap_or_default().to_owned(),
        command_line: options.config.command_line.clone(),
        target,
        workload: json!(options.matrix.workload),
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit: options.git_commit.clone(),
        clock: RunClock::read(),
        started_wall: clock::wall(),
    }
}

fn text(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The address, and the server if it is ours.
pub(crate) async fn start(
    target: &BenchTarget,
    run: &RunDir,
    on_event: &mut impl FnMut(BenchEvent<'_>),
) -> Result<(String, Option<Server>), CaptureError> {
    let (words, url) = match target {
        BenchTarget::Running { url, .. } => return Ok((url.clone(), None)),
        BenchTarget::Command { words, url } => (words, url),
    };
    if let Some(url) = url {
        must_be_free(url).await?;
    }
    let port = free_port()?.to_string();
    let with_port = |word: &OsString| match word.to_str() {
        Some(word) => OsString::from(word.replace("{port}", &port)),
        None => word.clone(),
    };
    let words: Vec<OsString> = words.iter().map(with_port).collect();
    let server = Server::words(&words, &run.logs_dir().join("server.log"))?;
    on_event(BenchEvent::Starting(server.log()));
    Ok((url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{port}")), Some(server)))
}

struct Outcome {
    results: Results,
    profiled: Vec<(String, TrialSamples)>,
    died: Option<String>,
}

/// Everything while the server is up.
async fn measure(
    url: &str,
    server: &mut Option<Server>,
    run: &mut RunDir,
    mut options: BenchOptions,
    cancel: &Cancel,
    on_event: &mut impl FnMut(BenchEvent<'_>),
) -> Result<Outcome, CaptureError> {
    let ready = get_ready(url, server, options.ready, cancel).await?;
    options.load.pulse = server.as_ref().map(Server::pulse);
    run.manifest.other.insert("server_info".to_owned(), json!(ready.server_info));
    let points = options.matrix.fit(ready.server_info.as_ref())?;
    run.manifest.workload = json!(options.matrix.workload);
    let log = match (&options.target, &server) {
        (BenchTarget::Running { log, .. }, _) => log.clone(),
        (_, Some(server)) => Some(server.log().to_owned()),
        (_, None) => None,
    };
    let signs = Signs::of(log.as_deref());
    let signs = signs.map_err(|source| CaptureError::Io {
        what: "follow the log",
        path: log.clone().unwrap_or_default(),
        source,
    })?;
    let mut bench = Bench {
        load: Load::new(url, options.load.clone(), cancel.clone())?,
        points: points.into_iter().map(Measured::new).collect(),
        rows: JsonlWriter::open(&run.requests_path())?,
        row_error: None,
        results: empty_results(url, &options, &ready, server.as_ref()),
        // A server's working directory is its own.
        directory: absolute(run.path()),
        url: url.to_owned(),
        died: None,
        signs,
        options,
        cancel,
        on_event,
    };
    let outcome = bench.all().await;
    if bench.died.is_some() {
        let status = match server {
            Some(server) => tokio::time::timeout(DYING, server.wait()).await.ok().transpose()?,
            None => None,
        };
        let words = log.as_deref().and_then(last_words);
        bench.tell_death(status.map(|status| status.to_string()), words);
    }
    bench.judge();
    run.write_json(&run.results_path(), &bench.results)?;
    outcome?;
    bench.row_error.map_or(Ok(()), Err)?;
    let profiled = bench
        .points
        .into_iter()
        .filter_map(|measured| Some((measured.point.plan().name().to_owned(), measured.profiled?)));
    Ok(Outcome { results: bench.results, profiled: profiled.collect(), died: bench.died })
}

/// Waits until the server is ready; its end is an error.
async fn get_ready(
    url: &str,
    server: &mut Option<Server>,
    limit: Duration,
    cancel: &Cancel,
) -> Result<Ready, CaptureError> {
    let died = async {
        match server {
            Some(server) => server.wait().await,
            None => std::future::pending().await,
        }
    };
    let status = tokio::select! {
        ready = wait_ready(url, limit) => return Ok(ready?),
        () = cancel.cancelled() => return Err(CaptureError::Cancelled),
        status = died => status?,
    };
    match server {
        Some(server) => Err(server.died(status)),
        None => Err(CaptureError::Cancelled),
    }
}

/// A point, and what is known of it.
struct Measured {
    point: Point,
    warmup: WarmupReport,
    windows: Vec<TrialSamples>,
    checks: Vec<TrialSamples>,
    trace: Option<String>,
    profiled: Option<TrialSamples>,
}

impl Measured {
    fn new(point: Point) -> Self {
        Self {
            point,
            warmup: WarmupReport::default(),
            windows: Vec::new(),
            checks: Vec::new(),
            trace: None,
            profiled: None,
        }
    }
}

struct Bench<'b, F> {
    load: Load,
    points: Vec<Measured>,
    rows: JsonlWriter,
    row_error: Option<CaptureError>,
    results: Results,
    directory: PathBuf,
    url: String,
    died: Option<String>,
    signs: Signs,
    options: BenchOptions,
    cancel: &'b Cancel,
    on_event: &'b mut F,
}

impl<F: FnMut(BenchEvent<'_>)> Bench<'_, F> {
    async fn all(&mut self) -> Result<(), CaptureError> {
        for index in 0..self.points.len() {
            self.warm_up(index).await?;
            self.check(index).await?;
            if self.is_over() {
                return Ok(());
            }
        }
        for trial in 0..self.options.trials {
            for index in 0..self.points.len() {
                self.trial(index, trial).await?;
                if self.is_over() {
                    return Ok(());
                }
            }
        }
        let servers = match &self.options.profile {
            ProfiledServers::None => return Ok(()),
            ProfiledServers::Loaded => std::slice::from_ref(&self.url),
            ProfiledServers::Workers(servers) => servers.as_slice(),
        };
        let servers: Vec<CaptureServer> =
            servers.iter().map(|url| CaptureServer { role: "", url: url.clone() }).collect();
        for index in 0..self.points.len() {
            self.profile(index, &servers).await?;
            if self.is_over() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.died.is_some() || self.cancel.is_cancelled()
    }

    async fn warm_up(&mut self, index: usize) -> Result<(), CaptureError> {
        let Self { load, points, rows, row_error, signs, options, on_event, .. } = self;
        let measured = &mut points[index];
        if options.warm_up.at_most == 0 {
            return Ok(());
        }
        let on_event = |event| record(rows, row_error, event, on_event);
        let warm = warm_up(load, &mut measured.point, options.warm_up, signs, on_event);
        let Warmed { report, gone } = warm.await?;
        measured.warmup = report;
        self.died = gone;
        Ok(())
    }

    async fn run(&mut self, index: usize, stretch: &Stretch) -> Result<TrialSamples, LoadError> {
        let Self { load, points, rows, row_error, on_event, .. } = self;
        let on_event = |event| record(rows, row_error, event, on_event);
        let window = load.run(stretch, &mut points[index].point, on_event).await?;
        self.died.clone_from(&window.gone);
        Ok(window)
    }

    /// Sends the point's own request again, to see whether its answer has stayed the same.
    async fn check(&mut self, index: usize) -> Result<(), LoadError> {
        if self.is_over() || !self.points[index].point.plan().has_scores() {
            return Ok(());
        }
        let stretch = Stretch::check();
        let window = self.run(index, &stretch).await?;
        self.points[index].checks.push(window);
        Ok(())
    }

    async fn trial(&mut self, index: usize, trial: u32) -> Result<(), CaptureError> {
        let stretch = Stretch::measured(self.points[index].point.plan(), trial);
        let window = self.run(index, &stretch).await?;
        self.points[index].windows.push(window);
        self.check(index).await?;
        self.judge();
        let path = self.directory.join("results.json");
        let json = serde_json::to_vec_pretty(&self.results).unwrap_or_default();
        xscope_trace::run::replace_file(&path, &json)?;
        let name = self.points[index].point.plan().name();
        if let Some(result) = self.results.results.iter().find(|result| result.point == name) {
            (self.on_event)(BenchEvent::Measured(result));
        }
        Ok(())
    }

    /// Takes a profile of a point on these servers, under the same load.
    async fn profile(
        &mut self,
        index: usize,
        servers: &[CaptureServer],
    ) -> Result<(), CaptureError> {
        let plan = self.points[index].point.plan();
        let (name, stretch) = (plan.name().to_owned(), Stretch::profiled(plan));
        let folder = format!("trace/{name}");
        let mut started = Vec::new();
        for (CaptureServer { url, .. }, own) in servers.iter().zip(names(servers)) {
            // Servers name their files after host and second: several of one host need a folder each.
            let below = |folder: &str| match own.as_str() {
                "" => self.directory.join(folder),
                own => self.directory.join(folder).join(own),
            };
            let (trace, spans) = (below(&folder), below("spans"));
            let trace = trace.to_string_lossy();
            let order = Order::new(&trace, Some(&spans), &ProfilerOptions::default());
            match Watched::start(url, &order, &self.options.watchdog).await {
                Ok(profiler) => started.push(profiler),
                Err(why) => self.warn(format!("{name} is not profiled on {url}: {why}")),
            }
        }
        if started.is_empty() {
            return Ok(());
        }
        let result = self.run(index, &stretch).await;
        for profiler in started {
            match profiler.stop(stop_limit(self.died.is_some())).await {
                Ok(_) => self.points[index].trace = Some(folder.clone()),
                Err(why) => self.warn(format!("the profiler may still be running: {why}")),
            }
        }
        self.points[index].profiled = Some(result?);
        Ok(())
    }

    fn warn(&mut self, what: String) {
        (self.on_event)(BenchEvent::Warning(what));
    }

    /// Makes all results anew.
    fn judge(&mut self) {
        self.signs.take();
        let interrupted = self.cancel.is_cancelled();
        let last = self.points.iter().rposition(|measured| !measured.windows.is_empty());
        let points = self.points.iter().enumerate();
        let points = points.filter(|(_, measured)| !measured.windows.is_empty());
        let results = points.map(|(index, measured)| {
            // The others had been measured when it ended.
            let is_cut = |window: &TrialSamples| window.gone.is_some() || window.abandoned > 0;
            let was_there = Some(index) == last || measured.windows.iter().any(is_cut);
            let evidence = Evidence {
                warmup: measured.warmup.clone(),
                detected_by: self.signs.seen_by().to_owned(),
                compiles: self.signs.all.clone(),
                died: self.died.clone().filter(|_| was_there),
                interrupted: interrupted && was_there,
                asked: self.options.asked.clone(),
                checks: measured.checks.clone(),
            };
            let mut result = point_result(measured.point.plan(), &measured.windows, &evidence);
            result.trace_path.clone_from(&measured.trace);
            result
        });
        self.results.results = results.collect();
        let is_whole = |measured: &Measured| {
            measured.windows.len() >= self.options.trials as usize
                && !measured.windows.iter().any(|window| window.gone.is_some())
        };
        let is_complete = !interrupted && self.died.is_none() && self.points.iter().all(is_whole);
        self.results.ended = if is_complete { Ended::Complete } else { Ended::Early };
    }

    /// Adds what the process and its log say of its end.
    fn tell_death(&mut self, status: Option<String>, words: Option<String>) {
        let Some(died) = &mut self.died else { return };
        if let Some(status) = status {
            *died = format!("the server ended with {status}: {died}");
        }
        if let Some(words) = words {
            *died = format!("{died}; its log says: {words}");
        }
    }
}

/// Writes a row down, keeps the first failure to do so, and passes the event on.
fn record(
    rows: &mut JsonlWriter,
    error: &mut Option<CaptureError>,
    event: LoadEvent,
    on_event: &mut impl FnMut(BenchEvent<'_>),
) {
    if let LoadEvent::Row(row) = &event
        && let Err(failed) = rows.write(row)
    {
        error.get_or_insert(failed.into());
    }
    on_event(BenchEvent::Load(event));
}

fn empty_results(
    url: &str,
    options: &BenchOptions,
    ready: &Ready,
    server: Option<&Server>,
) -> Results {
    let workload = &options.matrix.workload;
    let started = clock::wall();
    Results {
        schema: results::SCHEMA.to_owned(),
        ended: Ended::Early,
        config: BenchConfig {
            num_runs: workload.requests.unwrap_or(0),
            warmup_runs: options.warm_up.at_least,
            model: workload.model.clone(),
            dtype: text_of(ready, &["dtype"]),
            backend: options.matrix.backend.to_string(),
            url: url.to_owned(),
            workload: json!(workload),
            trials: options.trials,
            seed: workload.seed,
            ..options.config.clone()
        },
        metadata: Metadata {
            commit: options.git_commit.clone(),
            timestamp: Utc::from_wall(started).to_string(),
            host: HostInfo::read(),
            server_start: server
                .map(|server| format!("{}-{}", server.id().unwrap_or(0), started.0))
                .or_else(|| stated_start(ready)),
            server_command: match &options.target {
                BenchTarget::Running { .. } => None,
                BenchTarget::Command { words, .. } => Some(text(words)),
            },
            ..server_metadata(ready)
        },
        ..Results::default()
    }
}

/// What the server says of where it computes.
fn server_metadata(ready: &Ready) -> Metadata {
    let info = ready.server_info.as_ref();
    let listed = |name: &str| info?.get(name)?.as_array();
    let device = text_of(ready, &["device", "platform"]);
    let devices: Vec<String> = match listed("devices") {
        Some(devices) => devices
            .iter()
            .map(|device| device.as_str().map_or_else(|| device.to_string(), str::to_owned))
            .collect(),
        None => device.clone().into_iter().collect(),
    };
    let stated = ["device_count", "tp_size"].iter().find_map(|name| info?.get(name)?.as_u64());
    let mut metadata = Metadata {
        jax_version: text_of(ready, &["jax_version"]),
        device_count: stated.or_else(|| Some(devices.len() as u64).filter(|&count| count > 0)),
        platform: device,
        devices,
        server_info: ready.server_info.clone(),
        ..Metadata::default()
    };
    metadata.versions.insert("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    if let Some(version) = text_of(ready, &["version"]) {
        metadata.versions.insert("server".to_owned(), version);
    }
    metadata
}

/// The first of these fields of what the server says that is text.
fn text_of(ready: &Ready, names: &[&str]) -> Option<String> {
    let info = ready.server_info.as_ref()?;
    names.iter().find_map(|name| info.get(name).and_then(Value::as_str)).map(str::to_owned)
}

/// What differs between starts of a server that was not started from here.
fn stated_start(ready: &Ready) -> Option<String> {
    let info = ready.server_info.as_ref()?;
    info.get("pid").map(|pid| format!("pid {pid}"))
}
