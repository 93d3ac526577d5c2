//! The built-in target: a scoring server that runs anywhere, instrumented at every profile point.
//!
//! It speaks `POST /v1/score` and the profiling endpoints of sglang-jax, and answers with the
//! same JSON. Design constraints: a request costs what its stages say, since the stages of a
//! request are cut by consecutive time stamps and add up to its wall time ([`stage`]);
//! everything is recorded always and costs less than the noise ([`telemetry`]); no request can
//! end the server, and no queue in it grows without bound.
//!
//! ```
//! use xscope_engine::{Engine, EngineConfig, ModelSource};
//!
//! # fn main() -> Result<(), xscope_engine::EngineError> {
//! let mut config = EngineConfig::new(ModelSource::Preset);
//! config.port = 0;
//! let engine = Engine::start(config)?;
//! println!("POST {}/v1/score", engine.url());
//! # Ok(())
//! # }
//! ```

mod body;
mod capture;
mod config;
mod device_trace;
mod engine;
mod error;
mod http;
pub mod memory;
mod metrics;
mod queue;
mod records;
mod scheduler;
mod score;
mod span_sink;
pub mod stage;
pub mod telemetry;
mod validate;

pub use xscope_model::{Device, LoadFormat, ModelSource, Owner, measure_cpu};

pub use crate::{
    capture::{CaptureLayout, CaptureReport},
    config::{EngineConfig, ForwardHook},
    engine::{Engine, EngineHandle},
    error::EngineError,
};
