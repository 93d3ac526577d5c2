//! The layers: each function of them is a scope, each tensor operation an op.
//!
//! Tensors are `[tokens, width]` with `tokens = batch * len`, except inside attention. Plain
//! operations are used rather than one fused attention kernel: what a profile of the built-in
//! engine shows is worth more here than its last bit of speed.

use candle_core::Tensor;
use candle_nn::{ops as kernels, rotary_emb};

use crate::{
    cache::LayerCache,
    config::{Family, ModelConfig},
    error::Result,
    ops::{Op, OpRecorder, run},
    owner::Owner,
    step::Step,
    weights::Weights,
};

#[derive(Debug)]
pub(crate) struct Linear {
    /// `[outputs, inputs]`.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    fn load(weights: &Weights, name: &str, shape: [usize; 2], bias: bool) -> Result<Self> {
        let weight = weights.get(&format!("{name}.weight"), &shape)?;
        let bias = bias.then(|| weights.get(&format!("{name}.bias"), &shape[..1])).transpose()?;
        Ok(Self { weight, bias })
    }

    /// Joins layers with the same input into one, whose outputs are theirs in order.
    fn join(parts: &[Self]) -> Result<Self> {
        let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<&Tensor> = parts.iter().filter_map(|part| part.bias.as_ref()).collect();
        let bias = if biases.is_empty() { None } else { Some(Tensor::cat(&biases, 0)?) };
        Ok(Self { weight: Tensor::cat(&weights, 0)?, bias })
    }

    pub(crate) fn forward(&self, x: &Tensor, rec: &mut OpRecorder) -> Result<Tensor> {
        let (m, k) = x.dims2()?;
        let n = self.weight.dim(0)?;
        let y = run(rec, Op::matmul(1, (m, n, k)), || x.matmul(&self.weight.t()?))?;
        match &self.bias {
            Some(bias) => {
                let op = Op::elementwise("bias", 1, m * n + n, m * n);
                run(rec, op, || y.broadcast_add(bias))
            }
            None => Ok(y),
        }
    }
}

#[derive(Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn load(
        weights: &Weights,
        name: &str,
        width: usize,
        config: &ModelConfig,
    ) -> Result<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "the computation is in f32")]
        let eps = config.rms_norm_eps as f32;
        Ok(Self { weight: weights.get(&format!("{name}.weight"), &[width])?, eps })
    }

    /// Over the last axis.
    pub(crate) fn forward(&self, x: &Tensor, rec: &mut OpRecorder) -> Result<Tensor> {
        let n = x.elem_count();
        // Per element: square, sum, scale, weight.
        let op = Op::reduction("rms_norm", 4, n + self.weight.elem_count(), n);
        run(rec, op, || kernels::rms_norm(x, &self.weight, self.eps))
    }
}

#[derive(Debug)]
struct Attention {
    heads: Heads,
    qkv_proj: Linear,
    /// Qwen3 normalises each head of queries and keys.
    qk_norm: Option<(RmsNorm, RmsNorm)>,
    o_proj: Linear,
}

