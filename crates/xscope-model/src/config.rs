//! The shape of a model, as `config.json` of a Hugging Face model folder says it.
//!
//! Only what the forward pass needs is read. What it cannot compute (another activation,
//! another scaling of positions, a sliding window) is an error here, not a wrong score later.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ModelError, Result};

/// More than this is no small model: 4 Gi parameters are 16 GiB in f32.
const MAX_PARAMETERS: u64 = 1 << 32;

/// `config.json` of the built-in model.
pub(crate) const PRESET: &str = r#"{"architectures": ["Qwen3ForCausalLM"], "hidden_size": 256,
    "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 4096, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000, "tie_word_embeddings": true, "max_position_embeddings": 4096}"#;

/// Which family of models: they differ in details of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen3ForCausalLM`: queries and keys are normalised per head.
    Qwen3,
}

/// How rotary position embeddings are stretched beyond the length they were trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Llama 3.1's: low frequencies are divided by `factor`, high ones kept, with a smooth
    /// transition in between.
    Llama3 {
        /// By how much low frequencies are divided.
        factor: f64,
        /// Wavelengths above the original length over this are low.
        low_freq_factor: f64,
        /// Wavelengths below the original length over this are high.
        high_freq_factor: f64,
        /// The original length, in tokens.
        original_max_position_embeddings: usize,
    },
}

/// The shape of a decoder-only model. Checked: [`ModelConfig::from_json`] is the only way to
/// one, besides [`ModelConfig::preset`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The family.
    pub family: Family,
    /// Width of the residual stream, in elements.
    pub hidden_size: usize,
    /// Width of the MLP, in elements.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of queries; a multiple of `num_key_value_heads`.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Width of a head, in elements; even.
    pub head_dim: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Added to the mean square before its root.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How positions are stretched.
    pub rope_scaling: RopeScaling,
    /// Whether the embedding is the output matrix too.
    pub tie_word_embeddings: bool,
    /// Longest prompt, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
}

impl ModelConfig {
    /// Reads `config.json`, with the fields of the JSON object `overrides` in place of its own.
    ///
    /// # Errors
    ///
    /// [`ModelError::Json`] if either is no JSON object; [`ModelError::Config`] names the field that is
    /// missing, impossible or unsupported.
    pub fn from_json(text: &str, overrides: Option<&str>) -> Result<Self> {
        let mut object = parse_object(text, "config.json")?;
        if let Some(overrides) = overrides {
            object.extend(parse_object(overrides, "the model override arguments")?);
        }
        let fields = Fields(&object);
        let family = family(&fields)?;
        refuse_unsupported(&fields)?;

        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let head_dim = match fields.optional::<usize>("head_dim")? {
            Some(head_dim) => head_dim,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => {
                let problem = format!(
                    "is absent, and hidden_size {hidden_size} is not divisible by \
                     num_attention_heads {heads} to derive it"
                );
                return Err(ModelError::Config { field: "head_dim", problem });
            }
        };
        let (rope_theta, rope_scaling) = rope(&fields)?;
        let config = Self {
            family,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: fields.optional("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            vocab_size: fields.size("vocab_size")?,
            rms_norm_eps: fields.optional("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta,
            rope_scaling,
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(false),
            max_position_embeddings: fields.optional("max_position_embeddings")?.unwrap_or(2048),
            attention_bias: fields.optional("attention_bias")?.unwrap_or(false),
        };
        config.check()?;
        Ok(config)
    }

    /// The built-in tiny model, which needs no file: Qwen3's shape, 4 layers of 256.
    pub fn preset() -> Self {
        Self::from_json(PRESET, None).expect("the built-in config is sound")
    }

    /// The number of parameters; the embedding counts once if it is tied.
    pub fn parameters(&self) -> u64 {
        let [hidden, intermediate, layers, heads, kv_heads, head_dim, vocab] = [
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.num_key_value_heads,
            self.head_dim,
            self.vocab_size,
        ]
        .map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        // No product overflows: `check` bounds each factor.
        let qkv = (heads + 2 * kv_heads) * head_dim;
        let head_norms = if self.family == Family::Qwen3 { 2 * head_dim } else { 0 };
        let biases = if self.attention_bias { qkv + hidden } else { 0 };
        let matrices = hidden * (qkv + heads * head_dim + 3 * intermediate);
        let embeddings = if self.tie_word_embeddings { 1 } else { 2 };
        let layer = matrices + 2 * hidden + head_norms + biases;
        embeddings * vocab * hidden + layers * layer + hidden
    }

    fn check(&self) -> Result<()> {
        let fail = |field, problem: String| Err(ModelError::Config { field, problem });
        for (field, value, max) in [
            ("hidden_size", self.hidden_size, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 10),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 10),
            ("head_dim", self.head_dim, 1 << 10),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 30),
        ] {
            if !(1..=max).contains(&value) {
                return fail(field, format!("is {value}, expected 1 to {max}"));
            }
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if heads % kv_heads != 0 {
            let problem = format!(
                "is {kv_heads}, which does not divide num_attention_heads {heads}: each head of \
                 keys and values serves the same number of query heads"
            );
            return fail("num_key_value_heads", problem);
        }
        if !self.head_dim.is_multiple_of(2) {
            let problem = format!("is {}: rotary positions need it even", self.head_dim);
            return fail("head_dim", problem);
        }
        for (field, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)]
        {
            if !(value.is_finite() && value > 0.0) {
                return fail(field, format!("is {value}, expected a positive number"));
            }
        }
        let parameters = self.parameters();
        if parameters > MAX_PARAMETERS {
            let problem = format!(
                "is {} with hidden_size {} and vocab_size {}: {parameters} parameters, but the \
                 built-in engine takes {MAX_PARAMETERS}; profile a server of that model instead",
                self.num_hidden_layers, self.hidden_size, self.vocab_size
            );
            return fail("num_hidden_layers", problem);
        }
        Ok(())
    }
}

