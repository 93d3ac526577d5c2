//! The thread that forms batches and runs the model.
//!
//! It owns what waits, the model, the recorder and the running capture, and is driven by
//! [`Command`]s alone. Batches are formed first come, first served: the items of the oldest
//! request first, as many as the budgets of rows and padded tokens allow. A request's items may
//! thus be spread over several batches.
//!
//! A panic or an error in the forward pass fails the requests of that batch and nothing else.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use xscope_model::{Logits, Model, OpRecorder, Owner, PaddedBatch, padded_to};
use xscope_trace::{
    Nanos, clock,
    span::{ThreadId, current_thread},
};

use crate::{
    capture::{Captures, Plan, Waiter},
    config::ForwardHook,
    error::EngineError,
    error::chain,
    memory,
    metrics::BatchSize,
    queue::{Places, Queue},
    records::{BatchDone, BatchMemory},
    score::label_logprobs,
    span_sink::SinkRef,
    stage::Sequence,
    telemetry::Telemetry,
};

/// What the scheduler can be told.
#[derive(Debug)]
pub(crate) enum Command {
    Score(Job),
    StartCapture(Box<Plan>, oneshot::Sender<Result<(), EngineError>>),
    StopCapture(Waiter),
    /// Finish what waits, then end.
    Shutdown,
}

/// The items of one request.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) labels: Vec<u32>,
    pub(crate) places: Places,
    /// Closed when the client has gone.
    pub(crate) reply: oneshot::Sender<Result<JobDone, EngineError>>,
}

/// What became of a [`Job`].
#[derive(Debug, Default)]
pub(crate) struct JobDone {
    /// For each item, in order: the labels' log-probabilities.
    pub(crate) logprobs: Vec<Vec<f64>>,
    /// The batches that its items were in, in order of time.
    pub(crate) passes: Vec<Pass>,
    /// Batch and tokens of each prompt, in the order of the prompts.
    pub(crate) sequences: Vec<Sequence>,
    /// Where those batches were written to, if any was captured.
    pub(crate) sink: Option<SinkRef>,
}

/// When a batch went through the scheduler's stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) batch: u64,
    pub(crate) schedule: Nanos,
    pub(crate) forward: Nanos,
    pub(crate) extract: Nanos,
    pub(crate) end: Nanos,
}

/// How batches are formed.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) max_rows: usize,
    pub(crate) max_padded_tokens: usize,
    /// As in [`crate::EngineConfig`].
    pub(crate) token_paddings: Vec<usize>,
    pub(crate) wait: Duration,
}

/// The way to the scheduler.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerHandle {
    commands: SyncSender<Command>,
}

impl SchedulerHandle {
    /// Sends the command that `make` makes of a way to answer, and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Command,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply))?;
        answer.await.unwrap_or(Err(EngineError::Closed))
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), EngineError> {
        self.commands.try_send(command).map_err(|error| match error {
            // There is room for as many jobs as the queue has places, so this takes hundreds
            // of commands to the profiler at once.
            TrySendError::Full(_) => EngineError::Busy,
            TrySendError::Disconnected(_) => EngineError::Closed,
        })
    }

    /// Waits for room, so it cannot fail while the scheduler lives.
    pub(crate) fn shut_down(&self) {
        // An error means that the scheduler has ended already.
        drop(self.commands.send(Command::Shutdown));
    }
}

/// The room for commands of a scheduler whose queue is `queue`.
pub(crate) fn channel(queue: &Queue) -> (SchedulerHandle, Receiver<Command>) {
    const OTHER_COMMANDS: usize = 64;
    let (commands, receiver) = sync_channel(queue.limit() + OTHER_COMMANDS);
    (SchedulerHandle { commands }, receiver)
}

#[derive(Debug)]
pub(crate) struct Scheduler {
    pub(crate) model: Model,
    pub(crate) budget: Budget,
    pub(crate) queue: Arc<Queue>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) captures: Captures,
    pub(crate) before_forward: Option<ForwardHook>,
}

impl Scheduler {
    /// Runs until it is told to end, or nobody is left to tell it anything.
    pub(crate) fn run(self, commands: &Receiver<Command>) {
        let mut state = State {
            thread: current_thread(),
            recorder: OpRecorder::new(),
            waiting: VecDeque::new(),
            last_batch: 0,
            closing: false,
            scheduler: self,
        };
        state.serve(commands);
        state.scheduler.captures.end_now();
    }
}

