//! The profilers of a run's servers, from the first that is started to the last whose files are
//! there. `run.json` says at each moment which may be on, so that a later run can stop what this
//! one left behind.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use xscope_load::Cancel;
use xscope_trace::clock;
use xscope_trace::run::{Exchange, ProfilerState, RunDir, RunStatus, ServerRecord};

use crate::error::CaptureError;
use crate::files::{self, Files, Settled};
use crate::profiler::{
    self, NotStarted, NotStopped, Order, ProfilerOptions, ProfilerStatus, Stopped, absolute,
    stop_limit,
};
use crate::watchdog::Watchdog;

/// How often a server is asked whether it has done its steps.
const POLL: Duration = Duration::from_millis(250);

/// How deep below a server's directory profiles lie: `plugins/profile/<stamp>/<file>`.
const DEPTH: usize = 6;

/// Profilers that are on.
#[derive(Debug)]
pub(crate) struct Session {
    watchdog: Option<Watchdog>,
    counts_steps: bool,
    cancel: Cancel,
}

/// Starts the profilers of all servers that the run's manifest lists, at once; those that are on
/// because an earlier run was killed are stopped first, with a word to `say`.
///
/// # Errors
/// One of them cannot be started. All that were are stopped again.
pub(crate) async fn start(
    run: &mut RunDir,
    options: &ProfilerOptions,
    watchdog: &[OsString],
    cancel: &Cancel,
    say: &mut dyn FnMut(String),
) -> Result<Session, CaptureError> {
    let urls = run.manifest.servers.iter().map(|server| server.url.as_str());
    let watchdog = Watchdog::of_profilers(watchdog, urls);
    let orders: Vec<Order> =
        run.manifest.servers.iter().map(|it| order(run, it, options)).collect();
    for server in &mut run.manifest.servers {
        server.profiler = ProfilerState::On;
    }
    // Before anything is sent: what is not written cannot be found again.
    run.save()?;
    let mut answers = start_each(run, &orders, (0..orders.len()).collect(), cancel).await;
    let mut again = Vec::new();
    for (index, (answer, _)) in answers.iter().enumerate() {
        let url = &run.manifest.servers[index].url;
        if matches!(answer, Err(NotStarted::Busy { .. }))
            && let Some(orphan) = stop_orphan(run.path(), url).await
        {
            say(format!(
                "stopped the profiler of {url}, which {} had left on when it was killed",
                orphan.display()
            ));
            again.push(index);
        }
    }
    for (index, answer) in
        again.clone().into_iter().zip(start_each(run, &orders, again, cancel).await)
    {
        answers[index] = answer;
    }
    let counts_steps = options.num_steps.is_some();
    let mut session = Session { watchdog, counts_steps, cancel: cancel.clone() };
    let mut failed = None;
    for (server, (answer, times)) in run.manifest.servers.iter_mut().zip(answers) {
        (server.started, server.stopped) = (Some(times), None);
        if let Err(why) = answer {
            // One without an answer may be on; it is stopped like those that are.
            if !matches!(why, NotStarted::Silent(_) | NotStarted::Ended) {
                server.profiler = ProfilerState::Off;
            }
            failed.get_or_insert(CaptureError::Profiler {
                url: server.url.clone(),
                why: why.to_string(),
            });
        }
    }
    match failed {
        None => Ok(session),
        Some(error) => {
            for warning in session.stop(run, stop_limit(cancel.is_cancelled())).await? {
                say(warning);
            }
            Err(if cancel.is_cancelled() { CaptureError::Cancelled } else { error })
        }
    }
}

/// What to start at a server. Servers of sglang-jax's kind count the step that stops them.
fn order(run: &RunDir, server: &ServerRecord, options: &ProfilerOptions) -> Order {
    let is_exact = server.info["engine"] == "xscope";
    let steps = options.num_steps.map(|steps| steps.saturating_add(u32::from(!is_exact)));
    let options = ProfilerOptions { num_steps: steps, ..options.clone() };
    let is_here = Path::new(&server.output_dir) == absolute(&run.server_trace_dir(server));
    let spans = is_here.then(|| absolute(&run.server_spans_dir(server)));
    Order::new(&server.output_dir, spans.as_deref(), &options)
}

