//! Two servers on one machine, measured in turns: A B, B A, A B ...
//!
//! What drifts (clocks, heat, neighbours) then hits both sides alike, and pairs of blocks that lie
//! beside each other can be compared. Only one server is loaded at a time, because two at once would
//! take the accelerator from each other; where only one process may have it (TPU), only one is up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xscope_load::{
    Cancel, Evidence, Load, LoadError, LoadEvent, Matrix, Point, SendOptions, Stretch,
    TrialSamples, point_result, wait_ready,
};
use xscope_trace::clock;
use xscope_trace::results::{self, BenchConfig, Metadata, Results};
use xscope_trace::run::{HostInfo, JsonlWriter, NewRun, RunClock, RunDir, RunStatus, Utc};

use crate::error::CaptureError;
use crate::server::{Server, free_port};

/// Where a server is, or how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbTarget {
    Url(String),
    /// A command for the shell; `{port}` in it becomes a free port of the loopback interface.
    Command(String),
}

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub struct AbOptions {
    /// The directory in which the run's own directory is made.
    pub output_dir: PathBuf,
    /// A and B.
    pub targets: [AbTarget; 2],
    /// One block of a side.
    pub matrix: Matrix,
    pub load: SendOptions,
    /// Rounds of warm-up after each start.
    pub warmup_rounds: u32,
    /// How long a server may take to get ready.
    pub ready: Duration,
    pub most_pairs: usize,
    /// No pair is begun that would end after this.
    pub budget: Duration,
    pub starts: AbStarts,
    pub command_line: Vec<String>,
}

/// When servers are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbStarts {
    /// Both at the beginning.
    Once,
    /// Both, anew after so many pairs; above 0.
    Every(usize),
    /// Each for its own block, so that only one is up at a time.
    Alone,
}

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum AbEvent<'a> {
    Created(&'a Path),
    /// This side (0 or 1) starts, with its log here.
    Starting(usize, &'a Path),
    /// The block of this pair, counted from 1, begins on this side.
    Block(usize, usize),
    Load(usize, LoadEvent),
}

/// What was measured: results by start of the server, one list for each side.
pub type AbSides = [Vec<Results>; 2];

/// A finished comparison run.
#[derive(Debug)]
pub struct AbRun {
    pub run: RunDir,
    pub sides: AbSides,
    pub pairs: usize,
    pub end: AbEnd,
}

/// Why no more pairs were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbEnd {
    /// `is_over` said so.
    Over,
    /// All pairs were measured.
    Pairs,
    /// Time ran out.
    Budget,
    Cancelled,
}