/// A JSON object with errors that name the field.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// `None` if the field is absent or null.
    fn optional<T: DeserializeOwned>(&self, field: &'static str) -> Result<Option<T>> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| ModelError::Config {
                field,
                problem: format!("is {value}: {error}"),
            }),
        }
    }

    fn required<T: DeserializeOwned>(&self, field: &'static str) -> Result<T> {
        self.optional(field)?
            .ok_or_else(|| ModelError::Config { field, problem: "is missing".to_owned() })
    }

    fn size(&self, field: &'static str) -> Result<usize> {
        match self.required(field)? {
            0 => Err(ModelError::Config { field, problem: "is 0, expected at least 1".to_owned() }),
            size => Ok(size),
        }
    }
}

fn parse_object(text: &str, what: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ModelError::Json { what: what.to_owned(), source: None }),
        Err(source) => Err(ModelError::Json { what: what.to_owned(), source: Some(source) }),
    }
}

fn family(fields: &Fields<'_>) -> Result<Family> {
    let architectures: Vec<String> = fields.optional("architectures")?.unwrap_or_default();
    let model_type: Option<String> = fields.optional("model_type")?;
    match (architectures.first().map(String::as_str), model_type.as_deref()) {
        (Some("LlamaForCausalLM"), _) | (None, Some("llama")) => Ok(Family::Llama),
        (Some("Qwen3ForCausalLM"), _) | (None, Some("qwen3")) => Ok(Family::Qwen3),
        (architecture, model_type) => {
            let found = architecture.or(model_type).unwrap_or("absent");
            let problem = format!(
                "is {found}; the built-in engine runs LlamaForCausalLM and Qwen3ForCausalLM, any \
                 other model needs a server of its own"
            );
            Err(ModelError::Config { field: "architectures", problem })
        }
    }
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<()> {
    for field in ["mlp_bias", "use_sliding_window"] {
        if fields.optional(field)?.unwrap_or(false) {
            return Err(ModelError::Config {
                field,
                problem: "is true, which is unsupported".to_owned(),
            });
        }
    }
    match fields.optional::<String>("hidden_act")?.as_deref() {
        None | Some("silu" | "swish") => Ok(()),
        Some(act) => {
            let problem = format!("is {act}, which is unsupported; silu is");
            Err(ModelError::Config { field: "hidden_act", problem })
        }
    }
}

/// The base and the scaling of rotary positions, from the spelling of transformers 5
/// (`rope_parameters`, which holds both) or the older one (`rope_theta` and `rope_scaling`).
fn rope(fields: &Fields<'_>) -> Result<(f64, RopeScaling)> {
    const DEFAULT_THETA: f64 = 10_000.0;
    let outer_theta: Option<f64> = fields.optional("rope_theta")?;
    let parameters: Option<Map<String, Value>> = fields.optional("rope_parameters")?;
    let scaling = match parameters {
        Some(parameters) => Some(parameters),
        None => fields.optional("rope_scaling")?,
    };
    let Some(scaling) = scaling else {
        return Ok((outer_theta.unwrap_or(DEFAULT_THETA), RopeScaling::None));
    };
    let scaling = Fields(&scaling);
    let theta = scaling.optional("rope_theta")?.or(outer_theta).unwrap_or(DEFAULT_THETA);
    let kind = match scaling.optional::<String>("rope_type")? {
        Some(kind) => Some(kind),
        None => scaling.optional("type")?,
    };
    let scaling = match kind.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("llama3") => llama3_scaling(&scaling)?,
        Some(kind) => {
            let problem = format!("has type {kind}, which is unsupported; default and llama3 are");
            return Err(ModelError::Config { field: "rope_scaling", problem });
        }
    };
    Ok((theta, scaling))
}

