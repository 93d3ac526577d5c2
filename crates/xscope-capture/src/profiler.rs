//! Steers the profiler of one server over HTTP, and says what its answers mean.
//!
//! Only what a server is known to survive is sent: the directory is absolute, because a relative
//! one hangs sglang-jax for ever; `start_step` and `profile_by_stage` are never sent, because the
//! first breaks its release on PyPI and the second puts the end of each prefill into the decode
//! trace.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use xscope_load::{Cancel, LoadError, TextAnswer, get_text, post_json};

use crate::error::CaptureError;

/// A scheduler that compiles or writes a profile answers nothing meanwhile.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Stopping takes as long as writing the files does, minutes for a large profile.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(600);
/// One that is gone may hold the request for ever, as a front without its scheduler does.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// How long one may take to stop after the user has ended the run: servers with a large profile are
/// busy for a while, others never answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may take to say whether it is profiling.
const STATUS_LIMIT: Duration = Duration::from_secs(20);

/// What a profiler records.
#[derive(Debug, Clone, Default)]
pub struct ProfilerOptions {
    pub levels: TracerLevels,
    /// Ends it by itself after so many forward steps; only the time limit does if `None`.
    pub num_steps: Option<u32>,
    /// Sent as they are; most servers ignore them.
    pub profile_id: Option<String>,
    pub activities: Vec<String>,
}

/// How much each of a profiler's tracers records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracerLevels {
    host: u8,
    python: u8,
    device: Option<u8>,
}

impl Default for TracerLevels {
    /// The host's runtime, no Python, the server's own choice for devices: the Python tracer of a
    /// scheduler that polls records a million calls in a second.
    fn default() -> Self {
        Self { host: 2, python: 0, device: None }
    }
}

impl TracerLevels {
    /// The default, with Python's calls or without.
    pub(crate) fn with_python(python: bool) -> Self {
        Self { python: u8::from(python), ..Self::default() }
    }

    /// # Errors
    /// A level is not one that JAX has: servers accept any number, and record nothing.
    pub fn new(host: u8, python: u8, device: Option<u8>) -> Result<Self, CaptureError> {
        let check = |tracer, level, most| match level <= most {
            true => Ok(()),
            false => Err(CaptureError::Level { tracer, level, most }),
        };
        check("host", host, 3)?;
        check("python", python, 1)?;
        check("device", device.unwrap_or(0), 4)?;
        Ok(Self { host, python, device })
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    body: Value,
    output_dir: String,
}

impl Order {
    /// A profile in `output_dir`, which must be absolute on the server's machine; a server that
    /// writes spans puts them into `spans_dir`.
    pub(crate) fn new(
        output_dir: &str,
        spans_dir: Option<&Path>,
        options: &ProfilerOptions,
    ) -> Self {
        let TracerLevels { host, python, device } = options.levels;
        let mut body = json!({
            "output_dir": output_dir,
            "host_tracer_level": host,
            "python_tracer_level": python,
        });
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[field] = value;
            }
        };
        set("spans_dir", spans_dir.map(|dir| json!(dir)));
        set("device_tracer_level", device.map(Value::from));
        set("num_steps", options.num_steps.map(Value::from));
        set("profile_id", options.profile_id.as_ref().map(|id| json!(id)));
        let activities = &options.activities;
        set("activities", (!activities.is_empty()).then(|| json!(activities)));
        Self { body, output_dir: output_dir.to_owned() }
    }
}

/// A profile into `trace/` and `spans/` of a directory that this machine and the server share.
pub(crate) fn order_below(directory: &Path, levels: TracerLevels) -> Order {
    let directory = absolute(directory);
    let options = ProfilerOptions { levels, ..ProfilerOptions::default() };
    let trace = directory.join("trace");
    Order::new(&trace.to_string_lossy(), Some(&directory.join("spans")), &options)
}

/// A path as a server needs it, whose working directory is its own.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Why a profiler was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    /// One is on already.
    #[error(
        "a profile is being taken already, by somebody else; if nobody is, end it with `xscope \
         capture --stop --url {url}` (or POST /stop_profile)"
    )]
    Busy { url: String },
    /// The server refused, and is as it was.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There was no answer: it may have started all the same.
    #[error("{0}; its scheduler may be stuck: see the server's log")]
    Silent(LoadError),
    /// The same, when the user ended the run.
    #[error("the run was ended before the server said that its profiler is on")]
    Ended,
}

/// Why a profiler may still be on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStopped {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Silent(#[from] LoadError),
    #[error(
        "it did not answer within {} s after the run was ended; its scheduler may be stuck, or write \
         still",
        PATIENCE.as_secs()
    )]
    Ended,
}

/// An answer that is not the one that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("POST {path} answers {status}: {why}; it says: {said}")]
pub(crate) struct Refusal {
    path: &'static str,
    status: u16,
    why: String,
    /// The beginning of the answer.
    said: String,
}

impl Refusal {
    fn of(path: &'static str, answer: &TextAnswer, why: impl Into<String>) -> Self {
        let said = answer.text.trim().chars().take(300).collect();
        Self { path, status: answer.status, why: why.into(), said }
    }
}

