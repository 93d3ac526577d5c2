//! The engine from outside: through HTTP, and through the files that it leaves.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic is the report")]

mod capture;
mod client;
mod contract;
mod load;
mod reference;
mod stages;

use xscope_engine::{Engine, EngineConfig, EngineHandle, ModelSource, memory::CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A model that runs fast without optimisation.
const SMALL: &str = r#"{"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "max_position_embeddings": 64}"#;

const VOCAB: usize = 4096;

/// A small model on a free port, with a profile root of the test's own.
fn config(profile_root: &std::path::Path) -> EngineConfig {
    let mut config = EngineConfig::new(ModelSource::Preset);
    config.json_overrides = Some(SMALL.to_owned());
    config.port = 0;
    config.profile_root = profile_root.to_owned();
    config
}

fn start() -> EngineHandle {
    Engine::start(config(&std::env::temp_dir())).unwrap()
}

/// Ends an engine in order.
fn shut_down(engine: EngineHandle) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.shutdown());
}