type Answer = (Result<(), NotStarted>, Exchange);

/// Starts the servers at `indices`, all at once; the answers are in that order.
async fn start_each(
    run: &RunDir,
    orders: &[Order],
    indices: Vec<usize>,
    cancel: &Cancel,
) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for (place, index) in indices.into_iter().enumerate() {
        let (url, order) = (run.manifest.servers[index].url.clone(), orders[index].clone());
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let sent = clock::wall();
            let answer = profiler::start(&url, &order, &cancel).await;
            (place, (answer, Exchange { asked: sent, answered: clock::wall() }))
        });
    }
    in_order(tasks.join_all().await)
}

fn in_order<T>(mut answers: Vec<(usize, T)>) -> Vec<T> {
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

impl Session {
    /// Waits until all servers have done their steps, for `limit` at most.
    pub(crate) async fn wait(&self, run: &RunDir, limit: Duration) {
        let end = Instant::now() + limit;
        if !self.counts_steps {
            return tokio::time::sleep_until(end).await;
        }
        for server in &run.manifest.servers {
            // They all do the same steps, so waiting for one after the other is waiting for all.
            while timeout_at(end, has_ended(run, server)).await.is_ok_and(|ended| !ended) {
                sleep(POLL.min(end.saturating_duration_since(Instant::now()))).await;
            }
        }
    }

    /// Leaves the profilers to the end of their servers, which have failed and are ended next.
    ///
    /// # Errors
    /// The manifest cannot be written.
    pub(crate) fn abandon(mut self, run: &mut RunDir) -> Result<(), CaptureError> {
        for index in 0..run.manifest.servers.len() {
            let files = Files::of(&run.server_trace_dir(&run.manifest.servers[index]));
            run.manifest.servers[index].profiler = match files.are_there() {
                true => ProfilerState::Collected,
                false => ProfilerState::Off,
            };
        }
        run.save()?;
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
        Ok(())
    }

    /// Stops all that are on, at once, each within `limit`, and waits for their files. What is not as it
    /// should be is returned, in sentences.
    ///
    /// # Errors
    /// The manifest cannot be written.
    pub(crate) async fn stop(
        &mut self,
        run: &mut RunDir,
        limit: Duration,
    ) -> Result<Vec<String>, CaptureError> {
        let mut tasks = JoinSet::new();
        for (index, server) in run.manifest.servers.iter().enumerate() {
            if server.profiler == ProfilerState::On {
                let (url, cancel) = (server.url.clone(), self.cancel.clone());
                tasks.spawn(async move {
                    let sent = clock::wall();
                    let answer = profiler::stop(&url, limit, &cancel).await;
                    (index, (index, answer, Exchange { asked: sent, answered: clock::wall() }))
                });
            }
        }
        let mut warnings = Vec::new();
        for (index, answer, times) in in_order(tasks.join_all().await) {
            let stopped = matches!(answer, Ok(Stopped::Yes)).then_some(times);
            let (state, wrong) = outcome(run, &run.manifest.servers[index], answer).await;
            let server = &mut run.manifest.servers[index];
            (server.profiler, server.stopped) = (state, stopped);
            warnings.extend(wrong);
        }
        run.save()?;
        if run.manifest.servers.iter().all(|server| server.profiler != ProfilerState::On)
            && let Some(watchdog) = self.watchdog.take()
        {
            watchdog.dismiss();
        }
        Ok(warnings)
    }
}

/// What has become of a profiler that was to be stopped, and what is wrong about it.
async fn outcome(
    run: &RunDir,
    server: &ServerRecord,
    answer: Result<Stopped, NotStopped>,
) -> (ProfilerState, Vec<String>) {
    let url = &server.url;
    let settled = collect(run, server).await;
    let mut wrong = settled.wrong(url, run.path(), &run.server_trace_dir(server));
    let state = match (answer, settled.files.are_there()) {
        (Err(why), _) => {
            wrong.push(format!("the profiler of {url} may still be on: {why}"));
            ProfilerState::On
        }
        (Ok(_), true) => ProfilerState::Collected,
        (Ok(stopped), false) => {
            if stopped == Stopped::Perhaps {
                wrong.push(format!(
                    "{url} refuses to stop its profiler and does not say whether it is on; see its log"
                ));
            }
            ProfilerState::Elsewhere
        }
    };
    (state, wrong)
}

/// Whether a server has ended its profile by itself.
async fn has_ended(run: &RunDir, server: &ServerRecord) -> bool {
    match profiler::status(&server.url).await {
        ProfilerStatus::Idle => true,
        ProfilerStatus::InProgress(_) => false,
        // A server without `/profile_status` writes its file when it has ended.
        ProfilerStatus::Unknown => {
            let seen = [PathBuf::from(&server.output_dir), run.server_trace_dir(server)];
            seen.iter().any(|folder| Files::of(folder).are_there())
        }
    }
}

/// Waits for a server's files where this machine sees them, and puts them into the run if they are
/// not in it. Those that are in it then.
async fn collect(run: &RunDir, server: &ServerRecord) -> Settled {
    let inside = run.server_trace_dir(server);
    let told = Path::new(&server.output_dir);
    let settled = files::settled(told, info(run, server)).await;
    // Not a path of this machine's that happens to be the same: the run's name is in it.
    if settled.files.are_there()
        && (told == absolute(&inside) || copy(told, &inside, DEPTH).is_ok())
    {
        return settled;
    }
    Settled::of(Files::of(&inside))
}

/// What a server said of itself.
pub(crate) fn info<'r>(run: &'r RunDir, server: &'r ServerRecord) -> &'r Value {
    match run.manifest.other.get("server_info") {
        Some(of_the_only_one) if server.info.is_null() => of_the_only_one,
        _ => &server.info,
    }
}

fn copy(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() && depth > 0 => copy(&entry.path(), &target, depth - 1)?,
            kind if kind.is_file() => fs::copy(entry.path(), target).map(drop)?,
            _ => {}
        }
    }
    Ok(())
}

