//! The load: sends a point's requests as its arrivals say, checks the answers, and gives a row for
//! each.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use xscope_trace::clock::{monotonic, process_cpu};
use xscope_trace::results::count_to_f64;
use xscope_trace::{Bytes, Nanos};

use crate::arrivals::{Arrivals, nanos};
use crate::backend::{Answer, Backend};
use crate::cancel::Cancel;
use crate::check::{
    Expected, Failure, FailureKind, FirstAnswers, Tolerance, Values, check_scores, excerpt,
};
use crate::client::{BaseUrl, Client, ClientLimits};
use crate::error::LoadError;
use crate::plan::Plan;
use crate::record::{Phase, RequestRow, Sample, Window};
use crate::send::{Ended, Endpoint, Maker, MakerThread, Sender};
use crate::workload::{Ask, AskGenerate};

/// Connections that one client opens at most.
pub(crate) const MAX_CONNECTIONS: u32 = 4096;

/// Reports that may wait to be read.
const REPORTS: usize = 4096;
/// They are read so often at most: to be woken for each costs more than to read it.
const READ_EVERY: Duration = Duration::from_millis(10);

/// How the load behaves, whatever it sends.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Limits of a measured request.
    pub limits: ClientLimits,
    /// In warm-up, from the sending of a request to the last byte: servers compile meanwhile.
    pub warmup_request: Duration,
    pub tolerance: Tolerance,
    /// The server counts as gone when this many requests per connection in a row got no answer, so
    /// that one that hangs costs this many times the limit of a request. One that cannot be
    /// connected to counts as gone at once.
    pub give_up_after: u32,
    /// Says whether the server's processes live, when no answer came for as long as `quiet`: one that
    /// lost a process may hold its requests for ever.
    pub pulse: Option<Pulse>,
    pub quiet: Duration,
    /// How long what is under way may take to end when the load is cancelled; then it is dropped, and has
    /// no row.
    pub drain: Duration,
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
            pulse: None,
            quiet: Duration::from_secs(10),
            drain: Duration::ZERO,
            request_id_prefix: None,
        }
    }
}

/// Knows which process of a server has ended, in words, if one has.
#[derive(Clone)]
pub struct Pulse(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl Pulse {
    pub fn new(ended: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ended))
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").finish_non_exhaustive()
    }
}

/// What a load tells while it runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LoadEvent {
    /// Requests of this kind follow, for progress; `None` if time alone ends them.
    PhaseStarted { phase: Phase, point: String, requests: Option<u64> },
    /// A request ended.
    Row(Box<RequestRow>),
}

/// A stretch of load on one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub phase: Phase,
    pub trial: u32,
    pub arrivals: Arrivals,
    /// No limit if `None`; the arrivals may have an end of their own.
    pub requests: Option<u64>,
    pub secs: Option<f64>,
}

impl Span {
    /// Warm-up as a closed loop: rounds of as many requests at once as when it is measured.
    pub fn warm_up(plan: &Plan, rounds: u32) -> Self {
        let arrivals = plan.workload().arrivals.warm_up();
        let at_once = arrivals.concurrency().unwrap_or(1);
        let at_once = at_once.min(plan.workload().requests.unwrap_or(u32::MAX));
        let requests = Some(u64::from(rounds) * u64::from(at_once));
        Self { phase: Phase::Warmup, trial: 0, arrivals, requests, secs: None }
    }

    /// A measured window, as the workload says.
    pub fn measured(plan: &Plan, trial: u32) -> Self {
        Self::as_planned(plan, Phase::Measure, trial)
    }

    /// The same while a profiler runs.
    pub fn profiled(plan: &Plan) -> Self {
        Self::as_planned(plan, Phase::Profile, 0)
    }

    /// A point's first request, once more.
    pub fn check() -> Self {
        let (phase, arrivals) = (Phase::Check, Arrivals::Closed(1));
        Self { phase, trial: 0, arrivals, requests: Some(1), secs: None }
    }

    fn as_planned(plan: &Plan, phase: Phase, trial: u32) -> Self {
        let workload = plan.workload();
        Self {
            phase,
            trial,
            arrivals: workload.arrivals.clone(),
            requests: workload.requests.map(u64::from),
            secs: workload.secs,
        }
    }
}

