//! The built-in engine's configuration from its arguments.

use xscope_engine::{EngineConfig, ModelSource};

use crate::cli::EngineArgs;

/// Counts allocations by owner, for the memory level of a profile.
#[global_allocator]
static ALLOCATOR: xscope_engine::memory::CountingAllocator =
    xscope_engine::memory::CountingAllocator;

pub(crate) fn config(args: EngineArgs) -> EngineConfig {
    let source = args.model.map_or(ModelSource::Preset, ModelSource::Dir);
    let mut config = EngineConfig::new(source);
    config.load_format = args.load_format;
    config.json_overrides = args.overrides;
    config.device = args.device;
    config.max_batch_tokens = args.max_batch_tokens;
    config.max_batch_rows = args.max_batch_rows;
    config
}
