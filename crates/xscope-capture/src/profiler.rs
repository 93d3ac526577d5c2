//! Steers the profiler of a server over HTTP.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use xscope_load::probe::{TextAnswer, post_json};

const START_LIMIT: Duration = Duration::from_secs(30);

/// Stopping takes as long as writing the files does, minutes for a large profile.
const STOP_LIMIT: Duration = Duration::from_secs(600);

/// Starts the profiler of `url`, writing into the run at `run`.
///
/// The directory is absolute, because a relative one hangs sglang-jax for ever. The Python tracer
/// distorts what it measures. Fields that a server does not know are ignored by it.
///
/// # Errors
/// Why the server does not profile, as a sentence.
pub(crate) async fn start(url: &str, run: &Path, python_tracer: bool) -> Result<(), String> {
    start_in(url, &run.join("trace"), run, python_tracer).await
}

/// The same, with the profile in another directory.
pub(crate) async fn start_in(
    url: &str,
    directory: &Path,
    run: &Path,
    python_tracer: bool,
) -> Result<(), String> {
    let body = json!({
        "output_dir": directory,
        "spans_dir": run.join("spans"),
        "host_tracer_level": 2,
        "python_tracer_level": u8::from(python_tracer),
    });
    let answer = post_json(url, "/start_profile", &body, START_LIMIT).await;
    outcome("/start_profile", &answer.map_err(|error| error.to_string())?)
}

/// Stops the profiler and waits until its files are written.
///
/// # Errors
/// Why it could not be stopped, as a sentence.
pub(crate) async fn stop(url: &str) -> Result<(), String> {
    let answer = post_json(url, "/stop_profile", &json!({}), STOP_LIMIT).await;
    outcome("/stop_profile", &answer.map_err(|error| error.to_string())?)
}

fn outcome(path: &str, answer: &TextAnswer) -> Result<(), String> {
    if answer.is_success() {
        return Ok(());
    }
    let hint = match answer.status {
        404 | 405 => "the server has no profiler endpoint",
        500 => {
            "servers answer so when a profile is already being taken (stop it with \
             POST /stop_profile) or none is"
        }
        _ => "see the server's log",
    };
    let text: String = answer.text.trim().chars().take(300).collect();
    Err(format!("POST {path} answers {}: {hint}; it says: {text}", answer.status))
}
