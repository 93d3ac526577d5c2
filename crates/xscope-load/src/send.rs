//! Sends requests when they are due, and nothing else: bodies are made ahead of time on a thread of
//! its own, and answers are read and checked by whoever gets the reports. Both queues are bounded: a
//! slow maker or reader slows the load down, which shows as schedule lag.
//!
//! Every connection is a task, its lane, which takes the next job when it has nothing to do. Lanes
//! queue up for that: the first of them waits until its job is due and then sends it without waking
//! anybody in between. In an open loop, a lane that leaves nobody waiting behind it asks for another
//! one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use std::{thread, vec};

use bytes::Bytes;
use hyper::{Method, Uri};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use xscope_trace::{Nanos, Phase, clock::monotonic};

use crate::alarm::Alarm;
use crate::check::Failure;
use crate::client::{BaseUrl, Call, Client, ClientLimits, Exchange};
use crate::plan::Plan;
use crate::request::Request;

/// Jobs that are handed over together at most, so that threads do not wake each other for each.
const CHUNK: usize = 512;
/// Bytes of their bodies after which they are handed over: making more takes too long.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are made ahead.
const CHUNKS: usize = 2;

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) index: u64,
    pub(crate) place: u64,
    /// When it is due, from the start of the stretch; in a closed loop nobody knows before a
    /// connection is free.
    pub(crate) offset: Option<Nanos>,
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
    /// Which of the lanes.
    pub(crate) worker: u32,
    pub(crate) intended: Nanos,
    pub(crate) exchange: Exchange,
}

/// Makes jobs ahead of time.
pub(crate) struct Maker<S> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) phase: Phase,
    /// When they are due; `None` in a closed loop.
    pub(crate) schedule: Option<S>,
    /// Jobs that are left to be made.
    pub(crate) left: u64,
    pub(crate) next_place: u64,
    pub(crate) next_index: u64,
    pub(crate) id_prefix: Arc<str>,
}

/// The thread of a [`Maker`]; it ends when nobody takes jobs any more.
#[derive(Debug)]
pub(crate) struct MakerThread(Option<thread::JoinHandle<()>>);

impl MakerThread {
    pub(crate) fn start(
        maker: Maker<impl Iterator<Item = Nanos> + Send + 'static>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Vec<Job>>)> {
        let (sender, jobs) = mpsc::channel(CHUNKS);
        let make = move || maker.make(&sender);
        let thread = thread::Builder::new().name("xscope-make".to_owned()).spawn(make)?;
        Ok((Self(Some(thread)), jobs))
    }
}

impl Drop for MakerThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic of it is a lost job, which the count of ended requests shows.
            drop(thread.join());
        }
    }
}

impl<S: Iterator<Item = Nanos>> Maker<S> {
    fn make(mut self, jobs: &mpsc::Sender<Vec<Job>>) {
        loop {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
                let Some(job) = self.job() else { break };
                bytes += job.body.len();
                chunk.push(job);
            }
            if chunk.is_empty() || jobs.blocking_send(chunk).is_err() {
                return;
            }
        }
    }

    /// Makes the next job, if there is one.
    fn job(&mut self) -> Option<Job> {
        self.left = self.left.checked_sub(1)?;
        let offset = match &mut self.schedule {
            None => None,
            Some(schedule) => Some(schedule.next()?),
        };
        let (index, place) = (self.next_index, self.next_place);
        self.next_index += 1;
        self.next_place += 1;
        let request = self.plan.request(self.phase, place);
        let body = self.plan.backend().body(self.plan.workload(), &request);
        let Request { items, output_tokens, .. } = &request;
        Some(Job {
            index,
            place,
            offset,
            request_id: format!("{}-{index}", self.id_prefix),
            body,
            items: u32::try_from(items.len()).unwrap_or(u32::MAX),
            prompt_tokens: request.prompt_tokens(),
            output_tokens: *output_tokens,
        })
    }
}

/// Where requests go, and how.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) base: BaseUrl,
    pub(crate) limits: ClientLimits,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl Endpoint {
    fn client(&self) -> Client {
        Client::new(self.base.clone(), self.limits)
    }
}

/// Gives jobs to connections as they come.
pub(crate) struct Sender {
    pub(crate) endpoint: Endpoint,
    pub(crate) reports: mpsc::Sender<Ended>,
    /// Connections that may be open; a job beyond that waits.
    pub(crate) most: u32,
    /// Those that are open already.
    pub(crate) pool: Vec<Client>,
    /// How long requests under way may take to end when it is stopped.
    pub(crate) drain: Duration,
}

/// What a [`Sender`] leaves.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) pool: Vec<Client>,
    pub(crate) begun: u64,
    pub(crate) most_in_flight: u32,
    /// What offsets of jobs count from, once a job was there.
    pub(crate) started: Option<Nanos>,
}

impl Sender {
    /// Opens this many connections, before anything is due that would have to pay for it.
    pub(crate) async fn connect(&mut self, lanes: u32) -> Result<(), Failure> {
        while self.pool.len() < lanes as usize {
            self.pool.push(self.endpoint.client());
        }
        for client in self.pool.iter_mut().take(self.most as usize) {
            client.connect().await?;
        }
        Ok(())
    }

