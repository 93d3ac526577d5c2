//! Sends requests when they are due, and nothing else: bodies are made ahead of time on a thread of
//! its own, which also keeps the schedule, and answers are read and checked by whoever gets the
//! reports. Both queues are bounded: a slow reader slows the load down, which shows as schedule lag.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use xscope_trace::{Nanos, clock::monotonic};

use crate::arrivals::{Schedule, nanos};
use crate::check::Failure;
use crate::client::{BaseUrl, Call, Client, ClientLimits, Exchange};
use crate::record::Phase;
use crate::workload::{Plan, Request};

/// Bodies that are made ahead of an open schedule.
const AHEAD: usize = 64;

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) index: u64,
    pub(crate) place: u64,
    /// When it is due; in a closed loop nobody knows before a connection is free.
    pub(crate) due: Option<Nanos>,
    pub(crate) request_id: String,
    pub(crate) body: Bytes,
    pub(crate) items: u32,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) output_tokens: u32,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) job: Job,
    pub(crate) worker: u32,
    pub(crate) intended: Nanos,
    pub(crate) exchange: Exchange,
}

/// A connection, and since when it has nothing to do.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    pub(crate) client: Client,
    pub(crate) free_since: Option<Nanos>,
}

/// Lanes that wait for a request. Taken from the back.
pub(crate) type Pool = Vec<Lane>;

/// Makes jobs and hands them over when they are due.
pub(crate) struct Pacer {
    pub(crate) plan: Arc<Plan>,
    pub(crate) phase: Phase,
    /// `None` in a closed loop.
    pub(crate) schedule: Option<Schedule>,
    pub(crate) requests: u64,
    pub(crate) secs: Option<f64>,
    pub(crate) first_place: u64,
    pub(crate) first_index: u64,
    pub(crate) id_prefix: Arc<str>,
    pub(crate) jobs: mpsc::Sender<Job>,
}

/// The thread of a [`Pacer`]; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct PacerThread {
    stop: Arc<AtomicBool>,
    /// Jobs that have become due.
    due: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl PacerThread {
    pub(crate) fn start(pacer: Pacer) -> std::io::Result<Self> {
        let (stop, due) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&due));
        let thread = thread::Builder::new()
            .name("xscope-pace".to_owned())
            .spawn(move || pacer.pace(&stopped, &count))?;
        Ok(Self { stop, due, thread: Some(thread) })
    }

    pub(crate) fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }
}

impl Drop for PacerThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of it is a lost job, which the count of ended requests shows.
            drop(thread.join());
        }
    }
}

impl Pacer {
    fn pace(mut self, stop: &AtomicBool, due: &AtomicU64) {
        let start = monotonic();
        let last = self.secs.map(|secs| start + nanos(secs));
        let mut ready = VecDeque::new();
        let mut left = self.requests;
        loop {
            if ready.is_empty() && !self.make(start, last, &mut left, &mut ready) {
                return;
            }
            let Some(job) = ready.pop_front() else { return };
            while let Some(wait) = job_wait(&job) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // Time until then is used to make the next bodies.
                if ready.len() >= AHEAD || !self.make(start, last, &mut left, &mut ready) {
                    thread::park_timeout(wait);
                }
            }
            if last.is_some_and(|last| monotonic() >= last) && job.due.is_none() {
                return;
            }
            due.fetch_add(1, Ordering::Relaxed);
            if self.jobs.blocking_send(job).is_err() {
                return;
            }
        }
    }

    /// Makes the next job, if there is one.
    fn make(
        &mut self,
        start: Nanos,
        last: Option<Nanos>,
        left: &mut u64,
        ready: &mut VecDeque<Job>,
    ) -> bool {
        if *left == 0 {
            return false;
        }
        let due = match &mut self.schedule {
            None => None,
            Some(schedule) => match schedule.next().map(|offset| start + offset) {
                Some(due) if last.is_none_or(|last| due < last) => Some(due),
                _ => {
                    *left = 0;
                    return false;
                }
            },
        };
        *left -= 1;
        let (index, place) = (self.first_index, self.first_place);
        self.first_index += 1;
        self.first_place += 1;
        let request = self.plan.request(self.phase, place);
        let body = self.plan.backend().body(self.plan.workload(), &request);
        let Request { items, output_tokens, .. } = &request;
        ready.push_back(Job {
            index,
            place,
            due,
            request_id: format!("{}-{index}", self.id_prefix),
            body,
            items: u32::try_from(items.len()).unwrap_or(u32::MAX),
            prompt_tokens: request.prompt_tokens(),
            output_tokens: *output_tokens,
        });
        true
    }
}

