//! The model: from a folder or built in, and its forward pass over a batch of prompts.

use std::path::PathBuf;

use candle_core::Tensor;

use crate::{
    batch::{MAX_TENSOR_ELEMENTS, PaddedBatch},
    cache::KvCache,
    config::{ModelConfig, PRESET},
    error::{ModelError, Result},
    layers::{Layer, Linear, RmsNorm},
    ops::{Op, OpRecorder, ScopeName, run},
    owner::Owner,
    rope::RopeTable,
    step::Step,
    weights::{LoadFormat, Weights},
};

/// The longest prompt of any model, in tokens.
const MAX_PROMPT_TOKENS: usize = 16_384;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The built-in tiny model, which needs no file; its weights are always dummies.
    Preset,
    /// A Hugging Face model folder: `config.json`, `*.safetensors`, `tokenizer.json`.
    Dir(PathBuf),
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor, with as many threads as `RAYON_NUM_THREADS` or the machine says.
    Cpu,
    /// An NVIDIA GPU by number; needs the feature `cuda`.
    Cuda(usize),
    /// An Apple GPU by number; needs the feature `metal`.
    Metal(usize),
}

/// As it is written on the command line.
impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

/// How to load a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOptions {
    /// Where the weights come from.
    pub format: LoadFormat,
    /// A JSON object whose fields replace those of `config.json`.
    pub config_overrides: Option<String>,
    /// The seed of dummy weights.
    pub seed: u64,
    /// What computes.
    pub device: Device,
}

/// The logits after each row's last token.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
}

impl Logits {
    /// One logit per token id, in the order of the batch's rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.vocab_size)
    }

    /// The likeliest token after each row; the first of several.
    pub fn likeliest(&self) -> Vec<u32> {
        let best = |row: &[f32]| {
            let best = row.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
            u32::try_from(best.map_or(0, |(id, _)| id)).unwrap_or(u32::MAX)
        };
        self.rows().map(best).collect()
    }
}

/// A loaded model. It is immutable, so threads can share it.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    device: candle_core::Device,
    rope: RopeTable,
    /// `[vocab, hidden]`.
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
}

