//! The closed loop: a fixed number of workers, each of which sends its next request when it has
//! its answer.
//!
//! Bodies are made ahead of time on a blocking thread, and answers are read and checked by the
//! task that drives the load, so that a worker does nothing but send and receive. Both queues are
//! bounded: a slow sink slows the load down, which shows as send lag.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::Method;
use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
};
use xscope_trace::{Nanos, clock::monotonic, results::Ended};

use crate::{
    cancel::Cancel,
    check::{Expected, Failure, FailureKind, FirstAnswers, Tolerance, check_scores, parse_answer},
    client::{BaseUrl, Call, Client, ClientLimits, Exchange},
    error::LoadError,
    record::{LoadSummary, Phase, RequestRow, SCHEMA, Samples},
    workload::{Point, SCORE_PATH, ScorePlan, ScoreWorkload},
};

/// How the load behaves, whatever it sends.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Limits of a measured request.
    pub limits: ClientLimits,
    /// In warm-up, from the sending of a request to the last byte: servers compile meanwhile.
    pub warmup_request: Duration,
    pub tolerance: Tolerance,
    /// The server counts as gone when this many requests per worker in a row got no answer, so
    /// that one that hangs costs this many times the limit of a request. One that cannot be
    /// connected to counts as gone at once.
    pub give_up_after: u32,
    /// Beginning of the request ids, for example the run's name; `None`: made from the clock.
    pub request_id_prefix: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            limits: ClientLimits::default(),
            warmup_request: Duration::from_mins(10),
            tolerance: Tolerance::default(),
            give_up_after: 2,
            request_id_prefix: None,
        }
    }
}

/// What a load tells while it runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LoadEvent {
    /// `requests` requests of this kind follow, for progress.
    PhaseStarted { phase: Phase, point: Point, requests: u32 },
    /// A request ended.
    Row(Box<RequestRow>),
}

/// Warms up, then loads every point of the workload, one after the other.
///
/// Cancelled or not, `Ok` has the figures of what was done; [`LoadSummary::ended`] says whether
/// that was all. A server that goes away is an error that carries the same figures.
///
/// Use a runtime of several threads: on one, checking an answer delays the clocks of the others.
pub async fn run_closed_loop(
    url: &str,
    workload: &ScoreWorkload,
    options: LoadOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(LoadEvent),
) -> Result<LoadSummary, LoadError> {
    let mut load = ClosedLoop::new(url, workload.clone(), options, cancel.clone())?;
    load.warm_up(&mut on_event).await?;
    for index in 0..workload.points.len() {
        load.measure(index, &mut on_event).await?;
    }
    Ok(load.summary())
}

/// The same load in steps, for whoever has something to do in between (start a profiler, say).
#[derive(Debug)]
pub struct ClosedLoop {
    base: BaseUrl,
    plan: Arc<ScorePlan>,
    options: LoadOptions,
    cancel: Cancel,
    id_prefix: Arc<str>,
    next_index: u64,
    points: Vec<PointState>,
    answered: u64,
    warmup_requests: u64,
    warmup_failed: u64,
    abandoned: u64,
    /// Requests without any answer since the last one that had one.
    silent_streak: u32,
}

#[derive(Debug, Default)]
struct PointState {
    samples: Samples,
    first_answers: FirstAnswers,
    measured: u32,
}

impl ClosedLoop {
    /// Checks the address and the workload; sends nothing.
    pub fn new(
        url: &str,
        workload: ScoreWorkload,
        options: LoadOptions,
        cancel: Cancel,
    ) -> Result<Self, LoadError> {
        let base = BaseUrl::parse(url)?;
        let points = workload.points.iter().map(|_| PointState::default()).collect();
        let plan = Arc::new(ScorePlan::new(workload)?);
        let id_prefix = match &options.request_id_prefix {
            Some(prefix) => prefix.as_str().into(),
            None => format!("xs{:x}", monotonic().0).into(),
        };
        Ok(Self {
            base,
            plan,
            options,
            cancel,
            id_prefix,
            next_index: 0,
            points,
            answered: 0,
            warmup_requests: 0,
            warmup_failed: 0,
            abandoned: 0,
            silent_streak: 0,
        })
    }

    pub fn plan(&self) -> &ScorePlan {
        &self.plan
    }

    /// Sends the warm-up of every point: the shapes, and as many at once, as will be measured.
    ///
    /// How a server batches requests that arrive together is up to it, so that a combination
    /// that warm-up did not meet can still be compiled in the measured phase.
    pub async fn warm_up(&mut self, mut on_event: impl FnMut(LoadEvent)) -> Result<(), LoadError> {
        for index in 0..self.points.len() {
            self.phase(Phase::Warmup, index, &mut on_event).await?;
        }
        Ok(())
    }

    /// Loads the point at `index` of the workload's list. A second call sends the same
    /// requests again and adds to the figures of the first.
    pub async fn measure(
        &mut self,
        index: usize,
        mut on_event: impl FnMut(LoadEvent),
    ) -> Result<(), LoadError> {
        self.phase(Phase::Measure, index, &mut on_event).await
    }

