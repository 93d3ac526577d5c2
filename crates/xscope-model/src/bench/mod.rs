//! Measuring in process, without a server: kernels, and batches through the whole model.
//!
//! What is measured is warmed up until its times are steady, then repeated in *trials*, short
//! stretches of runs, until the median is known well enough. The trial is the unit: runs that
//! follow each other at once are disturbed together, so the interval around the median is made
//! from the medians of trials, by order statistics, and means what it says for any distribution.

mod kernel;
mod offline;

pub use kernel::{RanBy, kernel_point};
pub use offline::{BatchLimits, Offline, OfflinePrompt, offline};

use xscope_trace::Metric;
use xscope_trace::results::{
    Cause, CauseKind, Durations, PointResult, PointShape, Trial, Validity, WarmupReport,
};
use xscope_trace::stats::{SplitMix, as_f64, median, median_interval};
use xscope_trace::{Nanos, clock};

use crate::{
    batch::PaddedBatch,
    error::{ModelError, Result},
    model::{Logits, Model},
    ops::OpRecorder,
};

/// Runs that are looked at to see whether times are steady, and how much they may differ.
const STEADY_RUNS: usize = 5;
const STEADY_WITHIN: f64 = 0.25;

/// Warm-up is given up after so many runs or so long.
const MOST_WARMUP_RUNS: u64 = 200;
const LONGEST_WARMUP: Nanos = Nanos(20_000_000_000);

/// How often to repeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repeat {
    /// At least so many trials; an interval needs 6.
    pub least: u32,
    /// At most so many.
    pub most: u32,
    /// How long a trial goes on; it has at least one run.
    pub trial: Nanos,
    /// Enough is known when the interval lies within this share of the median.
    pub within: f64,
}

/// What was measured of one thing.
#[derive(Debug)]
pub struct Measured {
    pub warmup: WarmupReport,
    pub trials: Vec<Trial>,
    /// All runs.
    pub latency: Durations,
    /// With 95 % confidence, the median of trials lies between these, in milliseconds.
    pub p50_interval_ms: Option<[f64; 2]>,
}

/// Warms up, then repeats `run`, which says how long it took.
///
/// # Errors
///
/// Those of `run`.
pub fn repeat(repeat: &Repeat, mut run: impl FnMut() -> Result<Nanos>) -> Result<Measured> {
    let warmup = warm_up(&mut run)?;
    let (mut trials, mut all, mut medians) = (Vec::new(), Vec::new(), Vec::new());
    let mut interval = None;
    for number in 0..repeat.most {
        let started = clock::monotonic();
        let mut times = Vec::new();
        while times.is_empty() || clock::monotonic() - started < repeat.trial {
            times.push(run()?);
        }
        let ended = clock::monotonic();
        all.extend_from_slice(&times);
        let millis: Vec<f64> = times.iter().map(|time| time.as_millis()).collect();
        medians.push(median(millis).unwrap_or_default());
        let latency = Durations::of(times);
        trials.push(Trial { trial: number, started, ended, latency, ..Trial::default() });
        interval = median_interval(&medians);
        let median = median(medians.clone()).unwrap_or_default();
        let is_known =
            |[low, high]: [f64; 2]| (median - low).max(high - median) <= repeat.within * median;
        if number + 1 >= repeat.least && interval.is_some_and(is_known) {
            break;
        }
    }
    Ok(Measured { warmup, trials, latency: Durations::of(all), p50_interval_ms: interval })
}

fn warm_up(run: &mut impl FnMut() -> Result<Nanos>) -> Result<WarmupReport> {
    let began = clock::monotonic();
    let mut times: Vec<f64> = Vec::new();
    let mut runs = 0;
    loop {
        times.push(run()?.as_millis());
        runs += 1;
        let last = &times[times.len().saturating_sub(STEADY_RUNS)..];
        let least = last.iter().copied().fold(f64::INFINITY, f64::min);
        let most = last.iter().copied().fold(0.0, f64::max);
        let spread = most / least.max(f64::MIN_POSITIVE) - 1.0;
        let warm = last.len() == STEADY_RUNS && spread <= STEADY_WITHIN;
        if warm || runs >= MOST_WARMUP_RUNS || clock::monotonic() - began > LONGEST_WARMUP {
            let evidence =
                format!("the last {} of {runs} runs differ by {:.0} %", last.len(), 100.0 * spread);
            return Ok(WarmupReport {
                requests: runs,
                failed: 0,
                warm: Some(warm),
                evidence: vec![evidence],
            });
        }
    }
}