/// What a server says of its profiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProfilerStatus {
    Idle,
    /// With its directory, where the server says it.
    InProgress(Option<String>),
    /// It does not say: its release has no `/profile_status`, or its scheduler is busy.
    Unknown,
}

/// What came of stopping a profiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It was stopped, and its files are written.
    Yes,
    /// It was off.
    WasOff,
    /// The server refuses as it does when it is off, but has no way to say whether it is.
    Perhaps,
}

/// Asks whether a profile is being taken.
pub(crate) async fn status(url: &str) -> ProfilerStatus {
    let Ok(answer) = get_text(url, "/profile_status", STATUS_LIMIT).await else {
        return ProfilerStatus::Unknown;
    };
    let said: Option<Value> =
        answer.is_success().then(|| serde_json::from_str(&answer.text).ok()).flatten();
    let text = |field| said.as_ref().and_then(|said| said.get(field)?.as_str());
    match text("status") {
        Some("idle") => ProfilerStatus::Idle,
        Some("in_progress") => ProfilerStatus::InProgress(text("output_dir").map(str::to_owned)),
        _ => ProfilerStatus::Unknown,
    }
}

/// Starts a profiler, unless the run is ended before.
///
/// # Errors
/// Why the server does not profile.
pub(crate) async fn start(url: &str, order: &Order, cancel: &Cancel) -> Result<(), NotStarted> {
    tokio::select! {
        started = started(url, order) => started,
        () = cancel.cancelled() => Err(NotStarted::Ended),
    }
}

async fn started(url: &str, order: &Order) -> Result<(), NotStarted> {
    if let ProfilerStatus::InProgress(_) = status(url).await {
        return Err(NotStarted::Busy { url: url.to_owned() });
    }
    let answer = post_json(url, "/start_profile", &order.body, START_LIMIT).await;
    let answer = answer.map_err(NotStarted::Silent)?;
    if answer.is_success() {
        return Ok(());
    }
    let directory = &order.output_dir;
    let why = match (answer.status, status(url).await) {
        (500, ProfilerStatus::InProgress(_)) => {
            return Err(NotStarted::Busy { url: url.to_owned() });
        }
        (500, ProfilerStatus::Idle) => format!(
            "the server says that no profile is being taken, so it could not begin one: mostly \
             because its user may not write {directory} (choose another place with --output-dir, \
             or --remote-dir if it is on another machine); its log has the reason"
        ),
        (500, ProfilerStatus::Unknown) => format!(
            "the server does not say why: either a profile is being taken already (end it with \
             `xscope capture --stop --url {url}`) or its user may not write {directory}"
        ),
        (404 | 405, _) => "the server has no profiler endpoint".to_owned(),
        _ => "see the server's log".to_owned(),
    };
    Err(Refusal::of("/start_profile", &answer, why).into())
}

/// How long a server may take to stop its profiler.
pub(crate) fn stop_limit(is_gone: bool) -> Duration {
    if is_gone { GONE_LIMIT } else { STOP_LIMIT }
}

/// Stops a profiler and waits until its files are written; once the run is ended, not for long.
///
/// # Errors
/// Why it may still be on.
pub(crate) async fn stop(
    url: &str,
    limit: Duration,
    cancel: &Cancel,
) -> Result<Stopped, NotStopped> {
    let ended = async {
        cancel.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        stopped = stopped(url, limit) => stopped,
        () = ended => Err(NotStopped::Ended),
    }
}

async fn stopped(url: &str, limit: Duration) -> Result<Stopped, NotStopped> {
    const PATH: &str = "/stop_profile";
    let answer = post_json(url, PATH, &json!({}), limit).await?;
    if answer.is_success() {
        return Ok(Stopped::Yes);
    }
    let why = match (answer.status, status(url).await) {
        (_, ProfilerStatus::Idle) => return Ok(Stopped::WasOff),
        (500, ProfilerStatus::Unknown) => return Ok(Stopped::Perhaps),
        (_, ProfilerStatus::InProgress(_)) => "it says that a profile is still being taken",
        (404 | 405, _) => "the server has no profiler endpoint",
        _ => "see the server's log",
    };
    Err(Refusal::of(PATH, &answer, why).into())
}

#[cfg(test)]
mod tests {
    use super::{Order, ProfilerOptions, TracerLevels};

    #[test]
    fn levels_that_servers_accept_and_ignore_are_refused() {
        for (host, python, device, expected) in [
            (4, 0, None, "host_tracer_level is 4: it must be 0 to 3"),
            (2, 2, None, "python_tracer_level is 2: it must be 0 to 1"),
            (2, 0, Some(9), "device_tracer_level is 9"),
        ] {
            let error = TracerLevels::new(host, python, device).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(TracerLevels::new(2, 0, None).unwrap(), TracerLevels::default());
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        let order = Order::new("/tmp/x", None, &ProfilerOptions::default());
        let fields: Vec<&str> =
            order.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["host_tracer_level", "output_dir", "python_tracer_level"]);
        let options = ProfilerOptions {
            num_steps: Some(3),
            activities: vec!["CPU".to_owned()],
            ..ProfilerOptions::default()
        };
        let body = Order::new("/tmp/x", None, &options).body;
        assert_eq!((&body["num_steps"], &body["activities"][0]), (&3.into(), &"CPU".into()));
    }
}
