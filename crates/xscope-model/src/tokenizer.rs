//! Text to token ids.
//!
//! A model folder brings its own `tokenizer.json`. The built-in model has a tokenizer made in
//! code: byte-level BPE like that of its big relatives, with merges that spell out common
//! words, so that it is reversible, needs no file, and cuts text into pieces of a lifelike size.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{
    error::{ModelError, Result},
    model::ModelSource,
};

/// The words that the built-in tokenizer knows, with and without a space before them.
const WORDS: &str = "a about after again all also an and answer any are as ask at back be because \
    been before best better between big book both but by call can case change city come could \
    country day did different do does document down each end even every fact false few find first \
    following for from get give given go good great had hand has have he help her here high him \
    his home house how human if important in information into is it item its just keep know large \
    last left life like line list little live long look made make man many may me mean model more \
    most movie much must my name need never new next no not now number of off old on one only or \
    other our out over own part people place point possible problem product provide query question \
    quite read really relevant result review right same say score search see sentence set she \
    should show small so some something state still such system take tell text than that the their \
    them then there these they thing think this those through time to too true two under up us use \
    user very want was water way we well were what when where which while who why will with word \
    work world would write year yes you your The This What Is Yes No Query Document Answer Question";

/// Turns text into token ids.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// The tokenizer of a model.
    ///
    /// # Errors
    ///
    /// See [`Tokenizer::from_dir`]; the built-in one never fails.
    pub fn load(source: &ModelSource) -> Result<Self> {
        match source {
            ModelSource::Preset => Self::preset(),
            ModelSource::Dir(dir) => Self::from_dir(dir),
        }
    }

    /// Reads `tokenizer.json` of a model folder.
    ///
    /// Truncation and padding that the file asks for are ignored, as transformers does: a score
    /// must be that of the whole text.
    ///
    /// # Errors
    ///
    /// [`ModelError::Read`] if the file cannot be read, [`ModelError::TokenizerLoad`] if it is damaged.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| ModelError::Read { path: path.clone(), source })?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }

    /// The tokenizer of the built-in model.
    ///
    /// # Errors
    ///
    /// None in practice: it is built from constants, which a test covers.
    pub fn preset() -> Result<Self> {
        let text = preset_definition().to_string();
        Self::from_bytes(text.as_bytes(), "the built-in definition")
    }

    /// The token ids of `text`, with the special tokens that the model's tokenizer adds.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenize`] if the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.inner.encode_fast(text, true).map_err(|source| ModelError::Tokenize { source })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids, special tokens included.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenize`] if the tokenizer's decoder fails. Unknown ids are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, false).map_err(|source| ModelError::Tokenize { source })
    }

    /// The number of token ids, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn from_bytes(bytes: &[u8], from: &str) -> Result<Self> {
        let load = |source| ModelError::TokenizerLoad { from: from.to_owned(), source };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(load)?;
        inner.with_truncation(None).map_err(load)?.with_padding(None);
        Ok(Self { inner })
    }
}

/// The built-in tokenizer as the text of a `tokenizer.json`.
fn preset_definition() -> Value {
    let mut vocab = Map::new();
    for byte in 0..=u8::MAX {
        vocab.insert(byte_char(byte).to_string(), json!(byte));
    }
    let mut merges = Vec::new();
    let words = WORDS.split_whitespace();
    for word in words.flat_map(|word| [format!("{}{word}", byte_char(b' ')), word.to_owned()]) {
        // Each word is built up from its start, so every prefix is a token too. Merges of other
        // words may come first and block that; `ignore_merges` below makes a whole word one
        // token all the same, as in Llama 3.
        for (split, last) in word.char_indices().skip(1) {
            let (prefix, merged) = (&word[..split], &word[..split + last.len_utf8()]);
            if !vocab.contains_key(merged) {
                vocab.insert(merged.to_owned(), json!(vocab.len()));
                merges.push(json!([prefix, last.to_string()]));
            }
        }
    }
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": true, "vocab": vocab, "merges": merges,
        },
    })
}

/// The character that stands for a byte in byte-level BPE: printable ones for themselves, the
/// others counted up from U+0100, as in GPT-2.
fn byte_char(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(&byte) {
        return char::from(byte);
    }
    let position = (0..byte).filter(|byte| !printable(byte)).count();
    u32::try_from(position)
        .ok()
        .and_then(|position| char::from_u32(0x100 + position))
        .expect("fewer than 256 characters after U+0100 are all characters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;

    #[test]
    fn preset_is_reversible_and_fits_the_model() {
        let tokenizer = Tokenizer::preset().unwrap();
        let ids_of_model = ModelConfig::preset().vocab_size;
        assert!(tokenizer.vocab_size() <= ids_of_model, "{}", tokenizer.vocab_size());
        for text in ["", "Is this relevant?", " 你好, wörld\n\t\u{0}\u{7f}🙂", "the  the\r\n"]
        {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
            assert!(ids.iter().all(|&id| usize::try_from(id).unwrap() < ids_of_model));
        }
    }

    #[test]
    fn preset_makes_words_one_token() {
        let tokenizer = Tokenizer::preset().unwrap();
        let ids = tokenizer.encode("What is the answer to this question about water").unwrap();
        assert_eq!(ids.len(), 9, "{ids:?}");
    }

    #[test]
    fn a_missing_or_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tokenizer::from_dir(dir.path()).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
        std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
        let error = Tokenizer::from_dir(dir.path()).unwrap_err();
        assert!(matches!(error, ModelError::TokenizerLoad { .. }), "{error}");
    }
}