impl Measured {
    /// What somebody else measured, in trials.
    pub fn of_trials(trials: Vec<Vec<Nanos>>, warmup: WarmupReport) -> Self {
        let millis = |trial: &Vec<Nanos>| trial.iter().map(|time| time.as_millis()).collect();
        let medians: Vec<f64> = trials.iter().filter_map(|trial| median(millis(trial))).collect();
        let latency = Durations::of(trials.concat());
        let trial =
            |(trial, times)| Trial { trial, latency: Durations::of(times), ..Trial::default() };
        let p50_interval_ms = median_interval(&medians);
        let trials = (0..).zip(trials).map(trial).collect();
        Self { warmup, trials, latency, p50_interval_ms }
    }

    /// As a point whose verdict has `causes`, and that times were never steady if so. `items` are
    /// done by one run.
    pub fn point(self, name: String, shape: PointShape, items: u64) -> PointResult {
        let mut causes = Vec::new();
        if self.warmup.warm == Some(false) {
            let detail = format!("times were not steady: {}", self.warmup.evidence.join("; "));
            let spoils = vec!["p95_ms".to_owned(), "p99_ms".to_owned()];
            causes.push(Cause { cause: CauseKind::NotWarm, detail, spoils });
        }
        let rate = |latency: &Durations, count: u64, unit| match latency.mean_ms.value {
            Some(ms) if ms > 0.0 => Metric::valid(1e3 * as_f64(count) / ms, unit),
            _ => Metric::unavailable(unit, "nothing was measured"),
        };
        let trials = self.trials.into_iter().map(|trial| Trial {
            throughput_items_per_sec: rate(&trial.latency, items, "items/s"),
            requests_per_sec: rate(&trial.latency, 1, "1/s"),
            ..trial
        });
        PointResult {
            point: name,
            shape,
            arrivals: "closed:1".to_owned(),
            concurrency: 1,
            requests: self.latency.n,
            ok: self.latency.n,
            throughput_items_per_sec: rate(&self.latency, items, "items/s"),
            requests_per_sec: rate(&self.latency, 1, "1/s"),
            trials: trials.collect(),
            from_sent: self.latency.clone(),
            latency: self.latency,
            p50_interval_ms: self.p50_interval_ms,
            warmup: self.warmup,
            validity: Validity::on(causes, &["p50_ms"]),
            ..PointResult::default()
        }
    }
}

/// A batch of equal prompts, and how many tokens follow each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneBatch {
    pub batch_size: usize,
    /// Tokens of a prompt.
    pub input_len: usize,
    /// Tokens that are made; the first comes with the prefill.
    pub output_len: usize,
}

impl OneBatch {
    /// # Errors
    ///
    /// Sizes that the model does not take, before anything runs.
    pub fn check(&self, model: &Model) -> Result<()> {
        let Self { batch_size, input_len, output_len } = *self;
        let longest = input_len.saturating_add(output_len).saturating_sub(1);
        let fit = model.max_rows(input_len.max(1));
        let problem = match () {
            () if batch_size == 0 || input_len == 0 || output_len == 0 => {
                "sizes and lengths must be at least 1".to_owned()
            }
            () if longest > model.max_prompt_tokens() => format!(
                "{input_len} tokens in and {output_len} out are more than the {} that fit",
                model.max_prompt_tokens()
            ),
            () if batch_size > fit => format!(
                "{batch_size} prompts of {input_len} tokens do not fit in memory at once, {fit} do"
            ),
            () => return Ok(()),
        };
        Err(ModelError::Batch { problem })
    }
}

/// Times of one run.
#[derive(Debug, Clone, Default)]
struct Generated {
    prefill: Nanos,
    steps: Vec<Nanos>,
    tokens: Vec<u32>,
}

