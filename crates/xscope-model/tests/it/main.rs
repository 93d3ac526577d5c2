//! The model crate from outside.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod bench;
mod forward;
mod reference;
mod work;

use std::path::PathBuf;

use xscope_model::{Device, LoadFormat, Model, ModelOptions, ModelSource, OpRecorder, PaddedBatch};
use xscope_testing::fixture_of;

const OPTIONS: ModelOptions =
    ModelOptions { format: LoadFormat::Auto, config_overrides: None, seed: 0, device: Device::Cpu };

fn fixture(family: &str) -> PathBuf {
    fixture_of("xscope-model", family)
}

fn preset() -> Model {
    Model::load(&ModelSource::Preset, &OPTIONS).unwrap()
}

/// The logits of each prompt, run as one batch.
fn logits(model: &Model, tokens: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let batch = PaddedBatch { tokens: tokens.to_vec(), least_len: 0 };
    let logits = model.forward(&batch, &mut OpRecorder::new()).unwrap();
    logits.rows().map(<[f32]>::to_vec).collect()
}

fn max_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}
