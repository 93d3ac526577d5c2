//! `POST /v1/score`: one request through the whole pipeline.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, header},
};
use serde::Serialize;
use tokio::sync::oneshot;
use xscope_trace::clock;

use crate::{
    body,
    error::EngineError,
    http::{
        App, Arrival,
        body::read,
        reply::{ApiError, add_times, json},
    },
    queue::Places,
    scheduler::{Command, Job, JobDone},
    score::scores,
    span_sink::SinkRef,
    stage::{Stage, StageClock},
    validate,
};

/// Bodies from this size on are parsed and tokenized off the runtime, whose threads must stay
/// free for other connections.
const INLINE_BYTES: usize = 16 << 10;

/// As sglang-jax answers.
#[derive(Serialize)]
struct ScoreAnswer<'a> {
    scores: Vec<Vec<f64>>,
    model: &'a str,
    usage: Option<()>,
    object: &'static str,
}

/// A request that is ready for the scheduler.
struct Prepared {
    prompts: Vec<Vec<u32>>,
    labels: Vec<u32>,
    apply_softmax: bool,
    model: Option<String>,
}

pub(crate) async fn score(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let arrival = Arrival::of(&parts.extensions);
    let mut clock = StageClock::starting_at(arrival.start);
    let mut sink = None;
    let answer = answer(&app, (&parts.headers, body), &mut clock, &mut sink).await;
    let mut response = answer.unwrap_or_else(|error| {
        clock.enter(Stage::HttpRespond);
        error.into_response()
    });
    clock.finish();
    add_times(&mut response, &clock);
    app.telemetry.request(&arrival.ids, &clock, sink);
    response
}

async fn answer(
    app: &Arc<App>,
    (headers, body): (&HeaderMap, Body),
    clock: &mut StageClock,
    sink: &mut Option<SinkRef>,
) -> Result<Response<Body>, ApiError> {
    check_content_type(headers)?;
    let bytes = read(body, app.body_limit, app.body_timeout).await?;
    let prepared = prepare(app, bytes, clock).await?;

    let items = prepared.prompts.len();
    clock.enter(Stage::IpcSend);
    let places = app.queue.take(items)?;
    let done = run(app, (prepared.prompts, prepared.labels, places), clock).await?;
    let JobDone { logprobs, passes, sequences, sink: captured } = done;
    clock.sequences = sequences;
    *sink = captured;
    for (index, pass) in passes.iter().enumerate() {
        clock.enter_at(Stage::Schedule, pass.schedule, pass.batch);
        clock.enter_at(Stage::Forward, pass.forward, pass.batch);
        clock.enter_at(Stage::LogprobExtract, pass.extract, pass.batch);
        let last = index + 1 == passes.len();
        clock.enter_at(if last { Stage::IpcSend } else { Stage::QueueWait }, pass.end, 0);
    }

    clock.enter(Stage::Softmax);
    let scores = logprobs.iter().map(|row| scores(row, prepared.apply_softmax)).collect();
    clock.enter(Stage::HttpRespond);
    let model = prepared.model.as_deref().unwrap_or(&app.served_model_name);
    Ok(json(&ScoreAnswer { scores, model, usage: None, object: "scoring" }))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("not text"));
    let essence = found.and_then(|found| found.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let found = found.map_or_else(|| "none".to_owned(), body::shorten);
    Err(ApiError::bad_request(
        None,
        format!(
            "Unsupported Media Type: Only 'application/json' is allowed, and the content-type of \
             this request is {found}: send the header content-type: application/json"
        ),
    ))
}

/// Sets a flag when it goes: the future that held it has ended or been dropped.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// From bytes to prompts: the stages from [`Stage::HttpParse`] to [`Stage::BatchBuild`].
async fn prepare(
    app: &Arc<App>,
    bytes: Vec<u8>,
    clock: &mut StageClock,
) -> Result<Prepared, ApiError> {
    let abandoned = Arc::new(AtomicBool::new(false));
    if bytes.len() < INLINE_BYTES {
        return prepare_now(app, &bytes, clock, &abandoned);
    }
    let _abandon = SetOnDrop(Arc::clone(&abandoned));
    let app = Arc::clone(app);
    let mut away = StageClock::starting_at(clock.start());
    std::mem::swap(clock, &mut away);
    let task = tokio::task::spawn_blocking(move || {
        let prepared = prepare_now(&app, &bytes, &mut away, &abandoned);
        (prepared, away)
    });
    let (prepared, back) = task.await.map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("tokenizing failed: {error}"))
    })?;
    *clock = back;
    prepared
}

fn prepare_now(
    app: &App,
    bytes: &[u8],
    clock: &mut StageClock,
    abandoned: &AtomicBool,
) -> Result<Prepared, ApiError> {
    let refused =
        |refusal: validate::Refusal| ApiError::bad_request(refusal.field, refusal.message);
    let body =
        body::parse(bytes).map_err(|error| ApiError::bad_request(error.field, error.message))?;
    let shaped = validate::shape(body, &app.limits).map_err(refused)?;
    clock.enter(Stage::Tokenize);
    let tokens =
        validate::tokenize(&shaped, &app.tokenizer, &app.limits, abandoned).map_err(refused)?;
    clock.enter(Stage::BatchBuild);
    let prompts = validate::build(tokens, shaped.item_first, &app.limits).map_err(refused)?;
    Ok(Prepared {
        prompts,
        labels: shaped.labels,
        apply_softmax: shaped.apply_softmax,
        model: shaped.model,
    })
}

/// Hands the prompts to the scheduler and waits for their log-probabilities.
async fn run(
    app: &App,
    (prompts, labels, places): (Vec<Vec<u32>>, Vec<u32>, Places),
    stages: &mut StageClock,
) -> Result<JobDone, ApiError> {
    let (reply, done) = oneshot::channel();
    app.scheduler.send(Command::Score(Job { prompts, labels, places, reply }))?;
    let sent = clock::monotonic();
    let done = done.await.unwrap_or(Err(EngineError::Closed));
    // The scheduler may take the request, and the processor with it, before this task has read
    // the clock: then its stamp is the one to believe.
    let first = done.as_ref().ok().and_then(|done| done.passes.first());
    let received = first.map_or(sent, |pass| sent.min(pass.schedule));
    stages.enter_at(Stage::QueueWait, received, 0);
    Ok(done?)
}