/// Measures one batch through the model: prefill, and one step for each further token.
///
/// Prompts are drawn from `seed` and are the same in each run, since nothing is cached between
/// runs; so are the tokens that follow, which are the likeliest: a run with others is wrong.
///
/// # Errors
///
/// A batch that the model does not take.
pub fn one_batch(model: &Model, batch: OneBatch, plan: &Repeat, seed: u64) -> Result<PointResult> {
    let prompts = prompts(model, batch, seed);
    let mut rec = OpRecorder::new();
    rec.set_enabled(false);
    let mut runs: Vec<Generated> = Vec::new();
    let measured = repeat(plan, || {
        let run = generate(model, &prompts, batch.output_len, &mut rec)?;
        let total = run.steps.iter().fold(run.prefill, |sum, &step| sum + step);
        runs.push(run);
        Ok(total)
    })?;
    let wrong = runs.iter().filter(|run| run.tokens != runs[0].tokens).count();
    let counted = usize::try_from(measured.warmup.requests).unwrap_or(0);
    let runs = &runs[counted.min(runs.len())..];
    let size = |value: usize| u32::try_from(value).ok();
    let shape = PointShape {
        batch_size: size(batch.batch_size),
        input_len: size(batch.input_len),
        output_len: size(batch.output_len),
        ..PointShape::default()
    };
    let name = format!("b{}_in{}_out{}", batch.batch_size, batch.input_len, batch.output_len);
    let mut point = measured.point(name, shape, batch.batch_size as u64);
    let each_run = |tokens: usize| match point.requests_per_sec.value {
        Some(rate) => Metric::valid(rate * as_f64((batch.batch_size * tokens) as u64), "tokens/s"),
        None => Metric::unavailable("tokens/s", "nothing was measured"),
    };
    point.input_tokens_per_sec = each_run(batch.input_len);
    point.output_tokens_per_sec = each_run(batch.output_len);
    point.stream.ttft = Some(Durations::of(runs.iter().map(|run| run.prefill).collect()));
    if batch.output_len > 1 {
        let steps = runs.iter().flat_map(|run| run.steps.iter().copied());
        point.stream.itl = Some(Durations::of(steps.collect()));
    }
    if wrong > 0 {
        let detail = format!("{wrong} runs of equal prompts gave other tokens than the first");
        let cause = Cause { cause: CauseKind::WrongAnswers, detail, spoils: Vec::new() };
        point.validity.causes.push(cause);
        point.validity = Validity::on(point.validity.causes, &["p50_ms"]);
    }
    Ok(point)
}

fn prompts(model: &Model, batch: OneBatch, seed: u64) -> PaddedBatch {
    let vocab = u64::try_from(model.config().vocab_size).unwrap_or(u64::MAX).max(1);
    let mut random = SplitMix::new(seed);
    let mut token = || u32::try_from(random.bits() % vocab).unwrap_or(0);
    let row = |_| (0..batch.input_len).map(|_| token()).collect();
    PaddedBatch { tokens: (0..batch.batch_size).map(row).collect(), least_len: 0 }
}

fn generate(
    model: &Model,
    prompts: &PaddedBatch,
    output_len: usize,
    rec: &mut OpRecorder,
) -> Result<Generated> {
    let mut run = Generated::default();
    let began = clock::monotonic();
    if output_len <= 1 {
        let logits = model.forward(prompts, rec)?;
        run.prefill = clock::monotonic() - began;
        run.tokens = logits.likeliest();
        return Ok(run);
    }
    let capacity = prompts.padded_len() + output_len - 1;
    let (logits, mut cache) = model.prefill(prompts, capacity, rec)?;
    let mut next = Logits::likeliest(&logits);
    run.prefill = clock::monotonic() - began;
    for _ in 1..output_len {
        run.tokens.extend_from_slice(&next);
        let began = clock::monotonic();
        next = model.decode(&mut cache, &next, rec)?.likeliest();
        run.steps.push(clock::monotonic() - began);
    }
    run.tokens.extend(next);
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Repeat = Repeat { least: 6, most: 9, trial: Nanos(0), within: 0.01 };

    #[test]
    fn it_ends_when_the_median_is_known_and_not_before() {
        let check = |times: &[i64], expected: usize| {
            let mut times = times.iter().copied().cycle();
            let run = || Ok(Nanos(times.next().unwrap_or_default() * 1_000_000));
            let measured = repeat(&PLAN, run).unwrap();
            assert_eq!(measured.trials.len(), expected, "{measured:?}");
            measured
        };
        let steady = check(&[100], 6);
        assert_eq!(steady.p50_interval_ms, Some([100.0, 100.0]));
        assert_eq!(steady.warmup.warm, Some(true));
        let noisy = check(&[100, 120, 140, 160], 9);
        assert_eq!(noisy.warmup.warm, Some(false), "{:?}", noisy.warmup);
        let [low, high] = noisy.p50_interval_ms.unwrap();
        assert!(low < high);
    }

    #[test]
    fn a_point_says_that_times_were_never_steady_and_keeps_its_median() {
        let mut time = 0;
        let measured = repeat(&PLAN, || {
            time += 1;
            Ok(Nanos(i64::from(time % 2 + 1) * 1_000_000))
        });
        let point = measured.unwrap().point("x".to_owned(), PointShape::default(), 4);
        assert!(point.validity.spoils("p99_ms") && !point.validity.spoils("p50_ms"));
        let rate = point.throughput_items_per_sec.value.unwrap();
        assert!((rate - 4e3 / point.latency.mean_ms.value.unwrap()).abs() < 1e-6);
    }
}
