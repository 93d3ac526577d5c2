//! The built-in engine's configuration from its arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xscope_engine::{EngineConfig, LoadFormat, ModelSource};
use xscope_model::{Model, ModelError, ModelOptions};

use crate::cli::{EngineArgs, ModelArgs};

/// Counts allocations by owner, for the memory level of a profile.
#[global_allocator]
static ALLOCATOR: xscope_engine::memory::CountingAllocator =
    xscope_engine::memory::CountingAllocator;

pub(crate) fn config(args: EngineArgs) -> EngineConfig {
    let model = args.model;
    let mut config = EngineConfig::new(source(model.model));
    config.load_format = model.load_format;
    config.json_overrides = model.overrides;
    config.device = model.device;
    config.max_batch_tokens = args.max_batch_tokens;
    config.token_paddings = args.token_paddings;
    config.max_batch_rows = args.max_batch_rows;
    config
}

/// The command that serves the built-in engine as a process of its own, so that what a client takes
/// is told from what the engine takes; `{port}` is its port, and it may write profiles below `root`.
pub(crate) fn command(args: &EngineArgs, root: &Path) -> Result<Vec<OsString>> {
    let program = std::env::current_exe().context("cannot find the program that runs this")?;
    let format = match args.model.load_format {
        LoadFormat::Auto => "auto",
        LoadFormat::Dummy => "dummy",
    };
    let mut words: Vec<OsString> = vec![program.into()];
    words.extend(["serve", "--port", "{port}", "--load-format", format].map(OsString::from));
    words.extend([
        "--device".into(),
        args.model.device.to_string().into(),
        "--profile-root".into(),
    ]);
    words.push(std::path::absolute(root)?.into());
    for (name, count) in
        [("--max-batch-tokens", args.max_batch_tokens), ("--max-batch-rows", args.max_batch_rows)]
    {
        words.extend([name.into(), count.to_string().into()]);
    }
    if !args.token_paddings.is_empty() {
        let lengths: Vec<String> = args.token_paddings.iter().map(usize::to_string).collect();
        words.extend(["--token-paddings".into(), lengths.join(",").into()]);
    }
    if let Some(model) = &args.model.model {
        words.extend(["--model".into(), model.into()]);
    }
    if let Some(overrides) = &args.model.overrides {
        words.extend(["--json-model-override-args".into(), overrides.into()]);
    }
    Ok(words)
}

/// The model alone, without a server around it.
pub(crate) fn model(args: &ModelArgs, seed: u64) -> Result<Model, ModelError> {
    let options = ModelOptions {
        format: args.load_format,
        config_overrides: args.overrides.clone(),
        seed,
        device: args.device,
    };
    Model::load(&source(args.model.clone()), &options)
}

/// Where the model comes from.
pub(crate) fn source(folder: Option<PathBuf>) -> ModelSource {
    folder.map_or(ModelSource::Preset, ModelSource::Dir)
}