impl Model {
    /// Reads or makes up a model's weights.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, a config that is impossible or unsupported, weights that are
    /// damaged or do not fit it, a device that is not there: each by its own variant.
    pub fn load(source: &ModelSource, options: &ModelOptions) -> Result<Self> {
        let overrides = options.config_overrides.as_deref();
        let config = match source {
            ModelSource::Preset => ModelConfig::from_json(PRESET, overrides)?,
            ModelSource::Dir(dir) => {
                let path = dir.join("config.json");
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| ModelError::Read { path, source })?;
                ModelConfig::from_json(&text, overrides)?
            }
        };
        let device = open_device(options.device)?;
        let weights = match (source, options.format) {
            (ModelSource::Dir(dir), LoadFormat::Auto) => Weights::open(dir, &device)?,
            _ => Weights::dummy(options.seed, &device),
        };
        Self::build(config, &weights, device)
    }

    fn build(config: ModelConfig, weights: &Weights, device: candle_core::Device) -> Result<Self> {
        let table = [config.vocab_size, config.hidden_size];
        let embedding = weights.get("model.embed_tokens.weight", &table)?;
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            weights.get("lm_head.weight", &table)?
        };
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(weights, index, &config))
            .collect::<Result<_>>()?;
        let norm = RmsNorm::load(weights, "model.norm", config.hidden_size, &config)?;
        let rope = RopeTable::new(&config, max_prompt_tokens(&config), &device)?;
        let lm_head = Linear::new(head, None);
        Ok(Self { config, device, rope, embedding, layers, norm, lm_head })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The longest prompt that [`Model::forward`] takes, in tokens.
    pub fn max_prompt_tokens(&self) -> usize {
        max_prompt_tokens(&self.config)
    }

    /// How many prompts fit in one batch if the longest has `len` tokens: attention scores
    /// grow with the square of the length. It is at least 1 up to
    /// [`Model::max_prompt_tokens`].
    pub fn max_rows(&self, len: usize) -> usize {
        let config = &self.config;
        let scores = config.num_attention_heads.saturating_mul(len).saturating_mul(len);
        let row = scores.max(widest(config).saturating_mul(len)).max(config.vocab_size);
        MAX_TENSOR_ELEMENTS / row
    }

    /// The logits after each row's last token, with every operation in `rec`.
    ///
    /// Rows are padded to the longest on the right. Padding never changes a result: attention
    /// is causal, so no real token sees what stands after it. Positions count from 0.
    ///
    /// # Errors
    ///
    /// [`ModelError::Batch`] if there is no row or there are more than [`Model::max_rows`], a row
    /// is empty or too long, or a token id is not in the vocabulary; [`ModelError::Compute`] if the tensor library fails.
    pub fn forward(&self, batch: &PaddedBatch, rec: &mut OpRecorder) -> Result<Logits> {
        self.check(batch)?;
        self.run(batch, None, rec)
    }

    /// As [`Model::forward`], and keeps keys and values for [`Model::decode`], with room for
    /// `capacity` tokens in each row.
    ///
    /// # Errors
    ///
    /// Those of [`Model::forward`], and [`ModelError::Batch`] if the capacity is less than the
    /// longest prompt or more than what fits.
    pub fn prefill(
        &self,
        batch: &PaddedBatch,
        capacity: usize,
        rec: &mut OpRecorder,
    ) -> Result<(Logits, KvCache)> {
        self.check(batch)?;
        let new = |_: &mut _| KvCache::new(&self.config, batch, capacity, &self.device);
        let cache = rec.owner(Owner::Kv, new)?;
        if capacity > self.max_prompt_tokens() {
            let most = self.max_prompt_tokens();
            let problem = format!("rows would grow to {capacity} tokens, at most {most} fit");
            return Err(ModelError::Batch { problem });
        }
        Ok((self.run(batch, Some(&cache), rec)?, cache))
    }

    /// The logits after one more token in each row of `cache`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Batch`] if there is not one token for each row, one is not in the vocabulary,
    /// or a row is full; [`ModelError::Compute`] if the tensor library fails.
    pub fn decode(
        &self,
        cache: &mut KvCache,
        tokens: &[u32],
        rec: &mut OpRecorder,
    ) -> Result<Logits> {
        self.check_vocabulary(tokens, || "a row".to_owned())?;
        let first = cache.grow(tokens.len())?;
        let (x, step) = rec.scope("embed", |rec| self.embed_next(tokens, first, rec))?;
        let x = self.layers(x, &step, Some(cache), rec)?;
        self.logits(rec, |_| Ok(x))
    }

    fn run(
        &self,
        batch: &PaddedBatch,
        cache: Option<&KvCache>,
        rec: &mut OpRecorder,
    ) -> Result<Logits> {
        let (x, step) = rec.scope("embed", |rec| self.embed(batch, rec))?;
        let x = self.layers(x, &step, cache, rec)?;
        self.logits(rec, |rec| self.last_tokens(batch, &x, rec))
    }

    fn layers(
        &self,
        mut x: Tensor,
        step: &Step,
        cache: Option<&KvCache>,
        rec: &mut OpRecorder,
    ) -> Result<Tensor> {
        for (index, layer) in (0_u32..).zip(&self.layers) {
            let cache = cache.and_then(|cache| cache.layer(index as usize));
            let name = ScopeName::Indexed("layer", index);
            x = rec.scope(name, |rec| layer.forward(&x, (step, cache), rec))?;
        }
        Ok(x)
    }

    /// Of the hidden states that `last` picks, one for each row.
    fn logits(
        &self,
        rec: &mut OpRecorder,
        last: impl FnOnce(&mut OpRecorder) -> Result<Tensor>,
    ) -> Result<Logits> {
        let last = rec.scope("norm", |rec| {
            let last = last(rec)?;
            self.norm.forward(&last, rec)
        })?;
        rec.scope("logits", |rec| {
            let logits = self.lm_head.forward(&last, rec)?;
            let n = logits.elem_count();
            let values =
                rec.op(Op::movement("to_host", n, n), || logits.flatten_all()?.to_vec1::<f32>())?;
            Ok(Logits { values, vocab_size: self.config.vocab_size })
        })
    }

    fn check(&self, batch: &PaddedBatch) -> Result<()> {
        let fail = |problem| Err(ModelError::Batch { problem });
        let max = self.max_prompt_tokens();
        if batch.tokens.is_empty() {
            return fail("it has no prompt".to_owned());
        }
        for (row, tokens) in batch.tokens.iter().enumerate() {
            if tokens.is_empty() {
                return fail(format!("prompt {row} has no token"));
            }
            if tokens.len() > max {
                return fail(format!(
                    "prompt {row} has {} tokens, at most {max} fit",
                    tokens.len()
                ));
            }
            self.check_vocabulary(tokens, || format!("prompt {row}"))?;
        }
        let (rows, len) = (batch.tokens.len(), batch.padded_len());
        if len > max {
            return fail(format!("prompts are to be padded to {len} tokens, at most {max} fit"));
        }
        let fit = self.max_rows(len);
        if rows > fit {
            return fail(format!(
                "{rows} prompts of up to {len} tokens do not fit in memory at once, {fit} do; \
                 split it"
            ));
        }
        Ok(())
    }

    fn check_vocabulary(&self, tokens: &[u32], whose: impl FnOnce() -> String) -> Result<()> {
        let vocab = self.config.vocab_size;
        let known = |&&id: &&u32| usize::try_from(id).is_ok_and(|id| id < vocab);
        let Some(id) = tokens.iter().find(|id| !known(id)) else { return Ok(()) };
        let last = vocab - 1;
        let problem = format!("{} has token id {id}, the model's go from 0 to {last}", whose());
        Err(ModelError::Batch { problem })
    }

    /// The embeddings `[batch * len, hidden]`, and what all layers share.
    fn embed(&self, batch: &PaddedBatch, rec: &mut OpRecorder) -> Result<(Tensor, Step)> {
        let (rows, len) = (batch.tokens.len(), batch.padded_len());
        // Padding can be any token: nothing sees it.
        let mut ids = vec![0_u32; rows * len];
        for (row, tokens) in ids.chunks_exact_mut(len).zip(&batch.tokens) {
            row[..tokens.len()].copy_from_slice(tokens);
        }
        let x = self.look_up(ids, rec)?;
        let mask = run(rec, Op::movement("causal_mask", 0, len * len), || {
            let row =
                |query| (0..len).map(move |key| if key <= query { 0.0 } else { f32::NEG_INFINITY });
            let mask: Vec<f32> = (0..len).flat_map(row).collect();
            Tensor::from_vec(mask, (len, len), &self.device)
        })?;
        let (cos, sin) = self.rope.first(len)?;
        Ok((x, Step { batch: rows, len, keys: len, first: vec![0; rows], cos, sin, mask }))
    }

    /// The same for the next token of each row, at the positions `first`.
    fn embed_next(
        &self,
        tokens: &[u32],
        first: Vec<usize>,
        rec: &mut OpRecorder,
    ) -> Result<(Tensor, Step)> {
        let rows = tokens.len();
        let keys = first.iter().max().map_or(0, |last| last + 1);
        let x = self.look_up(tokens.to_vec(), rec)?;
        let mask = run(rec, Op::movement("causal_mask", 0, rows * keys), || {
            let row = |&last: &usize| {
                (0..keys).map(move |key| if key <= last { 0.0 } else { f32::NEG_INFINITY })
            };
            let mask: Vec<f32> = first.iter().flat_map(row).collect();
            Tensor::from_vec(mask, (rows, 1, 1, keys), &self.device)
        })?;
        let positions = first.iter().map(|&first| u32::try_from(first).unwrap_or(u32::MAX));
        let positions = Tensor::from_vec(positions.collect(), rows, &self.device)?;
        let (cos, sin) = self.rope.at(&positions)?;
        Ok((x, Step { batch: rows, len: 1, keys, first, cos, sin, mask }))
    }

    /// The embeddings of tokens: `[tokens, hidden]`.
    fn look_up(&self, ids: Vec<u32>, rec: &mut OpRecorder) -> Result<Tensor> {
        let (n, hidden) = (ids.len(), self.config.hidden_size);
        let to_device = Op::movement("to_device", n, n);
        let ids = run(rec, to_device, || Tensor::from_vec(ids, n, &self.device))?;
        let op = Op::movement("embedding", n + n * hidden, n * hidden);
        run(rec, op, || self.embedding.index_select(&ids, 0))
    }

    /// The hidden state of each row's last real token: `[batch, hidden]`.
    fn last_tokens(&self, batch: &PaddedBatch, x: &Tensor, rec: &mut OpRecorder) -> Result<Tensor> {
        let (rows, len) = (batch.tokens.len(), batch.padded_len());
        let n = rows * self.config.hidden_size;
        run(rec, Op::movement("last_tokens", rows + n, n), || {
            let positions = batch.tokens.iter().enumerate();
            let positions = positions.map(|(row, tokens)| row * len + tokens.len() - 1);
            let positions = positions.map(|position| u32::try_from(position).unwrap_or(u32::MAX));
            let positions = Tensor::from_vec(positions.collect(), rows, &self.device)?;
            x.index_select(&positions, 0)
        })
    }
}

fn max_prompt_tokens(config: &ModelConfig) -> usize {
    let by_scores = (MAX_TENSOR_ELEMENTS / config.num_attention_heads).isqrt();
    let by_width = MAX_TENSOR_ELEMENTS / widest(config);
    config.max_position_embeddings.min(MAX_PROMPT_TOKENS).min(by_scores).min(by_width)
}

/// Elements per token of the widest tensor outside attention.
fn widest(config: &ModelConfig) -> usize {
    let qkv = (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim;
    qkv.max(config.hidden_size).max(config.intermediate_size)
}

pub(crate) fn open_device(device: Device) -> Result<candle_core::Device> {
    let opened = match device {
        Device::Cpu => return Ok(candle_core::Device::Cpu),
        Device::Cuda(ordinal) => candle_core::Device::new_cuda(ordinal),
        Device::Metal(ordinal) => candle_core::Device::new_metal(ordinal),
    };
    opened.map_err(|source| ModelError::Device {
        device: format!("{device:?}"),
        source: Box::new(source),
    })
}