struct State {
    scheduler: Scheduler,
    thread: ThreadId,
    recorder: OpRecorder,
    waiting: VecDeque<Waiting>,
    last_batch: u64,
    closing: bool,
}

/// A job some of whose items have not run yet.
struct Waiting {
    job: Job,
    /// How many of its items are in batches.
    taken: usize,
    done: JobDone,
}

/// Which items of the jobs in front run together: per job, how many.
struct Selection {
    items: Vec<usize>,
    batch: PaddedBatch,
}

impl State {
    fn serve(&mut self, commands: &Receiver<Command>) {
        loop {
            if self.waiting.is_empty() {
                if self.closing {
                    return;
                }
                match commands.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
            }
            while let Ok(command) = commands.try_recv() {
                self.obey(command);
            }
            self.linger(commands);
            self.step();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Score(job) => {
                let done = JobDone::default();
                self.waiting.push_back(Waiting { job, taken: 0, done });
            }
            Command::StartCapture(plan, reply) => {
                let context = (self.thread, self.last_batch, self.scheduler.model.config().family);
                let started = self.scheduler.captures.start(*plan, context);
                // Whoever asked may have gone; the capture runs all the same.
                drop(reply.send(started));
            }
            Command::StopCapture(waiter) => self.scheduler.captures.stop(waiter),
            Command::Shutdown => self.closing = true,
        }
    }

    /// Gives a batch that is not full the time to fill, if that is configured.
    fn linger(&mut self, commands: &Receiver<Command>) {
        let wait = self.scheduler.budget.wait;
        if wait.is_zero() || self.waiting.is_empty() {
            return;
        }
        let deadline = Instant::now() + wait;
        while !self.closing && self.waiting_items() < self.scheduler.budget.max_rows {
            match commands.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn waiting_items(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.job.prompts.len() - waiting.taken).sum()
    }

    /// Forms one batch and runs it.
    fn step(&mut self) {
        let schedule = clock::monotonic();
        self.drop_abandoned();
        let Some(selection) = self.select() else { return };
        self.last_batch += 1;
        let batch = self.last_batch;
        let sink = self.scheduler.captures.before_batch(batch, schedule);
        self.prepare_recorder();

        let forward = clock::monotonic();
        let logits = self.forward(batch, &selection.batch);
        let extract = clock::monotonic();
        let memory = self.memory();
        let logprobs = logits.and_then(|logits| self.extract(&selection, &logits));
        let end = clock::monotonic();

        let pass = Pass { batch, schedule, forward, extract, end };
        self.answer(&selection, logprobs, pass, sink.as_ref());
        let size = BatchSize {
            rows: count(selection.batch.tokens.len()),
            tokens: count(selection.batch.real_tokens()),
            padded_tokens: count(selection.batch.padded_tokens()),
        };
        let queue_items = count(self.scheduler.queue.waiting());
        let done = BatchDone { batch, size, schedule, forward, extract, end, queue_items, memory };
        self.scheduler.telemetry.batch(&done, &self.recorder);
        self.scheduler.captures.after_batch(&done, &self.recorder);
    }

    /// Telemetry can be switched between batches.
    fn prepare_recorder(&mut self) {
        let on = self.telemetry_on();
        self.recorder.clear();
        self.recorder.set_enabled(on);
        let count = on && memory::installed();
        self.recorder.set_owner_hook(count.then_some(memory::set_owner));
        self.recorder.set_live_probe(count.then_some(memory::live_or_zero));
        if count {
            memory::reset_peak();
        }
    }

    fn telemetry_on(&self) -> bool {
        self.scheduler.telemetry.enabled()
    }

    fn memory(&self) -> Option<BatchMemory> {
        if !self.telemetry_on() {
            return None;
        }
        Some(BatchMemory { live: memory::live()?, peak: memory::peak()? })
    }

    fn drop_abandoned(&mut self) {
        let metrics = &self.scheduler.telemetry.metrics;
        self.waiting.retain(|waiting| {
            let gone = waiting.job.reply.is_closed();
            if gone {
                metrics.dropped(count(waiting.job.prompts.len() - waiting.taken));
            }
            !gone
        });
    }

    /// Takes the next items, oldest first, while they fit; the first one always does.
    fn select(&mut self) -> Option<Selection> {
        let Budget { max_rows, max_padded_tokens, ref token_paddings, .. } = self.scheduler.budget;
        let mut items = Vec::new();
        let mut tokens = Vec::new();
        let mut longest = 0;
        'jobs: for waiting in &mut self.waiting {
            items.push(0);
            while let Some(prompt) = waiting.job.prompts.get_mut(waiting.taken) {
                let rows = tokens.len() + 1;
                let padded = rows * padded_to(longest.max(prompt.len()), token_paddings);
                if rows > 1 && (rows > max_rows || padded > max_padded_tokens) {
                    break 'jobs;
                }
                longest = longest.max(prompt.len());
                tokens.push(std::mem::take(prompt));
                waiting.taken += 1;
                waiting.job.places.give_back(1);
                if let Some(last) = items.last_mut() {
                    *last += 1;
                }
            }
        }
        let least_len = padded_to(longest, token_paddings);
        let batch = PaddedBatch { tokens, least_len };
        (!batch.tokens.is_empty()).then_some(Selection { items, batch })
    }

