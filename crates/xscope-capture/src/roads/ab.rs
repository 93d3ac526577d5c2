//! Two servers on one machine, measured in turns: A B, B A, A B ...
//!
//! What drifts (clocks, heat, neighbours) then hits both sides alike, and pairs of blocks that lie
//! beside each other can be compared. Only one server is loaded at a time, because two at once would
//! take the accelerator from each other; where only one process may have it (TPU), only one is up.

use std::time::{Duration, Instant};

use xscope_load::LoadEvent;
use xscope_trace::results::{Ended, Results};
use xscope_trace::run::RunDir;

use crate::begin::{create, finish};
use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::measure::Measurement;
use crate::request::{LoadRequest, RunRequest, Target};
use crate::results::{self, About};
use crate::under_test::ServerUnderTest;

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub struct AbRequest {
    pub run: RunRequest,
    /// A and B.
    pub targets: [Target; 2],
    /// One block of a side, whatever it says of trials.
    pub load: LoadRequest,
    pub most_pairs: usize,
    /// No pair is begun that would end after this.
    pub budget: Duration,
    pub starts: AbStarts,
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
    request: AbRequest,
    control: Control<'_>,
    mut is_over: impl FnMut(&AbSides, usize) -> bool,
) -> Result<AbRun, CaptureError> {
    // What goes on is told by blocks.
    let on_event = |event: Event<'_>| match event {
        Event::Load(LoadEvent::PhaseStarted { .. }) => {}
        event => control.tell(event),
    };
    let control = Control { cancel: control.cancel, on_event: &on_event };
    let [a, b] = request.targets.each_ref().map(Target::text);
    let about = About::of_load("ab", &request.load.matrix);
    let about = About { target: format!("{a} against {b}"), ..about };
    let run = create(&request.run, about, control)?;
    let mut turns = Turns { request, control, run, sides: AbSides::default(), pairs: 0 };
    let outcome = Box::pin(turns.take(&mut is_over)).await;
    finish(&mut turns.run, outcome.is_ok(), control)?;
    let end = match outcome {
        Err(_) if control.is_cancelled() && turns.pairs > 0 => AbEnd::Cancelled,
        outcome => outcome?,
    };
    turns.drop_half_pairs();
    let Turns { run, sides, pairs, .. } = turns;
    Ok(AbRun { run, sides, pairs, end })
}

/// The names of the sides, as folders and for people.
const FOLDERS: [&str; 2] = ["a", "b"];
const NAMES: [&str; 2] = ["A", "B"];

/// A side that is up, with what was measured since its start.
struct Up<'c> {
    measurement: Measurement<'c>,
    server: ServerUnderTest,
}

struct Turns<'c> {
    request: AbRequest,
    control: Control<'c>,
    run: RunDir,
    sides: AbSides,
    /// Those that are whole.
    pairs: usize,
}

impl<'c> Turns<'c> {
    async fn take(
        &mut self,
        is_over: &mut impl FnMut(&AbSides, usize) -> bool,
    ) -> Result<AbEnd, CaptureError> {
        let mut ups = [None, None];
        let end = Box::pin(self.pairs(&mut ups, is_over)).await;
        for up in ups.into_iter().flatten() {
            self.stop(up).await?;
        }
        end
    }

