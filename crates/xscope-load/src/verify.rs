//! What comes of a request that has ended: whether its answer is right, its row, and its sample.

use xscope_trace::{Bytes, Nanos};

use crate::backend::{Answer, Backend};
use crate::check::{Expected, Failure, FailureKind, Tolerance, Values, check_scores, excerpt};
use crate::plan::Plan;
use crate::point::Point;
use crate::record::{RequestRow, Sample};
use crate::send::Ended;
use crate::stretch::Stretch;
use crate::workload::{Ask, AskGenerate};

/// A request that was looked at.
pub(crate) struct Verified {
    pub(crate) row: RequestRow,
    pub(crate) sample: Sample,
    pub(crate) failure: Option<Failure>,
}

/// Reads the answer, checks it, also against that of an equal request, and makes the row.
pub(crate) fn verify(
    point: &mut Point,
    stretch: &Stretch,
    ended: Ended,
    tolerance: Tolerance,
) -> Verified {
    let answer = read(point.plan(), &ended).and_then(|answer| {
        point.compare(stretch.phase, ended.job.place, &answer.scores, tolerance)?;
        Ok(answer)
    });
    let (answer, failure) = match answer {
        Ok(answer) => (answer, None),
        Err(failure) => (Answer::default(), Some(failure)),
    };
    let row = row(point.plan(), stretch, ended, &answer, failure.as_ref());
    let sample = Sample {
        intended: row.intended,
        sent: row.sent,
        first_token: row.first_token,
        end: row.end,
        failure: row.failure,
        items: row.batch_size,
        prompt_tokens: row.prompt_tokens.unwrap_or(0),
        output_tokens: row.output_tokens.unwrap_or(0),
        gaps: gaps(&answer.times).collect(),
        compiled: row.cache_misses.map(|misses| misses > 0),
    };
    Verified { row, sample, failure }
}

/// Reads an answer and checks what can be checked without others.
fn read(plan: &Plan, ended: &Ended) -> Result<Answer, Failure> {
    let Ended { job, exchange, .. } = ended;
    let body = exchange.body.as_ref().map_err(Clone::clone)?;
    let status = exchange.status.unwrap_or(0);
    if status != 200 {
        let text = excerpt(body);
        return Err(Failure::new(FailureKind::HttpStatus, format!("status {status}: {text}")));
    }
    let ask = &plan.workload().ask;
    let answer = plan.backend().read(exchange, body, plan.labels())?;
    let items = job.items as usize;
    let expected = match ask {
        Ask::Score(ask) => {
            let labels = ask.labels.count() as usize;
            // Where a server gives the first label alone, its sum is of no use.
            let single = answer.scores.first().is_some_and(|row| row.len() == 1);
            let (labels, values) = match (plan.backend(), ask.apply_softmax) {
                (Backend::VllmGenerative, _) if single => (1, Values::Probabilities),
                (_, true) => (labels, Values::Shares),
                (_, false) => (labels, Values::Probabilities),
            };
            Expected { items, labels, values }
        }
        Ask::Rerank(_) => Expected { items, labels: 1, values: Values::Relevances },
        Ask::Generate(ask) => return check_length(ask, job.output_tokens, answer),
        Ask::Fixed(_) => return Ok(answer),
    };
    // The tolerance of a sum does not depend on who asks.
    check_scores(&answer.scores, expected, Tolerance::default())?;
    Ok(answer)
}

/// An output that is shorter than asked for makes every figure look better.
fn check_length(ask: &AskGenerate, asked: u32, answer: Answer) -> Result<Answer, Failure> {
    match answer.output_tokens {
        Some(got) if ask.ignore_eos && got != u64::from(asked) => {
            let detail = format!("{got} tokens came, {asked} were asked for with ignore_eos");
            Err(Failure::new(FailureKind::WrongShape, detail))
        }
        Some(0) => Err(Failure::new(FailureKind::WrongShape, "no token came")),
        _ => Ok(answer),
    }
}

fn row(
    plan: &Plan,
    stretch: &Stretch,
    ended: Ended,
    answer: &Answer,
    failure: Option<&Failure>,
) -> RequestRow {
    let Ended { job, worker, intended, exchange } = ended;
    RequestRow {
        index: job.index,
        request_id: exchange.request_id.unwrap_or(job.request_id),
        phase: stretch.phase,
        point: plan.name().to_owned(),
        trial: stretch.trial,
        batch_size: job.items,
        label_count: u32::try_from(plan.labels().len()).unwrap_or(u32::MAX),
        worker,
        prompt_tokens: answer.prompt_tokens.or(job.prompt_tokens),
        output_tokens: answer.output_tokens,
        intended,
        sent: exchange.sent,
        first_byte: exchange.first_byte,
        first_token: answer.times.first().map(|(at, _)| *at),
        end: exchange.end,
        latency_ms: (exchange.end - intended).as_millis(),
        itl_ms: gaps(&answer.times).map(Nanos::as_millis).collect(),
        request_bytes: Bytes(job.body.len() as u64),
        response_bytes: Bytes(exchange.response_bytes as u64),
        status: exchange.status,
        ok: failure.is_none(),
        failure: failure.map(|failure| failure.kind),
        error: failure.map(|failure| failure.detail.clone()),
        cache_misses: exchange.cache_misses,
        server_ms: exchange.server_timing,
    }
}

/// Times between tokens. Tokens that came at once share the time since the last ones.
fn gaps(times: &[(Nanos, u64)]) -> impl Iterator<Item = Nanos> {
    times.windows(2).flat_map(|pair| {
        let [(before, _), (at, count)] = [pair[0], pair[1]];
        let each = i64::try_from(count).map_or(0, |count| (at - before).0 / count.max(1));
        std::iter::repeat_n(Nanos(each), usize::try_from(count).unwrap_or(0))
    })
}
