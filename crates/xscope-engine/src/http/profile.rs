//! `/start_profile`, `/stop_profile` and `/profile_status`: steering the profiler as sglang-jax
//! has it, with every field checked.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::Response,
};
use serde_json::{Map, Value, json};
use xscope_trace::Bytes;

use crate::{
    body::shorten,
    capture::Plan,
    device_trace::Planes,
    http::{
        App,
        body::read,
        reply::{self, ApiError, typed},
    },
    scheduler::Command,
};

/// Far above what the fields of a profile request need.
const BODY_LIMIT: Bytes = Bytes(64 << 10);

pub(crate) async fn start(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    match try_start(&app, request).await {
        Ok(()) => typed("Start profiling.\n", "text/plain; charset=utf-8"),
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn stop(State(app): State<Arc<App>>) -> Response<Body> {
    match app.scheduler.ask(Command::StopCapture).await {
        Ok(_) => typed("Stop profiling. This will take some time.\n", "text/plain; charset=utf-8"),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// `status` is `idle` or `in_progress`, as in sglang-jax; the rest is ours.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Response<Body> {
    let status = app.captures.read();
    let word = if status.output_dir.is_some() { "in_progress" } else { "idle" };
    reply::json(&json!({
        "status": word,
        "output_dir": status.output_dir,
        "last": status.last,
    }))
}

async fn try_start(app: &App, request: Request) -> Result<(), ApiError> {
    let bytes = read(request.into_body(), BODY_LIMIT, app.body_timeout).await?;
    let fields = parse(&bytes)?;
    let plan = plan(&fields, &app.profile_root)?;
    let started = app.scheduler.ask(|reply| Command::StartCapture(Box::new(plan), reply)).await;
    Ok(started?)
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(ApiError::bad_request(None, "the body must be a JSON object, or empty")),
        Err(error) => {
            Err(ApiError::bad_request(None, format!("the body is not valid JSON: {error}")))
        }
    }
}

fn plan(fields: &Map<String, Value>, root: &Path) -> Result<Plan, ApiError> {
    let num_steps = whole(fields, "num_steps", u64::MAX)?.filter(|&steps| steps > 0);
    let start_step = whole(fields, "start_step", u64::MAX)?;
    let host = whole(fields, "host_tracer_level", 3)?.unwrap_or(2);
    whole(fields, "python_tracer_level", 1)?;
    let device = whole(fields, "device_tracer_level", 4)?.unwrap_or(1);
    check_profile_id(fields)?;
    texts(fields, "activities", &["CPU", "GPU", "TPU", "MEM", "RPD"])?;
    let by_stage = flag(fields, "profile_by_stage")?;
    let stages = texts(fields, "profile_stages", &["prefill", "decode"])?;
    if by_stage && stages.is_some_and(|stages| !stages.contains(&"prefill")) {
        return Err(ApiError::bad_request(
            Some("profile_stages"),
            "`profile_stages` is without prefill, but scoring is prefill only, so nothing would \
             be captured: add prefill or leave `profile_stages` out",
        ));
    }
    let mut output_dir = match text(fields, "output_dir")? {
        Some(dir) => confine("output_dir", dir, root)?,
        None => root.to_owned(),
    };
    if by_stage {
        output_dir.push("prefill");
    }
    let spans_dir = match text(fields, "spans_dir")? {
        Some(dir) => confine("spans_dir", dir, root)?,
        None => output_dir.join("spans"),
    };
    let planes = Planes { host: host > 0, device: device > 0 };
    Ok(Plan { output_dir, spans_dir, num_steps, start_step, planes })
}

fn present<'a>(fields: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    fields.get(field).filter(|value| !value.is_null())
}

/// A whole number up to `most`, also as a string: sglang-jax's own client sends `"5"`.
fn whole(
    fields: &Map<String, Value>,
    field: &'static str,
    most: u64,
) -> Result<Option<u64>, ApiError> {
    let Some(value) = present(fields, field) else { return Ok(None) };
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number <= most => Ok(Some(number)),
        _ => {
            let range =
                if most == u64::MAX { "0 or more".to_owned() } else { format!("0 to {most}") };
            let message =
                format!("`{field}` is {}: it must be a whole number, {range}", show(value));
            Err(ApiError::bad_request(Some(field), message))
        }
    }
}

fn flag(fields: &Map<String, Value>, field: &'static str) -> Result<bool, ApiError> {
    match present(fields, field) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(value) => {
            let message = format!("`{field}` is {}: it must be true or false", show(value));
            Err(ApiError::bad_request(Some(field), message))
        }
    }
}

fn text<'a>(
    fields: &'a Map<String, Value>,
    field: &'static str,
) -> Result<Option<&'a str>, ApiError> {
    match present(fields, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => {
            let message = format!("`{field}` is {}: it must be a string", show(value));
            Err(ApiError::bad_request(Some(field), message))
        }
    }
}

/// A list of strings, each one of `known`.
fn texts<'a>(
    fields: &'a Map<String, Value>,
    field: &'static str,
    known: &[&str],
) -> Result<Option<Vec<&'a str>>, ApiError> {
    let Some(value) = present(fields, field) else { return Ok(None) };
    let wrong = |what: String| {
        let message = format!("`{field}` {what}: it must be a list of {}", known.join(", "));
        ApiError::bad_request(Some(field), message)
    };
    let list = value.as_array().ok_or_else(|| wrong(format!("is {}", show(value))))?;
    let texts = list.iter().map(|entry| {
        let found = entry.as_str().filter(|text| known.contains(text));
        found.ok_or_else(|| wrong(format!("holds {}", show(entry))))
    });
    texts.collect::<Result<_, _>>().map(Some)
}

