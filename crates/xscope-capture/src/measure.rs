//! Measuring: the points of a server that is ready, warmed up and loaded, their rows written down,
//! and what they come to. What is done in which order, roads say.

use std::path::Path;

use xscope_load::{
    CompileSigns as _, Evidence, Load, LoadError, LoadEvent, Plan, Point, SendOptions, Stretch,
    TrialSamples, WarmUp, Warmed, point_result, warm_up,
};
use xscope_trace::results::{Ended, PointResult, Results, WarmupReport};
use xscope_trace::run::{JsonlWriter, RunDir, RunError};

use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::log_watch::{Signs, last_words};
use crate::under_test::ServerUnderTest;

/// A point, and what is known of it.
struct MeasuredPoint {
    point: Point,
    warmup: WarmupReport,
    trials: Vec<TrialSamples>,
    checks: Vec<TrialSamples>,
    /// Where its profile is in the run, if it has one of its own.
    trace: Option<String>,
}

/// `requests.jsonl`: what cannot be written is told at the end, when all else is done.
struct Rows {
    writer: JsonlWriter,
    error: Option<RunError>,
}

impl Rows {
    /// Writes a row down, if the event is one.
    fn note(&mut self, event: &LoadEvent) {
        if let LoadEvent::Row(row) = event
            && let Err(error) = self.writer.write(row)
        {
            self.error.get_or_insert(error);
        }
    }
}

/// A server under load.
pub(crate) struct Measurement<'c> {
    load: Load,
    url: String,
    send: SendOptions,
    points: Vec<MeasuredPoint>,
    rows: Rows,
    signs: Signs,
    /// Figures that have to be valid.
    asked: Vec<String>,
    /// Why the server is gone, if it is.
    died: Option<String>,
    control: Control<'c>,
}

impl<'c> Measurement<'c> {
    /// Sends nothing yet.
    pub(crate) fn new(
        server: &ServerUnderTest,
        points: Vec<Point>,
        rows: &Path,
        send: &SendOptions,
        control: Control<'c>,
    ) -> Result<Self, CaptureError> {
        let signs = Signs::of(server.log()).map_err(|source| CaptureError::Io {
            what: "follow the log",
            path: server.log().map(Path::to_owned).unwrap_or_default(),
            source,
        })?;
        let send = SendOptions { pulse: server.pulse(), ..send.clone() };
        let measured = |point| MeasuredPoint {
            point,
            warmup: WarmupReport::default(),
            trials: Vec::new(),
            checks: Vec::new(),
            trace: None,
        };
        Ok(Self {
            load: Load::new(server.url(), send.clone(), control.cancel.clone())?,
            url: server.url().to_owned(),
            send,
            points: points.into_iter().map(measured).collect(),
            rows: Rows { writer: JsonlWriter::open(rows)?, error: None },
            signs,
            asked: Vec::new(),
            died: None,
            control,
        })
    }

    /// With these figures to be valid.
    pub(crate) fn asked(mut self, asked: &[String]) -> Self {
        self.asked = asked.to_vec();
        self
    }

    pub(crate) fn points(&self) -> std::ops::Range<usize> {
        0..self.points.len()
    }

    pub(crate) fn plan(&self, index: usize) -> &Plan {
        self.points[index].point.plan()
    }

    /// Whether the server is gone.
    pub(crate) fn has_died(&self) -> bool {
        self.died.is_some()
    }

    /// The error of a server that is gone.
    pub(crate) fn gone(&self) -> Option<LoadError> {
        Some(self.load.server_gone(self.died.clone()?))
    }

    /// Whether nothing more can be measured.
    pub(crate) fn is_over(&self) -> bool {
        self.has_died() || self.control.is_cancelled()
    }

    /// Warms a point up until it is warm, or the rules give it up.
    pub(crate) async fn warm_up(
        &mut self,
        index: usize,
        rules: WarmUp,
    ) -> Result<(), CaptureError> {
        if self.is_over() {
            return Ok(());
        }
        let Self { load, points, rows, signs, control, .. } = self;
        let measured = &mut points[index];
        let on_event = |event| {
            rows.note(&event);
            control.tell(Event::Load(event));
        };
        match warm_up(load, &mut measured.point, rules, signs, on_event).await {
            Ok(Warmed { report, gone }) => {
                measured.warmup = report;
                self.died = gone;
            }
            Err(error) => self.died = Some(self.gone_between(error)?),
        }
        Ok(())
    }

    /// Loads a point; what comes of it is in no figure.
    pub(crate) async fn stretch(
        &mut self,
        index: usize,
        stretch: &Stretch,
    ) -> Result<TrialSamples, LoadError> {
        let Self { load, points, rows, control, .. } = self;
        let on_event = |event| {
            rows.note(&event);
            control.tell(Event::Load(event));
        };
        let samples = match load.run(stretch, &mut points[index].point, on_event).await {
            Ok(samples) => samples,
            Err(error) => {
                let gone = Some(self.gone_between(error)?);
                TrialSamples { trial: stretch.trial, gone, ..TrialSamples::default() }
            }
        };
        self.died.clone_from(&samples.gone);
        Ok(samples)
    }