/// Stops the profiler of `url` if it is on because a run beside `run` was killed; that run.
async fn stop_orphan(run: &Path, url: &str) -> Option<PathBuf> {
    let told = match profiler::status(url).await {
        ProfilerStatus::InProgress(told) => told,
        ProfilerStatus::Idle | ProfilerStatus::Unknown => return None,
    };
    let runs = run.parent()?;
    let mut folders: Vec<PathBuf> =
        fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path()).collect();
    // The latest by name, which begins with the time.
    folders.sort();
    let (mut orphan, index) = folders.into_iter().rev().find_map(|folder| {
        let run = RunDir::open(&folder).ok()?;
        let is_left = |server: &ServerRecord| {
            server.url == url
                && server.profiler == ProfilerState::On
                && match &told {
                    Some(told) => *told == server.output_dir,
                    // With a file there, it has ended since, and what is on is somebody else's.
                    None => !Files::of(&run.server_trace_dir(server)).are_there(),
                }
        };
        let index = run.manifest.servers.iter().position(is_left)?;
        (run.manifest.status != RunStatus::Running).then_some((run, index))
    })?;
    profiler::stop(url, profiler::STOP_LIMIT, &Cancel::new()).await.ok()?;
    let server = &orphan.manifest.servers[index];
    let settled = files::settled(&orphan.server_trace_dir(server), info(&orphan, server)).await;
    let state = match settled.files.are_there() {
        true => ProfilerState::Collected,
        false => ProfilerState::Elsewhere,
    };
    orphan.manifest.servers[index].profiler = state;
    // That it is stopped does not depend on its being written down.
    orphan.save().ok();
    Some(orphan.path().to_owned())
}

/// Stops whatever profile a server takes. Whether one was on.
///
/// # Errors
/// It may still be on.
pub async fn stop_profiler(url: &str) -> Result<bool, CaptureError> {
    let stopped = profiler::stop(url, profiler::STOP_LIMIT, &Cancel::new()).await;
    let stopped =
        stopped.map_err(|why| CaptureError::Profiler { url: url.to_owned(), why: why.to_string() });
    Ok(stopped? == Stopped::Yes)
}