/// How long until a job is due.
fn job_wait(job: &Job) -> Option<Duration> {
    let wait = (job.due? - monotonic()).0;
    u64::try_from(wait).ok().filter(|&wait| wait > 0).map(Duration::from_nanos)
}

/// Gives jobs to connections as they come.
pub(crate) struct Sender {
    pub(crate) base: BaseUrl,
    pub(crate) limits: ClientLimits,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) reports: mpsc::Sender<Ended>,
    /// Connections that may be open; a job beyond that waits.
    pub(crate) most: u32,
    /// In a closed loop, no request is begun after this.
    pub(crate) last: Option<Nanos>,
    pub(crate) pool: Pool,
}

/// What a [`Sender`] leaves.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) pool: Pool,
    pub(crate) begun: u64,
    pub(crate) most_in_flight: u32,
}

impl Sender {
    /// Opens this many connections, before anything is due that would have to pay for it.
    pub(crate) async fn connect(&mut self, lanes: u32) -> Result<(), Failure> {
        while self.pool.len() < lanes as usize {
            let lane = self.lane(u32::try_from(self.pool.len()).unwrap_or(u32::MAX));
            self.pool.push(lane);
        }
        self.pool.truncate(self.most as usize);
        for lane in &mut self.pool {
            lane.free_since = None;
            lane.client.connect().await?;
        }
        Ok(())
    }

    fn lane(&self, number: u32) -> Lane {
        Lane { number, client: Client::new(self.base.clone(), self.limits), free_since: None }
    }

    /// Sends until there are no more jobs and all have ended, or `stop` resolves: what is under way
    /// then is dropped.
    pub(crate) async fn send(mut self, mut stop: oneshot::Receiver<()>) -> Sent {
        let mut running: JoinSet<Lane> = JoinSet::new();
        let (mut begun, mut most_in_flight, mut open) = (0, 0, true);
        let mut lanes = u32::try_from(self.pool.len()).unwrap_or(u32::MAX);
        while open || !running.is_empty() {
            let has_lane = !self.pool.is_empty() || lanes < self.most;
            tokio::select! {
                biased;
                _ = &mut stop => break,
                Some(ended) = running.join_next() => {
                    // One that panicked is lost, and so is its report.
                    self.pool.extend(ended);
                }
                job = self.jobs.recv(), if open && has_lane => {
                    let over = self.last.is_some_and(|last| monotonic() >= last);
                    let Some(job) = job.filter(|_| !over) else {
                        open = false;
                        self.jobs.close();
                        continue;
                    };
                    let lane = self.pool.pop().unwrap_or_else(|| {
                        lanes += 1;
                        self.lane(lanes - 1)
                    });
                    running.spawn(self.exchange(lane, job));
                    begun += 1;
                    most_in_flight = most_in_flight.max(running.len());
                }
            }
        }
        let most_in_flight = u32::try_from(most_in_flight).unwrap_or(u32::MAX);
        Sent { pool: self.pool, begun, most_in_flight }
    }

    fn exchange(&self, mut lane: Lane, job: Job) -> impl Future<Output = Lane> + use<> {
        let call = Call {
            method: self.method.clone(),
            path: self.path.clone(),
            request_id: Some(job.request_id.clone()),
            body: job.body.clone(),
        };
        let reports = self.reports.clone();
        // The first body may still have been in the making when the connection was ready.
        let intended = job.due.or(lane.free_since).unwrap_or_else(monotonic);
        async move {
            let exchange = lane.client.call(&call).await;
            lane.free_since = Some(exchange.end);
            let ended = Ended { job, worker: lane.number, intended, exchange };
            // Nobody listens any more if the load has ended meanwhile.
            drop(reports.send(ended).await);
            lane
        }
    }
}