impl Attention {
    fn load(weights: &Weights, name: &str, config: &ModelConfig) -> Result<Self> {
        let (heads, kv_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let proj = |part: &str, heads: usize| {
            let shape = [heads * head_dim, hidden];
            Linear::load(weights, &format!("{name}.{part}_proj"), shape, bias)
        };
        let norm =
            |part: &str| RmsNorm::load(weights, &format!("{name}.{part}_norm"), head_dim, config);
        let qk_norm = match config.family {
            Family::Llama => None,
            Family::Qwen3 => Some((norm("q")?, norm("k")?)),
        };
        let o_shape = [hidden, heads * head_dim];
        Ok(Self {
            heads: Heads { heads, kv_heads, head_dim },
            qkv_proj: Linear::join(&[
                proj("q", heads)?,
                proj("k", kv_heads)?,
                proj("v", kv_heads)?,
            ])?,
            qk_norm,
            o_proj: Linear::load(weights, &format!("{name}.o_proj"), o_shape, bias)?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        (step, cache): (&Step, Option<&LayerCache>),
        rec: &mut OpRecorder,
    ) -> Result<Tensor> {
        let (mut q, mut k, v) = rec.scope("qkv_proj", |rec| self.qkv(x, step, rec))?;
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = rec.scope("q_norm", |rec| q_norm.forward(&q, rec))?;
            k = rec.scope("k_norm", |rec| k_norm.forward(&k, rec))?;
        }
        let (q, k) = rec.scope("rope", |rec| -> Result<_> {
            let q = rope(&q, step, rec)?;
            let k = rec.owner(Owner::Kv, |rec| rope(&k, step, rec))?;
            Ok((q, k))
        })?;
        let (k, v) = match cache {
            Some(cache) => rec.scope("kv_update", |rec| cache.append(&k, &v, step, rec))?,
            None => (k, v),
        };
        let mixed = self.heads.attend(&q, &k, &v, step, rec)?;
        rec.scope("o_proj", |rec| self.o_proj.forward(&mixed, rec))
    }

    /// Queries `[batch, heads, len, head_dim]`, keys and values `[batch, kv_heads, ..]`.
    fn qkv(
        &self,
        x: &Tensor,
        step: &Step,
        rec: &mut OpRecorder,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let qkv = self.qkv_proj.forward(x, rec)?;
        let qkv = qkv.reshape((step.batch, step.len, heads + 2 * kv_heads, head_dim))?;
        let split = |first: usize, count: usize, rec: &mut OpRecorder| {
            let part = qkv.narrow(2, first, count)?.transpose(1, 2)?;
            let n = part.elem_count();
            run(rec, Op::movement("split_heads", n, n), || part.contiguous())
        };
        let q = split(0, heads, rec)?;
        let k = split(heads, kv_heads, rec)?;
        let v = rec.owner(Owner::Kv, |rec| split(heads + kv_heads, kv_heads, rec))?;
        Ok((q, k, v))
    }
}

/// The heads of attention: those of queries share those of keys and values in groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Heads {
    /// What queries `[batch, heads, len, head_dim]` take of `keys` keys and values
    /// `[batch, kv_heads, keys, head_dim]`, heads side by side: `[tokens, heads * head_dim]`.
    pub(crate) fn attend(
        self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        step: &Step,
        rec: &mut OpRecorder,
    ) -> Result<Tensor> {
        let scores = rec.scope("qk", |rec| self.scores(q, k, step, rec))?;
        let probs = rec.scope("softmax", |rec| softmax(scores, step, rec))?;
        rec.scope("output", |rec| self.mix(&probs, v, step, rec))
    }

    /// `[batch, heads, len, keys]`.
    ///
    /// The query heads that share a key head stand one after the other, so they are multiplied
    /// as the rows of one matrix and no key is ever repeated in memory.
    fn scores(self, q: &Tensor, k: &Tensor, step: &Step, rec: &mut OpRecorder) -> Result<Tensor> {
        let n = q.elem_count();
        #[expect(clippy::cast_precision_loss, reason = "a head is a few hundred wide")]
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let q = run(rec, Op::elementwise("scale", 1, n, n), || q.affine(scale, 0.0))?;
        let rows = self.rows_per_kv_head(step);
        let q = q.reshape((step.batch, self.kv_heads, rows, self.head_dim))?;
        let op = Op::matmul(step.batch * self.kv_heads, (rows, step.keys, self.head_dim));
        let scores = run(rec, op, || q.matmul(&k.t()?))?;
        Ok(scores.reshape((step.batch, self.heads, step.len, step.keys))?)
    }

    /// The values weighted by `probs`, heads side by side again: `[tokens, heads * head_dim]`.
    fn mix(self, probs: &Tensor, v: &Tensor, step: &Step, rec: &mut OpRecorder) -> Result<Tensor> {
        let rows = self.rows_per_kv_head(step);
        let probs = probs.reshape((step.batch, self.kv_heads, rows, step.keys))?;
        let op = Op::matmul(step.batch * self.kv_heads, (rows, self.head_dim, step.keys));
        let mixed = run(rec, op, || probs.matmul(v))?;
        let mixed = mixed.reshape((step.batch, self.heads, step.len, self.head_dim))?;
        let n = mixed.elem_count();
        run(rec, Op::movement("merge_heads", n, n), || {
            mixed
                .transpose(1, 2)?
                .contiguous()?
                .reshape((step.batch * step.len, self.heads * self.head_dim))
        })
    }

    fn rows_per_kv_head(self, step: &Step) -> usize {
        self.heads / self.kv_heads * step.len
    }
}

fn rope(x: &Tensor, step: &Step, rec: &mut OpRecorder) -> Result<Tensor> {
    let n = x.elem_count();
    // Per element: two products and their sum.
    let op = Op::elementwise("rope", 3, n + 2 * step.cos.elem_count(), n);
    run(rec, op, || rotary_emb::rope(x, &step.cos, &step.sin))
}

/// Takes the scores so that they are freed as soon as they are masked.
fn softmax(scores: Tensor, step: &Step, rec: &mut OpRecorder) -> Result<Tensor> {
    let n = scores.elem_count();
    let mask = Op::elementwise("mask", 1, n + step.mask.elem_count(), n);
    let scores = run(rec, mask, move || scores.broadcast_add(&step.mask))?;
    // Per element: maximum, difference, exponential, sum, quotient.
    run(rec, Op::reduction("softmax", 5, n, n), || kernels::softmax_last_dim(&scores))
}

#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

impl Mlp {
    fn load(weights: &Weights, name: &str, config: &ModelConfig) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let proj =
            |part: &str, shape| Linear::load(weights, &format!("{name}.{part}_proj"), shape, false);
        Ok(Self {
            gate_proj: proj("gate", [inner, hidden])?,
            up_proj: proj("up", [inner, hidden])?,
            down_proj: proj("down", [hidden, inner])?,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor, rec: &mut OpRecorder) -> Result<Tensor> {
        let gate = rec.scope("gate_proj", |rec| self.gate_proj.forward(x, rec))?;
        let up = rec.scope("up_proj", |rec| self.up_proj.forward(x, rec))?;
        let inner = rec.scope("act", |rec| {
            let n = gate.elem_count();
            // Per element: negation, exponential, sum, quotient.
            let gate = run(rec, Op::elementwise("silu", 4, n, n), || gate.silu())?;
            run(rec, Op::elementwise("mul", 1, 2 * n, n), || gate.mul(&up))
        })?;
        rec.scope("down_proj", |rec| self.down_proj.forward(&inner, rec))
    }
}

/// One decoder layer.
#[derive(Debug)]
pub(crate) struct Layer {
    input_norm: RmsNorm,
    attention: Attention,
    post_attention_norm: RmsNorm,
    mlp: Mlp,
}

impl Layer {
    pub(crate) fn load(weights: &Weights, index: usize, config: &ModelConfig) -> Result<Self> {
        let name = format!("model.layers.{index}");
        let norm = |part: &str| {
            RmsNorm::load(weights, &format!("{name}.{part}_layernorm"), config.hidden_size, config)
        };
        Ok(Self {
            input_norm: norm("input")?,
            attention: Attention::load(weights, &format!("{name}.self_attn"), config)?,
            post_attention_norm: norm("post_attention")?,
            mlp: Mlp::load(weights, &format!("{name}.mlp"), config)?,
        })
    }

    pub(crate) fn forward(
        &self,
        x: &Tensor,
        step: (&Step, Option<&LayerCache>),
        rec: &mut OpRecorder,
    ) -> Result<Tensor> {
        let y = rec.scope("input_norm", |rec| self.input_norm.forward(x, rec))?;
        let y = rec.scope("attention", |rec| self.attention.forward(&y, step, rec))?;
        let x = residual(x, &y, rec)?;
        let y =
            rec.scope("post_attention_norm", |rec| self.post_attention_norm.forward(&x, rec))?;
        let y = rec.scope("mlp", |rec| self.mlp.forward(&y, rec))?;
        residual(&x, &y, rec)
    }
}

fn residual(x: &Tensor, y: &Tensor, rec: &mut OpRecorder) -> Result<Tensor> {
    let n = x.elem_count();
    run(rec, Op::elementwise("add", 1, 2 * n, n), || x.add(y))
}