    async fn pairs(
        &mut self,
        ups: &mut [Option<Up<'c>>; 2],
        is_over: &mut impl FnMut(&AbSides, usize) -> bool,
    ) -> Result<AbEnd, CaptureError> {
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        for pair in 0..self.request.most_pairs {
            if pair > 0 && began.elapsed() + longest > self.request.budget {
                return Ok(AbEnd::Budget);
            }
            let pair_began = Instant::now();
            if matches!(self.request.starts, AbStarts::Every(every) if pair % every == 0) {
                self.stop_all(ups).await?;
            }
            for side in [pair % 2, 1 - pair % 2] {
                Box::pin(self.turn(ups, pair, side)).await?;
            }
            longest = longest.max(pair_began.elapsed());
            self.pairs = pair + 1;
            self.write()?;
            if is_over(&self.sides, self.pairs) {
                return Ok(AbEnd::Over);
            }
        }
        Ok(AbEnd::Pairs)
    }

    /// The block of one side, whose server is started for it if it is not up.
    async fn turn(
        &mut self,
        ups: &mut [Option<Up<'c>>; 2],
        pair: usize,
        side: usize,
    ) -> Result<(), CaptureError> {
        if self.request.starts == AbStarts::Alone {
            self.stop_all(ups).await?;
        } else if ups[1 - side].is_none() {
            // Both are up before either is measured.
            ups[1 - side] = Some(self.start(1 - side).await?);
        }
        let up = match ups[side].take() {
            Some(up) => up,
            None => self.start(side).await?,
        };
        let up = ups[side].insert(up);
        let (name, requests) = (NAMES[side], self.requests());
        self.control.tell(Event::Block { pair: pair + 1, name, requests });
        self.block(side, up, pair).await
    }

    /// Of one block.
    fn requests(&self) -> Option<u64> {
        let matrix = &self.request.load.matrix;
        let points = matrix.points.len() as u64;
        matrix.workload.requests.map(|requests| u64::from(requests) * points)
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
    async fn start(&mut self, side: usize) -> Result<Up<'c>, CaptureError> {
        let mut server =
            ServerUnderTest::new(self.request.targets[side].clone(), &self.request.run.watchdog);
        match self.warm(side, &mut server).await {
            Ok(measurement) => Ok(Up { measurement, server }),
            Err(error) => {
                // The first error is the one to tell.
                server.stop(&mut self.run, self.control).await.ok();
                Err(error)
            }
        }
    }

    async fn warm(
        &mut self,
        side: usize,
        server: &mut ServerUnderTest,
    ) -> Result<Measurement<'c>, CaptureError> {
        let (control, run) = (self.control, &self.run);
        let folder = run.path().join(FOLDERS[side]);
        let io = |source| CaptureError::Io { what: "make", path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(io)?;
        let name = format!("{}-{}", FOLDERS[side], self.sides[side].len());
        let log = run.logs_dir().join(format!("{name}.log"));
        server.start(run, &log, NAMES[side], control)?;
        let ready = server.ready(self.request.run.ready, control).await?;
        let mut load = self.request.load.clone();
        let points = load.matrix.fit(ready.server_info.as_ref())?;
        let rows = folder.join("requests.jsonl");
        let mut measurement = Measurement::new(server, points, &rows, &load.send, control)?;
        for index in measurement.points() {
            measurement.warm_up(index, load.warm_up).await?;
        }
        self.must_go_on(&mut measurement, server).await?;
        let mut results = results::of_server(&self.request.run, &load, server, &ready);
        results.metadata.server_start = Some(name);
        self.sides[side].push(results);
        Ok(measurement)
    }

    /// Measures every point once on one side.
    async fn block(
        &mut self,
        side: usize,
        up: &mut Up<'c>,
        pair: usize,
    ) -> Result<(), CaptureError> {
        let Up { measurement, server } = up;
        let trial = u32::try_from(pair).unwrap_or(u32::MAX);
        for index in measurement.points() {
            measurement.trial(index, trial).await?;
            self.must_go_on(measurement, server).await?;
        }
        if let Some(start) = self.sides[side].last_mut() {
            start.results = measurement.results();
            // Blocks that are not whole are not kept.
            start.ended = Ended::Complete;
            start.config.trials += 1;
        }
        Ok(())
    }

    /// That the server is there and nobody ended the comparison: half a block says nothing.
    async fn must_go_on(
        &self,
        measurement: &mut Measurement<'c>,
        server: &mut ServerUnderTest,
    ) -> Result<(), CaptureError> {
        if self.control.is_cancelled() {
            return Err(CaptureError::Cancelled);
        }
        measurement.rows_are_whole()?;
        match measurement.death(server).await? {
            Some(death) => Err(death.error),
            None => Ok(()),
        }
    }

    fn write(&self) -> Result<(), CaptureError> {
        for (folder, starts) in FOLDERS.iter().zip(&self.sides) {
            for (start, results) in starts.iter().enumerate() {
                let path = self.run.path().join(folder).join(format!("results-{start:03}.json"));
                self.run.write_json(&path, results)?;
            }
        }
        Ok(())
    }

    async fn stop_all(&mut self, ups: &mut [Option<Up<'c>>; 2]) -> Result<(), CaptureError> {
        for up in ups.iter_mut().filter_map(Option::take) {
            self.stop(up).await?;
        }
        Ok(())
    }

    async fn stop(&mut self, up: Up<'c>) -> Result<(), CaptureError> {
        let Up { mut server, .. } = up;
        server.stop(&mut self.run, self.control).await
    }
}
