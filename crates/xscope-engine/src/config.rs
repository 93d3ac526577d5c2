//! How an engine is set up. Plain values: the command line and the environment are the caller's.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use xscope_model::{Device, LoadFormat, ModelSource};
use xscope_trace::Bytes;

use crate::error::EngineError;

/// Everything that an engine can be told. [`EngineConfig::new`] gives the usual values.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The model: the built-in preset or a Hugging Face folder.
    pub source: ModelSource,
    /// Where its weights come from.
    pub load_format: LoadFormat,
    /// Where the forward pass runs.
    pub device: Device,
    /// A JSON object whose fields replace those of the model's `config.json`.
    pub json_overrides: Option<String>,
    /// The name that answers carry where the request has none; the source's name if `None`.
    pub served_model_name: Option<String>,
    pub host: IpAddr,
    /// 0 takes a free port; [`crate::EngineHandle::url`] says which.
    pub port: u16,
    /// Most tokens of a batch, padding included: rows times the longest prompt. A prompt that is
    /// longer than that runs alone. More raises throughput and the latency of small requests.
    pub max_batch_tokens: usize,
    /// The lengths, ascending, that the rows of a batch are padded to: the first that holds the longest, as
    /// servers do that compile for each length. A batch with a longer row is padded to that; so is each
    /// if there are none.
    pub token_paddings: Vec<usize>,
    /// Most rows (items) of a batch.
    pub max_batch_rows: usize,
    /// How long the scheduler waits for more items when a batch is not full. 0 (the default)
    /// takes what is there: the lowest latency.
    pub batch_wait: Duration,
    /// Most items that may wait for a batch; a request beyond that is answered 429.
    pub queue_limit: usize,
    /// The largest body of a request.
    pub body_limit: Bytes,
    /// How long the body of a request may take to arrive.
    pub body_timeout: Duration,
    /// Most items of a request (never more than `queue_limit`).
    pub max_items: usize,
    /// Most label token ids of a request.
    pub max_labels: usize,
    /// Prompts stay below it, in tokens; the model's own if `None`, never more than that.
    pub context_length: Option<usize>,
    /// Profiles that are asked for over HTTP are only written below this directory.
    pub profile_root: PathBuf,
    /// Whether stages, batches, scopes and ops are recorded. Off, nothing can be captured: it is
    /// there to measure what recording costs.
    pub telemetry: bool,
    /// How many records the engine keeps in memory (64 bytes each).
    pub ring_records: usize,
    /// For tests: called before each forward pass, inside what is guarded against panics.
    pub before_forward: Option<ForwardHook>,
}

/// Called on the scheduler's thread with the number of the batch.
#[derive(Clone)]
pub struct ForwardHook(pub Arc<dyn Fn(u64) + Send + Sync>);

impl fmt::Debug for ForwardHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardHook")
    }
}

impl EngineConfig {
    /// The usual values: localhost, port 30000 (as sglang-jax), telemetry on.
    pub fn new(source: ModelSource) -> Self {
        Self {
            source,
            load_format: LoadFormat::Auto,
            device: Device::Cpu,
            json_overrides: None,
            served_model_name: None,
            host: IpAddr::from([127, 0, 0, 1]),
            port: 30_000,
            max_batch_tokens: 8192,
            token_paddings: Vec::new(),
            max_batch_rows: 64,
            batch_wait: Duration::ZERO,
            queue_limit: 1024,
            body_limit: Bytes(8 << 20),
            body_timeout: Duration::from_secs(30),
            max_items: 512,
            max_labels: 256,
            context_length: None,
            profile_root: std::env::temp_dir(),
            telemetry: true,
            ring_records: 1 << 15,
            before_forward: None,
        }
    }

    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        for (field, value) in [
            ("max_batch_tokens", self.max_batch_tokens),
            ("max_batch_rows", self.max_batch_rows),
            ("queue_limit", self.queue_limit),
            ("max_items", self.max_items),
            ("max_labels", self.max_labels),
            ("ring_records", self.ring_records),
        ] {
            if value == 0 {
                return Err(wrong(field, &value, "it must be at least 1"));
            }
        }
        for (field, value, most) in [
            ("queue_limit", self.queue_limit, 1 << 20),
            ("ring_records", self.ring_records, 1 << 26),
        ] {
            if value > most {
                return Err(wrong(field, &value, "memory is reserved for all of it; choose less"));
            }
        }
        let paddings = &self.token_paddings;
        if paddings.first() == Some(&0) || !paddings.is_sorted_by(|a, b| a < b) {
            let value = format!("{paddings:?}");
            return Err(wrong("token_paddings", &value, "lengths from 1 on, in ascending order"));
        }
        if self.context_length.is_some_and(|length| length < 2) {
            let value = self.context_length.unwrap_or_default();
            return Err(wrong("context_length", &value, "prompts stay below it, so at least 2"));
        }
        if !self.profile_root.is_absolute() {
            let value = self.profile_root.display();
            return Err(wrong("profile_root", &value, "it must be an absolute path"));
        }
        Ok(())
    }
}

fn wrong(field: &'static str, value: &dyn fmt::Display, problem: &'static str) -> EngineError {
    EngineError::Config { field, value: value.to_string(), problem }
}