    /// The figures so far.
    pub fn summary(&self) -> LoadSummary {
        let planned = self.plan.requests(Phase::Measure);
        let complete = self.points.iter().all(|state| state.measured >= planned);
        let points = self.plan.workload().points.iter().zip(&self.points);
        LoadSummary {
            schema: SCHEMA,
            ended: if complete { Ended::Complete } else { Ended::Early },
            answered: self.answered,
            warmup_requests: self.warmup_requests,
            warmup_failed: self.warmup_failed,
            abandoned: self.abandoned,
            points: points
                .filter(|(_, state)| state.measured > 0)
                .map(|(&point, state)| state.samples.summary(point, state.first_answers.compared()))
                .collect(),
        }
    }

    async fn phase(
        &mut self,
        phase: Phase,
        index: usize,
        on_event: &mut impl FnMut(LoadEvent),
    ) -> Result<(), LoadError> {
        let requests = self.plan.requests(phase);
        let Some(&point) = self.plan.workload().points.get(index) else {
            let reason = format!("has no point at index {index}");
            return Err(LoadError::Workload { field: "points", reason });
        };
        if requests == 0 || self.cancel.is_cancelled() {
            return Ok(());
        }
        on_event(LoadEvent::PhaseStarted { phase, point, requests });

        let mut crew = self.start(phase, point, requests);
        let cancel = self.cancel.clone();
        let mut cancelled = std::pin::pin!(cancel.cancelled());
        let mut reported = 0;
        let gone = loop {
            let report = tokio::select! {
                biased;
                () = &mut cancelled => break None,
                report = crew.reports.recv() => report,
            };
            match report {
                None => break None,
                Some(Report::Unreachable(failure)) => break Some(failure.detail),
                Some(Report::Ended(job)) => {
                    reported += 1;
                    let (row, gone) = self.judge(phase, index, *job);
                    on_event(LoadEvent::Row(Box::new(row)));
                    if gone.is_some() {
                        break gone;
                    }
                }
            }
        };
        let cut_short = gone.is_some() || self.cancel.is_cancelled();
        if cut_short {
            crew.workers.shutdown().await;
            while let Ok(report) = crew.reports.try_recv() {
                if let Report::Ended(job) = report {
                    reported += 1;
                    let (row, _) = self.judge(phase, index, *job);
                    on_event(LoadEvent::Row(Box::new(row)));
                }
            }
            self.abandoned += crew.begun.load(Ordering::Relaxed) - reported;
        }
        crew.finish(cut_short).await?;
        match gone {
            None => Ok(()),
            Some(reason) => Err(LoadError::ServerGone {
                url: self.base.as_str().to_owned(),
                reason,
                summary: Box::new(self.summary()),
            }),
        }
    }

    fn start(&mut self, phase: Phase, point: Point, requests: u32) -> Crew {
        let concurrency = self.plan.workload().concurrency.min(requests);
        let depth = concurrency as usize * 2;
        let (job_sender, jobs) = mpsc::channel(depth);
        let (report_sender, reports) = mpsc::channel(depth * 2);
        let maker = JobMaker {
            plan: Arc::clone(&self.plan),
            phase,
            point,
            requests,
            first_index: self.next_index,
            id_prefix: Arc::clone(&self.id_prefix),
        };
        self.next_index += u64::from(requests);
        let maker = tokio::task::spawn_blocking(move || maker.make(&job_sender));

        let mut limits = self.options.limits;
        if phase == Phase::Warmup {
            limits.request = self.options.warmup_request;
        }
        let jobs = Arc::new(Mutex::new(jobs));
        let begun = Arc::new(AtomicU64::new(0));
        let mut workers = JoinSet::new();
        for number in 0..concurrency {
            let worker = Worker {
                number,
                client: Client::new(self.base.clone(), limits),
                jobs: Arc::clone(&jobs),
                reports: report_sender.clone(),
                begun: Arc::clone(&begun),
            };
            workers.spawn(worker.work());
        }
        Crew { maker, workers, reports, begun }
    }

