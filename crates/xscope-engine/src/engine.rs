//! Starting and stopping an engine: its model, its threads, its socket.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::serve::ListenerExt as _;
use tokio::{
    runtime::{self, Runtime},
    sync::{mpsc, oneshot},
};
use xscope_model::{LoadFormat, Model, ModelOptions, ModelSource, Owner, Tokenizer};

use crate::{
    capture::{CaptureLayout, CaptureReport, Captures, Plan, StatusBoard},
    config::EngineConfig,
    error::EngineError,
    http::{App, router},
    memory,
    queue::Queue,
    records::THREAD_NAME,
    scheduler::{self, Budget, Command, Scheduler, SchedulerHandle},
    telemetry::{Recent, Telemetry},
    validate::Limits,
};

/// How long a graceful end waits for requests that are under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The built-in scoring server.
#[derive(Debug)]
pub struct Engine;

/// A running engine. Dropping it ends it, at the latest when the batch that runs has run.
#[derive(Debug)]
pub struct EngineHandle {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: Option<oneshot::Receiver<()>>,
    /// Closed when no capture is being written any more.
    captures_done: mpsc::Receiver<()>,
    scheduler: SchedulerHandle,
    thread: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    telemetry: Arc<Telemetry>,
    captures: Arc<StatusBoard>,
}

impl Engine {
    /// Loads the model and serves it. Blocks while the weights load; then everything runs on
    /// threads of the engine's own (`xscope-http`, `xscope-sched`), so that a load generator in
    /// this process does not share its runtime.
    ///
    /// # Errors
    ///
    /// A value of `config` cannot work, the model cannot be loaded, or the port is taken.
    pub fn start(config: EngineConfig) -> Result<EngineHandle, EngineError> {
        config.check()?;
        // First the port: that takes no time and fails most often.
        let (listener, addr) = listen(&config)?;
        let (model, tokenizer) = load(&config)?;
        let limits = limits(&config, &model)?;
        let (model_path, served_model_name) = (model_path(&config.source), served_name(&config));
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .thread_name("xscope-http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(EngineError::Thread)?;

        let telemetry = Arc::new(Telemetry::new(config.telemetry, config.ring_records));
        let queue = Queue::new(config.queue_limit);
        let board = StatusBoard::new();
        let (running, captures_done) = mpsc::channel(1);
        let handle = runtime.handle().clone();
        let captures = Captures::new(handle, running, Arc::clone(&telemetry), Arc::clone(&board));
        let budget = Budget {
            max_rows: config.max_batch_rows,
            max_padded_tokens: config.max_batch_tokens,
            token_paddings: config.token_paddings,
            wait: config.batch_wait,
        };
        let scheduler = Scheduler {
            model,
            budget: budget.clone(),
            queue: Arc::clone(&queue),
            telemetry: Arc::clone(&telemetry),
            captures,
            before_forward: config.before_forward,
        };
        let (commands, thread, scheduler_alive) = spawn(scheduler, &queue)?;
        let app = App {
            limits,
            budget,
            body_limit: config.body_limit,
            body_timeout: config.body_timeout,
            profile_root: config.profile_root,
            model_path,
            served_model_name,
            load_format: format_name(config.load_format),
            device: config.device.to_string(),
            tokenizer,
            queue,
            scheduler: commands.clone(),
            scheduler_alive,
            telemetry: Arc::clone(&telemetry),
            captures: Arc::clone(&board),
            requests: AtomicU64::new(0),
        };
        let (stop, served) = serve(&runtime, listener, app)?;
        Ok(EngineHandle {
            addr,
            stop: Some(stop),
            served: Some(served),
            captures_done,
            scheduler: commands,
            thread: Some(thread),
            runtime: Some(runtime),
            telemetry,
            captures: board,
        })
    }
}

impl EngineHandle {
    /// Where the server listens, such as `http://127.0.0.1:30000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The last records of the telemetry.
    pub fn recent(&self) -> Recent {
        self.telemetry.recent()
    }

    /// Switches the recording of stages, batches, scopes and ops, from the next batch on. It is
    /// there to measure what recording costs, on and off on the same engine in turn: two engines
    /// would differ by where their memory happens to lie.
    pub fn set_telemetry(&self, enabled: bool) {
        self.telemetry.set_enabled(enabled);
    }

    /// Starts a capture, as `/start_profile` does, without the restriction to the profile root.
    ///
    /// # Errors
    ///
    /// One is in progress, telemetry is off, or the files cannot be made.
    pub async fn start_capture(&self, layout: &CaptureLayout) -> Result<(), EngineError> {
        let plan = Box::new(Plan::from(layout));
        self.scheduler.ask(|reply| Command::StartCapture(plan, reply)).await
    }

    /// Ends the capture; returns when its files are complete.
    ///
    /// # Errors
    ///
    /// None is in progress, or its files are not complete.
    pub async fn stop_capture(&self) -> Result<CaptureReport, EngineError> {
        self.scheduler.ask(Command::StopCapture).await
    }

