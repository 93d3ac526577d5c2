//! Keys and values of the tokens that a batch has been through, so that the next token of each row
//! costs one step instead of a forward pass over the row.

use candle_core::{Device, Tensor};

use crate::{
    batch::{MAX_TENSOR_ELEMENTS, PaddedBatch},
    config::ModelConfig,
    error::{ModelError, Result},
    ops::{Op, OpRecorder, run},
    step::Step,
};

/// The cache of one batch; see [`crate::Model::prefill`].
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// Tokens of each row, without padding.
    lens: Vec<usize>,
    capacity: usize,
}

impl KvCache {
    pub(crate) fn new(
        config: &ModelConfig,
        batch: &PaddedBatch,
        capacity: usize,
        device: &Device,
    ) -> Result<Self> {
        let (rows, longest) = (batch.tokens.len(), batch.padded_len());
        let shape = (rows, config.num_key_value_heads, capacity, config.head_dim);
        let elements = shape.0.saturating_mul(shape.1).saturating_mul(shape.3);
        if capacity < longest || elements.saturating_mul(capacity) > MAX_TENSOR_ELEMENTS {
            let most = MAX_TENSOR_ELEMENTS / elements.max(1);
            let problem = format!(
                "keys and values of {capacity} tokens for each of {rows} prompts: from {longest} \
                 to {most} fit"
            );
            return Err(ModelError::Batch { problem });
        }
        let layers = (0..config.num_hidden_layers).map(|_| LayerCache::new(shape, device));
        let lens = batch.tokens.iter().map(Vec::len).collect();
        Ok(Self { layers: layers.collect::<Result<_>>()?, lens, capacity })
    }

    /// Tokens of each row.
    pub fn lens(&self) -> &[usize] {
        &self.lens
    }

    pub(crate) fn layer(&self, index: usize) -> Option<&LayerCache> {
        self.layers.get(index)
    }

    /// Makes room for one more token in each row; the positions of these.
    pub(crate) fn grow(&mut self, tokens: usize) -> Result<Vec<usize>> {
        let problem = match self.lens.iter().max() {
            _ if tokens != self.lens.len() => {
                format!("{tokens} next tokens for {} prompts", self.lens.len())
            }
            Some(&longest) if longest >= self.capacity => {
                format!("a row is full: it has {longest} tokens")
            }
            _ => {
                let positions = self.lens.clone();
                self.lens.iter_mut().for_each(|len| *len += 1);
                return Ok(positions);
            }
        };
        Err(ModelError::Batch { problem })
    }
}

/// The keys and values of one layer: `[batch, kv_heads, capacity, head_dim]` each.
#[derive(Debug)]
pub(crate) struct LayerCache {
    k: Tensor,
    v: Tensor,
}

impl LayerCache {
    pub(crate) fn new(shape: (usize, usize, usize, usize), device: &Device) -> Result<Self> {
        let zeros = || Tensor::zeros(shape, candle_core::DType::F32, device);
        Ok(Self { k: zeros()?, v: zeros()? })
    }

    /// Writes keys and values `[batch, kv_heads, len, head_dim]` in place, from each row's own
    /// position on; returns those of all `keys` positions, without a copy.
    pub(crate) fn append(
        &self,
        k: &Tensor,
        v: &Tensor,
        step: &Step,
        rec: &mut OpRecorder,
    ) -> Result<(Tensor, Tensor)> {
        for (cache, new, name) in [(&self.k, k, "k_update"), (&self.v, v, "v_update")] {
            let n = new.elem_count();
            run(rec, Op::movement(name, n, n), || {
                write(cache, new, &step.first)?;
                Ok(cache.clone())
            })?;
        }
        Ok((self.k.narrow(2, 0, step.keys)?, self.v.narrow(2, 0, step.keys)?))
    }
}

fn write(cache: &Tensor, new: &Tensor, first: &[usize]) -> candle_core::Result<()> {
    if let [at, rest @ ..] = first
        && rest.iter().all(|other| other == at)
    {
        return cache.slice_set(new, 2, *at);
    }
    for (row, &at) in first.iter().enumerate() {
        cache.narrow(0, row, 1)?.slice_set(&new.narrow(0, row, 1)?, 2, at)?;
    }
    Ok(())
}
