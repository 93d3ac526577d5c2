//! The forward pass of small decoder-only models, for scoring, with every operation recorded.
//!
//! This is what the built-in engine computes with. Design constraints: it runs anywhere (plain
//! CPU, no download: see [`ModelSource::Preset`]); its scores are those of Hugging Face
//! transformers in f32; every tensor operation goes through an [`OpRecorder`], which is cheap
//! enough to be always on. Scoring is prefill only ([`Model::forward`]): logits are computed after
//! each prompt's last token. [`Model::prefill`] and [`Model::decode`] keep keys and values between
//! calls, for benchmarks of generation. [`kernels`] runs single operations at chosen sizes, and
//! [`mod@bench`] measures all of these in process.
//!
//! ```
//! use xscope_model::{
//!     Device, LoadFormat, ModelOptions, Model, ModelSource, OpRecorder, PaddedBatch, Tokenizer,
//! };
//!
//! # fn main() -> xscope_model::Result<()> {
//! let source = ModelSource::Preset;
//! let options = ModelOptions {
//!     format: LoadFormat::Dummy,
//!     config_overrides: None,
//!     seed: 0,
//!     device: Device::Cpu,
//! };
//! let model = Model::load(&source, &options)?;
//! let tokens = Tokenizer::load(&source)?.encode("Is water wet? Yes")?;
//!
//! let mut rec = OpRecorder::new();
//! let logits = model.forward(&PaddedBatch { tokens: vec![tokens], least_len: 0 }, &mut rec)?;
//! assert_eq!(logits.rows().len(), 1);
//! let slowest = rec.ops().iter().max_by_key(|op| op.dur).expect("operations were recorded");
//! println!("{} in {}", slowest.op, rec.scope_path(slowest.scope));
//! # Ok(())
//! # }
//! ```

mod batch;
pub mod bench;
mod cache;
mod config;
mod error;
pub mod kernels;
mod layers;
mod machine;
mod model;
mod moe;
mod ops;
mod owner;
mod rope;
mod step;
mod tokenizer;
mod weights;

pub use crate::{
    batch::{PaddedBatch, padded_to},
    cache::KvCache,
    config::{Family, ModelConfig, RopeScaling},
    error::{ModelError, Result},
    machine::measure_cpu,
    model::{Device, Logits, Model, ModelOptions, ModelSource},
    ops::{Op, OpRecord, OpRecorder, ScopeId, ScopeName, ScopeRecord, category},
    owner::Owner,
    tokenizer::Tokenizer,
    weights::LoadFormat,
};