fn llama3_scaling(fields: &Fields<'_>) -> Result<RopeScaling> {
    let factors = ["factor", "low_freq_factor", "high_freq_factor"].map(|field| {
        let factor: f64 = fields.required(field)?;
        if factor.is_finite() && factor > 0.0 {
            return Ok(factor);
        }
        Err(ModelError::Config {
            field,
            problem: format!("is {factor}, expected a positive number"),
        })
    });
    let [factor, low_freq_factor, high_freq_factor] = factors;
    let (factor, low_freq_factor, high_freq_factor) =
        (factor?, low_freq_factor?, high_freq_factor?);
    if high_freq_factor <= low_freq_factor {
        let problem =
            format!("is {high_freq_factor}, expected more than low_freq_factor {low_freq_factor}");
        return Err(ModelError::Config { field: "high_freq_factor", problem });
    }
    let original_max_position_embeddings = fields.size("original_max_position_embeddings")?;
    Ok(RopeScaling::Llama3 {
        factor,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QWEN3: &str = r#"{"architectures": ["Qwen3ForCausalLM"], "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000, "rope_scaling": null, "tie_word_embeddings": true,
        "max_position_embeddings": 40960, "attention_bias": false, "hidden_act": "silu"}"#;

    fn check_error(overrides: &str, expected: &str) {
        let error = ModelConfig::from_json(QWEN3, Some(overrides)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(expected), "{overrides}: {message}");
    }

    #[test]
    fn qwen3_0_6b() {
        let config = ModelConfig::from_json(QWEN3, None).unwrap();
        assert_eq!(config.family, Family::Qwen3);
        assert_eq!(config.parameters(), 596_049_920);
    }

    #[test]
    fn defaults_and_both_spellings_of_rope() {
        let llama = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512}"#;
        let config = ModelConfig::from_json(llama, None).unwrap();
        assert_eq!((config.head_dim, config.num_key_value_heads), (16, 4));
        assert_eq!((config.rope_theta, config.rope_scaling), (10_000.0, RopeScaling::None));

        let scaling = r#""factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192"#;
        let old = format!(
            r#"{{"rope_theta": 5e5, "rope_scaling": {{"rope_type": "llama3", {scaling}}}}}"#
        );
        let new = format!(
            r#"{{"rope_parameters": {{"rope_theta": 5e5, "rope_type": "llama3", {scaling}}}}}"#
        );
        let old = ModelConfig::from_json(llama, Some(&old)).unwrap();
        assert_eq!(old, ModelConfig::from_json(llama, Some(&new)).unwrap());
        assert_eq!(old.rope_theta, 5e5);
        assert!(matches!(old.rope_scaling, RopeScaling::Llama3 { factor: 8.0, .. }));
    }

    #[test]
    fn overrides_win() {
        let config = ModelConfig::from_json(QWEN3, Some(r#"{"num_hidden_layers": 2}"#)).unwrap();
        assert_eq!(config.num_hidden_layers, 2);
    }

    #[test]
    fn errors_teach() {
        for (overrides, expected) in [
            ("[]", "the model override arguments is not a JSON object"),
            (r#"{"hidden_size": null}"#, "hidden_size is missing"),
            (r#"{"hidden_size": "big"}"#, "hidden_size is \"big\": invalid type"),
            (r#"{"hidden_size": -1}"#, "hidden_size is -1"),
            (r#"{"num_attention_heads": 0}"#, "num_attention_heads is 0"),
            (r#"{"num_key_value_heads": 0}"#, "num_key_value_heads is 0, expected 1 to"),
            (r#"{"num_key_value_heads": 5}"#, "does not divide num_attention_heads 16"),
            (r#"{"head_dim": 127}"#, "head_dim is 127: rotary positions need it even"),
            (r#"{"head_dim": null, "num_attention_heads": 24}"#, "head_dim is absent"),
            (r#"{"num_hidden_layers": 1000}"#, "profile a server of that model instead"),
            (r#"{"num_hidden_layers": 4000000000}"#, "4000000000, expected 1 to 1024"),
            (r#"{"hidden_size": 99999999999}"#, "hidden_size is 99999999999, expected 1 to"),
            (r#"{"rms_norm_eps": 0}"#, "rms_norm_eps is 0, expected a positive number"),
            (r#"{"architectures": ["MixtralForCausalLM"]}"#, "architectures is MixtralForCausalLM"),
            (r#"{"rope_scaling": {"type": "yarn", "factor": 4.0}}"#, "rope_scaling has type yarn"),
            (r#"{"rope_scaling": {"rope_type": "llama3"}}"#, "factor is missing"),
            (r#"{"use_sliding_window": true}"#, "use_sliding_window is true"),
            (r#"{"hidden_act": "gelu"}"#, "hidden_act is gelu"),
        ] {
            check_error(overrides, expected);
        }
    }
}
