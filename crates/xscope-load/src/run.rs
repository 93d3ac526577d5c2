//! The load: sends a point's requests as its arrivals say, checks the answers, and gives a row for
//! each.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use xscope_trace::clock::{monotonic, process_cpu};
use xscope_trace::stats::as_f64;
use xscope_trace::{Nanos, Phase};

use crate::arrivals::Arrivals;
use crate::cancel::Cancel;
use crate::check::{Failure, FailureKind};
use crate::client::{BaseUrl, Client, ClientLimits};
use crate::error::LoadError;
use crate::limits::MAX_CONNECTIONS;
use crate::options::SendOptions;
use crate::point::Point;
use crate::record::{RequestRow, TrialSamples};
use crate::send::{Ended, Endpoint, Maker, MakerThread, Sender, Sent};
use crate::stretch::Stretch;
use crate::verify::{Verified, verify};

/// Reports that may wait to be read.
const REPORTS: usize = 4096;
/// They are read so often at most: to be woken for each costs more than to read it.
const READ_EVERY: Duration = Duration::from_millis(10);

/// What a load tells while it runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LoadEvent {
    /// Requests of this kind follow, for progress; `None` if time alone ends them.
    PhaseStarted { phase: Phase, point: String, requests: Option<u64> },
    /// A request ended.
    Row(Box<RequestRow>),
}

/// A client of one server. Its sending thread lives as long as it does.
#[derive(Debug)]
pub struct Load {
    base: BaseUrl,
    options: SendOptions,
    cancel: Cancel,
    cores: u32,
    id_prefix: Arc<str>,
    next_index: u64,
    answered: u64,
    /// Requests without any answer since the last one that had one.
    silent_streak: u32,
    sending: SendThread,
    /// Connections between stretches.
    pool: Vec<Client>,
}

/// A stretch of load that is under way, and what came of it so far.
struct Taking<'a> {
    point: &'a mut Point,
    stretch: &'a Stretch,
    trial: TrialSamples,
}

