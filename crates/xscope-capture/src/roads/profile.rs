//! A profiled run: ready, warm, every point once with the server's profiler on, then what recording
//! itself costs.

use std::time::{Duration, Instant};

use serde_json::json;
use xscope_load::Point;
use xscope_trace::results::Results;
use xscope_trace::run::{ProfilerState, RunDir, ServerRecord};

use crate::begin::{Begun, begin, finish};
use crate::control::Control;
use crate::error::CaptureError;
use crate::measure::{Death, Measurement};
use crate::overhead::{Alternation, Before, OverheadOptions, alternate};
use crate::profiler::{ProfilerOptions, absolute, stop_limit};
use crate::request::{LoadRequest, RunRequest, Target};
use crate::results::{self, About, MeasuredRun};
use crate::session::{self, Session};
use crate::under_test::ServerUnderTest;

/// What to profile.
#[derive(Debug, Clone)]
pub struct ProfileRequest {
    pub run: RunRequest,
    pub target: Target,
    /// Its points are measured once each, whatever it says of trials.
    pub load: LoadRequest,
    /// What stretches with more and less recording are compared after the measurement; none if
    /// `None`.
    pub overhead: Option<OverheadOptions>,
}

/// Profiles a server under load.
///
/// A cancelled run is no error: it is marked interrupted and holds what was done.
///
/// # Errors
///
/// The server does not get ready or goes away, or the run cannot be written.
pub async fn profile(
    mut request: ProfileRequest,
    control: Control<'_>,
) -> Result<MeasuredRun, CaptureError> {
    request.load.trials = 1;
    let mut server = ServerUnderTest::new(request.target.clone(), &request.run.watchdog);
    let was_up = server.is_up();
    let about = About::of_load("score", &request.load.matrix);
    let matrix = &mut request.load.matrix;
    let begun = begin(&request.run, about, &mut server, control, |ready| {
        Ok(matrix.fit(ready.server_info.as_ref())?)
    });
    let mut begun = Box::pin(begun).await?;
    begun.run.manifest.workload = json!(request.load.matrix.workload);
    let measured = Box::pin(measure(&request, &mut begun, &mut server, control)).await;
    let mut run = begun.run;
    // The spans of one of ours are complete when it has ended.
    let stopped = match was_up {
        true => Ok(()),
        false => server.stop(&mut run, control).await,
    };
    let measured = measured.and_then(|results| stopped.map(|()| results));
    finish(&mut run, measured.is_ok(), control)?;
    Ok(MeasuredRun { run, results: measured?, profiled: Vec::new(), died: None })
}

/// Everything while the server is up.
async fn measure(
    request: &ProfileRequest,
    begun: &mut Begun<Vec<Point>>,
    server: &mut ServerUnderTest,
    control: Control<'_>,
) -> Result<Results, CaptureError> {
    let Begun { run, ready, prepared: points } = begun;
    let LoadRequest { send, asked, .. } = &request.load;
    let mut results = results::of_server(&request.run, &request.load, server, ready);
    let points = std::mem::take(points);
    let measurement = Measurement::new(server, points, &run.requests_path(), send, control)?;
    let measurement = measurement.asked(asked);
    let mut profile = Profile { measurement, request, server, control };
    let outcome = profile.all(run, &mut results).await;
    let mut measurement = profile.measurement;
    let death = measurement.death(server).await?;
    measurement.write(run, &mut results)?;
    outcome?;
    measurement.rows_are_whole()?;
    death.map_or(Ok(results), |Death { error, .. }| Err(error))
}

struct Profile<'p, 'c> {
    measurement: Measurement<'c>,
    request: &'p ProfileRequest,
    server: &'p ServerUnderTest,
    control: Control<'c>,
}

impl Profile<'_, '_> {
    async fn all(&mut self, run: &mut RunDir, results: &mut Results) -> Result<(), CaptureError> {
        for index in self.measurement.points() {
            self.measurement.warm_up(index, self.request.load.warm_up).await?;
        }
        if self.measurement.is_over() {
            return Ok(());
        }
        let session = self.start_profiler(run).await;
        let begun = Instant::now();
        let points = self.points(run, results).await;
        let measured = begun.elapsed();
        if let Some(session) = session {
            self.stop_profiler(session, run, points.is_err()).await?;
        }
        points?;
        if let Some(options) = &self.request.overhead
            && !self.measurement.is_over()
        {
            self.overhead(run, options, measured).await?;
        }
        Ok(())
    }

    async fn points(&mut self, run: &RunDir, results: &mut Results) -> Result<(), CaptureError> {
        for index in self.measurement.points() {
            if self.measurement.is_over() {
                return Ok(());
            }
            self.measurement.trial(index, 0).await?;
            self.measurement.write(run, results)?;
        }
        Ok(())
    }

    /// Starts the server's profiler; without one the run has the client's side only.
    async fn start_profiler(&self, run: &mut RunDir) -> Option<Session> {
        let mut server =
            ServerRecord { url: self.server.url().to_owned(), ..ServerRecord::default() };
        server.load = "xscope's own load".to_owned();
        let output_dir = absolute(&run.server_trace_dir(&server));
        server.output_dir = output_dir.to_string_lossy().into_owned();
        run.manifest.servers = vec![server];
        let mut say = |text| self.control.warn(text);
        let watchdog = &self.request.run.watchdog;
        let (options, cancel) = (ProfilerOptions::default(), self.control.cancel);
        match session::start(run, &options, watchdog, cancel, &mut say).await {
            Ok(session) => {
                self.control.say("profiler on");
                Some(session)
            }
            Err(why) => {
                say(format!("the server's device is not profiled: {why}"));
                None
            }
        }
    }

    async fn stop_profiler(
        &self,
        mut session: Session,
        run: &mut RunDir,
        has_failed: bool,
    ) -> Result<(), CaptureError> {
        let has_died = has_failed || self.measurement.has_died();
        if has_died && self.server.is_ours() {
            // It is ended next, and its profiler with it.
            return session.abandon(run);
        }
        for warning in session.stop(run, stop_limit(has_died)).await? {
            self.control.warn(warning);
        }
        let away = |server: &&ServerRecord| server.profiler == ProfilerState::Elsewhere;
        for server in run.manifest.servers.iter().filter(away) {
            self.control.warn(format!(
                "no profile is in {}: the server writes on another machine's disk; copy its files \
                 there (`xscope capture --collect {}` shows how)",
                server.output_dir,
                run.path().display()
            ));
        }
        Ok(())
    }

    /// Stretches of the first point with more and less recording, in turns.
    async fn overhead(
        &self,
        run: &RunDir,
        options: &OverheadOptions,
        measured: Duration,
    ) -> Result<(), CaptureError> {
        self.control.say("overhead: the same requests with more and less recording, in turns");
        let record = alternate(Alternation {
            options,
            before: Before { measured, requests_per_sec: self.measurement.requests_per_sec(0) },
            load: self.measurement.another_load()?,
            plan: self.measurement.plan(0),
            url: self.server.url(),
            run,
            watchdog: &self.request.run.watchdog,
            cancel: self.control.cancel,
        });
        let record = Box::pin(record).await?;
        Ok(run.write_json(&run.overhead_path(), &record)?)
    }
}