/// Measures in turns until `is_over` says so after a pair, or pairs or time run out.
///
/// The run's directory gets `a/` and `b/` with `requests.jsonl` and one file of results for each
/// start, which `xscope compare --paired` reads.
///
/// # Errors
///
/// A server does not get ready or goes away, or the run cannot be written.
pub async fn ab(
    options: AbOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(AbEvent<'_>),
    mut is_over: impl FnMut(&AbSides, usize) -> bool,
) -> Result<AbRun, CaptureError> {
    let mut run = RunDir::create(&options.output_dir, new_run(&options))?;
    on_event(AbEvent::Created(run.path()));
    let mut turns = Turns {
        options,
        cancel,
        folder: run.path().to_owned(),
        sides: AbSides::default(),
        pairs: 0,
    };
    let outcome = Box::pin(turns.take(&mut on_event, &mut is_over)).await;
    let status = match &outcome {
        _ if cancel.is_cancelled() => RunStatus::Interrupted,
        Err(_) => RunStatus::Failed,
        Ok(_) => RunStatus::Complete,
    };
    run.finish(status, clock::wall())?;
    let end = match outcome {
        Err(_) if cancel.is_cancelled() && turns.pairs > 0 => AbEnd::Cancelled,
        outcome => outcome?,
    };
    turns.drop_half_pairs();
    Ok(AbRun { run, sides: turns.sides, pairs: turns.pairs, end })
}

fn new_run(options: &AbOptions) -> NewRun {
    let [a, b] = options.targets.each_ref().map(AbTarget::text);
    NewRun {
        kind: "ab".to_owned(),
        model: options.matrix.workload.model.clone(),
        hardware: String::new(),
        command_line: options.command_line.clone(),
        target: format!("{a} against {b}"),
        workload: json!(options.matrix.workload),
        versions: vec![("xscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        git_commit: None,
        clock: RunClock::read(),
        started_wall: clock::wall(),
    }
}

impl AbTarget {
    fn text(&self) -> &str {
        match self {
            Self::Url(text) | Self::Command(text) => text,
        }
    }
}

/// The names of the sides.
const NAMES: [&str; 2] = ["a", "b"];

/// A side that is up.
struct Up {
    load: Load,
    /// With what was measured of them since the start.
    points: Vec<(Point, Vec<TrialSamples>)>,
    server: Option<Server>,
    rows: JsonlWriter,
}

struct Turns<'c> {
    options: AbOptions,
    cancel: &'c Cancel,
    folder: PathBuf,
    sides: AbSides,
    /// Those that are whole.
    pairs: usize,
}

impl Turns<'_> {
    async fn take(
        &mut self,
        on_event: &mut impl FnMut(AbEvent<'_>),
        is_over: &mut impl FnMut(&AbSides, usize) -> bool,
    ) -> Result<AbEnd, CaptureError> {
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        let mut ups: [Option<Up>; 2] = [None, None];
        let mut end = AbEnd::Pairs;
        for pair in 0..self.options.most_pairs {
            if pair > 0 && began.elapsed() + longest > self.options.budget {
                end = AbEnd::Budget;
                break;
            }
            let pair_began = Instant::now();
            if matches!(self.options.starts, AbStarts::Every(every) if pair % every == 0) {
                stop(&mut ups).await?;
            }
            for side in [pair % 2, 1 - pair % 2] {
                if self.options.starts == AbStarts::Alone {
                    stop(&mut ups).await?;
                } else if ups[1 - side].is_none() {
                    // Both are up before either is measured.
                    ups[1 - side] = Some(self.start(1 - side, on_event).await?);
                }
                let up = match ups[side].take() {
                    Some(up) => up,
                    None => self.start(side, on_event).await?,
                };
                let up = ups[side].insert(up);
                on_event(AbEvent::Block(pair + 1, side));
                self.block(side, up, pair, on_event).await?;
                if self.cancel.is_cancelled() {
                    return Err(CaptureError::Cancelled);
                }
            }
            longest = longest.max(pair_began.elapsed());
            self.pairs = pair + 1;
            self.write()?;
            if is_over(&self.sides, self.pairs) {
                end = AbEnd::Over;
                break;
            }
        }
        stop(&mut ups).await?;
        Ok(end)
    }

    /// Forgets blocks without a partner and starts without blocks, as an interruption leaves them.
    fn drop_half_pairs(&mut self) {
        for starts in &mut self.sides {
            for point in starts.iter_mut().flat_map(|results| &mut results.results) {
                point.trials.retain(|trial| (trial.trial as usize) < self.pairs);
            }
            starts.retain(|results| results.results.iter().any(|point| !point.trials.is_empty()));
        }
    }

    /// Starts a side, waits until it is ready, and warms it up.
    async fn start(
        &mut self,
        side: usize,
        on_event: &mut impl FnMut(AbEvent<'_>),
    ) -> Result<Up, CaptureError> {
        let starts = self.sides[side].len();
        let folder = self.folder.join(NAMES[side]);
        let io = |source| CaptureError::Io { what: "make", path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(io)?;
        let (url, mut server) = match &self.options.targets[side] {
            AbTarget::Url(url) => (url.clone(), None),
            AbTarget::Command(command) => {
                let port = free_port()?;
                let command = command.replace("{port}", &port.to_string());
                let log = self.folder.join(format!("logs/{}-{starts}.log", NAMES[side]));
                let server = Server::shell(&command, &log)?;
                on_event(AbEvent::Starting(side, &log));
                (format!("http://127.0.0.1:{port}"), Some(server))
            }
        };
        let ready = while_alive(&mut server, self.cancel, async {
            wait_ready(&url, self.options.ready).await
        });
        let ready = ready.await?;
        let mut matrix = self.options.matrix.clone();
        let mut points = matrix.fit(ready.server_info.as_ref())?;
        let pulse = server.as_ref().map(Server::pulse);
        let options = SendOptions { pulse, ..self.options.load.clone() };
        let mut load = Load::new(&url, options, self.cancel.clone())?;
        let mut rows = JsonlWriter::open(&folder.join("requests.jsonl"))?;
        let mut error = None;
        for point in points.iter_mut().filter(|_| self.options.warmup_rounds > 0) {
            let stretch = Stretch::warm_up(point.plan(), self.options.warmup_rounds);
            let warm = run(&mut load, point, &stretch, |event| {
                record(&mut rows, &mut error, side, event, on_event);
            });
            while_alive(&mut server, self.cancel, warm).await?;
        }
        error.map_or(Ok(()), Err)?;
        let target = &self.options.targets[side];
        let name = format!("{}-{starts}", NAMES[side]);
        self.sides[side].push(empty_results(target, &url, &name, &matrix, ready.server_info));
        let points = points.into_iter().map(|point| (point, Vec::new())).collect();
        Ok(Up { load, points, server, rows })
    }

    /// Measures every point once on one side.
    async fn block(
        &mut self,
        side: usize,
        up: &mut Up,
        pair: usize,
        on_event: &mut impl FnMut(AbEvent<'_>),
    ) -> Result<(), CaptureError> {
        let Up { load, points, server, rows } = up;
        let mut results = Vec::new();
        for (point, windows) in points {
            let mut error = None;
            let trial = u32::try_from(pair).unwrap_or(u32::MAX);
            let stretch = Stretch::measured(point.plan(), trial);
            let measure = run(load, point, &stretch, |event| {
                record(rows, &mut error, side, event, on_event);
            });
            windows.push(while_alive(server, self.cancel, measure).await?);
            error.map_or(Ok(()), Err)?;
            results.push(point_result(point.plan(), windows, &Evidence::default()));
        }
        if let Some(start) = self.sides[side].last_mut() {
            start.results = results;
        }
        Ok(())
    }

    fn write(&self) -> Result<(), CaptureError> {
        for (name, starts) in NAMES.iter().zip(&self.sides) {
            for (start, results) in starts.iter().enumerate() {
                let path = self.folder.join(name).join(format!("results-{start:03}.json"));
                let json = serde_json::to_vec_pretty(results).unwrap_or_default();
                xscope_trace::atomic::replace(&path, |file| std::io::Write::write_all(file, &json))
                    .map_err(|source| CaptureError::Io { what: "write", path, source })?;
            }
        }
        Ok(())
    }
}

/// Writes a row down, keeps the first failure to do so, and passes the event on.
fn record(
    rows: &mut JsonlWriter,
    error: &mut Option<CaptureError>,
    side: usize,
    event: LoadEvent,
    on_event: &mut impl FnMut(AbEvent<'_>),
) {
    if let LoadEvent::Row(row) = &event
        && let Err(failed) = rows.write(row)
    {
        error.get_or_insert(failed.into());
    }
    on_event(AbEvent::Load(side, event));
}

/// A stretch of load, of which a server that goes away is an error.
async fn run(
    load: &mut Load,
    point: &mut Point,
    stretch: &Stretch,
    on_event: impl FnMut(LoadEvent),
) -> Result<TrialSamples, LoadError> {
    let mut window = load.run(stretch, point, on_event).await?;
    match window.gone.take() {
        Some(reason) => Err(load.server_gone(reason)),
        None => Ok(window),
    }
}

/// Does something with a server as long as it lives.
async fn while_alive<T>(
    server: &mut Option<Server>,
    cancel: &Cancel,
    work: impl Future<Output = Result<T, LoadError>>,
) -> Result<T, CaptureError> {
    let Some(server) = server else { return Ok(work.await?) };
    let died = tokio::select! {
        result = work => return match result {
            // The log says more than the client can.
            Err(LoadError::ServerGone { .. }) if !cancel.is_cancelled() => {
                let status = tokio::time::timeout(Duration::from_secs(1), server.wait()).await;
                match status {
                    Ok(status) => Err(server.died(status?)),
                    Err(_) => Ok(result?),
                }
            }
            result => Ok(result?),
        },
        status = server.wait() => status?,
        () = cancel.cancelled() => return Err(CaptureError::Cancelled),
    };
    Err(server.died(died))
}

/// Ends the servers that are up.
async fn stop(ups: &mut [Option<Up>; 2]) -> Result<(), CaptureError> {
    for up in ups.iter_mut().filter_map(Option::take) {
        if let Some(mut server) = up.server {
            server.stop().await?;
        }
    }
    Ok(())
}

fn empty_results(
    target: &AbTarget,
    url: &str,
    start: &str,
    matrix: &Matrix,
    server_info: Option<Value>,
) -> Results {
    let command = match target {
        AbTarget::Url(_) => None,
        AbTarget::Command(command) => Some(command.split_whitespace().map(str::to_owned).collect()),
    };
    Results {
        schema: results::SCHEMA.to_owned(),
        config: BenchConfig {
            bench: "ab".to_owned(),
            num_runs: matrix.workload.requests.unwrap_or(0),
            model: matrix.workload.model.clone(),
            backend: matrix.backend.to_string(),
            url: url.to_owned(),
            workload: json!(matrix.workload),
            seed: matrix.workload.seed,
            ..BenchConfig::default()
        },
        metadata: Metadata {
            timestamp: Utc::from_wall(clock::wall()).to_string(),
            host: HostInfo::read(),
            server_info,
            server_start: Some(start.to_owned()),
            server_command: command,
            ..Metadata::default()
        },
        ..Results::default()
    }
}
