//! Rotary position embeddings: the angles, computed once per model.

use candle_core::{Device, Tensor};

use crate::{
    config::{ModelConfig, RopeScaling},
    error::Result,
};

/// Cosines and sines of `positions * frequencies`, `[positions, head_dim / 2]` each.
#[derive(Debug)]
pub(crate) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    pub(crate) fn new(config: &ModelConfig, positions: usize, device: &Device) -> Result<Self> {
        let frequencies = frequencies(config);
        // f32 like the reference implementation: an f64 angle is a different angle far out.
        let angles = (0..positions).flat_map(|position| {
            #[expect(clippy::cast_precision_loss, reason = "positions are below 2^24")]
            let position = position as f32;
            frequencies.iter().map(move |frequency| position * frequency)
        });
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        let shape = (positions, frequencies.len());
        Ok(Self {
            cos: Tensor::from_vec(cos, shape, device)?,
            sin: Tensor::from_vec(sin, shape, device)?,
        })
    }

    /// One position for each row, `[rows, 1, head_dim / 2]` each.
    pub(crate) fn at(&self, positions: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((
            self.cos.index_select(positions, 0)?.unsqueeze(1)?,
            self.sin.index_select(positions, 0)?.unsqueeze(1)?,
        ))
    }

    /// The first `len` positions, without a copy.
    pub(crate) fn first(&self, len: usize) -> Result<(Tensor, Tensor)> {
        Ok((self.cos.narrow(0, 0, len)?, self.sin.narrow(0, 0, len)?))
    }
}

/// Radians per position, for each pair of a head's elements.
#[expect(clippy::cast_possible_truncation, reason = "the computation is in f32")]
#[expect(clippy::cast_precision_loss, reason = "a head is a few hundred wide")]
fn frequencies(config: &ModelConfig) -> Vec<f32> {
    let half = config.head_dim / 2;
    (0..half)
        .map(|pair| config.rope_theta.powf(-(pair as f64) / half as f64))
        .map(|frequency| scale(frequency, config.rope_scaling) as f32)
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a length in tokens is below 2^32")]
fn scale(frequency: f64, scaling: RopeScaling) -> f64 {
    let RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original,
    } = scaling
    else {
        return frequency;
    };
    let turns = original as f64 * frequency / std::f64::consts::TAU;
    // 0 where the frequency is low and divided, 1 where it is high and kept.
    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    frequency * (keep + (1.0 - keep) / factor)
}
