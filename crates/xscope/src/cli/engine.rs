//! The built-in engine, alone and under `profile`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use xscope_engine::{Device, LoadFormat};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 30_000)]
    pub port: u16,
    /// Profiles are only written below this directory, whatever a request asks for
    #[arg(
        long,
        value_name = "DIR",
        env = "SGLANG_JAX_PROFILER_DIR",
        hide_env_values = true,
        default_value = "."
    )]
    pub profile_root: PathBuf,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// The built-in engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Built-in engine")]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Most tokens of a batch, padding included
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub max_batch_tokens: usize,
    /// Pad prompts to the first of these lengths that holds the longest of their batch, as servers do that
    /// compile for each; longer ones, and all without it, are padded to the longest
    #[arg(
        long,
        visible_alias = "precompile-token-paddings",
        value_name = "N,...",
        value_delimiter = ','
    )]
    pub token_paddings: Vec<usize>,
    /// Most sequences of a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_batch_rows: usize,
}

/// What the built-in engine computes with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Built-in engine")]
pub(crate) struct ModelArgs {
    /// A Hugging Face folder (config.json, *.safetensors, tokenizer.json) of a Llama or Qwen3
    /// model; without it a tiny built-in model is used
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where the weights come from: auto (the folder's files) or dummy (made up)
    #[arg(long, value_parser = load_format, default_value = "auto")]
    pub load_format: LoadFormat,
    /// A JSON object whose fields replace those of config.json
    #[arg(long = "json-model-override-args", value_name = "JSON")]
    pub overrides: Option<String>,
    /// What computes: cpu, cuda, cuda:1, metal
    #[arg(long, value_parser = device, default_value = "cpu")]
    pub device: Device,
}

fn load_format(text: &str) -> Result<LoadFormat, String> {
    match text {
        "auto" => Ok(LoadFormat::Auto),
        "dummy" => Ok(LoadFormat::Dummy),
        _ => Err("expected auto or dummy".to_owned()),
    }
}

pub(super) fn device(text: &str) -> Result<Device, String> {
    let (name, number) = text.split_once(':').unwrap_or((text, "0"));
    let number =
        number.parse().map_err(|error| format!("{number:?} is no device number: {error}"))?;
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda(number)),
        "metal" => Ok(Device::Metal(number)),
        _ => Err("expected cpu, cuda, cuda:N, metal or metal:N".to_owned()),
    }
}