    /// Why the server is gone that answered before, and had no request when it went.
    fn gone_between(&self, error: LoadError) -> Result<String, LoadError> {
        match error {
            LoadError::ServerGone { reason, .. } if self.load.answered() > 0 => Ok(reason),
            error => Err(error),
        }
    }

    /// Measures a point once.
    pub(crate) async fn trial(&mut self, index: usize, trial: u32) -> Result<(), LoadError> {
        let stretch = Stretch::measured(self.plan(index), trial);
        let samples = self.stretch(index, &stretch).await?;
        self.points[index].trials.push(samples);
        Ok(())
    }

    /// Sends a point's own request again, to see whether its answer has stayed the same.
    pub(crate) async fn check(&mut self, index: usize) -> Result<(), LoadError> {
        if self.is_over() || !self.plan(index).has_scores() {
            return Ok(());
        }
        let samples = self.stretch(index, &Stretch::check()).await?;
        self.points[index].checks.push(samples);
        Ok(())
    }

    /// Another client of the same server, whose requests are not among those measured here.
    pub(crate) fn another_load(&self) -> Result<Load, LoadError> {
        Load::new(&self.url, self.send.clone(), self.control.cancel.clone())
    }

    /// Right answers to a point, as far as it was measured.
    pub(crate) fn requests_per_sec(&self, index: usize) -> f64 {
        let MeasuredPoint { point, trials, .. } = &self.points[index];
        let result = point_result(point.plan(), trials, &Evidence::default());
        result.requests_per_sec.value.unwrap_or(0.0)
    }

    /// A point's own profile is in this folder of the run.
    pub(crate) fn traced(&mut self, index: usize, folder: String) {
        self.points[index].trace = Some(folder);
    }

    /// Writes down what was measured so far.
    pub(crate) fn write(&mut self, run: &RunDir, results: &mut Results) -> Result<(), RunError> {
        results.results = self.results();
        results.ended = self.ended(results.config.trials);
        run.write_json(&run.results_path(), results)
    }

    /// What was measured so far comes to.
    pub(crate) fn results(&mut self) -> Vec<PointResult> {
        self.signs.take();
        let interrupted = self.control.is_cancelled();
        let last = self.points.iter().rposition(|measured| !measured.trials.is_empty());
        let points = self.points.iter().enumerate();
        let points = points.filter(|(_, measured)| !measured.trials.is_empty());
        let results = points.map(|(index, measured)| {
            // The others had been measured when it ended.
            let is_cut = |trial: &TrialSamples| trial.gone.is_some() || trial.abandoned > 0;
            let was_there = Some(index) == last || measured.trials.iter().any(is_cut);
            let evidence = Evidence {
                warmup: measured.warmup.clone(),
                detected_by: self.signs.seen_by().to_owned(),
                compiles: self.signs.all.clone(),
                died: self.died.clone().filter(|_| was_there),
                interrupted: interrupted && was_there,
                asked: self.asked.clone(),
                checks: measured.checks.clone(),
            };
            let mut result = point_result(measured.point.plan(), &measured.trials, &evidence);
            result.trace_path.clone_from(&measured.trace);
            result
        });
        results.collect()
    }

    /// Whether every point was measured so often.
    fn ended(&self, trials: u32) -> Ended {
        let is_whole = |measured: &MeasuredPoint| {
            measured.trials.len() >= trials as usize
                && !measured.trials.iter().any(|trial| trial.gone.is_some())
        };
        match !self.is_over() && self.points.iter().all(is_whole) {
            true => Ended::Complete,
            false => Ended::Early,
        }
    }

    /// Why the server is gone, if it is: with how its process ended, if it is ours, and what its log
    /// says.
    pub(crate) async fn death(
        &mut self,
        server: &mut ServerUnderTest,
    ) -> Result<Option<Death>, CaptureError> {
        let Some(reason) = &mut self.died else { return Ok(None) };
        let status = server.end().await?;
        let error = status.and_then(|status| server.died(status));
        let error = error.unwrap_or_else(|| self.load.server_gone(reason.clone()).into());
        if let Some(status) = status {
            *reason = format!("the server ended with {status}: {reason}");
        }
        if let Some(words) = server.log().and_then(last_words) {
            *reason = format!("{reason}; its log says: {words}");
        }
        Ok(Some(Death { reason: reason.clone(), error }))
    }

    /// That all rows were written.
    pub(crate) fn rows_are_whole(&mut self) -> Result<(), CaptureError> {
        self.rows.error.take().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The end of a server, for roads on which it is a result, and for those on which it is an error.
pub(crate) struct Death {
    pub(crate) reason: String,
    pub(crate) error: CaptureError,
}