    /// Makes the row of a request that ended, counts it, and says why if the server is gone.
    fn judge(&mut self, phase: Phase, index: usize, job: EndedJob) -> (RequestRow, Option<String>) {
        let EndedJob { job, worker, intended, exchange } = job;
        let state = &mut self.points[index];
        let point = self.plan.workload().points[index];
        let expected = Expected {
            items: point.batch_size as usize,
            labels: point.label_count as usize,
            apply_softmax: self.plan.workload().apply_softmax,
        };
        let mut prompt_tokens = self.plan.prompt_tokens(point);
        let compare = phase == Phase::Measure && self.plan.repeats();
        let tolerance = self.options.tolerance;
        let verdict = exchange.body.and_then(|body| {
            let answer = parse_answer(exchange.status.unwrap_or(0), &body)?;
            prompt_tokens = answer.usage.and_then(|usage| usage.prompt_tokens).or(prompt_tokens);
            check_scores(&answer.scores, expected, tolerance)?;
            if compare {
                state.first_answers.check(u64::from(job.slot), answer.scores, tolerance)?;
            }
            Ok(())
        });
        let failure = verdict.err();
        let row = RequestRow {
            index: job.index,
            request_id: exchange.request_id.unwrap_or(job.request_id),
            phase,
            point,
            worker,
            prompt_tokens,
            intended,
            sent: exchange.sent,
            first_byte: exchange.first_byte,
            end: exchange.end,
            latency_ms: (exchange.end - intended).as_millis(),
            request_bytes: xscope_trace::Bytes(job.body.len() as u64),
            response_bytes: xscope_trace::Bytes(exchange.response_bytes as u64),
            status: exchange.status,
            ok: failure.is_none(),
            failure: failure.as_ref().map(|failure| failure.kind),
            error: failure.as_ref().map(|failure| failure.detail.clone()),
            server_ms: exchange.server_timing,
        };
        match phase {
            Phase::Measure => {
                state.measured += 1;
                state.samples.add(&row);
            }
            Phase::Warmup => {
                self.warmup_requests += 1;
                self.warmup_failed += u64::from(!row.ok);
            }
        }
        let gone = self.gone(&row, failure);
        (row, gone)
    }

    fn gone(&mut self, row: &RequestRow, failure: Option<Failure>) -> Option<String> {
        if row.status.is_some() {
            self.answered += 1;
            self.silent_streak = 0;
            return None;
        }
        self.silent_streak += 1;
        let Failure { kind, detail } = failure?;
        let streak = self.silent_streak;
        let limit = self.options.give_up_after.saturating_mul(self.plan.workload().concurrency);
        match kind {
            FailureKind::Connect => Some(detail),
            _ if streak >= limit => {
                Some(format!("{streak} requests in a row got no answer, the last one: {detail}"))
            }
            _ => None,
        }
    }
}

/// A request, ready to be sent.
#[derive(Debug)]
struct Job {
    index: u64,
    slot: u32,
    request_id: String,
    body: Bytes,
}

#[derive(Debug)]
struct EndedJob {
    job: Job,
    worker: u32,
    intended: Nanos,
    exchange: Exchange,
}

#[derive(Debug)]
enum Report {
    Ended(Box<EndedJob>),
    /// The connection could not be made, before any request was begun.
    Unreachable(Failure),
}

/// Everything that runs during one phase. Dropping it stops the workers, and with them the maker.
struct Crew {
    maker: JoinHandle<()>,
    workers: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    /// Requests that workers have begun.
    begun: Arc<AtomicU64>,
}

impl Crew {
    async fn finish(mut self, cut_short: bool) -> Result<(), LoadError> {
        drop(self.reports);
        while let Some(joined) = self.workers.join_next().await {
            match joined {
                Err(source) if !(cut_short && source.is_cancelled()) => {
                    return Err(LoadError::Worker { source });
                }
                _ => {}
            }
        }
        self.maker.await.map_err(|source| LoadError::Worker { source })
    }
}

struct JobMaker {
    plan: Arc<ScorePlan>,
    phase: Phase,
    point: Point,
    requests: u32,
    first_index: u64,
    id_prefix: Arc<str>,
}

impl JobMaker {
    fn make(&self, jobs: &mpsc::Sender<Job>) {
        for sequence in 0..self.requests {
            let slot = self.plan.slot(self.phase, sequence);
            let request = self.plan.request(self.phase, self.point, slot);
            let body = serde_json::to_vec(&request).expect("strings and integers are JSON");
            let index = self.first_index + u64::from(sequence);
            let request_id = format!("{}-{index}", self.id_prefix);
            if jobs.blocking_send(Job { index, slot, request_id, body: body.into() }).is_err() {
                return;
            }
        }
    }
}

struct Worker {
    number: u32,
    client: Client,
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    reports: mpsc::Sender<Report>,
    begun: Arc<AtomicU64>,
}

impl Worker {
    async fn work(mut self) {
        // Opened before the first request is due, which would otherwise pay for it.
        if let Err(failure) = self.client.connect().await {
            // Nobody listens any more if the load has ended meanwhile.
            drop(self.reports.send(Report::Unreachable(failure)).await);
            return;
        }
        let mut free = None;
        while let Some(job) = self.next_job().await {
            self.begun.fetch_add(1, Ordering::Relaxed);
            // The first body may still have been in the making when the worker was ready.
            let intended = free.unwrap_or_else(monotonic);
            let call = Call {
                method: Method::POST,
                path: SCORE_PATH.to_owned(),
                request_id: Some(job.request_id.clone()),
                body: job.body.clone(),
            };
            let exchange = self.client.call(&call).await;
            free = Some(exchange.end);
            let ended = EndedJob { job, worker: self.number, intended, exchange };
            if self.reports.send(Report::Ended(Box::new(ended))).await.is_err() {
                return;
            }
        }
    }

    async fn next_job(&self) -> Option<Job> {
        self.jobs.lock().await.recv().await
    }
}