/// A point under load: what it sends, and what is known of its answers.
#[derive(Debug)]
pub struct Point {
    plan: Arc<Plan>,
    /// Requests sent so far, by phase, so that a window goes on where the last one ended.
    places: [u64; Phase::ALL.len()],
    windows: u64,
    answers: FirstAnswers,
}

impl Point {
    pub fn new(plan: Plan) -> Self {
        let places = [0; Phase::ALL.len()];
        Self { plan: Arc::new(plan), places, windows: 0, answers: FirstAnswers::default() }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// A client of one server. Its sending thread lives as long as it does.
#[derive(Debug)]
pub struct Load {
    base: BaseUrl,
    options: LoadOptions,
    cancel: Cancel,
    id_prefix: Arc<str>,
    next_index: u64,
    answered: u64,
    /// Requests without any answer since the last one that had one.
    silent_streak: u32,
    sending: SendThread,
    /// Connections between windows.
    pool: Vec<Client>,
}

impl Load {
    /// Checks the address; sends nothing.
    ///
    /// # Errors
    ///
    /// The address is none, or no thread can be started.
    pub fn new(url: &str, options: LoadOptions, cancel: Cancel) -> Result<Self, LoadError> {
        let base = BaseUrl::parse(url)?;
        let id_prefix = match &options.request_id_prefix {
            Some(prefix) => prefix.as_str().into(),
            None => format!("xs{:x}", monotonic().0).into(),
        };
        Ok(Self {
            base,
            options,
            cancel,
            id_prefix,
            next_index: 0,
            answered: 0,
            silent_streak: 0,
            sending: SendThread::start().map_err(|source| LoadError::Thread { source })?,
            pool: Vec::new(),
        })
    }

    /// Requests that got an HTTP answer of whatever status.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Loads a point until the span is over, the switch is thrown or the server is gone, which
    /// [`Window::gone`] says: what was measured until then is in the window all the same.
    ///
    /// # Errors
    ///
    /// Nothing could be sent at all: nobody answers at the address.
    pub async fn run(
        &mut self,
        span: &Span,
        point: &mut Point,
        mut on_event: impl FnMut(LoadEvent),
    ) -> Result<Window, LoadError> {
        let mut window = Window { trial: span.trial, ..Window::default() };
        if self.cancel.is_cancelled() {
            return Ok(window);
        }
        let Span { phase, requests, .. } = *span;
        on_event(LoadEvent::PhaseStarted { phase, point: point.plan.name().to_owned(), requests });
        let compared = point.answers.compared();
        let (cpu, wall, busy) = (process_cpu(), monotonic(), self.sending.busy_secs());
        let mut crew = self.start(point, span).await?;
        let gone = self.receive(&mut crew, point, span, &mut window, &mut on_event).await;
        self.stop(crew, point, span, &mut window, &mut on_event).await?;
        (window.cpu, window.wall) = (process_cpu() - cpu, monotonic() - wall);
        let busy = self.sending.busy_secs() - busy;
        window.sender_busy = busy / (window.wall.as_millis() / 1e3).max(1e-9);
        window.compared = point.answers.compared() - compared;
        window.gone = gone;
        Ok(window)
    }

    async fn start(&mut self, point: &mut Point, span: &Span) -> Result<Crew, LoadError> {
        let plan = Arc::clone(&point.plan);
        let limits = match span.phase {
            Phase::Warmup => {
                ClientLimits { request: self.options.warmup_request, ..self.options.limits }
            }
            _ => self.options.limits,
        };
        let requests = span.requests.and_then(|requests| u32::try_from(requests).ok());
        let at_once = span.arrivals.concurrency();
        let most = at_once.unwrap_or(MAX_CONNECTIONS).min(requests.unwrap_or(u32::MAX));
        let (report_sender, reports) = mpsc::channel(REPORTS);
        let (stop, stopped) = oneshot::channel();
        let ask = &plan.workload().ask;
        let endpoint = Endpoint {
            base: self.base.clone(),
            limits,
            method: plan.backend().method(ask),
            uri: self.base.uri(plan.backend().path(ask))?,
        };
        let pool = std::mem::take(&mut self.pool);
        let pool = pool.into_iter().map(|client| client.limited(limits)).collect();
        let drain = self.options.drain;
        let mut sender = Sender { endpoint, reports: report_sender, most, pool, drain };
        let lanes = at_once.map_or(1, |_| most);
        let handle = &self.sending.handle;
        let connected = handle.spawn(async move {
            let connected = sender.connect(lanes).await;
            (sender, connected)
        });
        let joined = connected.await.map_err(|source| LoadError::Worker { source })?;
        let (sender, connected) = joined;
        connected.map_err(|failure| self.server_gone(failure.detail))?;
        let maker = MakerThread::start(self.maker(point, span));
        let (maker, jobs) = maker.map_err(|source| LoadError::Thread { source })?;
        let last = span.secs.filter(|_| at_once.is_some()).map(|secs| monotonic() + nanos(secs));
        let sending = self.sending.handle.spawn(sender.send(jobs, last, stopped));
        Ok(Crew { stop, reports, sending, _maker: maker, reported: 0 })
    }

    fn maker(
        &self,
        point: &mut Point,
        span: &Span,
    ) -> Maker<impl Iterator<Item = Nanos> + Send + use<>> {
        point.windows += 1;
        Maker {
            schedule: schedule(point, span),
            phase: span.phase,
            left: span.requests.unwrap_or(u64::MAX),
            next_place: match span.phase {
                Phase::Check => 0,
                phase => point.places[phase as usize],
            },
            next_index: self.next_index,
            id_prefix: Arc::clone(&self.id_prefix),
            plan: Arc::clone(&point.plan),
        }
    }

    /// Reads reports until there are no more; says why if the server is gone.
    async fn receive(
        &mut self,
        crew: &mut Crew,
        point: &mut Point,
        span: &Span,
        window: &mut Window,
        on_event: &mut impl FnMut(LoadEvent),
    ) -> Option<String> {
        let cancel = self.cancel.clone();
        let mut cancelled = std::pin::pin!(cancel.cancelled());
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = &mut cancelled => return None,
                count = crew.reports.recv_many(&mut batch, REPORTS) => {
                    if count == 0 {
                        return None;
                    }
                }
                () = tokio::time::sleep(self.options.quiet), if self.options.pulse.is_some() => {
                    if let Some(gone) = self.ended() {
                        return Some(gone);
                    }
                }
            }
            let mut gone = None;
            for ended in batch.drain(..) {
                crew.reported += 1;
                let (row, reason) = self.judge(point, span, ended, window);
                on_event(LoadEvent::Row(Box::new(row)));
                gone = gone.or(reason);
            }
            if gone.is_some() {
                return gone;
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    /// Ends what still runs, and counts what never ran.
    async fn stop(
        &mut self,
        crew: Crew,
        point: &mut Point,
        span: &Span,
        window: &mut Window,
        on_event: &mut impl FnMut(LoadEvent),
    ) -> Result<(), LoadError> {
        let Crew { stop, sending, mut reports, mut reported, _maker } = crew;
        drop(stop);
        let sent = sending.await.map_err(|source| LoadError::Worker { source })?;
        let stopped = monotonic();
        while let Ok(ended) = reports.try_recv() {
            reported += 1;
            let (row, _) = self.judge(point, span, ended, window);
            on_event(LoadEvent::Row(Box::new(row)));
        }
        if let (Some(schedule), Some(started)) = (schedule(point, span), sent.started) {
            let due = schedule.take_while(|offset| started + *offset <= stopped).count() as u64;
            window.unsent = due.min(span.requests.unwrap_or(u64::MAX)).saturating_sub(sent.begun);
        }
        window.abandoned = sent.begun - reported;
        window.most_in_flight = sent.most_in_flight;
        self.pool = sent.pool;
        self.next_index += sent.begun;
        point.places[span.phase as usize] += sent.begun;
        window.requested_per_sec = requested(point, span, window);
        Ok(())
    }

    /// Makes the row of a request that ended, counts it, and says why if the server is gone.
    fn judge(
        &mut self,
        point: &mut Point,
        span: &Span,
        ended: Ended,
        window: &mut Window,
    ) -> (RequestRow, Option<String>) {
        let plan = Arc::clone(&point.plan);
        let tolerance = self.options.tolerance;
        let verdict = read(&plan, &ended).and_then(|answer| {
            let Ended { job, .. } = &ended;
            if span.phase == Phase::Check || (span.phase == Phase::Measure && plan.repeats()) {
                let repeat = plan.workload().distinct.filter(|_| span.phase == Phase::Measure);
                let place = job.place % u64::from(repeat.unwrap_or(u32::MAX));
                let key = (span.phase as u64) << 32 | place;
                point.answers.check(key, answer.scores.clone(), tolerance)?;
            }
            Ok(answer)
        });
        let (answer, failure) = match verdict {
            Ok(answer) => (answer, None),
            Err(failure) => (Answer::default(), Some(failure)),
        };
        let row = row(&plan, span, ended, &answer, failure.as_ref());
        let sample = Sample {
            intended: row.intended,
            sent: row.sent,
            first_token: row.first_token,
            end: row.end,
            failure: row.failure,
            items: row.batch_size,
            prompt_tokens: row.prompt_tokens.unwrap_or(0),
            output_tokens: row.output_tokens.unwrap_or(0),
            gaps: gaps(&answer.times).collect(),
            compiled: row.cache_misses.map(|misses| misses > 0),
        };
        window.add(sample, &row);
        let connections = span.arrivals.concurrency().unwrap_or(1);
        let gone = self.gone(&row, failure, connections);
        (row, gone)
    }

    fn gone(
        &mut self,
        row: &RequestRow,
        failure: Option<Failure>,
        connections: u32,
    ) -> Option<String> {
        if row.status.is_some() {
            self.answered += 1;
            self.silent_streak = 0;
            return None;
        }
        self.silent_streak += 1;
        let Failure { kind, detail } = failure?;
        let streak = self.silent_streak;
        match kind {
            FailureKind::Connect => Some(detail),
            _ if streak >= self.options.give_up_after.saturating_mul(connections) => {
                Some(format!("{streak} requests in a row got no answer, the last one: {detail}"))
            }
            _ => None,
        }
    }

    /// Why nobody answers any more, if a process of the server has ended.
    fn ended(&self) -> Option<String> {
        let Pulse(ended) = self.options.pulse.as_ref()?;
        let quiet = self.options.quiet.as_secs_f64();
        Some(format!("{}, and no request was answered for {quiet} s", ended()?))
    }

    /// The error of a server that is gone.
    pub fn server_gone(&self, reason: String) -> LoadError {
        let url = self.base.as_str().to_owned();
        LoadError::ServerGone { url, reason, answered: self.answered }
    }
}

/// The thread that sends, with a runtime of its own. It ends with this.
#[derive(Debug)]
struct SendThread {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl SendThread {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let send = move || drop(runtime.block_on(stopped));
        thread::Builder::new().name("xscope-send".to_owned()).spawn(send)?;
        Ok(Self { handle, _stop: stop })
    }

    /// How long it has been busy.
    fn busy_secs(&self) -> f64 {
        self.handle.metrics().worker_total_busy_duration(0).as_secs_f64()
    }
}

/// Everything that runs during one span. Dropping it stops it: first the sender, for whose full queue
/// the maker may be waiting.
struct Crew {
    stop: oneshot::Sender<()>,
    reports: mpsc::Receiver<Ended>,
    sending: tokio::task::JoinHandle<crate::send::Sent>,
    _maker: MakerThread,
    reported: u64,
}

/// When the requests of a span's last window were due, from its start; `None` in a closed loop.
fn schedule(point: &Point, span: &Span) -> Option<impl Iterator<Item = Nanos> + Send + use<>> {
    if span.arrivals.concurrency().is_some() {
        return None;
    }
    let end = span.secs.map_or(Nanos(i64::MAX), nanos);
    let schedule = point.plan.schedule(&span.arrivals, point.windows);
    Some(schedule.take_while(move |offset| *offset < end))
}

/// The rate that the schedule asked for, up to the last request that was sent.
fn requested(point: &Point, span: &Span, window: &Window) -> Option<f64> {
    match &span.arrivals {
        Arrivals::Closed(_) => None,
        Arrivals::Constant { per_sec }
        | Arrivals::Poisson { per_sec }
        | Arrivals::Gamma { per_sec, .. } => Some(*per_sec),
        _ => {
            let due = schedule(point, span)?.take(window.samples.len()).last()?;
            let count = count_to_f64(window.samples.len() as u64);
            Some(count / (due.as_millis() / 1e3).max(1e-9))
        }
    }
}

/// Reads an answer and checks what can be checked without others.
fn read(plan: &Plan, ended: &Ended) -> Result<Answer, Failure> {
    let Ended { job, exchange, .. } = ended;
    let body = exchange.body.as_ref().map_err(Clone::clone)?;
    let status = exchange.status.unwrap_or(0);
    if status != 200 {
        let text = excerpt(body);
        return Err(Failure::new(FailureKind::HttpStatus, format!("status {status}: {text}")));
    }
    let ask = &plan.workload().ask;
    let answer = plan.backend().read(exchange, body, plan.labels())?;
    let items = job.items as usize;
    let expected = match ask {
        Ask::Score(ask) => {
            let labels = ask.labels.count() as usize;
            // Where a server gives the first label alone, its sum is of no use.
            let single = answer.scores.first().is_some_and(|row| row.len() == 1);
            let (labels, values) = match (plan.backend(), ask.apply_softmax) {
                (Backend::VllmGenerative, _) if single => (1, Values::Probabilities),
                (_, true) => (labels, Values::Shares),
                (_, false) => (labels, Values::Probabilities),
            };
            Expected { items, labels, values }
        }
        Ask::Rerank(_) => Expected { items, labels: 1, values: Values::Relevances },
        Ask::Generate(ask) => return check_length(ask, job.output_tokens, answer),
        Ask::Fixed(_) => return Ok(answer),
    };
    // The tolerance of a sum does not depend on who asks.
    check_scores(&answer.scores, expected, Tolerance::default())?;
    Ok(answer)
}

/// An output that is shorter than asked for makes every figure look better.
fn check_length(ask: &AskGenerate, asked: u32, answer: Answer) -> Result<Answer, Failure> {
    match answer.output_tokens {
        Some(got) if ask.ignore_eos && got != u64::from(asked) => {
            let detail = format!("{got} tokens came, {asked} were asked for with ignore_eos");
            Err(Failure::new(FailureKind::WrongShape, detail))
        }
        Some(0) => Err(Failure::new(FailureKind::WrongShape, "no token came")),
        _ => Ok(answer),
    }
}

fn row(
    plan: &Plan,
    span: &Span,
    ended: Ended,
    answer: &Answer,
    failure: Option<&Failure>,
) -> RequestRow {
    let Ended { job, worker, intended, exchange } = ended;
    RequestRow {
        index: job.index,
        request_id: exchange.request_id.unwrap_or(job.request_id),
        phase: span.phase,
        point: plan.name().to_owned(),
        trial: span.trial,
        batch_size: job.items,
        label_count: u32::try_from(plan.labels().len()).unwrap_or(u32::MAX),
        worker,
        prompt_tokens: answer.prompt_tokens.or(job.prompt_tokens),
        output_tokens: answer.output_tokens,
        intended,
        sent: exchange.sent,
        first_byte: exchange.first_byte,
        first_token: answer.times.first().map(|(at, _)| *at),
        end: exchange.end,
        latency_ms: (exchange.end - intended).as_millis(),
        itl_ms: gaps(&answer.times).map(Nanos::as_millis).collect(),
        request_bytes: Bytes(job.body.len() as u64),
        response_bytes: Bytes(exchange.response_bytes as u64),
        status: exchange.status,
        ok: failure.is_none(),
        failure: failure.map(|failure| failure.kind),
        error: failure.map(|failure| failure.detail.clone()),
        cache_misses: exchange.cache_misses,
        server_ms: exchange.server_timing,
    }
}

/// Times between tokens. Tokens that came at once share the time since the last ones.
fn gaps(times: &[(Nanos, u64)]) -> impl Iterator<Item = Nanos> {
    times.windows(2).flat_map(|pair| {
        let [(before, _), (at, count)] = [pair[0], pair[1]];
        let each = i64::try_from(count).map_or(0, |count| (at - before).0 / count.max(1));
        std::iter::repeat_n(Nanos(each), usize::try_from(count).unwrap_or(0))
    })
}