    fn forward(&mut self, batch: u64, rows: &PaddedBatch) -> Result<Logits, String> {
        if self.telemetry_on() {
            memory::set_owner(Owner::Activations);
        }
        let hook = self.scheduler.before_forward.as_ref();
        let model = &self.scheduler.model;
        let recorder = &mut self.recorder;
        // The recorder is cleared before it is used again, and the model has no state that a
        // forward pass changes, so nothing that a panic has left half done is ever seen.
        let result = catch_unwind(AssertUnwindSafe(|| {
            if let Some(ForwardHook(hook)) = hook {
                hook(batch);
            }
            model.forward(rows, recorder)
        }));
        // Not what was before: a panic leaves the owner of whatever it interrupted.
        memory::set_owner(Owner::Other);
        match result {
            Ok(Ok(logits)) => Ok(logits),
            Ok(Err(error)) => Err(chain(&error)),
            Err(panic) => Err(format!("panic: {}", panic_text(&*panic))),
        }
    }

    /// The labels' log-probabilities of each row, in the order of the rows.
    fn extract(&self, selection: &Selection, logits: &Logits) -> Result<Vec<Vec<f64>>, String> {
        let mut rows = logits.rows();
        let mut logprobs = Vec::with_capacity(selection.batch.tokens.len());
        for (waiting, &items) in self.waiting.iter().zip(&selection.items) {
            for row in rows.by_ref().take(items) {
                logprobs.push(
                    label_logprobs(row, &waiting.job.labels)
                        .ok_or("its logits are not finite numbers")?,
                );
            }
        }
        Ok(logprobs)
    }

    /// Gives the rows to their jobs and answers those that are complete.
    fn answer(
        &mut self,
        selection: &Selection,
        logprobs: Result<Vec<Vec<f64>>, String>,
        pass: Pass,
        sink: Option<&SinkRef>,
    ) {
        let mut logprobs = match logprobs {
            Ok(logprobs) => logprobs.into_iter(),
            Err(error) => return self.fail(selection, &error),
        };
        let mut rows = selection.batch.tokens.iter();
        for (waiting, &items) in self.waiting.iter_mut().zip(&selection.items) {
            if items > 0 {
                waiting.done.logprobs.extend(logprobs.by_ref().take(items));
                let sequence =
                    |row: &Vec<u32>| Sequence { batch: pass.batch, tokens: count(row.len()) };
                waiting.done.sequences.extend(rows.by_ref().take(items).map(sequence));
                waiting.done.passes.push(pass);
                if let Some(sink) = sink {
                    waiting.done.sink = Some(sink.clone());
                }
            }
        }
        while self.waiting.front().is_some_and(|front| front.taken == front.job.prompts.len()) {
            if let Some(Waiting { job, done, .. }) = self.waiting.pop_front() {
                // An error means that the client has gone.
                drop(job.reply.send(Ok(done)));
            }
        }
    }

    /// Fails the jobs of a batch, with the items that they have not run yet.
    fn fail(&mut self, selection: &Selection, error: &str) {
        let hit = selection.items.iter().filter(|&&items| items > 0).count();
        for Waiting { job, .. } in self.waiting.drain(..hit) {
            // As above.
            drop(job.reply.send(Err(EngineError::Forward(error.to_owned()))));
        }
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

fn count(items: usize) -> u64 {
    // `usize` is at most 64 bits on every target of Rust, so the fallback is never taken.
    u64::try_from(items).unwrap_or(u64::MAX)
}