    /// What the last capture has left behind; `None` if there was none, or it still runs.
    pub fn last_capture(&self) -> Option<CaptureReport> {
        let status = self.captures.read();
        status.last.filter(|_| status.output_dir.is_none())
    }

    /// Takes no more requests, answers those that are under way (for 10 s at most), ends a
    /// running capture with its files complete, and ends all threads.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the server has ended already.
            stop.send(()).ok();
        }
        if let (Some(runtime), Some(served)) = (&self.runtime, self.served.take()) {
            // On the engine's runtime: the caller's may have no timer.
            let patience =
                runtime.spawn(async move { tokio::time::timeout(PATIENCE, served).await });
            drop(patience.await);
        }
        self.scheduler.shut_down();
        if let (Some(runtime), Some(thread)) = (&self.runtime, self.thread.take()) {
            drop(runtime.spawn_blocking(move || thread.join()).await);
        }
        self.captures_done.recv().await;
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        // Requests first: the scheduler then drops what waits and ends after the batch that runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if let Some(thread) = self.thread.take() {
            self.scheduler.shut_down();
            // An error is a panic of the scheduler, which has been printed.
            drop(thread.join());
        }
    }
}

fn listen(config: &EngineConfig) -> Result<(TcpListener, SocketAddr), EngineError> {
    let addr = SocketAddr::new(config.host, config.port);
    let fail = |source| EngineError::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

fn load(config: &EngineConfig) -> Result<(Model, Tokenizer), EngineError> {
    let tokenizer = Tokenizer::load(&config.source)?;
    let options = ModelOptions {
        format: config.load_format,
        config_overrides: config.json_overrides.clone(),
        seed: 0,
        device: config.device,
    };
    let before = memory::set_owner(Owner::Weights);
    let model = Model::load(&config.source, &options);
    memory::set_owner(before);
    Ok((model?, tokenizer))
}

fn limits(config: &EngineConfig, model: &Model) -> Result<Limits, EngineError> {
    let most = model.max_prompt_tokens();
    let context_length = config.context_length.unwrap_or(most);
    if context_length > most {
        return Err(EngineError::Config {
            field: "context_length",
            value: context_length.to_string(),
            problem: "the model cannot take prompts of that length; leave it out for its own",
        });
    }
    if let Some(padding) = config.token_paddings.last().filter(|&&padding| padding > most) {
        return Err(EngineError::Config {
            field: "token_paddings",
            value: padding.to_string(),
            problem: "the model cannot take prompts of that length; leave it out",
        });
    }
    Ok(Limits {
        max_items: config.max_items.min(config.queue_limit),
        max_labels: config.max_labels,
        context_length,
        vocab_size: model.config().vocab_size,
    })
}

type Spawned = (SchedulerHandle, JoinHandle<()>, Arc<AtomicBool>);

fn spawn(scheduler: Scheduler, queue: &Queue) -> Result<Spawned, EngineError> {
    let (commands, receiver) = scheduler::channel(queue);
    let alive = Arc::new(AtomicBool::new(true));
    let mark = ClearOnDrop(Arc::clone(&alive));
    let thread = thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(move || {
            let _mark = mark;
            scheduler.run(&receiver);
        })
        .map_err(EngineError::Thread)?;
    Ok((commands, thread, alive))
}

struct ClearOnDrop(Arc<AtomicBool>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Serves until the sender is used or dropped; the receiver then hears of the end.
fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    app: App,
) -> Result<(oneshot::Sender<()>, oneshot::Receiver<()>), EngineError> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ended, served) = oneshot::channel();
    let listener = {
        let _guard = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(EngineError::Thread)?
    };
    // Answers are small and wait for nothing: send them at once.
    let listener = listener.tap_io(|stream| {
        // It is slower without, not wrong.
        drop(stream.set_nodelay(true));
    });
    runtime.spawn(async move {
        let server = axum::serve(listener, router(Arc::new(app)));
        let server = server.with_graceful_shutdown(async move { drop(stopped.await) });
        // `axum::serve` retries what fails on a socket and never returns an error.
        drop(server.await);
        ended.send(()).ok();
    });
    Ok((stop, served))
}

fn model_path(source: &ModelSource) -> String {
    match source {
        ModelSource::Preset => "preset".to_owned(),
        ModelSource::Dir(dir) => dir.display().to_string(),
    }
}

fn served_name(config: &EngineConfig) -> String {
    config.served_model_name.clone().unwrap_or_else(|| match &config.source {
        ModelSource::Preset => "xscope-preset".to_owned(),
        ModelSource::Dir(dir) => dir
            .file_name()
            .map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned()),
    })
}

fn format_name(format: LoadFormat) -> &'static str {
    match format {
        LoadFormat::Auto => "auto",
        LoadFormat::Dummy => "dummy",
    }
}
