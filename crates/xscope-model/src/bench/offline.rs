//! How many prompts the model gets through when all are there from the beginning.
//!
//! Prompts are batched in their order, as the engine's scheduler would, until a batch is full; a
//! batch generates until its last row is done, so rows with less output idle meanwhile, as they do
//! without continuous batching. A trial is one pass over all prompts.

use xscope_trace::Metric;
use xscope_trace::results::{
    Cause, CauseKind, Durations, PointResult, PointShape, Trial, Validity, WarmupReport,
};
use xscope_trace::stats::{as_f64, median, median_interval};
use xscope_trace::{Nanos, clock};

use super::generate;
use crate::{
    batch::PaddedBatch,
    error::{ModelError, Result},
    model::Model,
    ops::OpRecorder,
};

/// A prompt, and how many tokens follow it; the first comes with the prefill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflinePrompt {
    /// Its token ids.
    pub tokens: Vec<u32>,
    /// At least 1.
    pub output_len: usize,
}

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Prompts.
    pub rows: usize,
    /// Tokens, padding included; a prompt that is longer runs alone.
    pub tokens: usize,
}

/// What a pass over all prompts took, and what it gave.
#[derive(Debug)]
pub struct Offline {
    /// Statistics over passes; `throughput_items_per_sec` counts prompts.
    pub point: PointResult,
    /// Of one pass.
    pub input_tokens: u64,
    /// Of one pass.
    pub output_tokens: u64,
    /// Batches of one pass.
    pub batches: usize,
    /// Share of the computed prompt tokens that are padding.
    pub padding_share: f64,
}

/// Measures `trials` passes, after one to warm up.
///
/// # Errors
///
/// No prompt, or one that the model does not take: before anything runs.
pub fn offline(
    model: &Model,
    prompts: &[OfflinePrompt],
    limits: BatchLimits,
    trials: u32,
) -> Result<Offline> {
    check(model, prompts)?;
    let batches = batches(model, prompts, limits);
    let mut rec = OpRecorder::new();
    rec.set_enabled(false);
    let mut pass = || -> Result<(Nanos, Nanos, Vec<u32>)> {
        let started = clock::monotonic();
        let mut tokens = Vec::new();
        for (batch, output_len) in &batches {
            tokens.extend(generate(model, batch, *output_len, &mut rec)?.tokens);
        }
        Ok((started, clock::monotonic(), tokens))
    };
    let (_, _, expected) = pass()?;
    let (mut all, mut wrong) = (Vec::new(), 0_u32);
    for trial in 0..trials {
        let (started, ended, tokens) = pass()?;
        wrong += u32::from(tokens != expected);
        let latency = Durations::of(vec![ended - started]);
        all.push(Trial { trial, started, ended, latency, ..Trial::default() });
    }
    let sum = |of: fn(&OfflinePrompt) -> usize| prompts.iter().map(|p| of(p) as u64).sum();
    let (input_tokens, output_tokens) = (sum(|p| p.tokens.len()), sum(|p| p.output_len));
    let padded: usize = batches.iter().map(|(batch, _)| batch.padded_tokens()).sum();
    let padding = 1.0 - as_f64(input_tokens) / as_f64(padded as u64);
    let counts = [prompts.len() as u64, input_tokens, output_tokens];
    let point = point(all, counts, wrong);
    Ok(Offline {
        point,
        input_tokens,
        output_tokens,
        batches: batches.len(),
        padding_share: padding,
    })
}

fn check(model: &Model, prompts: &[OfflinePrompt]) -> Result<()> {
    let most = model.max_prompt_tokens();
    let fail = |problem| Err(ModelError::Batch { problem });
    if prompts.is_empty() {
        return fail("there is no prompt".to_owned());
    }
    for (index, prompt) in prompts.iter().enumerate() {
        let (len, output) = (prompt.tokens.len(), prompt.output_len);
        if len == 0 || output == 0 {
            return fail(format!("prompt {index} has {len} tokens and asks for {output}"));
        }
        if len.saturating_add(output) - 1 > most {
            return fail(format!(
                "prompt {index} has {len} tokens and asks for {output}: {most} fit in all"
            ));
        }
    }
    Ok(())
}

/// Prompts in their order, each batch with the longest of its outputs.
fn batches(
    model: &Model,
    prompts: &[OfflinePrompt],
    limits: BatchLimits,
) -> Vec<(PaddedBatch, usize)> {
    let mut batches: Vec<(PaddedBatch, usize)> = Vec::new();
    for prompt in prompts {
        let fits = |(batch, _): &&mut (PaddedBatch, usize)| {
            let rows = batch.tokens.len() + 1;
            let len = batch.padded_len().max(prompt.tokens.len());
            rows <= limits.rows && rows * len <= limits.tokens && rows <= model.max_rows(len)
        };
        match batches.last_mut().filter(fits) {
            Some((batch, output_len)) => {
                batch.tokens.push(prompt.tokens.clone());
                *output_len = prompt.output_len.max(*output_len);
            }
            None => {
                let batch = PaddedBatch { tokens: vec![prompt.tokens.clone()], least_len: 0 };
                batches.push((batch, prompt.output_len));
            }
        }
    }
    batches
}

fn point(mut trials: Vec<Trial>, counts: [u64; 3], wrong: u32) -> PointResult {
    let passes: Vec<Nanos> = trials.iter().map(|trial| trial.ended - trial.started).collect();
    let millis: Vec<f64> = passes.iter().map(|pass| pass.as_millis()).collect();
    let median = median(millis.clone()).filter(|&ms| ms > 0.0);
    let rate = |count: u64, unit| match median {
        Some(ms) => Metric::valid(1e3 * as_f64(count) / ms, unit),
        None => Metric::unavailable(unit, "nothing was measured"),
    };
    let [prompts, input_tokens, output_tokens] = counts;
    for (trial, ms) in trials.iter_mut().zip(&millis) {
        let per_sec = 1e3 * as_f64(prompts) / ms;
        trial.throughput_items_per_sec = Metric::valid(per_sec, "items/s");
        trial.requests_per_sec = Metric::valid(per_sec, "1/s");
    }
    let causes = (wrong > 0).then(|| Cause {
        cause: CauseKind::WrongAnswers,
        detail: format!("{wrong} passes over equal prompts gave other tokens than the first"),
        spoils: Vec::new(),
    });
    let latency = Durations::of(passes);
    PointResult {
        point: "offline".to_owned(),
        shape: PointShape::default(),
        arrivals: "all at once".to_owned(),
        requests: latency.n,
        ok: latency.n,
        throughput_items_per_sec: rate(prompts, "items/s"),
        requests_per_sec: rate(prompts, "1/s"),
        input_tokens_per_sec: rate(input_tokens, "tokens/s"),
        output_tokens_per_sec: rate(output_tokens, "tokens/s"),
        from_sent: latency.clone(),
        latency,
        p50_interval_ms: median_interval(&millis),
        trials,
        warmup: WarmupReport {
            requests: 1,
            failed: 0,
            warm: None,
            evidence: vec!["one pass over the same prompts".to_owned()],
        },
        validity: Validity::on(causes.into_iter().collect(), &["throughput_items_per_sec"]),
        ..PointResult::default()
    }
}
