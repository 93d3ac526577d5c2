//! Why a model could not be loaded or run.

use std::path::PathBuf;

/// The result of this crate's fallible functions.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file of the model folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// A file of the model folder, or the overrides, is not the JSON object it should be.
    #[error("{what} is not a JSON object")]
    Json {
        /// Which text.
        what: String,
        /// Where it stops being JSON; `None` if it is JSON but no object.
        source: Option<serde_json::Error>,
    },

    /// The model's configuration asks for something impossible or unsupported.
    #[error("model config: {field} {problem}")]
    Config {
        /// The field of `config.json`.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// A file of weights is damaged.
    #[error("{} is not a sound safetensors file (is the download complete?)", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<safetensors::SafeTensorError>,
    },

    /// The folder has no usable weights.
    #[error(
        "no usable weights in {}: {problem}; to run with random weights, load with format dummy",
        path.display()
    )]
    NoWeights {
        /// The model folder.
        path: PathBuf,
        /// What was looked for.
        problem: String,
    },

    /// A tensor that the model needs is in none of the files.
    #[error("tensor {name} with shape {expected:?} is missing from the weights in {}", path.display())]
    TensorMissing {
        /// The tensor's name.
        name: String,
        /// The shape that the config asks for, in elements.
        expected: Vec<usize>,
        /// The model folder.
        path: PathBuf,
    },

    /// A tensor does not fit the config.
    #[error(
        "tensor {name} has shape {found:?} in {}, but the model's config asks for {expected:?}",
        path.display()
    )]
    TensorShape {
        /// The tensor's name.
        name: String,
        /// The shape that the config asks for, in elements.
        expected: Vec<usize>,
        /// The shape in the file, in elements.
        found: Vec<usize>,
        /// The file.
        path: PathBuf,
    },

    /// A tensor is stored in a number format that cannot be read.
    #[error("tensor {name} in {} is stored as {found}; f32, f16 and bf16 are supported", path.display())]
    TensorType {
        /// The tensor's name.
        name: String,
        /// The format in the file.
        found: String,
        /// The file.
        path: PathBuf,
    },

    /// The tokenizer could not be built from its file.
    #[error("cannot build the tokenizer from {from}")]
    TokenizerLoad {
        /// Where it came from.
        from: String,
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The tokenizer refused a text or ids.
    #[error("tokenizing failed")]
    Tokenize {
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A batch that cannot be run.
    #[error("batch: {problem}")]
    Batch {
        /// What is wrong with it.
        problem: String,
    },

    /// Sizes of a kernel that cannot be.
    #[error("kernel {shape}: {problem}")]
    Kernel {
        /// The kernel with its sizes.
        shape: String,
        /// What is wrong with them.
        problem: String,
    },

    /// The device could not be opened.
    #[error("cannot use the device {device}; is xscope built with that feature?")]
    Device {
        /// The device.
        device: String,
        /// What the tensor library said.
        source: Box<candle_core::Error>,
    },

    /// The tensor library failed while computing.
    #[error("computing the forward pass failed")]
    Compute {
        /// What the tensor library said.
        source: Box<candle_core::Error>,
    },
}

impl From<candle_core::Error> for ModelError {
    fn from(source: candle_core::Error) -> Self {
        Self::Compute { source: Box::new(source) }
    }
}