impl Load {
    /// Checks the address; sends nothing.
    ///
    /// # Errors
    ///
    /// The address is none, or no thread can be started.
    pub fn new(url: &str, options: SendOptions, cancel: Cancel) -> Result<Self, LoadError> {
        let base = BaseUrl::parse(url)?;
        let id_prefix = match &options.request_id_prefix {
            Some(prefix) => prefix.as_str().into(),
            None => format!("xs{:x}", monotonic().0).into(),
        };
        Ok(Self {
            base,
            options,
            cancel,
            cores: cores(),
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

    /// Loads a point until the stretch is over, the switch is thrown or the server is gone, which
    /// [`TrialSamples::gone`] says: what was measured until then is there all the same.
    ///
    /// # Errors
    ///
    /// Nothing could be sent at all: nobody answers at the address.
    pub async fn run(
        &mut self,
        stretch: &Stretch,
        point: &mut Point,
        mut on_event: impl FnMut(LoadEvent),
    ) -> Result<TrialSamples, LoadError> {
        let trial = TrialSamples { trial: stretch.trial, ..TrialSamples::default() };
        if self.cancel.is_cancelled() {
            return Ok(trial);
        }
        let Stretch { phase, requests, .. } = *stretch;
        on_event(LoadEvent::PhaseStarted {
            phase,
            point: point.plan().name().to_owned(),
            requests,
        });
        let compared = point.compared();
        let (cpu, wall, busy) = (process_cpu(), monotonic(), self.sending.busy_secs());
        let mut taking = Taking { point, stretch, trial };
        let mut crew = self.start(&mut taking).await?;
        let gone = self.receive(&mut crew, &mut taking, &mut on_event).await;
        self.stop(crew, &mut taking, &mut on_event).await?;
        let Taking { point, mut trial, .. } = taking;
        trial.cpu = (!self.options.serves_itself).then(|| process_cpu() - cpu);
        trial.wall = monotonic() - wall;
        trial.cores = self.cores;
        let busy = self.sending.busy_secs() - busy;
        trial.sender_busy = busy / (trial.wall.as_millis() / 1e3).max(1e-9);
        trial.compared = point.compared() - compared;
        trial.gone = gone;
        Ok(trial)
    }

    async fn start(&mut self, taking: &mut Taking<'_>) -> Result<Crew, LoadError> {
        let stretch = taking.stretch;
        let plan = taking.point.shared_plan();
        let limits = match stretch.phase {
            Phase::Warmup => {
                ClientLimits { request: self.options.warmup_request, ..self.options.limits }
            }
            _ => self.options.limits,
        };
        let requests = stretch.requests.and_then(|requests| u32::try_from(requests).ok());
        let at_once = stretch.arrivals.concurrency();
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
        let maker = MakerThread::start(self.maker(taking));
        let (maker, jobs) = maker.map_err(|source| LoadError::Thread { source })?;
        let secs = stretch.secs.filter(|_| at_once.is_some());
        let last = secs.map(|secs| monotonic() + Nanos::from_secs(secs));
        let sending = self.sending.handle.spawn(sender.send(jobs, last, stopped));
        Ok(Crew { stop, reports, sending, _maker: maker, reported: 0 })
    }

    fn maker(&self, taking: &mut Taking<'_>) -> Maker<impl Iterator<Item = Nanos> + Send + use<>> {
        let Taking { point, stretch, .. } = taking;
        point.begin();
        Maker {
            schedule: point.schedule(stretch),
            phase: stretch.phase,
            left: stretch.requests.unwrap_or(u64::MAX),
            next_place: point.next_place(stretch.phase),
            next_index: self.next_index,
            id_prefix: Arc::clone(&self.id_prefix),
            plan: point.shared_plan(),
        }
    }

    /// Reads reports until there are no more; says why if the server is gone.
    async fn receive(
        &mut self,
        crew: &mut Crew,
        taking: &mut Taking<'_>,
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
                let reason = self.judge(taking, ended, on_event);
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
        taking: &mut Taking<'_>,
        on_event: &mut impl FnMut(LoadEvent),
    ) -> Result<(), LoadError> {
        let Crew { stop, sending, mut reports, mut reported, _maker } = crew;
        drop(stop);
        let sent = sending.await.map_err(|source| LoadError::Worker { source })?;
        let stopped = monotonic();
        while let Ok(ended) = reports.try_recv() {
            reported += 1;
            self.judge(taking, ended, on_event);
        }
        let Taking { point, stretch, trial } = taking;
        if let (Some(schedule), Some(started)) = (point.schedule(stretch), sent.started) {
            let due = schedule.take_while(|offset| started + *offset <= stopped).count() as u64;
            trial.unsent = due.min(stretch.requests.unwrap_or(u64::MAX)).saturating_sub(sent.begun);
        }
        trial.abandoned = sent.begun - reported;
        trial.most_in_flight = sent.most_in_flight;
        self.pool = sent.pool;
        self.next_index += sent.begun;
        point.advance(stretch.phase, sent.begun);
        trial.requested_per_sec = requested(point, stretch, trial);
        Ok(())
    }

    /// Counts a request that ended, hands its row out, and says why if the server is gone.
    fn judge(
        &mut self,
        taking: &mut Taking<'_>,
        ended: Ended,
        on_event: &mut impl FnMut(LoadEvent),
    ) -> Option<String> {
        let Taking { point, stretch, trial } = taking;
        let verified = verify(point, stretch, ended, self.options.tolerance);
        let Verified { row, sample, failure } = verified;
        trial.add(sample, &row);
        let gone = self.gone(&row, failure, stretch.arrivals.concurrency().unwrap_or(1));
        on_event(LoadEvent::Row(Box::new(row)));
        gone
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
        let ended = self.options.pulse.as_ref()?.ended()?;
        let quiet = self.options.quiet.as_secs_f64();
        Some(format!("{ended}, and no request was answered for {quiet} s"))
    }

    /// The error of a server that is gone.
    pub fn server_gone(&self, reason: String) -> LoadError {
        let url = self.base.as_str().to_owned();
        LoadError::ServerGone { url, reason, answered: self.answered }
    }
}

/// Cores that this process may use; 0 if nobody knows.
fn cores() -> u32 {
    let cores = thread::available_parallelism();
    cores.map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
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

/// Everything that runs during one stretch. Dropping it stops it: first the sender, for whose full
/// queue the maker may be waiting.
struct Crew {
    stop: oneshot::Sender<()>,
    reports: mpsc::Receiver<Ended>,
    sending: tokio::task::JoinHandle<Sent>,
    _maker: MakerThread,
    reported: u64,
}

/// The rate that the schedule asked for, up to the last request that was sent.
fn requested(point: &Point, stretch: &Stretch, trial: &TrialSamples) -> Option<f64> {
    match &stretch.arrivals {
        Arrivals::Closed(_) => None,
        Arrivals::Constant { per_sec }
        | Arrivals::Poisson { per_sec }
        | Arrivals::Gamma { per_sec, .. } => Some(*per_sec),
        _ => {
            let due = point.schedule(stretch)?.take(trial.samples.len()).last()?;
            let count = as_f64(trial.samples.len() as u64);
            Some(count / (due.as_millis() / 1e3).max(1e-9))
        }
    }
}