fn check_profile_id(fields: &Map<String, Value>) -> Result<(), ApiError> {
    match text(fields, "profile_id")? {
        Some(id) if !crate::http::sane_id(id) => Err(ApiError::bad_request(
            Some("profile_id"),
            format!(
                "`profile_id` is {}: it must be 1 to 128 letters, digits, dots, colons, dashes or \
                 underscores",
                shorten(id)
            ),
        )),
        _ => Ok(()),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {}", shorten(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// Checks that a path from the network stays below `root`, through symbolic links too.
fn confine(field: &'static str, dir: &str, root: &Path) -> Result<PathBuf, ApiError> {
    let refuse = |why: &str| {
        ApiError::bad_request(
            Some(field),
            format!(
                "`{field}` {why}: give an absolute path below the server's profile root, {}, or \
                 leave it out to write there ({field} is {})",
                root.display(),
                shorten(dir)
            ),
        )
    };
    let path = Path::new(dir);
    if !path.is_absolute() {
        return Err(refuse("is a relative path"));
    }
    if path.components().any(|component| component == Component::ParentDir) || dir.contains('\0') {
        return Err(refuse("has a component that a path must not have"));
    }
    let io_error = |error: &io::Error| refuse(&format!("cannot be looked up ({error})"));
    fs::create_dir_all(root).map_err(|error| io_error(&error))?;
    let root = root.canonicalize().map_err(|error| io_error(&error))?;
    // What exists of the path is resolved; what does not is plain names, which stay below.
    let mut existing = path;
    while !existing.exists() && fs::symlink_metadata(existing).is_err() {
        existing = existing.parent().ok_or_else(|| refuse("does not exist"))?;
    }
    let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
    let resolved = existing.canonicalize().map_err(|error| io_error(&error))?.join(rest);
    if !resolved.starts_with(&root) {
        return Err(refuse("lies outside the server's profile root"));
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str, root: &Path) -> String {
        let fields = parse(body.as_bytes()).unwrap();
        let error = plan(&fields, root).expect_err(body);
        format!("{error:?}")
    }

    #[test]
    fn fields_are_checked() {
        let root = tempfile::tempdir().unwrap();
        for (body, expected) in [
            (r#"{"num_steps":"abc"}"#, "`num_steps` is the string"),
            (r#"{"num_steps":-1}"#, "`num_steps` is -1"),
            (r#"{"num_steps":1.5}"#, "`num_steps` is 1.5"),
            (r#"{"host_tracer_level":99}"#, "0 to 3"),
            (r#"{"python_tracer_level":2}"#, "0 to 1"),
            (r#"{"device_tracer_level":[]}"#, "a list"),
            (r#"{"profile_id":"a/b"}"#, "`profile_id` is"),
            (r#"{"activities":["XPU"]}"#, "holds the string"),
            (r#"{"profile_by_stage":1}"#, "true or false"),
            (r#"{"profile_stages":"prefill"}"#, "must be a list of prefill, decode"),
            (r#"{"profile_by_stage":true,"profile_stages":["decode"]}"#, "prefill only"),
            (r#"{"output_dir":7}"#, "must be a string"),
            (r#"{"output_dir":"runs"}"#, "relative path"),
            (r#"{"output_dir":""}"#, "relative path"),
            (r#"{"output_dir":"/"}"#, "outside the server's profile root"),
            (r#"{"output_dir":"/etc/x"}"#, "outside the server's profile root"),
            (r#"{"spans_dir":"/etc"}"#, "`spans_dir` lies outside"),
        ] {
            let found = message(body, root.path());
            assert!(found.contains(expected), "{body}: {found}");
        }
    }

    #[test]
    fn paths_stay_below_the_root() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(outer.path(), root.join("up")).unwrap();
        std::os::unix::fs::symlink(outer.path().join("absent"), root.join("dangling")).unwrap();
        let confine = |path: PathBuf| confine("output_dir", path.to_str().unwrap(), &root);
        let inside = confine(root.join("a/b")).unwrap();
        assert_eq!(inside, root.canonicalize().unwrap().join("a/b"));
        assert!(confine(root.clone()).is_ok());
        for escape in ["up", "up/root/../x", "a/../../x", "dangling", "dangling/x"] {
            assert!(confine(root.join(escape)).is_err(), "{escape}");
        }
        assert!(confine(outer.path().join("rootless")).is_err());
    }

    #[test]
    fn defaults_are_sglangs() {
        let root = tempfile::tempdir().unwrap();
        let plan_of = |body: &str| plan(&parse(body.as_bytes()).unwrap(), root.path()).unwrap();
        let plain = plan_of("");
        assert_eq!((plain.output_dir.as_path(), plain.num_steps), (root.path(), None));
        assert_eq!(plain.spans_dir, root.path().join("spans"));
        assert_eq!(plain.planes, Planes { host: true, device: true });
        let staged = plan_of(r#"{"num_steps":"5","profile_by_stage":true,"activities":["CPU"]}"#);
        assert_eq!(staged.output_dir, root.path().join("prefill"));
        assert_eq!(staged.num_steps, Some(5));
        assert_eq!(plan_of(r#"{"num_steps":0}"#).num_steps, None);
    }
}
