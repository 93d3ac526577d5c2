//! What the client saw: one row per request, and the samples of a stretch of load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xscope_trace::{Bytes, Nanos, Phase};

use crate::check::FailureKind;

/// One request, one line of `requests.jsonl`.
///
/// Rows come in the order in which the requests ended. All times are on the monotonic clock of
/// the client's machine, the clock that spans use too. FORMAT.md lists the fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestRow {
    /// Order in which requests were given out, over the whole load, from 0.
    pub index: u64,
    /// The answer's `x-request-id`, else the one that was sent.
    pub request_id: String,
    /// Whether it counts.
    pub phase: Phase,
    /// The point of the results that it belongs to.
    pub point: String,
    /// The trial that it belongs to.
    pub trial: u32,
    /// Items.
    pub batch_size: u32,
    /// Labels.
    pub label_count: u32,
    /// Which of the connections.
    pub worker: u32,
    /// Of all items, queries included; as the server counts, else as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens that were generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// When it was due; in a closed loop: when its connection became free.
    #[serde(rename = "intended_ns")]
    pub intended: Nanos,
    /// When it was handed to an open connection.
    #[serde(rename = "sent_ns", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Nanos>,
    /// When the first byte of the answer came.
    #[serde(rename = "first_byte_ns", default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Nanos>,
    /// In streams.
    #[serde(rename = "first_token_ns", default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Nanos>,
    /// When the last byte was there, or the request was given up.
    #[serde(rename = "end_ns")]
    pub end: Nanos,
    /// `end_ns` less `intended_ns`.
    pub latency_ms: f64,
    /// Between tokens after the first, in streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub itl_ms: Vec<f64>,
    /// Bodies only.
    pub request_bytes: Bytes,
    /// Of the answer's body.
    pub response_bytes: Bytes,
    #[serde(
        rename = "http_status",
        alias = "status",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    /// The status of HTTP, if an answer came.
    pub status: Option<u16>,
    /// Answered, and right.
    pub ok: bool,
    /// The kind of failure; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// The failure as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Programs compiled for it, as the answer's `x-cache-miss` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_misses: Option<u32>,
    /// Stage → milliseconds, from the answer's `server-timing`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub server_ms: BTreeMap<String, f64>,
}

/// What a trial, or any other stretch of load, gave: the raw samples of figures and verdicts.
#[derive(Debug, Clone, Default)]
pub struct TrialSamples {
    pub trial: u32,
    /// In the order in which they ended.
    pub samples: Vec<Sample>,
    /// First intended send; the end of the last request.
    pub started: Nanos,
    pub ended: Nanos,
    /// Rate that the schedule asked for, if it asked for one.
    pub requested_per_sec: Option<f64>,
    /// Requests that were due and not sent when it was cut short.
    pub unsent: u64,
    /// Requests under way then; they have no sample.
    pub abandoned: u64,
    pub most_in_flight: u32,
    /// Processor time of the client meanwhile, `None` if it is that of the server as well; how long that
    /// was, and the cores that it might use, 0 if unknown.
    pub cpu: Option<Nanos>,
    pub wall: Nanos,
    pub cores: u32,
    /// Share of that time in which the busiest of the sending threads had something to do.
    pub sender_busy: f64,
    /// Why the server is gone, if it is.
    pub gone: Option<String>,
    /// Failed requests by kind, and what was said of the first.
    pub failures: BTreeMap<FailureKind, (u64, String)>,
    /// Answers that were compared with that of an equal request.
    pub compared: u64,
    /// Sums of milliseconds by stage, and of how many answers.
    pub server_ms: BTreeMap<String, (f64, u64)>,
}

/// One request of a trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    pub intended: Nanos,
    pub sent: Option<Nanos>,
    pub first_token: Option<Nanos>,
    pub end: Nanos,
    pub failure: Option<FailureKind>,
    pub items: u32,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
    /// Between tokens.
    pub gaps: Vec<Nanos>,
    /// A program was compiled for it, as its answer says; `None` if it does not say.
    pub compiled: Option<bool>,
}

impl Sample {
    pub fn latency(&self) -> Nanos {
        self.end - self.intended
    }

    /// Mean time for each token after the first.
    pub(crate) fn token_time(&self) -> Option<Nanos> {
        token_time(self.output_tokens, &self.gaps)
    }
}

impl RequestRow {
    /// Mean time for each token after the first, in streams of several.
    pub fn token_time(&self) -> Option<Nanos> {
        let gaps: Vec<Nanos> = self.itl_ms.iter().map(|ms| Nanos::from_secs(ms / 1e3)).collect();
        token_time(self.output_tokens.unwrap_or(0), &gaps)
    }
}

/// The first ones may come together, so that there are fewer gaps than tokens.
fn token_time(output_tokens: u64, gaps: &[Nanos]) -> Option<Nanos> {
    let tokens = i64::try_from(output_tokens).ok()?.checked_sub(1)?;
    let sum: i64 = gaps.iter().map(|gap| gap.0).sum();
    (tokens > 0 && !gaps.is_empty()).then(|| Nanos(sum / tokens))
}

impl TrialSamples {
    pub(crate) fn add(&mut self, sample: Sample, row: &RequestRow) {
        if self.samples.is_empty() || sample.intended < self.started {
            self.started = sample.intended;
        }
        self.ended = self.ended.max(sample.end);
        if let Some(kind) = sample.failure {
            let detail = || row.error.clone().unwrap_or_default();
            self.failures.entry(kind).or_insert_with(|| (0, detail())).0 += 1;
        }
        self.samples.push(sample);
        for (stage, ms) in &row.server_ms {
            let (sum, count) = self.server_ms.entry(stage.clone()).or_default();
            *sum += ms;
            *count += 1;
        }
    }

    /// The latencies of right answers.
    pub fn latencies(&self) -> Vec<Nanos> {
        let right = self.samples.iter().filter(|sample| sample.failure.is_none());
        right.map(Sample::latency).collect()
    }
}