    /// Sends until there are no more jobs and all have ended, or `stop` resolves: what is under way
    /// then, and still is after `drain`, is dropped. In a closed loop, no request is begun after `last`.
    pub(crate) async fn send(
        self,
        jobs: mpsc::Receiver<Vec<Job>>,
        last: Option<Nanos>,
        mut stop: oneshot::Receiver<()>,
    ) -> Sent {
        let Self { endpoint, reports, most, mut pool, drain } = self;
        let next = Next { jobs, ready: Vec::new().into_iter(), started: None, alarm: Alarm::new() };
        let next = Mutex::new(next);
        let counts = Counts::default();
        let last = AtomicI64::new(last.map_or(i64::MAX, |last| last.0));
        let crew =
            Arc::new(Crew { next, last, endpoint, reports, most, counts, more: Notify::new() });
        let mut lanes: JoinSet<Client> = JoinSet::new();
        for client in pool.drain(..pool.len().min(most as usize)) {
            crew.add(&mut lanes, client);
        }
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => {
                    crew.last.store(monotonic().0, Ordering::Relaxed);
                    drop(tokio::time::timeout(drain, crew.drained()).await);
                    break;
                }
                left = lanes.join_next() => match left {
                    // One that panicked is lost, and so is its report.
                    Some(client) => pool.extend(client),
                    None => break,
                },
                () = crew.more.notified() => {
                    if crew.needs_more() {
                        crew.add(&mut lanes, crew.endpoint.client());
                    }
                }
            }
        }
        lanes.shutdown().await;
        let Counts { begun, most_in_flight, .. } = &crew.counts;
        Sent {
            pool,
            begun: begun.load(Ordering::Relaxed),
            most_in_flight: most_in_flight.load(Ordering::Relaxed),
            started: crew.next.lock().await.started,
        }
    }
}

/// What lanes share. They run on one thread: nothing is ordered by what is counted.
struct Crew {
    next: Mutex<Next>,
    /// When a request may be begun at the latest.
    last: AtomicI64,
    endpoint: Endpoint,
    reports: mpsc::Sender<Ended>,
    most: u32,
    counts: Counts,
    /// A job was taken and nobody waits for the next one.
    more: Notify,
}

#[derive(Default)]
struct Counts {
    lanes: AtomicU32,
    waiting: AtomicU32,
    in_flight: AtomicU32,
    most_in_flight: AtomicU32,
    begun: AtomicU64,
}

/// What the lane has whose turn it is.
struct Next {
    jobs: mpsc::Receiver<Vec<Job>>,
    ready: vec::IntoIter<Job>,
    started: Option<Nanos>,
    alarm: Alarm,
}

impl Next {
    async fn job(&mut self) -> Option<Job> {
        loop {
            match self.ready.next() {
                None => self.ready = self.jobs.recv().await?.into_iter(),
                job => return job,
            }
        }
    }

    /// Waits until the job is due, and uses the time to connect.
    async fn wait(&mut self, offset: Nanos, client: &mut Client) -> Nanos {
        let due = *self.started.get_or_insert_with(monotonic) + offset;
        if monotonic() >= due {
            // As in a closed loop: answers that are there are read before what is late is sent.
            tokio::task::yield_now().await;
            return due;
        }
        tokio::select! {
            biased;
            () = self.alarm.until(due) => {}
            // If it fails, the call tries again and says why.
            _ = client.connect() => self.alarm.until(due).await,
        }
        due
    }
}

impl Crew {
    fn needs_more(&self) -> bool {
        let Counts { waiting, lanes, .. } = &self.counts;
        waiting.load(Ordering::Relaxed) == 0 && lanes.load(Ordering::Relaxed) < self.most
    }

    fn add(self: &Arc<Self>, lanes: &mut JoinSet<Client>, client: Client) {
        let number = self.counts.lanes.fetch_add(1, Ordering::Relaxed);
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        lanes.spawn(Arc::clone(self).lane(number, client));
    }

    /// Returns when no request is under way.
    async fn drained(&self) {
        while self.counts.in_flight.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends one job after the other; leaves the connection.
    async fn lane(self: Arc<Self>, worker: u32, mut client: Client) -> Client {
        let Counts { waiting, in_flight, most_in_flight, begun, .. } = &self.counts;
        let mut free_since = None;
        while let Some((job, due)) = self.next(&mut client).await {
            waiting.fetch_sub(1, Ordering::Relaxed);
            if self.needs_more() {
                self.more.notify_one();
            }
            begun.fetch_add(1, Ordering::Relaxed);
            most_in_flight
                .fetch_max(in_flight.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            // The first body may still have been in the making when the connection was ready.
            let intended = due.or(free_since).unwrap_or_else(monotonic);
            let exchange = client.call(&self.call(&job)).await;
            free_since = Some(exchange.end);
            in_flight.fetch_sub(1, Ordering::Relaxed);
            // Before the report, which may have to wait for its reader.
            waiting.fetch_add(1, Ordering::Relaxed);
            let ended = Ended { job, worker, intended, exchange };
            // Nobody listens any more if the load has ended meanwhile.
            drop(self.reports.send(ended).await);
            if due.is_none() {
                // Answers that are there are read before anything is sent: their times count. It is
                // cheaper, too, to wake a server once for many requests.
                tokio::task::yield_now().await;
            }
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        client
    }

    fn call<'j>(&self, job: &'j Job) -> Call<'j> {
        let Endpoint { method, uri, .. } = &self.endpoint;
        Call {
            method: method.clone(),
            uri: uri.clone(),
            request_id: Some(&job.request_id),
            body: job.body.clone(),
        }
    }

    /// The next job when it is due, and when that is in an open loop; `None` at the end.
    async fn next(&self, client: &mut Client) -> Option<(Job, Option<Nanos>)> {
        let mut next = self.next.lock().await;
        let job = next.job().await?;
        if monotonic().0 >= self.last.load(Ordering::Relaxed) {
            next.ready = Vec::new().into_iter();
            next.jobs.close();
            while next.jobs.try_recv().is_ok() {}
            return None;
        }
        let due = match job.offset {
            Some(offset) => Some(next.wait(offset, client).await),
            None => None,
        };
        Some((job, due))
    }
}
